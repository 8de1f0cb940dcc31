"""The exact matrix of a gallery's embeddings in memory, with the columns that filters need, kept up to date.

Rows are in the order of their ids. The matrix grows by blocks, so that adding copies nothing. A row that was removed
or withdrawn is overwritten with zeros and never found. It is not safe from threads by itself: the gallery holds one
lock around every use.

Letters: N rows, D embedding.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.gallery.database import Database
from rewho.gallery.records import Per
from rewho.gallery.vectors import Precision, Vectors, row_sum, unpack

BLOCK = 65_536
"""Rows of a block of the matrix."""
FETCH = 4_096
"""Rows read from the database at a time."""
LISTED = 512
"""Ids of one query of the database."""
UNKNOWN = -1
"""Camera or person of a row without one."""
REMOVED = 3
SIGHTING_COLUMNS = "id, source, camera, track, began, ended, crops, best, state, person, embedding"
CROP_COLUMNS = "id, sighting, key, frame, name, number, time, box, quality, sha256, licence, embedding, thumbnail"
_CROPS = ", ".join(f"c.{name}" for name in CROP_COLUMNS.split(", "))
_FROM = {
    "sighting": "SELECT id, id, source, camera, began, ended, crops, state, person, {own}, sum FROM sightings "
    "WHERE version > ? ORDER BY id",
    "crop": "SELECT c.id, s.id, s.source, s.camera, coalesce(c.time, s.began), coalesce(c.time, s.ended), 1, s.state, "
    "s.person, {own}, c.sum FROM crops c JOIN sightings s ON s.id = c.sighting WHERE s.version > ? "
    "ORDER BY c.id",
}
_QUERIES = {
    per: query.format(own=own) for (per, query), own in zip(_FROM.items(), (SIGHTING_COLUMNS, _CROPS), strict=True)
}
"""For each kind of row, a query of its columns in memory, all its columns, and their sum."""


class _Column(NamedTuple):
    """Name, type and value of a row without one, of a column in memory."""

    name: str
    kind: Any
    absent: float


_COLUMNS = (
    _Column("ids", np.int64, 0),
    _Column("owners", np.int64, 0),
    _Column("sources", np.int32, 0),
    _Column("cameras", np.int32, UNKNOWN),
    _Column("began", np.float64, np.nan),
    _Column("ended", np.float64, np.nan),
    _Column("weights", np.int32, 0),
    _Column("states", np.int8, 0),
    _Column("people", np.int64, UNKNOWN),
)
_OWN = len(_COLUMNS)
"""Place in such a row of the first of all its columns."""
_EMBEDDING = {
    per: _OWN + columns.split(", ").index("embedding")
    for per, columns in {"sighting": SIGHTING_COLUMNS, "crop": CROP_COLUMNS}.items()
}


class Index:
    """Rows of sightings, or of crops, with their embeddings.

    Args:
        per: Whether a row is a sighting or a crop.
        precision: Of the stored embeddings.
        size: D.

    Attributes:
        version: The gallery's state that the rows are from.
        statistics: A number that changes when embeddings or cameras do, so that means are computed again.
        rewritten: A number that changes when those of earlier rows do, so that nothing of the earlier means is left.
    """

    def __init__(self, per: Per, precision: Precision, size: int) -> None:
        self.per, self.precision, self.size = per, precision, size
        self.version, self.statistics, self.rewritten, self.count = 0, 0, 0, 0
        self.blocks: list[Vectors] = []
        self._columns = {one.name: np.empty(0, one.kind) for one in _COLUMNS}

    def __len__(self) -> int:
        return self.count

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of all rows, by its name in `_COLUMNS`; owners are the rows' sightings."""
        return self._columns[name][: self.count]

    def copy(self) -> Index:
        """Return a copy that stays as it is, for long work while others search and add."""
        made = Index(self.per, self.precision, self.size)
        made.version, made.statistics, made.count = self.version, self.statistics, self.count
        made.rewritten = self.rewritten
        made._columns = {name: column.copy() for name, column in self._columns.items()}
        made.blocks = self._copy_blocks()
        return made

    def _copy_blocks(self) -> list[Vectors]:
        return [block.copy() for block in self.blocks]

    def refresh(self, database: Database) -> None:
        """Read what was added, changed and removed since the last time."""
        with database.reading() as link:
            newest = int((link.execute("SELECT value FROM about WHERE name = 'version'").fetchone() or (0,))[0])
            if newest == self.version:
                return
            if newest < self.version:
                raise UserError(
                    str(database.file.parent),
                    expected=f"the gallery's state {self.version} or a later one",
                    got=f"state {newest}: the folder was put back to an older copy",
                    fix="Open the gallery again.",
                )
            self._remove(
                [row[0] for row in link.execute("SELECT sighting FROM removed WHERE version > ?", (self.version,))]
            )
            cursor = link.execute(_QUERIES[self.per], (self.version,))
            for rows in _fetch(cursor):
                self._take(rows, database)
            self.version = newest

    def _take(self, rows: list[Any], database: Database) -> None:
        for row in rows:
            if row_sum(row[_OWN:-1]) != row[-1]:
                raise damaged(database, f"{self.per} {row[0]}")
        ids = np.array([row[0] for row in rows], np.int64)
        places = self.find(ids)
        fresh, old = np.flatnonzero(places < 0), np.flatnonzero(places >= 0)
        assert not self.count or not len(fresh) or ids[fresh[0]] > self.column("ids")[-1], "ids only grow"
        before = self._state(places[old])
        places[fresh] = np.arange(self.count, self.count + len(fresh))
        self._grow(self.count + len(fresh))
        for at, one in enumerate(_COLUMNS):
            values = [one.absent if row[at] is None else row[at] for row in rows]
            self._columns[one.name][places] = np.array(values, one.kind)
        blobs = [row[_EMBEDDING[self.per]] for row in rows]
        self._columns["weights"][places[[blob is None for blob in blobs]]] = 0  # withdrawn: no part of a mean
        self._store(places, blobs)
        after = self._state(places[old])
        changed = any((one != other).any() for one, other in zip(before, after, strict=True))
        self.statistics += bool(len(fresh)) or changed
        self.rewritten += changed

    def _state(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Return a copy of what the cameras' means depend on."""
        columns = [self._columns[name][rows] for name in ("cameras", "weights")]
        return (*columns, self.vectors(rows))

    def _grow(self, count: int) -> None:
        have = len(self._columns["ids"])
        if count > have:
            room = max(count, have + have // 4, 1024)
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.zeros(room - have, column.dtype)])
        self._add_blocks(count)
        self.count = max(self.count, count)

    def _add_blocks(self, count: int) -> None:
        while len(self.blocks) * BLOCK < count:
            self.blocks.append(np.empty((BLOCK, self.size), np.dtype(self.precision)))

    def _store(self, places: NDArray[np.int64], blobs: Sequence[bytes | None]) -> None:
        zero = bytes(self.size * np.dtype(self.precision).itemsize)
        vectors = unpack([blob if blob is not None else zero for blob in blobs], self.precision, self.size)
        for number in np.unique(places // BLOCK):
            inside = places // BLOCK == number
            self.blocks[number][places[inside] % BLOCK] = vectors[inside]

    def _remove(self, owners: Sequence[int]) -> None:
        rows = np.flatnonzero(np.isin(self.column("owners"), owners)) if owners else np.empty(0, np.int64)
        if len(rows):
            self._columns["states"][rows] = REMOVED
            self._columns["weights"][rows] = 0
            self._store(rows, [None] * len(rows))
            self.statistics += 1
            self.rewritten += 1

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where there is none."""
        have = self.column("ids")
        at = np.searchsorted(have, ids)
        inside = np.minimum(at, max(len(have) - 1, 0))
        return np.where((at < len(have)) & (have[inside] == ids), at, -1) if len(have) else np.full(len(ids), -1)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the stored embeddings of rows, float64 [N, D]."""
        found = np.empty((len(rows), self.size))
        for number in np.unique(rows // BLOCK):
            inside = np.flatnonzero(rows // BLOCK == number)
            found[inside] = self.blocks[number][rows[inside] % BLOCK]
        return found

    def parts(self) -> Iterator[tuple[int, Vectors]]:
        """Yield the number of the first row and the vectors of each block."""
        for number, block in enumerate(self.blocks):
            yield number * BLOCK, block[: self.count - number * BLOCK]


class Columns(Index):
    """The same without the matrix: vectors are read from the database each time, so memory holds 50 bytes a row.

    Args:
        per: Whether a row is a sighting or a crop.
        precision: Of the stored embeddings.
        size: D.
        database: The gallery's.
    """

    def __init__(self, per: Per, precision: Precision, size: int, database: Database) -> None:
        super().__init__(per, precision, size)
        self._database, self._sums = database, np.empty(0, np.int64)

    def _state(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        return (*(self._columns[name][rows] for name in ("cameras", "weights")), self._sums[rows])

    def _grow(self, count: int) -> None:
        super()._grow(count)
        self._sums = np.concatenate([self._sums, np.zeros(len(self._columns["ids"]) - len(self._sums), np.int64)])

    def _add_blocks(self, count: int) -> None:
        """Do without."""

    def _store(self, places: NDArray[np.int64], blobs: Sequence[bytes | None]) -> None:
        self._sums[places] = [0 if blob is None else zlib.crc32(blob) for blob in blobs]

    def _copy_blocks(self) -> list[Vectors]:
        made = []
        for start in range(0, self.count, BLOCK):
            block = np.empty((BLOCK, self.size), np.dtype(self.precision))
            for first in range(start, min(start + BLOCK, self.count), FETCH):
                rows = np.arange(first, min(first + FETCH, start + BLOCK, self.count))
                block[rows - start] = self.vectors(rows)
            made.append(block)
        return made

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the stored embeddings of rows, float64 [N, D]."""
        found = np.zeros((len(rows), self.size))
        ids = self.column("ids")[rows]
        query = f"SELECT id, embedding FROM {self.per}s WHERE embedding IS NOT NULL AND id IN "  # noqa: S608 - our own
        for start in range(0, len(rows), LISTED):
            some = ids[start : start + LISTED].tolist()
            stored = dict(self._database.rows(f"{query} ({', '.join('?' * len(some))})", some))
            at = [place for place, number in enumerate(some) if number in stored]
            found[start + np.array(at, np.int64)] = unpack(
                [stored[some[place]] for place in at], self.precision, self.size
            )
        return found


def damaged(database: Database, what: str) -> UserError:
    """Return the error that a row is not as it was written."""
    fix = "Restore the folder from a copy; `rewho gallery verify` lists what is damaged."
    return UserError(f"{database.file}: {what}", expected="the bytes that were written", got="others", fix=fix)


def _fetch(cursor: sqlite3.Cursor) -> Iterator[list[Any]]:
    while rows := cursor.fetchmany(FETCH):
        yield rows
