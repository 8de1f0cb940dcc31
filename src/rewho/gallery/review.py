"""The review queue: pairs of sightings whose answer would tell most, and none that is known already.

A pair tells most where grouping is least sure: its distance is nearest to the limit up to which groups are united.

Letters: N sightings, P pairs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rewho.core.check import UserError
from rewho.gallery.database import Database
from rewho.gallery.grouping import Known, Seen, read_constraints
from rewho.gallery.judgements import judge
from rewho.gallery.query import Query
from rewho.gallery.records import Actor
from rewho.rank.grouping import NOBODY, unite

Answer = Literal["same", "different", "skip"]
VERDICT_OF = {"same": "yes", "different": "no", "skip": "skip"}
ASKED = 5_000
"""Newest sightings that are asked about."""
MOST_OF_ONE = 2
"""Most pairs of a queue that one sighting is in, so that the queue asks about many."""


class Pair(NamedTuple):
    """Two sightings to compare, with their Jaccard distance, 0 to 1."""

    one: int
    other: int
    distance: float


def find_pairs(
    seen: Seen, graph: sparse.csr_array, known: Known, judged: set[tuple[int, int]], count: int, limit: float
) -> list[Pair]:
    """Return the most informative pairs whose answer is not known, at most `count`.

    Args:
        seen: The sightings.
        graph: Their Jaccard distances, as `graph_of` returns them.
        known: What is certain.
        judged: Pairs that somebody has answered, also with skip; each ascending.
        count: How many.
        limit: Distance up to which grouping unites.
    """
    entries = graph.tocoo()
    upper = entries.row < entries.col
    rows, columns, distances = entries.row[upper], entries.col[upper], entries.data[upper]
    constraints = read_constraints(seen, known)
    start = unite(len(seen.ids), constraints)
    apart = _pairs_of_groups(start[constraints.cannot], len(seen.ids))
    both = _pairs_of_groups(np.stack([start[rows], start[columns]], axis=1), len(seen.ids))
    owners = constraints.owners if constraints.owners is not None else np.full(len(seen.ids), NOBODY)
    owner = np.full(len(seen.ids), NOBODY)
    np.maximum.at(owner, start, owners)
    one, other = owner[start[rows]], owner[start[columns]]
    settled = (one != NOBODY) & (other != NOBODY) & (one != other)
    open_ = (start[rows] != start[columns]) & ~np.isin(both, apart) & ~settled
    asked, often = set[int](), dict[int, int]()
    found: list[Pair] = []
    for at in np.lexsort((columns, rows, np.abs(distances - limit))):
        if len(found) == count:
            break
        pair = Pair(int(seen.ids[rows[at]]), int(seen.ids[columns[at]]), float(distances[at]))
        new = open_[at] and int(both[at]) not in asked and (pair.one, pair.other) not in judged
        if new and max(often.get(pair.one, 0), often.get(pair.other, 0)) < MOST_OF_ONE:
            found.append(pair)
            asked.add(int(both[at]))
            for sighting in pair[:2]:
                often[sighting] = often.get(sighting, 0) + 1
    return found


def _pairs_of_groups(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return a number for each pair of groups [P, 2], whatever their order, int64 [P]."""
    ascending = np.sort(groups.reshape(-1, 2), axis=1)
    return np.asarray(ascending[:, 0] * count + ascending[:, 1], np.int64)


def read_judged(database: Database) -> set[tuple[int, int]]:
    """Return all pairs of sightings that somebody judged, yes, no or skip, each ascending."""
    rows = database.rows("SELECT query, sighting FROM judgements WHERE query IS NOT NULL")
    return {(min(one, other), max(one, other)) for one, other in rows}


def answer_pair(database: Database, query: Query, other: int, answer: str, by: Actor) -> None:
    """Store an answer about a pair as a judgement."""
    if answer not in VERDICT_OF:
        expected = ", ".join(VERDICT_OF)
        raise UserError("answer", expected=expected, got=repr(answer), fix="Choose one of them.")
    judge(database, query, {other: VERDICT_OF[answer]}, by, 0)
