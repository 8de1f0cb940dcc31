"""Groups of a gallery: people across cameras, proposed under everything that is known for certain.

Certain are judgements, sightings in one frame, and whatever somebody named, merged, split or took out: such people stay
as they are, and only gain sightings that resemble them. What an earlier proposal made, and nobody touched, is free.

Letters: N sightings, M of them shown, D embedding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rewho.core.check import UserError
from rewho.gallery.database import Database
from rewho.gallery.index import REMOVED, Index
from rewho.gallery.judgements import Links, read_links
from rewho.gallery.people import Change, apply, new_person
from rewho.gallery.records import SHOWN, Actor, Step, no_step
from rewho.gallery.scan import Statistics, relative
from rewho.rank.clustering import jaccard_graph, jaccard_weights
from rewho.rank.grouping import LIMIT, NOBODY, Constraints, find_contradiction, group, pairs_of

NEIGHBOURS, AVERAGED = 10, 3
"""Largest k1 and k2 of the Jaccard distance: a person has fewer sightings than images; see docs/LOG.md."""
BY_SOMEBODY = ("name", "rename", "merge", "split", "take out")
"""Kinds of events whose people grouping leaves as they are."""
TRIES = 3
PARTS = 3
"""Of grouping: distances, groups, writing."""


class Grouped(NamedTuple):
    """What grouping did.

    Attributes:
        event: The event to undo; 0 where nothing changed.
        people: Ids of the people that were proposed or gained sightings, ascending.
        sightings: Sightings that belong to somebody now.
        alone: Shown sightings that belong to nobody.
        moved: Sightings whose person changed.
    """

    event: int
    people: tuple[int, ...]
    sightings: int
    alone: int
    moved: int


class Known(NamedTuple):
    """What is certain about sightings, by their ids.

    Attributes:
        links: Pairs that must, and cannot, be one person.
        settled: People that somebody made or changed.
        people: Person of each sighting that has one.
    """

    links: Links
    settled: frozenset[int]
    people: dict[int, int]


class Seen(NamedTuple):
    """A copy of a gallery's sightings.

    Attributes:
        ids: int64 [N].
        shown: Rows that are shown, [M].
        vectors: Their embeddings, relative to the cameras' means, [M, D].
    """

    ids: NDArray[np.int64]
    shown: NDArray[np.int64]
    vectors: NDArray[np.float64]


def copy_sightings(index: Index, statistics: Statistics, by: Actor, newest: int = 0) -> Seen:
    """Return a copy of what grouping needs of the matrix, which others use meanwhile; 0 takes all sightings."""
    states = index.column("states")
    keep = states != REMOVED
    if by.cameras is not None:
        keep &= np.isin(index.column("cameras"), list(by.cameras))
    rows = np.flatnonzero(keep)
    shown = np.flatnonzero(states[rows] == SHOWN)[-newest:]
    return Seen(index.column("ids")[rows].copy(), shown, relative(index, statistics.means, rows[shown]))


def read_known(database: Database) -> Known:
    """Return what is certain: judgements, frames, and people that somebody made or changed."""
    with database.reading():
        links = read_links(database)
        settled = {int(row[0]) for row in database.rows("SELECT id FROM people WHERE name <> ''")}
        marks = ", ".join("?" * len(BY_SOMEBODY))
        rows = database.rows(
            "SELECT e.kind, c.target, c.before, c.after FROM changes c JOIN events e ON e.id = c.event "  # noqa: S608
            f"WHERE c.what = 'person' AND e.undone IS NULL AND e.kind IN ({marks})",
            BY_SOMEBODY,
        )
        settled |= {int(person) for row in rows for person in row[2:] if person is not None}
        people = {int(one): int(person) for one, person in database.rows(
            "SELECT id, person FROM sightings WHERE person IS NOT NULL"
        )}  # fmt: skip
        taken = {(int(target), int(before)) for kind, target, before, _ in rows if kind == "take out" and before}
    members: dict[int, list[int]] = {}
    for one, person in people.items():
        members.setdefault(person, []).append(one)
    cannot = set(links.cannot)
    for one, person in taken:
        if people.get(one) != person:
            cannot |= {(min(one, other), max(one, other)) for other in members.get(person, ())}
    return Known(Links(links.must, sorted(cannot)), frozenset(settled), people)


def find_groups(seen: Seen, known: Known, limit: float = LIMIT, step: Step = no_step) -> list[list[int]]:
    """Return groups of sightings by their ids, each ascending, in the order of their first.

    Raises:
        UserError: Judgements contradict one another, named people or a frame.
    """
    constraints = read_constraints(seen, known)
    if chain := find_contradiction(len(seen.ids), constraints):
        raise _contradiction([int(seen.ids[row]) for row in chain], known)
    graph = graph_of(seen)
    step(1, PARTS)
    labels = group(graph, limit, constraints)
    step(2, PARTS)
    found: dict[int, list[int]] = {}
    for row in np.flatnonzero(labels >= 0).tolist():
        found.setdefault(int(labels[row]), []).append(int(seen.ids[row]))
    return list(found.values())


def read_constraints(seen: Seen, known: Known) -> Constraints:
    """Return what is certain by the rows of sightings in place of their ids."""
    row_of = {number: row for row, number in enumerate(seen.ids.tolist())}
    links = [
        [(row_of[one], row_of[other]) for one, other in pairs if one in row_of and other in row_of]
        for pairs in known.links
    ]
    owners = np.full(len(seen.ids), NOBODY, np.int64)
    for one, person in known.people.items():
        if person in known.settled and one in row_of:
            owners[row_of[one]] = person
    return Constraints(pairs_of(links[0]), pairs_of(links[1]), owners)


def neighbours_of(sightings: int) -> int:
    """Return k1 for so many sightings, the sighting itself among its neighbours.

    Two strangers with k neighbours each among N sightings share k^2 / N of them by chance: at most one, so that not
    everybody is alike where ten neighbours are a third of the gallery.

    Example:
        >>> [neighbours_of(sightings) for sightings in (2, 12, 30, 100, 20_000)]
        [2, 3, 5, 10, 10]
    """
    return max(2, min(NEIGHBOURS, math.isqrt(sightings)))


def graph_of(seen: Seen) -> sparse.csr_array:
    """Return the Jaccard distances of shown sightings, as [N, N]."""
    count = len(seen.ids)
    if len(seen.shown) < 2:
        return sparse.csr_array((count, count))
    k1 = neighbours_of(len(seen.shown))
    near = jaccard_graph(jaccard_weights(seen.vectors, k1, min(AVERAGED, k1))).tocoo()
    places = seen.shown[near.row], seen.shown[near.col]
    return sparse.coo_array((near.data, places), shape=(count, count)).tocsr()


def _contradiction(chain: list[int], known: Known) -> UserError:
    first, last = chain[0], chain[-1]
    pair = (min(first, last), max(first, last))
    why = "are in one frame or were judged to be two people"
    if pair not in set(known.links.cannot):
        why = f"belong to the people {known.people[first]} and {known.people[last]}"
    got = f"{' = '.join(map(str, chain))}, though {first} and {last} {why}"
    fix = "Judge one of these pairs again, or merge or split the people."
    return UserError("what is known of the sightings", expected="no contradiction", got=got, fix=fix)


def group_people(
    database: Database, copy: Callable[[], Seen], by: Actor, limit: float, step: Step = no_step
) -> Grouped:
    """Propose people across cameras, as one event that can be undone.

    Args:
        database: The gallery's.
        copy: Returns a copy of the sightings.
        by: Who asks; they must see every camera.
        limit: Mean Jaccard distance up to which groups are united.
        step: Called between its parts; nothing is written before the last call.
    """
    by.need_all("group")
    for _ in range(TRIES):
        step(0, PARTS)
        known, seen = read_known(database), copy()
        groups = find_groups(seen, known, limit, step)
        with database.writing():
            there = {int(row[0]) for row in database.rows("SELECT id FROM sightings")}
            if read_known(database) == known and there >= set(seen.ids.tolist()):
                return _write(database, seen, known, groups, by)
    fix = "Try again when the others are done."
    raise UserError("group", expected="a gallery that stays as it is meanwhile", got="changes by others", fix=fix)


def _write(database: Database, seen: Seen, known: Known, groups: list[list[int]], by: Actor) -> Grouped:
    """Give each group a person, an earlier one where there is one, within a transaction."""
    wanted: dict[int, int | None] = dict.fromkeys(seen.ids.tolist())
    taken = set[int]()
    changed = set[int]()
    for members in groups:
        before = Counter(known.people[one] for one in members if one in known.people)
        settled = [person for person in before if person in known.settled]
        free = sorted((-count, person) for person, count in before.items() if person not in taken)
        person = settled[0] if settled else free[0][1] if free else new_person(database)
        taken.add(person)
        wanted |= dict.fromkeys(members, person)
    changes = []
    for one, person_after in wanted.items():
        person_before = known.people.get(one)
        if person_before in known.settled or person_before == person_after:
            continue
        values = (None if value is None else str(value) for value in (person_before, person_after))
        changes.append(Change("person", one, *values))
        changed |= set() if person_after is None else {person_after}
    event = apply(database, "group", changes, by)
    after = {**wanted, **{one: person for one, person in known.people.items() if person in known.settled}}
    alone = sum(after[int(one)] is None for one in seen.ids[seen.shown])
    inside = sum(person is not None for person in after.values())
    return Grouped(event, tuple(sorted(changed)), inside, alone, len(changes))
