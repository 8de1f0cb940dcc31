"""Walking through the sightings of a gallery without a query, the newest first."""

from __future__ import annotations

from rewho.core.check import check_count
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.records import SHOWN, Actor, Sighting
from rewho.gallery.views import read_sightings


def browse(database: Database, by: Actor, *, count: int, before: int | None, cameras: list[int]) -> list[Sighting]:
    """Return sightings that the user may see, the last added first; the look is in the audit.

    Args:
        database: The gallery's.
        by: Who looks.
        count: Most sightings.
        before: Only those added before this one.
        cameras: Ids of cameras; empty is all.
    """
    check_count("count", count)
    before = None if before is None else check_count("before", before, 0)
    wanted = set(cameras) if by.cameras is None else set(cameras or by.cameras) & by.cameras
    limited = by.cameras is not None or bool(cameras)
    marks = ", ".join("?" * len(wanted))
    rows = database.rows(
        f"SELECT id FROM sightings WHERE state = ? AND id < ? {f'AND camera IN ({marks})' if limited else ''} "  # noqa: S608 - marks
        "ORDER BY id DESC LIMIT ?",
        (SHOWN, 2**62 if before is None else before, *(sorted(wanted) if limited else ()), count),
    )
    ids = [int(row[0]) for row in rows]
    with database.writing():
        audit.append(database, by.who, by.purpose, "browse", {"before": before, "count": count}, sightings=ids)
    found = read_sightings(database, ids)
    return [found[one] for one in ids if one in found]
