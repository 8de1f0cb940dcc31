"""What can be added: images, folders, tables of images, crop sets; each becomes a stream of crops.

Files are read one after the other, so that a source of any size takes little memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rewho.core.artifact import digest, hash_contents, hash_file
from rewho.core.check import UserError, is_dir, is_file, nearest
from rewho.core.files import VIDEO_ENDINGS
from rewho.core.text import quantity
from rewho.crops.faces import FACE_COLUMNS
from rewho.crops.photographs import camera_of
from rewho.crops.rows import COLUMNS
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.statistics import read_videos
from rewho.data.file_lists import IMAGE_ENDINGS, is_crop_set, list_images, read_text
from rewho.data.images import read_file
from rewho.data.names import MISSING
from rewho.data.table import leaves_root
from rewho.gallery.records import NewCrop, check_time

TABLE_COLUMNS = ("path", "camera", "time", "person", "track")
VIDEO_COLUMNS = ("video", "camera", "start")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Input:
    """A source to add.

    Args:
        kind: images, folder, table, crop set or video.
        path: Where it is, for the record.
        digest: Hash of its content, by which it is recognised when it is added again.
        count: Crops in it.
        terms: Terms that it brings; empty where the user must give them.
        notes: What is left out or assumed.
        videos: Where the videos of its crops lie, by hash.
    """

    kind: str
    path: str
    digest: str
    count: int
    make: Any = field(repr=False)
    terms: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    videos: Mapping[str, str] = field(default_factory=dict)

    def crops(self) -> Iterator[NewCrop]:
        """Yield the crops, those of one track one after the other."""
        made: Iterator[NewCrop] = self.make()
        return made


@dataclass(frozen=True)
class Labels:
    """What the user says about the images of a source.

    Args:
        camera: Name of the camera of all images; "" where the source or a pattern says it.
        start: Time of the first frame of every video; None where it is not known.
        pattern: Regular expression with a group `camera`, and perhaps `person`, that is searched in each path.
        videos: CSV file with the columns video (file name, or hash), camera and start, for crop sets of many videos.
        zone: Time zone of times that have none.
        beside: Names of videos that are added together, each by itself, whose rows are in the same file.
    """

    camera: str = ""
    start: float | None = None
    pattern: str = ""
    videos: Path | None = None
    zone: str = "UTC"
    beside: tuple[str, ...] = ()


def open_input(source: Path | CropSet | Sequence[Path], labels: Labels) -> Input:
    """Return a source to add.

    Raises:
        UserError: Nothing there, a kind of file that cannot be added, or wrong labels.
    """
    if isinstance(source, CropSet):
        return _crop_set(source, labels)
    if not isinstance(source, Path):
        return _files([Path(one) for one in source], labels)
    if is_dir(source):
        return _crop_set(CropSet.open(source), labels) if is_crop_set(source) else _folder(source, labels)
    ending = source.suffix.lower()
    if is_file(source) and ending in (".csv", ".tsv"):
        return _table(source, labels)
    if is_file(source) and ending in VIDEO_ENDINGS:
        got, fix = "a video", "Use `rewho gallery add`, or add the crop set that rewho.crop(...) returns."
        raise UserError(str(source), expected="images, a folder, a CSV file or a crop set", got=got, fix=fix)
    return _files([source], labels)


def check_zone(zone: str) -> ZoneInfo:
    """Return a time zone; raise a UserError if there is none of that name."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        fix = "Write it like Europe/Berlin or UTC."
        raise UserError("time zone", expected="a name of the IANA database", got=repr(zone), fix=fix) from error


def parse_time(text: str, zone: str = "UTC", what: str = "time") -> float:
    """Return a time in ISO 8601, or in seconds since 1970, as seconds since 1970, UTC.

    Example:
        >>> parse_time("1970-01-01T01:00", "Europe/Berlin"), parse_time("1970-01-01T00:00:01Z"), parse_time("5.5")
        (0.0, 1.0, 5.5)
    """
    place = check_zone(zone)
    try:
        if NUMBER.fullmatch(text.strip()):
            seconds = float(text)
        else:
            found = datetime.fromisoformat(text.strip())
            seconds = (found if found.tzinfo else found.replace(tzinfo=place)).timestamp()
    except (ValueError, OverflowError, OSError):
        fix = "Write it like 2026-05-01T13:45:00 or 2026-05-01T13:45:00+02:00."
        raise UserError(what, expected="a time in ISO 8601", got=repr(text), fix=fix) from None
    check_time(what, seconds)
    return seconds


