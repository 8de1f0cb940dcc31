"""Looking at what is stored: sightings, their crops, thumbnails, cameras; each look is in the audit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rewho.core.check import UserError, check_count, check_ids
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.index import CROP_COLUMNS, damaged
from rewho.gallery.query import no_sighting
from rewho.gallery.records import Actor, Sighting
from rewho.gallery.vectors import row_sum


class Camera(NamedTuple):
    """A camera of the gallery, with its number of sightings and crops."""

    id: int
    name: str
    zone: str
    sightings: int
    crops: int


class CropView(NamedTuple):
    """A crop as it is shown.

    Attributes:
        id: Its number.
        sighting: Id of its sighting.
        name: Its name in its source.
        number: Number of its frame, or None.
        time: Seconds since 1970, UTC, or None.
        box: Left, top, right, bottom in pixels of the frame, or None.
        quality: 0 to 1.
        sha256: Hash of the image that it was added from.
        licence: Of that image.
    """

    id: int
    sighting: int
    name: str
    number: int | None
    time: float | None
    box: tuple[float, ...] | None
    quality: float
    sha256: str
    licence: str


def check_visible(database: Database, sightings: Iterable[int], by: Actor) -> list[int]:
    """Return ids of sightings if each is there and the user may see it."""
    found = []
    for number in check_ids("sightings", sightings):
        row = database.one("SELECT camera FROM sightings WHERE id = ?", (number,))
        if row is None or not by.sees(row[0]):
            raise no_sighting(number)
        found.append(number)
    return found


def read_sightings(database: Database, ids: Sequence[int]) -> dict[int, Sighting]:
    """Return sightings by id; those that are not there are left out."""
    found: dict[int, Sighting] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        marks = ", ".join("?" * len(some))
        rows = database.rows(
            "SELECT s.id, c.name, s.began, s.ended, s.crops, s.best, s.person, coalesce(p.name, ''), s.source, s.state "  # noqa: S608
            "FROM sightings s LEFT JOIN cameras c ON c.id = s.camera LEFT JOIN people p ON p.id = s.person "
            f"WHERE s.id IN ({marks})",
            list(some),
        )
        found |= {int(row[0]): Sighting(*row) for row in rows}
    return found


def view_sightings(database: Database, ids: Sequence[int], by: Actor) -> list[Sighting]:
    """Return sightings in the order of their ids as given; the look is in the audit."""
    wanted = check_visible(database, ids, by)
    with database.writing():
        audit.append(database, by.who, by.purpose, "view", {}, sightings=wanted)
    found = read_sightings(database, wanted)
    return [found[one] for one in wanted]


def view_crops(database: Database, sighting: int, by: Actor) -> list[CropView]:
    """Return the crops of a sighting in the order of time; the view is recorded in the audit."""
    check_visible(database, [sighting], by)
    with database.writing():
        audit.append(database, by.who, by.purpose, "view", {"crops": True}, sightings=[sighting])
    return read_crops(database, sighting)


def read_crops(database: Database, sighting: int) -> list[CropView]:
    """Return the crops of a sighting in the order of time."""
    rows = database.rows(
        "SELECT id, sighting, name, number, time, box, quality, sha256, licence FROM crops WHERE sighting = ? "
        "ORDER BY time, number, id",
        (sighting,),
    )
    return [CropView(*row)._replace(box=None if row[5] is None else tuple(json.loads(row[5]))) for row in rows]


def view_thumbnail(database: Database, crop: int, by: Actor, *, record: bool = True) -> bytes:
    """Return the thumbnail of a crop, a JPEG with hidden faces.

    Args:
        database: The gallery's.
        crop: Id of the crop.
        by: Who looks at it.
        record: Record the view in the audit; false on a page of results, whose search is recorded instead.
    """
    crop = check_count("crop", crop, 0)
    query = f"SELECT {', '.join(f'c.{name}' for name in CROP_COLUMNS.split(', '))}, c.sum, s.camera FROM crops c "  # noqa: S608
    row = database.one(f"{query} JOIN sightings s ON s.id = c.sighting WHERE c.id = ?", (crop,))
    if row is None or not by.sees(row[-1]) or row[-3] is None:
        got = "no such crop" if row is None or not by.sees(row[-1]) else "none: it was withdrawn, or only embedded"
        raise UserError(f"crop {crop}", expected="a crop with a thumbnail", got=got, fix="Take it from a search.")
    if row_sum(row[:-2]) != row[-2]:
        raise damaged(database, f"crop {crop}")
    if record:
        with database.writing():
            audit.append(database, by.who, by.purpose, "view", {"thumbnail": crop}, sightings=[row[1]])
    return bytes(row[-3])


def list_cameras(database: Database, by: Actor) -> list[Camera]:
    """Return the cameras that a user may see, by name."""
    rows = database.rows(
        "SELECT c.id, c.name, c.zone, count(s.id), coalesce(sum(s.crops), 0) FROM cameras c "
        "LEFT JOIN sightings s ON s.camera = c.id GROUP BY c.id ORDER BY c.name"
    )
    return [Camera(*row) for row in rows if by.sees(row[0])]
