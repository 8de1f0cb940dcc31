"""Search: filters, then the exact best, with everything recorded in the audit before the result is handed out.

Letters: N rows of the index, D embedding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_count, check_ids, check_range, nearest
from rewho.gallery import audit
from rewho.gallery.cases import read_case
from rewho.gallery.database import Database
from rewho.gallery.erasure import expired_sources
from rewho.gallery.index import UNKNOWN, Index
from rewho.gallery.judgements import Judged, read_judgements, refine
from rewho.gallery.model import check_same
from rewho.gallery.query import Query
from rewho.gallery.records import DAY_S, SHOWN, WITHDRAWN, Actor, Candidate, Filters, Found, Sighting
from rewho.gallery.scan import Best, Statistics, Wanted, relative
from rewho.gallery.store import store_of
from rewho.gallery.views import read_sightings
from rewho.rank.camera_norm import LEAST_CROPS

MOST = 10_000
"""Most candidates of one page."""


@dataclass(frozen=True)
class Ask:
    """How to search.

    Args:
        count: Candidates of the page.
        filters: What to search through.
        after: Continue behind this (similarity, id).
        normalise: Compare relative to the cameras' means, where the query's camera has one.
        refine: Move the query by its judgements.
    """

    count: int = 20
    filters: Filters = field(default_factory=Filters)
    after: tuple[float, int] | None = None
    normalise: bool = True
    refine: bool = True


def search(database: Database, index: Index, statistics: Statistics, query: Query, ask: Ask, by: Actor) -> Found:
    """Return the candidates of a query; the search and what it returned are in the audit when this returns.

    Raises:
        UserError: A filter names what is not there, or not visible to the user.
    """
    check_count("count", ask.count, 1, MOST)
    if ask.after is not None:
        if not isinstance(ask.after, tuple | list) or len(ask.after) != 2:
            fix = "Pass `after` of the page before."
            raise UserError("after", expected="a similarity and an id", got=repr(ask.after)[:60], fix=fix)
        check_range("after", ask.after[0], -2, 2)
        check_count("after", ask.after[1], 0)
    judged = read_judgements(database, query)
    keep = _select(database, index, query, judged, ask.filters, by)
    normalised = ask.normalise and bool(query.cameras) and query.normalisable(statistics)
    vector = query.centred(statistics) if normalised else query.plain()
    if ask.refine:
        yes, no = (
            _vectors(index, judged.of(verdict), statistics if normalised else None, query, by)
            for verdict in ("yes", "no")
        )
        vector = refine(vector, yes, no)
    camera = query.cameras[0] if query.cameras else UNKNOWN
    wanted = Wanted(vector, ask.count, ask.after, statistics if normalised else None, camera)
    found = store_of(database).best(index, wanted, keep)
    notes = _notes(database, index, statistics, query, keep, ask, normalised=normalised)
    return _record(database, index, query, judged, ask, by, found, int(keep.sum()), notes, normalised=normalised)


def _vectors(
    index: Index, sightings: Sequence[int], statistics: Statistics | None, query: Query, by: Actor
) -> NDArray[np.float64]:
    """Return the unit vectors of sightings, or of their crops, relative to the cameras' means if there are any.

    What somebody else judged on a camera that the user may not see does not move the query.
    """
    keep = np.isin(index.column("owners"), sightings) & (index.column("states") < WITHDRAWN)
    if by.cameras is not None:
        keep &= np.isin(index.column("cameras"), list(by.cameras))
    if statistics is None:
        return relative(index, None, np.flatnonzero(keep))
    return relative(index, statistics.means, np.flatnonzero(keep), query.cameras[0])


def _select(
    database: Database, index: Index, query: Query, judged: Judged, filters: Filters, by: Actor
) -> NDArray[np.bool_]:
    """Return which rows the filters leave, bool [N]."""
    cameras, owners = index.column("cameras"), index.column("owners")
    keep = index.column("states") == SHOWN
    if by.cameras is not None:
        keep &= np.isin(cameras, list(by.cameras))
    if filters.cameras:
        keep &= np.isin(cameras, camera_ids(database, filters.cameras, by))
    if filters.after is not None:  # comparisons with NaN, an unknown time, are false
        keep &= index.column("ended") >= filters.after
    if filters.before is not None:
        keep &= index.column("began") < filters.before
    for what, column, numbers in (("source", "sources", filters.sources), ("person", "people", filters.people)):
        if numbers:
            keep &= np.isin(index.column(column), _known(index, what, column, numbers, by))
    if filters.cases:
        for case in check_ids("case", filters.cases):
            read_case(database, case, by)
        marks = ", ".join("?" * len(filters.cases))
        rows = database.rows(f"SELECT sighting FROM case_sightings WHERE case_id IN ({marks})", filters.cases)  # noqa: S608 - marks
        keep &= np.isin(owners, [row[0] for row in rows])
    without = {*judged.refused, *query.sightings}
    if expired := expired_sources(database):
        keep &= ~np.isin(index.column("sources"), expired)
    if filters.new:
        keys = (query.key, query.former)
        rows = database.rows("SELECT sighting FROM shown WHERE key IN (?, ?) AND who = ?", (*keys, by.who))
        without |= {row[0] for row in rows} | set(judged.verdicts)
    if without:
        keep &= ~np.isin(owners, sorted(without))
    return np.asarray(keep, np.bool_)


def _known(index: Index, what: str, column: str, numbers: Sequence[int], by: Actor) -> NDArray[np.int64]:
    """Return numbers of sources or people if of each the user may see a sighting; otherwise it is as if not there."""
    chosen, there = np.array(check_ids(what, numbers), np.int64), index.column(column)
    if by.cameras is not None:
        there = there[np.isin(index.column("cameras"), list(by.cameras))]
    for number in chosen[~np.isin(chosen, there)].tolist():
        fix = f"Take the number from {'a search' if what == 'person' else '`rewho gallery stats`'}."
        raise UserError(f"{what} {number}", expected=f"a {what} with sightings", got=f"no such {what}", fix=fix)
    return chosen


def camera_ids(database: Database, names: Sequence[str], by: Actor) -> list[int]:
    """Return the ids of cameras; a camera that the user may not see is as unknown as one that is not there."""
    known = {name: int(number) for number, name in database.rows("SELECT id, name FROM cameras") if by.sees(number)}
    for name in names:
        if name not in known:
            near = nearest(name, known)
            fix = f"Did you mean {near!r}?" if near else "`rewho gallery stats` lists the cameras."
            raise UserError("camera", expected="a camera of the gallery", got=repr(name), fix=fix)
    return [known[name] for name in names]


def _notes(
    database: Database,
    index: Index,
    statistics: Statistics,
    query: Query,
    keep: NDArray[np.bool_],
    ask: Ask,
    *,
    normalised: bool,
) -> tuple[str, ...]:
    """Return what the user should know of how the embeddings were compared."""
    if not ask.normalise:
        return ()
    if not normalised:
        why = "the query's camera is not known" if UNKNOWN in query.cameras else "the query's camera"
        if UNKNOWN not in query.cameras:
            why += f" has fewer than {LEAST_CROPS} crops"
        return (f"plain embeddings were compared: {why}",)
    cameras = np.unique(index.column("cameras")[keep])
    without = [int(camera) for camera in cameras if statistics.means.mean(int(camera)) is None]
    if not without:
        return ()
    names = {row[0]: row[1] for row in database.rows("SELECT id, name FROM cameras")}
    named = ", ".join(names.get(camera, "unknown") for camera in without[:3])
    more = f" and {len(without) - 3} more" if len(without) > 3 else ""
    return (f"cameras with fewer than {LEAST_CROPS} crops ({named}{more}) are compared by the mean of the query's",)


def _record(
    database: Database,
    index: Index,
    query: Query,
    judged: Judged,
    ask: Ask,
    by: Actor,
    found: Best,
    total: int,
    notes: tuple[str, ...],
    *,
    normalised: bool,
) -> Found:
    """Write the search into the gallery and return its result."""
    owners = [int(one) for one in index.column("owners")[found.rows]]
    ids = [int(one) for one in index.column("ids")[found.rows]]
    asked: dict[str, object] = {
        "query": query.kind,
        "key": query.key,
        "time": query.time,
        "count": ask.count,
        "per": index.per,
    }
    asked |= {"filters": {name: value for name, value in asdict(ask.filters).items() if value not in ((), None, False)}}
    with database.writing() as link:
        if query.model:
            check_same(database.read("model"), query.model, "search")
        blob = None if query.stored else query.vectors.astype("<f4").tobytes()
        camera = query.cameras[0] if query.cameras and query.cameras[0] != UNKNOWN else None
        values = (query.key, database.now(), by.who, json.dumps(asked, sort_keys=True), camera, blob)
        number = link.execute(
            "INSERT INTO searches (key, made, who, query, camera, embedding) VALUES (?, ?, ?, ?, ?, ?)", values
        ).lastrowid
        assert number is not None
        there = read_sightings(database, sorted(set(owners)))
        rows = [at for at, owner in enumerate(owners) if owner in there]  # another process may have just erased one
        link.executemany(
            "INSERT OR IGNORE INTO shown VALUES (?, ?, ?, ?)",
            [(query.key, owners[at], by.who, number) for at in rows],
        )
        returned = {owners[at] for at in rows}
        audit.append(
            database, by.who, by.purpose, "search", asked, sightings=returned, query=query.sightings, searches=[number]
        )
    candidates = tuple(
        Candidate(
            there[owners[at]],
            ids[at] if index.per == "crop" else there[owners[at]].best,
            float(found.similarities[at]),
            judged.verdicts.get(owners[at], ""),
            _day_note(query.time, there[owners[at]]),
        )
        for at in rows
    )
    more = len(found.rows) == ask.count
    after = (float(found.similarities[-1]), ids[-1]) if more else None
    model = database.read("model")
    return Found(number, candidates, total, normalised, after, notes, model, index.version)


def _day_note(time: float | None, sighting: Sighting) -> str:
    if time is None or sighting.began is None or sighting.ended is None:
        return ""
    apart = max(sighting.began - time, time - sighting.ended, 0.0)
    return f"{apart / DAY_S:.0f} days apart: clothes change" if apart > DAY_S else ""
