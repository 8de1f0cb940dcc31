"""Find the images of a gallery that look most like the people in query images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import MANIFEST, digest, hash_file, plain, write_file
from rewho.core.check import UserError, check_embeddings, check_name, is_dir, is_file
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.record import read_record
from rewho.core.runtime import run_in_processes
from rewho.core.shipped import STARTER
from rewho.core.stage import Stage
from rewho.core.text import aligned_table, csv_table, read_csv_table
from rewho.crops.faces import FACE_COLUMNS, hide_known_faces
from rewho.crops.shards import CropSet
from rewho.crops.statistics import read_videos
from rewho.data.datasets import read_settings
from rewho.data.file_lists import is_crop_set, list_images, read_text, refuse_output
from rewho.data.images import decode
from rewho.embedding.exported import ExportedModel, load_model
from rewho.embedding.reuse import file_name, reuse_embeddings
from rewho.rank.distance import unit_vectors
from rewho.report.rank_sheet import IMAGE_HEIGHT, IMAGE_WIDTH, encode_jpeg
from rewho.report.search_sheet import HEADER, FoundCell, FoundRow, search_page, search_sheet
from rewho.settings import DataSettings
from rewho.settings.answers import SearchSettings
from rewho.settings.fields import check

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

FREE_SETTINGS = ("out", "queries", "gallery", "model", "engine", "batch", "cache")
TABLE, SHEET, PAGE = "results.csv", "sheet.jpg", "index.html"
GREY = 200  # of an image that is not there any more


@dataclass(frozen=True)
class Gallery:
    """The images to search.

    Args:
        images: N files or crops; a file may be missing where embeddings are searched.
        names: Their names.
        hashes: Their sha256, or "" where the file is missing.
        people: The person of each image, "" where not known; empty if none is known.
        places: Camera or time of each image, the same way.
        faces: pyarrow table with the `FACE_COLUMNS` of each crop; None where the images are files.
        embeddings: float32 [N, D] where they were made by `rewho embed`; None where they are made now.
    """

    images: Sequence[Any]
    names: Sequence[str]
    hashes: Sequence[str]
    people: Sequence[str] = field(default_factory=tuple)
    places: Sequence[str] = field(default_factory=tuple)
    faces: Any = None
    embeddings: NDArray[np.float32] | None = None


@run_in_processes
@release_locks
def run(settings: SearchSettings) -> str:
    """Search; return the table of what was found, and the path of the page."""
    check(settings)
    began = time.monotonic()
    gallery_path = _check_paths(settings)
    made = _read_embedded(gallery_path)
    if made:
        settings = replace(settings, flip=made.flip)  # queries are embedded as the gallery was
    model_path = settings.model or Path(made.model if made else STARTER)
    model = load_model(model_path, settings.engine.device, settings.engine.threads, settings.runtime)
    gallery = made.gallery if made else _open_gallery(gallery_path)
    identity = model.identity()
    if made and made.model_sha256 != identity["model"]:
        got, fix = "those of another model", f"Pass --model {made.model}, or search the images themselves."
        raise UserError(f"--in {gallery_path}", expected=f"embeddings of {model_path}", got=got, fix=fix)
    query_hashes = [hash_file(query) for query in settings.queries]
    inputs = identity | {
        "queries": digest(query_hashes),
        "gallery": digest([list(gallery.names), list(gallery.hashes)]),
    }
    stage = Stage(settings.out, "search", plain(settings), inputs, FREE_SETTINGS)
    page = settings.out / PAGE
    if stage.begin() == "finished":
        return f"{aligned_table(*_read_table(settings.out / TABLE))}\n{page}"
    progress = Progress("embed", len(gallery.names), unit="images")
    vectors, runtimes = gallery.embeddings, list[str]()
    if vectors is None:
        kept = settings.cache / file_name(identity, gallery_path, flip=settings.flip)
        vectors, runtimes = reuse_embeddings(
            model,
            gallery.images,
            gallery.hashes,
            kept,
            flip=settings.flip,
            batch=settings.batch,
            done=progress.advance,
        )
    progress.close()
    rows = _find(model, settings, gallery, vectors, query_hashes)
    outputs = _write(settings, rows, model_path, gallery_path)
    counts = {"queries": len(rows), "images": len(gallery.names), "runtimes": runtimes}
    stage.finish(outputs, counts, time.monotonic() - began)
    return f"{aligned_table(*_lines(rows))}\n{page}"


def _check_paths(settings: SearchSettings) -> Path:
    if not settings.queries:
        fix = "Write `rewho search QUERY.jpg --in FOLDER --model MODEL`."
        raise UserError("query", expected="one image or more", got="none", fix=fix)
    if settings.gallery is None:
        fix = "Pass --in FOLDER: a folder of images, a crop set, or the folder of `rewho embed`."
        raise UserError("--in", expected="what to search", got="nothing", fix=fix)
    for query in settings.queries:
        if is_dir(query):
            refuse_output(query)
            fix = "Pass images as queries, and the folder to search as --in."
            raise UserError(f"query {query}", expected="an image", got="a folder", fix=fix)
        decode(query)
    return settings.gallery.expanduser()


def _open_gallery(path: Path) -> Gallery:
    """Open a crop set, or a folder of images with people and cameras where they are known."""
    if is_crop_set(path):
        crops = CropSet.open(path)
        rows = crops.manifest(["name", "sha256", "video", "time", *FACE_COLUMNS])
        known = {str(one["sha256"]): Path(str(one["path"])).name for one in read_videos(path)}
        names, hashes, videos, times = (rows.column(name).to_pylist() for name in ("name", "sha256", "video", "time"))
        shown = [known.get(video, f"video {video[:8]}") if video else "" for video in videos]
        places = [
            f"{f'{video}, ' if video else ''}{seconds:.1f} s" for video, seconds in zip(shown, times, strict=True)
        ]
        hexadecimal = [value.hex() if isinstance(value, bytes) else str(value) for value in hashes]
        return Gallery(crops, names, hexadecimal, (), places, rows.select(list(FACE_COLUMNS)))
    names = list_images(path)
    files = [path / name for name in names]
    people, places = _known_labels(path, names)
    return Gallery(files, names, [hash_file(file) for file in files], people, places)


def _known_labels(path: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return person and camera of each image if the folder is a data set, "" where they are not known."""
    try:
        table = read_settings(DataSettings(path))
    except UserError as error:
        say(f"note: {path} is not read as a data set, so people and cameras are not shown ({error.got})")
        return [], []
    rows = {name: row for row, name in enumerate(table.paths)}
    people, places = [""] * len(names), [""] * len(names)
    for place, name in enumerate(names):
        if (row := rows.get(name)) is not None:
            person, camera = int(table.person_ids[row]), int(table.camera_ids[row])
            people[place] = table.person_name(person) if person >= 0 else ""
            places[place] = f"camera {table.camera_name(camera)}" if camera >= 0 else ""
    return people, places


