"""The SQLite file of a gallery: durable transactions, one writer at a time, errors in words.

WAL lets readers continue while one writer writes; `synchronous=FULL` flushes each commit to the disk before it is
acknowledged; `secure_delete=ON` overwrites deleted content with zeros.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rewho.core.check import UserError
from rewho.core.progress import warn_once
from rewho.gallery.schema import APPLICATION, STEPS, VERSION, sum_of_text
from rewho.gallery.vectors import row_sum

FILE = "gallery.sqlite"
WAIT_S = 30.0
"""Longest wait for another process's write transaction."""
LEAST_FREE = 2**20  # bytes on a disk that is not full
Clock = Callable[[], float]
"""Returns seconds since 1970, UTC; tests pass their own."""


class Database:
    """One connection, shared by all threads of a process; after a fork the child opens its own.

    Args:
        file: The database file, which exists.
        clock: The time of records.
    """

    def __init__(self, file: Path, clock: Clock = time.time) -> None:
        self.file, self.clock = file, clock
        self._guard = threading.RLock()
        self._depth = 0
        self._connect()

    def _connect(self) -> None:
        self._owner = os.getpid()
        only_read = self._read_mode()
        address = f"file:{quote(os.fsencode(self.file.absolute()))}?{only_read}"
        self._link = sqlite3.connect(address, WAIT_S, isolation_level=None, check_same_thread=False, uri=True)
        with explain_errors(self.file):
            lasting = () if only_read else ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
            for pragma in (*lasting, "foreign_keys=ON", "cache_size=-16384"):
                self._link.execute(f"PRAGMA {pragma}")

    def _read_mode(self) -> str:
        """Return how a file is opened that this user may only read: with the log of an open writer, or as it is."""
        if not self.file.exists() or all(os.access(place, os.W_OK) for place in (self.file, self.file.parent)):
            return ""
        return "mode=ro" if self.file.with_name(f"{self.file.name}-wal").exists() else "immutable=1"

    @property
    def link(self) -> sqlite3.Connection:
        """The connection of this process."""
        if self._owner != os.getpid():
            self._guard, self._depth = threading.RLock(), 0
            self._connect()
        return self._link

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with self._guard, explain_errors(self.file):
            return self.link.execute(query, values).fetchall()

    def one(self, query: str, values: Sequence[Any] = ()) -> Any:  # noqa: ANN401 - a row
        """Return the first row of a query, or None."""
        with self._guard, explain_errors(self.file):
            return self.link.execute(query, values).fetchone()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold one state of the database for several queries, while others write."""
        with self._guard, explain_errors(self.file):
            if self.link.in_transaction:  # of our own
                yield self.link
                return
            self.link.execute("BEGIN")
            try:
                yield self.link
            finally:
                self.link.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of it is on the disk when the block has ended, or nothing of it."""
        with self._guard, explain_errors(self.file):
            if self._depth:
                yield self.link
                return
            self.link.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self.link
                self.link.execute("COMMIT")
            except BaseException:
                if self.link.in_transaction:
                    self.link.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads from beginning a transaction, for statements that must be outside of one."""
        with self._guard, explain_errors(self.file):
            yield

    def read(self, name: str, default: str = "") -> str:
        """Return a value of the table `about`."""
        found = self.one("SELECT value FROM about WHERE name = ?", (name,))
        return str(found[0]) if found else default

    def write(self, name: str, value: str) -> None:
        """Set a value of the table `about`, within a transaction."""
        self.link.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def next_version(self) -> int:
        """Return the number of a new state of the gallery, within a transaction."""
        number = int(self.read("version", "0")) + 1
        self.write("version", str(number))
        return number

    def now(self) -> float:
        """Return the time of a new record: never before that of the last one, though the clock may be set back."""
        time_, last = self.clock(), self.one("SELECT max(time) FROM audit")[0] or 0.0
        if time_ < last - 1:
            warn_once(
                f"the clock is behind the last record of {self.file}: it was set back, or a record is of the future"
            )
        return max(time_, last)

    def close(self) -> None:
        """Close the connection, which also ends the WAL if nobody else has it open."""
        with self._guard:
            if self._owner == os.getpid():
                self._link.close()


def _free_bytes(folder: Path) -> int:
    """Return the free bytes of a folder's disk; 0 if the folder is gone."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize


