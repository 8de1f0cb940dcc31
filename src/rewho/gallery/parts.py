"""What a gallery offers beside search, in groups: `gallery.people`, `cases`, `moments`, `erasure`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rewho.core.check import UserError, check_count, check_ids
from rewho.gallery import audit, cases, erasure, moments, people
from rewho.gallery.database import Database
from rewho.gallery.index import Index
from rewho.gallery.records import HIDDEN, SHOWN, Actor
from rewho.gallery.scan import Statistics


class People:
    """People of a gallery; each change is an event that can be undone.

    Args:
        database: The gallery's.
        index: Returns the index of sightings, up to date.
        statistics: Returns the means of the cameras.
        guard: The gallery's lock around every use of the index.
    """

    def __init__(
        self,
        database: Database,
        index: Callable[[], Index],
        statistics: Callable[[], Statistics],
        guard: AbstractContextManager[Any],
    ) -> None:
        self._database, self._index, self._statistics, self._guard = database, index, statistics, guard

    def list(self, *, by: Actor | None = None) -> list[people.Person]:
        """Return the people of whom the user may see a sighting; the view is in the audit."""
        user, database = by or Actor(), self._database
        found = people.list_people(database, user)
        with database.writing():
            audit.append(database, user.who, user.purpose, "view", {"list": "people"}, people=[one.id for one in found])
        return found

    def sightings(self, person: int, *, by: Actor | None = None) -> Sequence[int]:
        """Return the sightings of a person, ascending."""
        return people.members(self._database, person, by or Actor())

    def name(
        self, name: str, *, person: int | None = None, sightings: Sequence[int] = (), by: Actor | None = None
    ) -> int:
        """Name a person; without one, make a person of sightings. Returns their id."""
        return people.name_person(self._database, name, by or Actor(), person=person, sightings=sightings)

    def propose(self, groups: Iterable[Sequence[int]], *, by: Actor | None = None) -> Sequence[int]:
        """Make an unnamed person of each group of sightings, as one event; return their ids."""
        return people.propose(self._database, groups, by or Actor())

    def merge(self, persons: Sequence[int], *, by: Actor | None = None) -> int:
        """Make several people one, the first; return their id."""
        return people.merge(self._database, persons, by or Actor())

    def split(self, sightings: Sequence[int], *, by: Actor | None = None) -> int:
        """Make some sightings of one person a person of their own; return the new id."""
        return people.split(self._database, sightings, by or Actor())

    def take_out(self, sightings: Sequence[int], *, by: Actor | None = None) -> None:
        """Let sightings belong to nobody."""
        people.take_out(self._database, sightings, by or Actor())

    def undo(self, event: int, *, by: Actor | None = None) -> int:
        """Undo an event, also an undoing one; return the id of the event that does it."""
        return people.undo(self._database, event, by or Actor())

    def events(self, count: int = 50) -> Sequence[people.Event]:
        """Return the last events, the newest first."""
        return people.list_events(self._database, count)

    def timeline(self, person: int, *, by: Actor | None = None) -> Sequence[people.Stay]:
        """Return where and when a person was seen, with gaps in seconds."""
        return people.timeline(self._database, person, by or Actor())

    def suggest_merges(
        self, person: int, count: int = 5, *, by: Actor | None = None
    ) -> Sequence[tuple[people.Person, float]]:
        """Return the people most like a person, with the cosine of their mean embeddings."""
        known = {one.id: one for one in self.list(by=by)}
        people.members(self._database, person, by or Actor())
        with self._guard:
            found = people.suggest_merges(self._index(), self._statistics(), list(known), person, count)
        return [(known[number], alike) for number, alike in found]


class Cases:
    """Cases of a gallery: sightings collected for a purpose.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, *, by: Actor | None = None) -> list[cases.Case]:
        """Return all cases."""
        return cases.list_cases(self._database, by or Actor())

    def open(self, name: str, purpose: str = "", *, by: Actor | None = None) -> int:
        """Return the id of a case, which is new or has this name; a new one needs a purpose."""
        return cases.open_case(self._database, name, purpose, by or Actor())

    def sightings(self, case: int, *, by: Actor | None = None) -> Sequence[tuple[int, str]]:
        """Return the sightings of a case with their notes; the view is in the audit."""
        user, database = by or Actor(), self._database
        found = cases.case_sightings(database, case, user)
        with database.writing():
            seen = [one for one, _ in found]
            audit.append(database, user.who, user.purpose, "view", {"list": "case"}, sightings=seen, cases=[case])
        return found

    def collect(self, case: int, sightings: Sequence[int], note: str = "", *, by: Actor | None = None) -> None:
        """Put sightings into a case."""
        cases.collect(self._database, case, sightings, by or Actor(), note)

    def drop(self, case: int, sightings: Sequence[int], *, by: Actor | None = None) -> None:
        """Take sightings out of a case."""
        cases.drop(self._database, case, sightings, by or Actor())

    def export(self, case: int, out: Path | str, *, by: Actor | None = None) -> Path:
        """Write a case as a zip with a signed manifest; faces are hidden."""
        return cases.export_case(self._database, case, Path(out), by or Actor())


