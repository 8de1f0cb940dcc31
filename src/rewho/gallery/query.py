"""What is searched with: images, sightings, a crop, or an earlier search, as one vector and a key.

The key knows a query again: judgements belong to it, so that a "no" stays a "no" when the same image is uploaded again.
An image is known by the bytes of its file, however it is decoded, and by the box that was drawn on it.

Letters: K vectors of one person, D embedding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_count, check_ids, check_range
from rewho.core.text import quantity
from rewho.data.images import read_file
from rewho.embedding.images import pixels_of
from rewho.gallery.database import Database
from rewho.gallery.index import UNKNOWN, Index
from rewho.gallery.model import GalleryModel
from rewho.gallery.records import WITHDRAWN, Actor, check_time
from rewho.gallery.scan import Statistics
from rewho.gallery.vectors import unit
from rewho.rank.camera_norm import centre

Image = str | Path | bytes | NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Query:
    """One person to search for.

    Args:
        key: Knows the query again.
        former: The key that it had when images were known by their decoded pixels, for judgements of that time.
        kind: images, sightings, crop or search.
        vectors: Unit embeddings, float64 [K, D].
        cameras: Camera of each vector; -1 where not known.
        sightings: The gallery's own sightings among the query, which are not found again.
        time: When the person was seen, in seconds since 1970; None where not known.
        stored: Whether the vectors are the gallery's own, so that the search need not keep them.
        model: Hash of the model that the vectors are of; "" is the gallery's.
    """

    key: str
    kind: str
    vectors: NDArray[np.float64]
    cameras: tuple[int, ...]
    sightings: tuple[int, ...] = ()
    time: float | None = None
    stored: bool = True
    model: str = ""
    former: str = ""

    def normalisable(self, statistics: Statistics) -> bool:
        """Return whether the camera of every vector has a mean of its own."""
        return all(statistics.means.mean(camera) is not None for camera in self.cameras)

    def plain(self) -> NDArray[np.float64]:
        """Return the mean direction, a unit vector [D]."""
        return unit(self.vectors.mean(axis=0))

    def centred(self, statistics: Statistics) -> NDArray[np.float64]:
        """Return the mean direction relative to the cameras' means, a unit vector [D]."""
        pairs = zip(self.vectors, self.cameras, strict=True)
        return unit(np.mean([centre(one, known(statistics, camera)) for one, camera in pairs], axis=0))


def known(statistics: Statistics, camera: int) -> NDArray[np.float64]:
    """Return the mean of a camera that has one."""
    mean = statistics.means.mean(camera)
    assert mean is not None
    return mean


def check_asked(asked: Mapping[str, object], of_image: Mapping[str, object]) -> None:
    """Raise a UserError unless one thing is searched with, and what only an image has comes with an image."""
    if (count := sum(value is not None for value in asked.values())) != 1:
        got, fix = f"{count} of them", "Pass one."
        raise UserError("query", expected="images, sightings, a crop or a search", got=got, fix=fix)
    beside = [name for name, value in of_image.items() if value is not None]
    if asked["images"] is None and beside:
        fix = "Leave it out: what is in the gallery has its own."
        raise UserError(beside[0], expected="an image that it is of", got="none", fix=fix)


def from_images(
    images: Sequence[Image], model: GalleryModel, box: Box | None, camera: int, time: float | None
) -> Query:
    """Return the query of one or several images of one person; with a box, of that part of the image."""
    if not images:
        raise UserError("query", expected="an image, or several of one person", got="none", fix="Pass one.")
    if box is not None and len(images) != 1:
        got = quantity(len(images), "images")
        raise UserError("box", expected="one image that it is drawn on", got=got, fix="Pass one image.")
    check_time("time", time)
    box = None if box is None else check_box(box)
    names, former, vectors = [], [], []
    for image in images:  # one after the other: photos take tens of megabytes each
        content, name = (read_file(Path(image)), str(image)) if isinstance(image, str | Path) else (image, "query")
        pixels = pixels_of(content, model.least, name, None if box is None else partial(cut, box=box))
        former.append(_hash(str(pixels.shape).encode(), np.ascontiguousarray(pixels).data))
        place = b"" if box is None else str([round(side) for side in box]).encode()
        names.append(_hash(place, content) if isinstance(content, bytes) else former[-1])
        vectors.append(model.embed([pixels])[0])
    found, cameras = unit(np.stack(vectors)), (camera,) * len(names)
    return Query(_key(names), "images", found, cameras, time=time, stored=False, former=_key(former))


def _hash(*parts: bytes | memoryview) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.hexdigest()


def _key(names: Sequence[str]) -> str:
    return f"image {hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()}"