@contextlib.contextmanager
def explain_errors(file: Path) -> Iterator[None]:
    """Turn SQLite's errors that a user can meet into UserErrors."""
    try:
        yield
    except OverflowError as error:
        if "SQLite INTEGER" not in str(error):
            raise
        fix = "Take it from a list."
        raise UserError("number", expected="one below 2^63", got="a larger one", fix=fix) from error
    except sqlite3.DatabaseError as error:
        text = str(error)
        code = getattr(error, "sqlite_errorname", "") or ""
        free = _free_bytes(file.parent)
        # Where there is no room for its index, SQLite calls that an input or output error.
        if code.startswith("SQLITE_FULL") or (code.startswith("SQLITE_IOERR_SHM") and free < LEAST_FREE):
            fix = "Free some space and run the same command again; nothing acknowledged was lost."
            raise UserError(
                f"writing {file}", expected="room on the disk", got=f"{free:,} bytes free", fix=fix
            ) from error
        if code.startswith("SQLITE_BUSY"):
            fix = "Wait until the other writer ends, or stop it."
            got = f"another writer for {WAIT_S:.0f} s"
            raise UserError(str(file), expected="one writer at a time", got=got, fix=fix) from error
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")):
            fix = "Restore the folder from a copy; `rewho gallery verify` lists what is damaged."
            raise UserError(str(file), expected="an undamaged gallery", got=text, fix=fix) from error
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
            fix = "Check the folder's permissions and its disk."
            raise UserError(str(file), expected="a folder that can be written to", got=text, fix=fix) from error
        raise


def create_database(file: Path, clock: Clock = time.time) -> Database:
    """Create the file of a new gallery, of the newest version."""
    database = Database(file, clock)
    with database.writing() as link:
        link.execute(f"PRAGMA application_id = {APPLICATION}")
    migrate(database)
    return database


def open_database(file: Path, clock: Clock = time.time) -> Database:
    """Open the file of a gallery; one of an older version is migrated.

    Raises:
        UserError: No gallery, one of a newer version, or a damaged one.
    """
    if not file.is_file():
        fix = "Check the path, or make one with `rewho gallery create FOLDER --model MODEL`."
        raise UserError(str(file.parent), expected=f"a gallery (a folder with {FILE})", got="none", fix=fix)
    database = Database(file, clock)
    application = database.one("PRAGMA application_id")[0]
    if application != APPLICATION:
        database.close()
        fix = "Check the path."
        raise UserError(str(file), expected="a gallery", got="a database of another program", fix=fix)
    migrate(database)
    return database


def migrate(database: Database) -> None:
    """Bring a gallery to the newest version, one step per transaction."""
    found = database.one("PRAGMA user_version")[0]
    if found > VERSION:
        database.close()
        raise UserError(
            str(database.file.parent),
            expected=f"a gallery of version {VERSION} or older",
            got=f"version {found}",
            fix="Use the rewho version that wrote it, or a newer one.",
        )
    for number in range(found, VERSION):
        with database.writing() as link:
            if link.execute("PRAGMA user_version").fetchone()[0] != number:
                continue  # another process was faster
            link.create_function("row_sum", -1, lambda *values: row_sum(values))
            link.create_function("sum_of_text", -1, sum_of_text)
            for statement in _statements(STEPS[number]):
                link.execute(statement)
            link.execute(f"PRAGMA user_version = {number + 1}")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; `executescript` would commit the transaction."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if part.strip() and sqlite3.complete_statement(part):
            yield part
            part = ""