def parse_range(after: str, before: str, zone: str) -> tuple[float | None, float | None]:
    """Return `--after` and `--before` in seconds since 1970, None where they are empty.

    Raises:
        UserError: One is no time, or the range ends before it begins.
    """
    begin = parse_time(after, zone, "--after") if after else None
    end = parse_time(before, zone, "--before") if before else None
    if begin is not None and end is not None and begin >= end:
        raise UserError("--before", expected=f"a time after --after {after}", got=before, fix="Exchange them.")
    return begin, end


def show_time(seconds: float | None, zone: str = "UTC") -> str:
    """Return a time in a zone as ISO 8601; "" where it is not known.

    Example:
        >>> show_time(0.0, "Europe/Berlin"), show_time(None)
        ('1970-01-01T01:00:00+01:00', '')
    """
    if seconds is None:
        return ""
    return datetime.fromtimestamp(round(seconds, 3), UTC).astimezone(ZoneInfo(zone)).isoformat()


class _Names:
    """Reads camera and person from paths with the user's pattern."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        try:
            self._pattern = re.compile(labels.pattern) if labels.pattern else None
        except re.error as error:
            got, fix = f"{labels.pattern!r} ({error})", r"Write it like 'c(?P<camera>\d+)'."
            raise UserError("pattern", expected="a regular expression", got=got, fix=fix) from None
        groups = set(self._pattern.groupindex if self._pattern else ())
        if self._pattern and not groups & {"camera", "person"}:
            fix = r"Write it like 'c(?P<camera>\d+)'."
            raise UserError("pattern", expected="a group camera or person", got=repr(labels.pattern), fix=fix)

    def read(self, path: str) -> dict[str, str | None]:
        """Return camera and person of a path."""
        found = self._pattern.search(path) if self._pattern else None
        if self._pattern and not found:
            fix = "Change the pattern, or add the other images by themselves."
            raise UserError("pattern", expected="a match in every path", got=f"none in {path!r}", fix=fix)
        known = found.groupdict() if found else {}
        return {"camera": known.get("camera") or self._labels.camera or None, "person": known.get("person")}


def _files(files: Sequence[Path], labels: Labels, kind: str = "images", top: Path | None = None) -> Input:
    names = _Names(labels)
    for file in files:
        if not is_file(file) or file.suffix.lower() not in IMAGE_ENDINGS:
            got = f"a file with the ending {file.suffix!r}" if is_file(file) else "no file there"
            expected = f"an image ({', '.join(IMAGE_ENDINGS)}), a folder, a CSV file or a crop set"
            raise UserError(str(file), expected=expected, got=got, fix="Check the path; convert other images to JPEG.")
    shown = [file.relative_to(top).as_posix() if top else file.name for file in files]
    known = [names.read(name) for name in shown]

    def make() -> Iterator[NewCrop]:
        for file, name, own in zip(files, shown, known, strict=True):
            yield _from_file(file, name, **own, time=labels.start)

    place = str(top or (files[0] if len(files) == 1 else f"{quantity(len(files), 'images')}, such as {files[0]}"))
    sum_ = digest([shown, hash_contents(list(files))])
    return Input(kind, place, sum_, len(files), make)


def _from_file(file: Path, name: str, **known: Any) -> NewCrop:  # noqa: ANN401 - fields of NewCrop
    data = read_file(file)
    return NewCrop(name, data, sha256=hashlib.sha256(data).hexdigest(), **known)


def _folder(folder: Path, labels: Labels) -> Input:
    return _files([folder / name for name in list_images(folder)], labels, "folder", folder)


def _table(file: Path, labels: Labels) -> Input:
    rows = read_table(file, TABLE_COLUMNS, ("path",))
    crops: list[tuple[Path, dict[str, Any]]] = []
    for row in rows:
        path = row["path"]
        if leaves_root(path) or not is_file(file.parent / path):
            got = f"{path!r}, which is {'outside of its folder' if leaves_root(path) else 'no file there'}"
            fix = "Write the paths as seen from the CSV file's own folder, without '..'."
            raise UserError(f"{file}, line {row['line']}", expected="the path of an image", got=got, fix=fix)
        time = parse_time(row["time"], labels.zone, f"{file}, line {row['line']}") if row["time"] else labels.start
        known = {"camera": row["camera"] or labels.camera or None, "time": time}
        known |= {name: row[name] or None for name in ("person", "track")}
        crops.append((file.parent / path, {"name": path, **known}))
    crops.sort(key=lambda item: item[1]["track"] or "")  # stable: tracks together, in the table's order
    without = sum(item["camera"] is None for _, item in crops)
    notes = (f"{without:,} of {len(crops):,} images have no camera",) if without else ()
    sum_ = digest([hash_file(file), hash_contents([path for path, _ in crops])])

    def make() -> Iterator[NewCrop]:
        return (_from_file(path, **known) for path, known in crops)

    return Input("table", str(file), sum_, len(crops), make, notes=notes)


def read_table(file: Path, columns: Sequence[str], needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file; absent columns and placeholders for no value are "". `line` is the row's line."""
    text = read_text(file)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(str(file), expected="a CSV file", got=str(error), fix="Save it again as CSV.") from None
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    for name in header:
        if name not in columns:
            near = nearest(name, columns)
            fix = f"Did you mean {near!r}? " if near else ""
            expected = f"the columns {', '.join(columns)}"
            raise UserError(f"{file}: header", expected=expected, got=repr(name), fix=f"{fix}Rename or remove it.")
    if missing := [name for name in needed if name not in header]:
        raise UserError(f"{file}: header", expected=f"a column {missing[0]}", got=", ".join(header), fix="Add it.")
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            expected = f"{len(header)} cells, as in the header"
            raise UserError(f"{file}, line {number}", expected=expected, got=str(len(cells)), fix="Correct the row.")
        found = {
            name: "" if cell.strip() in MISSING else cell.strip() for name, cell in zip(header, cells, strict=True)
        }
        rows.append({**dict.fromkeys(columns, ""), **found, "line": str(number)})
    if not rows:
        raise UserError(str(file), expected="a header and at least one row", got="no rows", fix="Fill the file.")
    return rows


