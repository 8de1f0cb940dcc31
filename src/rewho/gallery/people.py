"""People: sightings that somebody said, or the tool proposes, are one human being.

Every change is an event with who and when. An event is a list of values before and after, so that it can be undone in
any order, as long as what it changed is still as it left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rewho.core.check import UserError, check_count, check_ids, check_text
from rewho.gallery import audit
from rewho.gallery.adding import seal_sighting
from rewho.gallery.database import Database
from rewho.gallery.index import Index
from rewho.gallery.records import HIDDEN, SHOWN, WITHDRAWN, Actor, Sighting
from rewho.gallery.scan import Statistics, relative
from rewho.gallery.vectors import unit
from rewho.gallery.views import check_visible, read_sightings

LONGEST_NAME = 200


class Person(NamedTuple):
    """A person with the number of their sightings; `name` is "" for one that was only proposed.

    Attributes:
        id: Their number.
        name: Their name, or "".
        sightings: How many the user sees.
        best: Id of a crop to show, the best of their last sighting that is shown; None without.
        cameras: On how many cameras the user sees them.
    """

    id: int
    name: str
    sightings: int
    best: int | None = None
    cameras: int = 0


class Event(NamedTuple):
    """A change of people: its number, when, who, what kind, which event it undoes, and which one undid it."""

    id: int
    time: float
    who: str
    kind: str
    undoes: int | None
    undone: int | None


class Change(NamedTuple):
    """A value before and after an event: the person or the state of a sighting, or the name of a person."""

    what: str
    target: int
    before: str | None
    after: str | None


class Stay(NamedTuple):
    """A sighting in a timeline, and the seconds since the one before; None at the first and without times."""

    sighting: Sighting
    gap: float | None


def list_people(database: Database, by: Actor) -> list[Person]:
    """Return the people of whom the user may see a sighting, by id."""
    rows = database.rows(
        "SELECT p.id, p.name, s.camera, count(*), max(CASE WHEN s.state = ? THEN s.best END) "
        "FROM people p JOIN sightings s ON s.person = p.id GROUP BY p.id, s.camera ORDER BY p.id",
        (SHOWN,),
    )
    found: dict[int, Person] = {}
    for number, name, camera, count, best in rows:
        if by.sees(camera):
            before = found.get(number, Person(number, name, 0))
            shown = max(filter(None, (before.best, best)), default=None)
            found[number] = Person(number, name, before.sightings + count, shown, before.cameras + 1)
    return list(found.values())


def members(database: Database, person: int, by: Actor) -> list[int]:
    """Return the sightings of a person, ascending; raise a UserError if there is none, or one that is not visible."""
    person = check_count("person", person, 0)
    rows = database.rows("SELECT id, camera FROM sightings WHERE person = ? ORDER BY id", (person,))
    if not rows or not all(by.sees(camera) for _, camera in rows):
        fix = "`rewho gallery stats` counts them; take the number from a search or a timeline."
        raise UserError(f"person {person}", expected="a person of the gallery", got="no such person", fix=fix)
    return [int(row[0]) for row in rows]


def name_person(
    database: Database, name: str, by: Actor, *, person: int | None = None, sightings: Sequence[int] = ()
) -> int:
    """Name a person, or make one of sightings; return their id."""
    clean = " ".join(check_text("name", name, LONGEST_NAME, 0 if person is None else 1).split())
    with database.writing() as link:
        kind = "rename" if not sightings else "name"
        changes = []
        if person is None:
            chosen = check_visible(database, sightings, by)
            if not chosen:
                fix = "Pass --person or --sightings."
                raise UserError("name", expected="a person or sightings", got="neither", fix=fix)
            check_together(database, chosen)
            person = new_person(database)
            changes = _moves(database, chosen, person)
        else:
            own = members(database, person, by)
            if sightings:
                chosen = check_visible(database, sightings, by)
                check_together(database, [*own, *chosen])
                changes = _moves(database, chosen, person)
        before = link.execute("SELECT name FROM people WHERE id = ?", (person,)).fetchone()[0]
        if before != clean:
            changes.append(Change("name", person, before, clean))
        apply(database, kind, changes, by)
    return person


def propose(database: Database, groups: Iterable[Sequence[int]], by: Actor) -> list[int]:
    """Make an unnamed person of each group of sightings, as one event; return their ids."""
    made = []
    with database.writing():
        changes: list[Change] = []
        for group in groups:
            chosen = check_visible(database, group, by)
            check_together(database, chosen)
            made.append(new_person(database))
            changes += _moves(database, chosen, made[-1])
        apply(database, "group", changes, by)
    return made


def merge(database: Database, people: Sequence[int], by: Actor) -> int:
    """Make several people one: the first; return their id."""
    chosen = list(dict.fromkeys(check_ids("people", people)))
    if len(chosen) < 2:
        got = f"only person {chosen[0]}" if chosen else "none"
        raise UserError("merge", expected="two people or more", got=got, fix="Name them by their numbers.")
    first, *others = chosen
    with database.writing():
        moved = [one for other in others for one in members(database, other, by)]
        check_together(database, [*members(database, first, by), *moved])
        changes = _moves(database, moved, first)
        names = dict(database.rows("SELECT id, name FROM people"))
        if not names[first]:
            named = next((names[other] for other in others if names[other]), "")
            changes += [Change("name", first, "", named)] if named else []
        apply(database, "merge", changes, by)
    return first


def split(database: Database, sightings: Sequence[int], by: Actor) -> int:
    """Make some sightings of one person a person of their own; return the new id."""
    with database.writing():
        chosen = check_visible(database, sightings, by)
        owners = {
            row[0] for one in chosen for row in database.rows("SELECT person FROM sightings WHERE id = ?", (one,))
        }
        if len(owners) != 1 or None in owners:
            got = "of several people, or of none"
            raise UserError("split", expected="sightings of one person", got=got, fix="Choose sightings of one person.")
        if len(members(database, next(iter(owners)), by)) == len(set(chosen)):
            fix = "Leave at least one with the person."
            raise UserError("split", expected="some of a person's sightings", got="all of them", fix=fix)
        person = new_person(database)
        apply(database, "split", _moves(database, chosen, person), by)
    return person


def take_out(database: Database, sightings: Sequence[int], by: Actor) -> None:
    """Let sightings belong to nobody."""
    with database.writing():
        apply(database, "take out", _moves(database, check_visible(database, sightings, by), None), by)


def set_state(database: Database, sightings: Sequence[int], state: int, by: Actor) -> None:
    """Hide sightings, or show them again; withdrawn ones stay withdrawn."""
    with database.writing():
        changes = []
        for one in check_visible(database, sightings, by):
            before = database.one("SELECT state FROM sightings WHERE id = ?", (one,))[0]
            if before not in (state, WITHDRAWN):
                changes.append(Change("state", one, str(before), str(state)))
        apply(database, "hide" if state == HIDDEN else "show", changes, by)


def new_person(database: Database) -> int:
    """Make a person without a name within a transaction; return their id."""
    made = database.link.execute("INSERT INTO people (created) VALUES (?)", (database.now(),)).lastrowid
    assert made is not None
    return made


def _moves(database: Database, sightings: Sequence[int], person: int | None) -> list[Change]:
    after = None if person is None else str(person)
    changes = []
    for one in dict.fromkeys(sightings):
        before = database.one("SELECT person FROM sightings WHERE id = ?", (one,))[0]
        if before != person:
            changes.append(Change("person", one, None if before is None else str(before), after))
    return changes


def apply(database: Database, kind: str, changes: Sequence[Change], by: Actor, undoes: int | None = None) -> int:
    """Make changes as one event within a transaction; return its id, 0 where there was nothing to change."""
    if not changes:
        return 0
    link, version = database.link, database.next_version()
    values = (database.now(), by.who, kind, undoes)
    event = link.execute("INSERT INTO events (time, who, kind, undoes) VALUES (?, ?, ?, ?)", values).lastrowid
    assert event is not None
    for change in changes:
        link.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", (event, *change))
        if change.what == "name":
            link.execute("UPDATE people SET name = ? WHERE id = ?", (change.after or "", change.target))
        else:
            column = {"person": "person", "state": "state"}[change.what]
            value = None if change.after is None else int(change.after)
            link.execute(f"UPDATE sightings SET {column} = ? WHERE id = ?", (value, change.target))  # noqa: S608
            seal_sighting(database, change.target, version)
    touched = [change.target for change in changes if change.what != "name"]
    people = {int(value) for one in changes if one.what == "person" for value in one[2:] if value is not None}
    people |= {change.target for change in changes if change.what == "name"}
    audit.append(
        database, by.who, by.purpose, kind, {"undoes": undoes} if undoes else {},
        sightings=touched, people=people, events=[event],
    )  # fmt: skip
    return event


def undo(database: Database, event: int, by: Actor) -> int:
    """Undo an event; return the id of the event that does it.

    Raises:
        UserError: No such event, undone already, or a later event changed the same and must be undone before.
    """
    event = check_count("event", event, 0)
    with database.writing() as link:
        row = link.execute("SELECT kind, undone FROM events WHERE id = ?", (event,)).fetchone()
        if row is None or row[1] is not None:
            got = "no such event" if row is None else f"one that event {row[1]} has undone"
            fix = "`rewho gallery undo GALLERY` lists the events."
            raise UserError(f"event {event}", expected="an event to undo", got=got, fix=fix)
        changes = [Change(*one) for one in link.execute(
            "SELECT what, target, before, after FROM changes WHERE event = ?", (event,)
        )]  # fmt: skip
        check_visible(database, [one.target for one in changes if one.what != "name"], by)
        for one in changes:
            if one.what == "name" and by.cameras is not None:
                members(database, one.target, by)
        for one in changes:
            if _current(database, one) != one.after:
                later = link.execute(
                    "SELECT max(event) FROM changes WHERE what = ? AND target = ?", (one.what, one.target)
                ).fetchone()[0]
                got = f"the {one.what} of {one.target}, which event {later} changed after it"
                fix = f"Undo event {later} first."
                raise UserError(f"event {event}", expected="what it changed to be as it left it", got=got, fix=fix)
        back = [Change(one.what, one.target, one.after, one.before) for one in changes]
        groups: dict[str, list[int]] = {}
        for one in back:
            if one.what == "person" and one.after is not None:
                groups.setdefault(one.after, []).append(one.target)
        for person, moved in groups.items():
            stay = [row[0] for row in link.execute("SELECT id FROM sightings WHERE person = ?", (int(person),))]
            check_together(database, [*stay, *moved])
        made = apply(database, f"undo {row[0]}".removeprefix("undo undo "), back, by, event)
        link.execute("UPDATE events SET undone = ? WHERE id = ?", (made or None, event))
    return made


def _current(database: Database, change: Change) -> str | None:
    query = {
        "person": "SELECT person FROM sightings WHERE id = ?",
        "state": "SELECT state FROM sightings WHERE id = ?",
        "name": "SELECT name FROM people WHERE id = ?",
    }
    row = database.one(query[change.what], (change.target,))
    return None if row is None or row[0] is None else str(row[0])


def list_events(database: Database, count: int = 50) -> list[Event]:
    """Return the last events, the newest first."""
    query = "SELECT id, time, who, kind, undoes, undone FROM events ORDER BY id DESC LIMIT ?"
    rows = database.rows(query, (check_count("count", count),))
    return [Event(*row) for row in rows]


def check_together(database: Database, sightings: Sequence[int]) -> None:
    """Raise a UserError if two of these sightings cannot be one person: one frame shows both, or somebody said no."""
    ids = json.dumps(sorted(set(sightings)))
    frame = database.one(
        "SELECT a.sighting, b.sighting FROM crops a JOIN crops b ON a.frame = b.frame AND a.sighting < b.sighting "
        "WHERE a.sighting IN (SELECT value FROM json_each(?)) AND b.sighting IN (SELECT value FROM json_each(?))",
        (ids, ids),
    )
    refused = database.one(
        "SELECT query, sighting FROM judgements WHERE verdict = 'no' AND query IN (SELECT value FROM json_each(?)) "
        "AND sighting IN (SELECT value FROM json_each(?))",
        (ids, ids),
    )
    if pair := frame or refused:
        why = "are in one frame" if frame else "were judged to be two people"
        fix = "Leave one of them out." if frame else "Leave one of them out, or judge the pair again."
        got = f"{pair[0]} and {pair[1]}, which {why}"
        raise UserError("sightings", expected="sightings that can be one person", got=got, fix=fix)


def timeline(database: Database, person: int, by: Actor) -> list[Stay]:
    """Return where and when a person was seen, in the order of time, with gaps; only what the user may see."""
    person = check_count("person", person, 0)
    rows = database.rows("SELECT id, camera FROM sightings WHERE person = ?", (person,))
    visible = [int(number) for number, camera in rows if by.sees(camera)]
    if not visible:
        members(database, person, by)  # raises
    found = [one for one in read_sightings(database, visible).values() if one.state == SHOWN]
    found.sort(key=lambda one: (one.began is None, one.began or 0.0, one.id))
    stays: list[Stay] = []
    last: float | None = None
    for one in found:
        gap = None if last is None or one.began is None else max(0.0, one.began - last)
        stays.append(Stay(one, gap))
        last = one.ended if one.ended is not None else last
    with database.writing():
        audit.append(database, by.who, by.purpose, "timeline", {}, sightings=[one.id for one in found], people=[person])
    return stays


def suggest_merges(
    index: Index, statistics: Statistics, people: Sequence[int], person: int, count: int
) -> list[tuple[int, float]]:
    """Return the people most like a person, with the cosine of their mean embeddings relative to the cameras' means.

    Args:
        index: Of sightings.
        statistics: Of their cameras.
        people: Whom to suggest.
        person: Who is compared.
        count: Most suggestions.
    """
    check_count("count", count)
    owners, states = index.column("people"), index.column("states")
    wanted = np.array(sorted({*people, person}), np.int64)
    rows = np.flatnonzero(np.isin(owners, wanted) & (states < WITHDRAWN))
    vectors = relative(index, statistics.means, rows)
    sums = np.zeros((len(wanted), index.size))
    np.add.at(sums, np.searchsorted(wanted, owners[rows]), vectors)
    means = unit(sums)
    alike = means @ means[np.searchsorted(wanted, person)]
    order = [at for at in np.argsort(-alike, kind="stable") if wanted[at] != person and sums[at].any()]
    return [(int(wanted[at]), float(alike[at])) for at in order[:count]]
