"""Long work for a gallery, kept in its database: what was asked, how far it is, how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rewho.core.check import UserError
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.records import Actor

_COLUMNS = "id, kind, who, purpose, arguments, state, stopping, done, total, message, made, began, ended"


class Job(NamedTuple):
    """A job.

    Attributes:
        id: Its number.
        kind: What it does, such as "add".
        who: Who asked for it.
        purpose: Why.
        arguments: With what.
        state: waiting, running, done, failed or stopped.
        stopping: Whether somebody asked it to stop.
        done: How many items are finished.
        total: Of how many; None where not known.
        message: Its result, or why it failed.
        made: When it was asked for, in seconds since 1970.
        began: When it last began, or None.
        ended: When it ended, or None.
    """

    id: int
    kind: str
    who: str
    purpose: str
    arguments: Mapping[str, Any]
    state: str
    stopping: bool
    done: int
    total: int | None
    message: str
    made: float
    began: float | None
    ended: float | None

    def rate(self, now: float) -> float:
        """Return the finished items per second."""
        spent = (self.ended or now) - (self.began or now)
        return self.done / spent if spent > 0 else 0.0


class Jobs:
    """The jobs of a gallery.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, kind: str, arguments: Mapping[str, Any], *, by: Actor) -> int:
        """Add a job that waits; return its number."""
        with self._database.writing() as link:
            content = json.dumps(dict(arguments), sort_keys=True)
            made = link.execute(
                "INSERT INTO jobs (kind, who, purpose, arguments, made) VALUES (?, ?, ?, ?, ?)",
                (kind, by.who, by.purpose, content, self._database.now()),
            ).lastrowid
            assert made is not None
            audit.append(self._database, by.who, by.purpose, "job", {"kind": kind}, jobs=[made])
        return made

    def list(self, count: int = 50, before: int | None = None) -> list[Job]:
        """Return the last jobs, the newest first; with `before`, those older than that one."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM jobs WHERE id < ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - names of our own
            (2**62 if before is None else before, count),
        )
        return [_job(row) for row in rows]

    def read(self, number: int) -> Job:
        """Return a job."""
        row = self._database.one(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (number,))  # noqa: S608
        if row is None:
            raise UserError(f"job {number}", expected="a job", got="no such job", fix="Take one from the list.")
        return _job(row)

    def stop(self, number: int, *, by: Actor) -> None:
        """Ask a job to stop; what it finished is kept. One that has ended stays as it is."""
        job = self.read(number)
        with self._database.writing() as link:
            link.execute("UPDATE jobs SET stopping = 1 WHERE id = ? AND state = 'running'", (number,))
            link.execute(
                "UPDATE jobs SET state = 'stopped', ended = ? WHERE id = ? AND state = 'waiting'",
                (self._database.now(), number),
            )
            audit.append(self._database, by.who, by.purpose, "job stopped", {"kind": job.kind}, jobs=[number])

    def resume(self) -> int:
        """Let jobs that ran when their service ended wait again; return how many."""
        with self._database.writing() as link:
            query = "UPDATE jobs SET state = 'waiting', done = 0 WHERE state = 'running' AND stopping = 0"
            link.execute("UPDATE jobs SET state = 'stopped', ended = ? WHERE state = 'running' AND stopping = 1",
                         (self._database.now(),))  # fmt: skip
            return int(link.execute(query).rowcount)

    def take(self) -> Job | None:
        """Return the oldest job that waits, which is running now; None if none waits."""
        with self._database.writing() as link:
            row = link.execute("SELECT id FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1").fetchone()
            if row is None:
                return None
            link.execute("UPDATE jobs SET state = 'running', began = ? WHERE id = ?", (self._database.now(), row[0]))
        return self.read(int(row[0]))

    def advance(self, number: int, done: int, total: int | None = None, message: str = "") -> None:
        """Write down how far a job is, also in words."""
        with self._database.writing() as link:
            query = "UPDATE jobs SET done = ?, total = coalesce(?, total), message = ? WHERE id = ?"
            link.execute(query, (done, total, message, number))

    def stopping(self, number: int) -> bool:
        """Return whether a job was asked to stop."""
        return bool(self._database.one("SELECT stopping FROM jobs WHERE id = ?", (number,))[0])

    def finish(self, number: int, state: str, message: str) -> None:
        """End a job: done, failed or stopped."""
        with self._database.writing() as link:
            values = (state, message, self._database.now(), number)
            link.execute("UPDATE jobs SET state = ?, message = ?, ended = ? WHERE id = ?", values)


def _job(row: Any) -> Job:  # noqa: ANN401 - a row
    values = dict(zip(Job._fields, row, strict=True))
    return Job(**{**values, "arguments": json.loads(values["arguments"]), "stopping": bool(values["stopping"])})