def _crop_set(crops: CropSet, labels: Labels) -> Input:
    if not len(crops):
        raise UserError(str(crops.folder), expected="a crop set with crops", got="an empty one", fix="Leave it out.")
    videos = _read_video_labels(labels)
    listed = {video["sha256"]: video for video in read_videos(crops.folder)}
    for name in set(videos).difference(labels.beside):
        if not any(name in (Path(str(one["path"])).name, one["sha256"]) for one in listed.values()):
            got = f"{name!r}, which is not among them"
            raise UserError(str(labels.videos), expected="videos of the crop set", got=got, fix="Check the name.")
    columns = ["name", "video", "frame", "time", "cut", "quality", "sha256", "licence", *FACE_COLUMNS]
    tracked = "track" in COLUMNS
    columns = list(dict.fromkeys([*columns, *(["track"] if tracked else [])]))

    def make() -> Iterator[NewCrop]:
        for number, shard in enumerate(crops.contents.shards):
            rows = crops.rows_of(shard, columns).to_pylist()
            images = (image.as_py() for batch in crops.batches_of(number, check=True) for image in batch.column(1))
            for row, image in zip(rows, images, strict=True):
                yield _from_row(row, image, labels, videos, listed)

    terms = dict(crops.contents.about.get("terms", {}))
    notes = () if tracked else ("the crop set has no tracks: each crop is a sighting of its own",)
    places = {sha256: str(one["path"]) for sha256, one in listed.items()}
    return Input("crop set", str(crops.folder), hash_file(crops.folder / INDEX), len(crops), make, terms, notes, places)


def _read_video_labels(labels: Labels) -> dict[str, tuple[str, float | None]]:
    if labels.videos is None:
        return {}
    rows = read_table(labels.videos, VIDEO_COLUMNS, ("video",))
    return {
        row["video"]: (
            row["camera"],
            parse_time(row["start"], labels.zone, f"{labels.videos}, line {row['line']}") if row["start"] else None,
        )
        for row in rows
    }


def _from_row(
    row: Mapping[str, Any],
    image: bytes,
    labels: Labels,
    videos: Mapping[str, tuple[str, float | None]],
    listed: Mapping[str, Mapping[str, Any]],
) -> NewCrop:
    known = listed.get(row["video"], {})
    path = Path(str(known.get("path", ""))).name
    place = Path(camera_of(known)).name if path else ""  # a photograph's camera is its folder
    camera, start = videos.get(row["video"]) or videos.get(path) or ("", None)
    start = labels.start if start is None else start
    track = row.get("track")
    return NewCrop(
        name=row["name"],
        image=image,
        heads={name: row[name] for name in FACE_COLUMNS},
        camera=camera or labels.camera or place or row["video"][:12],
        time=None if start is None else start + row["time"],
        track=None if track is None or track == -1 else f"{row['video']}/{track}",
        frame=f"{row['video']}/{row['frame']}",
        number=row["frame"],
        box=tuple(row["cut"]),
        quality=max(row["quality"], 1e-3),
        sha256=row["sha256"],
        licence=row["licence"],
    )