def check_box(box: object) -> Box:
    """Return a box as four numbers; a UserError for what is none."""
    sides = tuple(box) if isinstance(box, Iterable) and not isinstance(box, str | bytes) else ()
    if len(sides) != 4:
        fix = "Pass (10, 20, 110, 220)."
        raise UserError("box", expected="left, top, right, bottom in pixels", got=repr(box)[:60], fix=fix)
    left, top, right, bottom = (float(check_range("box", side, -1e6, 1e6)) for side in sides)
    return left, top, right, bottom


def cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return the part of a frame in a box: left, top, right, bottom, in pixels."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right - left < 2 or bottom - top < 2:
        got = ", ".join(f"{side:g}" for side in box)
        expected = f"left, top, right, bottom within {width} x {height} pixels"
        raise UserError("box", expected=expected, got=got, fix="Draw it on the person.")
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def from_sightings(ids: Sequence[int], index: Index, database: Database, by: Actor) -> Query:
    """Return the query of one or several sightings of the gallery, of one person."""
    wanted = sorted(set(check_ids("sightings", ids)))
    rows = index.find(np.array(wanted, np.int64))
    check_sightings(wanted, rows, index, by)
    cameras = tuple(int(camera) for camera in index.column("cameras")[rows])
    times = [time for time in index.column("began")[rows].tolist() if not np.isnan(time)]
    key = f"sighting {','.join(map(str, wanted))}"
    return Query(
        key, "sightings", unit(index.vectors(rows)), cameras, tuple(wanted), sum(times) / len(times) if times else None
    )


def check_sightings(ids: Sequence[int], rows: NDArray[np.int64], index: Index, by: Actor) -> None:
    """Raise a UserError for a sighting that is not there, not visible to the user, or without an embedding."""
    for number, row in zip(ids, rows.tolist(), strict=True):
        state = index.column("states")[row] if row >= 0 else WITHDRAWN + 1
        camera = index.column("cameras")[row] if row >= 0 else UNKNOWN
        if state > WITHDRAWN or not by.sees(None if camera == UNKNOWN else int(camera)):
            raise no_sighting(number)
        if state == WITHDRAWN:
            fix = "Search with another sighting."
            raise UserError(f"sighting {number}", expected="one with an embedding", got="a withdrawn one", fix=fix)


def no_sighting(number: int) -> UserError:
    """Return the error that there is no such sighting, or none that the user may see."""
    fix = "Take its number from a search."
    return UserError(f"sighting {number}", expected="a sighting of the gallery", got="no such sighting", fix=fix)


def from_crop(number: int, index: Index, database: Database, by: Actor) -> Query:
    """Return the query of one crop of the gallery; `index` is that of crops."""
    number = check_count("crop", number, 0)
    rows = index.find(np.array([number], np.int64))
    if rows[0] < 0 or not by.sees(_camera(index, int(rows[0]))) or index.column("states")[rows[0]] >= WITHDRAWN:
        fix = "Take its number from a search."
        raise UserError(f"crop {number}", expected="a crop of the gallery", got="no such crop", fix=fix)
    owner, time = int(index.column("owners")[rows[0]]), float(index.column("began")[rows[0]])
    cameras = (int(index.column("cameras")[rows[0]]),)
    return Query(
        f"crop {number}", "crop", unit(index.vectors(rows)), cameras, (owner,), None if np.isnan(time) else time
    )


def _camera(index: Index, row: int) -> int | None:
    camera = int(index.column("cameras")[row])
    return None if camera == UNKNOWN else camera


def from_search(number: int, database: Database, index: Index, crops: Callable[[], Index], by: Actor) -> Query:
    """Return the query of an earlier search, to see its next page or what judgements changed."""
    number = check_count("search", number, 0)
    row = database.one("SELECT key, query, camera, embedding, who FROM searches WHERE id = ?", (number,))
    if not row or (by.cameras is not None and row[4] != by.who):
        fix = "Search again."
        raise UserError(f"search {number}", expected="a search of this gallery", got="no such search", fix=fix)
    key, kind = row[0], row[0].partition(" ")[0]
    if kind == "sighting":
        return from_sightings([int(one) for one in key.partition(" ")[2].split(",")], index, database, by)
    if kind == "crop":
        return from_crop(int(key.partition(" ")[2]), crops(), database, by)
    if row[3] is None:
        fix = "Search with the image again; its judgements are kept."
        got = "none: it expired, somebody in its results was forgotten, or the gallery got another model"
        raise UserError(f"search {number}", expected="a search with its embedding", got=got, fix=fix)
    vectors = np.frombuffer(row[3], "<f4").reshape(-1, index.size).astype(np.float64)
    asked = json.loads(row[1])
    camera = UNKNOWN if row[2] is None else int(row[2])
    return Query(key, "images", unit(vectors), (camera,) * len(vectors), time=asked.get("time"), stored=False)
