"""Judgements on results: yes, no, skip. They refine the query, and a "no" never comes back.

Letters: N sightings, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.query import Query
from rewho.gallery.records import Actor
from rewho.gallery.vectors import unit

VERDICTS = ("yes", "no", "skip")
YES_WEIGHT, NO_WEIGHT = 1.6, 0.5
"""Weights of the means of accepted and refused sightings, beside the query's 1 (Rocchio 1971); see docs/LOG.md."""


class Judged(NamedTuple):
    """The judgements on one query, and what must not be shown with it."""

    verdicts: Mapping[int, str]
    refused: frozenset[int]

    def of(self, verdict: str) -> list[int]:
        """Return the sightings with this verdict, ascending."""
        return sorted(one for one, found in self.verdicts.items() if found == verdict)


def read_judgements(database: Database, query: Query) -> Judged:
    """Return the judgements on a query; a pair that was refused in one direction is refused in both."""
    keys = (query.key, query.former)
    rows = database.rows("SELECT sighting, verdict FROM judgements WHERE key IN (?, ?) ORDER BY id", keys)
    verdicts = {int(sighting): str(verdict) for sighting, verdict in rows}
    refused = {one for one, verdict in verdicts.items() if verdict == "no"}
    for one in query.sightings:
        refused |= refused_with(database, one)
    return Judged(verdicts, frozenset(refused))


def refused_with(database: Database, sighting: int) -> set[int]:
    """Return the sightings that a user marked as another person than this one."""
    rows = database.rows(
        "SELECT sighting FROM judgements WHERE query = ? AND verdict = 'no' "
        "UNION SELECT query FROM judgements WHERE sighting = ? AND verdict = 'no' AND query IS NOT NULL",
        (sighting, sighting),
    )
    return {int(row[0]) for row in rows}


def judge(database: Database, query: Query, verdicts: Mapping[int, str], by: Actor, search: int) -> None:
    """Store verdicts on sightings for a query; a later verdict on the same pair replaces the earlier one."""
    for sighting, verdict in verdicts.items():
        if verdict not in VERDICTS:
            fix = "Choose one of them."
            raise UserError(f"verdict on {sighting}", expected=", ".join(VERDICTS), got=repr(verdict), fix=fix)
        if sighting in query.sightings:
            fix = "Judge the others."
            raise UserError(f"sighting {sighting}", expected="a result", got="the query itself", fix=fix)
    with database.writing() as link:
        now = database.now()
        for sighting, verdict in verdicts.items():
            for own in query.sightings or (None,):
                link.execute(
                    "DELETE FROM judgements WHERE key = ? AND query IS ? AND sighting = ?", (query.key, own, sighting)
                )
                link.execute(
                    "INSERT INTO judgements (key, query, sighting, verdict, who, time) VALUES (?, ?, ?, ?, ?, ?)",
                    (query.key, own, sighting, verdict, by.who, now),
                )
        asked = {"search": search, "verdicts": {str(one): verdict for one, verdict in sorted(verdicts.items())}}
        audit.append(database, by.who, by.purpose, "judge", asked, sightings=verdicts, query=query.sightings)


def refine(query: NDArray[np.float64], yes: NDArray[np.float64], no: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a query [D] moved towards accepted and away from refused unit vectors [N, D] (Rocchio 1971).

    Example:
        >>> refine(np.array([1.0, 0]), np.array([[0.0, 1]]), np.empty((0, 2))).round(2).tolist()
        [0.53, 0.85]
    """
    moved = query.copy()
    if len(yes):
        moved += YES_WEIGHT * yes.mean(axis=0)
    if len(no):
        moved -= NO_WEIGHT * no.mean(axis=0)
    return unit(moved)


class Links(NamedTuple):
    """Pairs of sightings that must, or cannot, be one person; each pair ascending, sorted, without repeats."""

    must: list[tuple[int, int]]
    cannot: list[tuple[int, int]]


def read_links(database: Database) -> Links:
    """Return what is known for certain: judgements, and sightings in one frame, which are two people.

    An image that was searched with is nobody's sighting: what was accepted for it is one person, and what was refused
    is another one than they.
    """
    must, cannot = set[tuple[int, int]](), set[tuple[int, int]]()
    by_key: dict[str, dict[str, list[int]]] = {}
    for key, query, sighting, verdict in database.rows(
        "SELECT key, query, sighting, verdict FROM judgements ORDER BY id"
    ):
        if query is None:
            by_key.setdefault(key, {"yes": [], "no": [], "skip": []})[verdict].append(sighting)
        elif verdict != "skip":
            (must if verdict == "yes" else cannot).add(_pair(query, sighting))
    for found in by_key.values():
        first, *others = [*found["yes"], None] if found["yes"] else [None]
        must |= {_pair(first, one) for one in others if one is not None and first is not None}
        cannot |= {_pair(one, other) for one in found["yes"] for other in found["no"]}
    return Links(sorted(must), sorted(cannot | frame_pairs(database)))


def frame_pairs(database: Database) -> set[tuple[int, int]]:
    """Return the pairs of sightings in one frame, each ascending: they are two people."""
    rows = database.rows(
        "SELECT DISTINCT a.sighting, b.sighting FROM crops a JOIN crops b "
        "ON a.frame = b.frame AND a.sighting < b.sighting"
    )
    return {(int(one), int(other)) for one, other in rows}


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