class Embedded(NamedTuple):
    """What `rewho embed` left: the gallery, the model's folder, the hash of its weights, and whether it flipped."""

    gallery: Gallery
    model: str
    model_sha256: str
    flip: bool


def _read_embedded(path: Path) -> Embedded | None:
    """Read a folder that `rewho embed` wrote; return None for another folder."""
    if not is_file(path / "embeddings.npy") or not is_file(path / "images.csv"):
        return None
    what, fix = f"--in {path}", "Run `rewho embed` again into another folder, or search the images themselves."
    record = read_record(path / MANIFEST) if is_file(path / MANIFEST) else {}
    settings, model_sha256 = record.get("settings", {}), record.get("inputs", {}).get("model")
    if record.get("stage") != "embed" or not isinstance(model_sha256, str):
        got = f"no record of it in {MANIFEST}"
        raise UserError(what, expected="a finished folder of `rewho embed`", got=got, fix=fix)
    names = [row[0] for row in read_csv_table(read_text(path / "images.csv"))][1:]
    try:
        vectors = np.load(path / "embeddings.npy", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(what, expected="embeddings", got=f"{error}", fix=fix) from error
    if len(vectors) != len(names):
        got = f"{len(vectors):,} of {len(names):,} images"
        raise UserError(what, expected="one embedding for each image", got=got, fix=fix)
    check_embeddings("gallery", vectors, names)
    source = Path(str(settings.get("images", settings.get("folder", ""))))
    model, flip = str(settings.get("model", "")), bool(settings.get("flip", True))
    if is_file(source):  # of one image
        source = source.parent
    if is_crop_set(source):
        return Embedded(_embedded_crops(source, names, vectors), model, model_sha256, flip)
    files = [source / check_name(str(path / "images.csv"), name) for name in names]
    missing = sum(not is_file(file) for file in files)
    if missing:
        say(f"note: {missing:,} of {len(files):,} images are no longer in {source}; they are found, but not shown")
    hashes = [hash_file(file) if is_file(file) else "" for file in files]
    return Embedded(Gallery(files, names, hashes, embeddings=vectors), model, model_sha256, flip)


def _embedded_crops(source: Path, names: Sequence[str], vectors: NDArray[np.float32]) -> Gallery:
    opened = _open_gallery(source)
    if list(opened.names) != list(names):
        fix = "Embed the crop set again into another folder."
        raise UserError(f"--in {source}", expected="the crops that were embedded", got="others", fix=fix)
    return replace(opened, embeddings=vectors)


def _find(
    model: Embedder | ExportedModel,
    settings: SearchSettings,
    gallery: Gallery,
    vectors: NDArray[np.float32],
    query_hashes: Sequence[str],
) -> list[FoundRow]:
    """Return what was found for each query, without the query itself."""
    queries = model.embed(list(settings.queries), flip=settings.flip, batch=settings.batch)
    if queries.shape[1] != vectors.shape[1]:
        got = f"{vectors.shape[1]} numbers an image, where the model makes {queries.shape[1]}"
        raise UserError("--in", expected="embeddings of this model", got=got, fix="Embed the images again.")
    unit = unit_vectors(check_embeddings("gallery", vectors, list(gallery.names)), "float32")
    found = []
    for query, own, vector in zip(settings.queries, query_hashes, unit_vectors(queries, "float32"), strict=True):
        alike = np.clip(unit @ vector, -1, 1)
        itself = [row for row, key in enumerate(gallery.hashes) if key == own]
        alike[itself] = -2  # below every cosine
        order = np.argsort(-alike, kind="stable")[: min(settings.count, len(alike) - len(itself))]
        note = ""
        if itself:
            note = f"{query} is itself in {settings.gallery} as {gallery.names[itself[0]]}; left out of what was found"
            say(f"note: {note}")
        found.append(
            FoundRow(decode(query), query.name, [_cell(gallery, int(row), float(alike[row])) for row in order], note)
        )
    return found


def _cell(gallery: Gallery, row: int, similarity: float) -> FoundCell:
    source = gallery.images[row]
    if isinstance(source, Path):
        blank = np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), GREY, np.uint8)
        source = decode(source) if is_file(source) else blank
    elif gallery.faces is not None:
        source = hide_known_faces(source, gallery.faces.slice(row, 1).to_pylist()[0])
    person, place = (values[row] if values else "" for values in (gallery.people, gallery.places))
    return FoundCell(source, gallery.names[row], similarity, person, place)


def _lines(rows: Sequence[FoundRow]) -> list[tuple[str, ...]]:
    return [("query", *HEADER), *((row.name, *line) for row in rows for line in row.lines())]


def _write(settings: SearchSettings, rows: Sequence[FoundRow], model: Path, gallery: Path) -> list[Path]:
    made_with = {"model": str(model), "searched": str(gallery), "date": time.strftime("%Y-%m-%d")}
    files = {
        TABLE: csv_table(_lines(rows)),
        SHEET: encode_jpeg(search_sheet(rows)),
        PAGE: search_page(rows, made_with).encode(errors="replace"),
    }
    return [
        write_file(settings.out / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        for name, content in files.items()
    ]


def _read_table(file: Path) -> list[tuple[str, ...]]:
    return read_csv_table(read_text(file))