class Moments:
    """Frames of the videos that crops were cut out of, with everybody else hidden.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, crop: int, *, by: Actor | None = None) -> bool:
        """Return whether the video of a crop is still where it was."""
        return moments.find_video(self._database, crop, by or Actor()) is not None

    def view(self, crop: int, *, by: Actor | None = None) -> bytes:
        """Return the frame of a crop, a JPEG in which everybody else and all faces are hidden."""
        return moments.view_moment(self._database, crop, by or Actor())


class Erasure:
    """Hiding, withdrawing and forgetting.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def hide(self, sightings: Sequence[int], *, by: Actor | None = None) -> None:
        """Take sightings out of results, as an event that can be undone."""
        people.set_state(self._database, sightings, HIDDEN, by or Actor())

    def show(self, sightings: Sequence[int], *, by: Actor | None = None) -> None:
        """Let hidden sightings be found again."""
        people.set_state(self._database, sightings, SHOWN, by or Actor())

    def withdraw(self, sightings: Sequence[int], *, by: Actor | None = None) -> dict[str, Any]:
        """Remove embeddings and thumbnails; the records stay. Returns the signed receipt."""
        return erasure.withdraw(self._database, sightings, by or Actor())

    def forget(
        self,
        sightings: Sequence[int] = (),
        *,
        person: int | None = None,
        source: int | None = None,
        by: Actor | None = None,
    ) -> dict[str, Any]:
        """Remove sightings, all those of a person, or all of a source, and prove it; return the signed receipt."""
        user = by or Actor()
        chosen = check_ids("sightings", sightings)
        if person is not None:
            chosen += people.members(self._database, person, user)
        if source is not None:
            rows = self._database.rows("SELECT id FROM sightings WHERE source = ?", (check_count("source", source, 0),))
            chosen += [int(row[0]) for row in rows]
        if not chosen:
            fix = "Pass sightings, a person or a source."
            raise UserError("forget", expected="somebody to forget", got="no sighting", fix=fix)
        persons = [] if person is None else [person]
        return erasure.forget(self._database, sorted(set(chosen)), user, people=persons)

    def keep_until(self, source: int, expires: float | None, *, by: Actor | None = None) -> None:
        """Set when a source is to be erased, in seconds since 1970; None keeps it without an end."""
        erasure.keep_until(self._database, source, expires, by or Actor())

    def is_due(self) -> bool:
        """Return whether `expire` has something to erase."""
        return erasure.is_due(self._database)

    def expire(self, *, by: Actor | None = None) -> Sequence[dict[str, Any]]:
        """Forget the sources whose retention has ended; return the receipts."""
        return erasure.expire(self._database, by or Actor())
