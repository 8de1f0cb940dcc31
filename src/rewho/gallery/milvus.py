"""Vectors in Milvus: searched there, exactly, and filled again from SQLite, which is the truth.

Each gallery has two collections, of sightings and of crops, with a FLAT index of inner products: every vector is
compared. Before a search Milvus gets what it has not: what changed since the gallery's state that it acknowledged. The
last that is written on both sides is a random mark; where the marks differ, because a process was killed between them
or one side was put back to an older copy, all rows are compared.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, install
from rewho.core.lock import waiting_lock
from rewho.gallery.database import Database
from rewho.gallery.engine_scan import LISTED, EngineScan
from rewho.gallery.index import UNKNOWN, Columns, Index
from rewho.gallery.records import Per
from rewho.gallery.scan import Best, Wanted
from rewho.gallery.vectors import Precision, read_precision, unit, unpack

BATCH = 1024
"""Rows sent at a time."""
WAIT_S = 60.0
"""Longest wait for an answer, and for another process that sends."""
MARK, NOWHERE = 0, UNKNOWN - 1
"""Id and camera of the row that holds the mark: ids of the gallery begin at 1."""
TOKEN = "REWHO_MILVUS_TOKEN"  # noqa: S105 - a name
"""Variable of the environment with what a server asks for: a token, or user:password."""
FILLING = ".filling.lock"
BOTH: tuple[Per, Per] = ("sighting", "crop")
_CHANGED = {
    "sighting": "SELECT id FROM sightings WHERE version > ? ORDER BY id",
    "crop": "SELECT c.id FROM crops c JOIN sightings s ON s.id = c.sighting WHERE s.version > ? ORDER BY c.id",
}
_ROWS = {
    "sighting": "SELECT id, id, camera, embedding FROM sightings WHERE embedding IS NOT NULL AND id IN",
    "crop": "SELECT c.id, s.id, s.camera, c.embedding FROM crops c JOIN sightings s ON s.id = c.sighting "
    "WHERE c.embedding IS NOT NULL AND c.id IN",
}
_FILES: dict[str, int] = {}  # of Milvus Lite that this process has open, and how often


class Server:
    """A connection, made when it is first needed; after a fork the child makes its own.

    Args:
        name: milvus://HOST:PORT, milvus+tls://HOST:PORT, or milvus: and a file whose name ends in .db.
    """

    def __init__(self, name: str) -> None:
        self.name, place = name, name.partition(":")[2]
        self._file = "" if place.startswith("//") else str(Path(place).absolute())
        self._uri = self._file or f"{'https' if name.startswith('milvus+tls') else 'http'}:{place}"
        self._made: tuple[int, Any] | None = None
        self._guard = threading.Lock()
        if "@" in place or (self._file and not place.endswith(".db")):
            fix = f"Pass milvus://HOST:19530, with what the server asks for in {TOKEN}, or milvus:FILE.db."
            raise UserError("store", expected="an address without a password, or a .db file", got=repr(name), fix=fix)

    def call(self, method: str, *values: Any, **named: Any) -> Any:  # noqa: ANN401 - of the client's
        """Return what a method of the client returns; turn errors of the server into UserErrors."""
        try:
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            fix = install("scale")
            raise UserError(self.name, expected="the library pymilvus", got="none", fix=fix) from error
        try:
            return getattr(self._connect(), method)(*values, timeout=WAIT_S, **named)
        except MilvusException as error:
            fix = "Start it or check the address, and run the same command again; the gallery's folder has everything."
            if self._file:
                fix = f"{install('scale')}; and close other programs that have the file open: only one can."
            got = str(error.message).strip().partition("\n")[0]
            raise UserError(self.name, expected="a Milvus server that answers", got=got, fix=fix) from error

    def _connect(self) -> Any:  # noqa: ANN401 - a client
        from pymilvus import MilvusClient

        with self._guard:
            if self._made is None or self._made[0] != os.getpid():
                for noisy in ("pymilvus", "grpc._server"):  # they print what they raise, and what Milvus Lite has not
                    logging.getLogger(noisy).setLevel(logging.CRITICAL)
                named = {"grpc_options": {"grpc.keepalive_time_ms": 300_000}}  # more often is refused by Milvus Lite
                client = MilvusClient(self._uri, token=os.environ.get(TOKEN, ""), timeout=10, **named)
                self._made = os.getpid(), client
                _FILES[self._file] = _FILES.get(self._file, 0) + 1
            return self._made[1]

    def close(self) -> None:
        """Close the connection; the last one to a file of Milvus Lite closes that too."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].close()
            _FILES[self._file] -= 1
            if self._file and not _FILES[self._file]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self._file)


class Milvus:
    """The store of a gallery in Milvus, see `rewho.gallery.store.Store`.

    Args:
        database: The gallery's.
        name: Of the server, see `Server`.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._server = database, Server(name)
        self._names = {per: f"{database.read('collection')}_{per}" for per in BOTH}
        self._known = set[Per]()  # whose marks were compared
        self.reach, self.close = lambda: self._server.call("list_collections"), self._server.close
        at = f"vectors are searched in Milvus at {name}"
        self.promise = f"SQLite; {at}, exactly, ties by id; that it erases them is asked for, and not proved"
        self.receipt = (
            f"SQLite; {at}: deleted, flushed, compaction asked for, found by no query; "
            "not proved that no byte is left in its segments, logs and backups"
        )

    def index(self, per: Per, precision: Precision, size: int) -> Index:
        """Return an index of sightings or crops with embeddings of this precision and size, still empty."""
        return Columns(per, precision, size, self._database)

    def fill(self) -> None:
        """Send what was added, and remove what was erased, of the sightings."""
        self._update("sighting")

    def erase(self) -> None:
        """Remove what was erased, and ask the server to write that down and to rewrite what held it."""
        for per, name in self._there():
            self._update(per)
            self._server.call("flush", name)
            self._server.call("compact", name)

    def find_damage(self) -> list[str]:
        """Return how many rows differ from the database's, after what waits was sent."""
        wrong = []
        for per, _ in self._there():
            self._update(per)
            missing, more = 0, set[int]()
            for send, drop in self._compare(per, None):
                missing, more = missing + len(send), more.union(drop)
            if missing or more:
                wrong.append(f"{self._server.name}: {missing:,} {per}s missing or others, {len(more):,} too many")
        return wrong

    def best(self, index: Index, wanted: Wanted, keep: NDArray[np.bool_]) -> Best:
        """Return the best rows among those to keep, bool [N]; see `rewho.gallery.scan.best`."""
        self._update(index.per)

        def ask(vectors: Sequence[NDArray[np.float64]], where: str, limit: int) -> list[list[tuple[int, float]]]:
            data = [vector.astype(np.float32).tolist() for vector in vectors]
            named = {"anns_field": "vector", "search_params": {"metric_type": "IP"}}
            answer = self._server.call("search", self._names[index.per], data, where, limit=limit, **named)
            return [[(hit["id"], hit["distance"]) for hit in hits] for hits in answer]

        return EngineScan(ask, index, wanted).best(keep)

    def _there(self) -> list[tuple[Per, str]]:
        """Return the collections that there are, and load them; one of an earlier model's size is dropped."""
        there = []
        for per, name in self._names.items():
            if self._server.call("has_collection", name):
                fields = self._server.call("describe_collection", name)["fields"]
                if any(field.get("params", {}).get("dim", self._size) != self._size for field in fields):
                    self._server.call("drop_collection", name)
                else:
                    self._server.call("load_collection", name)
                    there.append((per, name))
        return there

    @property
    def _size(self) -> int:
        return int(self._database.read("size"))

    def _update(self, per: Per) -> None:
        """Bring a collection to the state of the database; one process at a time does it."""
        key, name, folder = f"milvus {per}", self._names[per], self._database.file.parent
        state = self._database.read("version", "0")
        if per in self._known and self._database.read(key).split()[0] == state:
            return
        with waiting_lock(folder / FILLING, str(folder), WAIT_S):
            if (per, name) not in self._there():
                self._create(name)
            state = self._database.read("version", "0")
            before, mark = (self._database.read(key) or "0 0").split()
            same = self._ask(per, f"id == {MARK}") == {MARK: int(mark)}
            if not same or before != state:
                self._send(per, int(before) if same else None)
                mark = str(1 + secrets.randbits(60))
                self._server.call("upsert", name, [_row(MARK, MARK, NOWHERE, int(mark), np.zeros(self._size))])
                with self._database.writing():
                    self._database.write(key, f"{state} {mark}")
            self._known.add(per)

    def _send(self, per: Per, since: int | None) -> None:
        """Send what is missing, of all rows or of those that changed since a state, and remove what is too much."""
        last: list[int] = []
        for send, drop in self._compare(per, since):
            if send:
                self._server.call("upsert", self._names[per], send)
            if drop and drop == last:
                got, fix = f"{len(drop):,} that are still found", "Run the same command again; look at its log."
                raise UserError(self._server.name, expected="deleted rows to be gone", got=got, fix=fix)
            if last := drop:
                self._server.call("delete", self._names[per], ids=drop)

    def _ask(self, per: Per, where: str) -> dict[int, int]:
        """Return the sums of the rows that an expression selects, by their ids."""
        fields = ["id", "print"]
        rows = self._server.call("query", self._names[per], where, output_fields=fields, limit=LISTED)
        return {row["id"]: row["print"] for row in rows}

    def _compare(self, per: Per, since: int | None) -> Iterator[tuple[list[dict[str, Any]], list[int]]]:
        """Yield rows to send and ids to remove, of all rows or of those that changed since a state."""
        last = int(self._database.one(f"SELECT coalesce(max(id), 0) FROM {per}s")[0])  # noqa: S608 - names of our own
        ids: Sequence[int] = range(MARK + 1, last + 1)
        gone = [f"id > {last}"]
        if since is not None:
            ids = [int(row[0]) for row in self._database.rows(_CHANGED[per], (since,))]
            rows = self._database.rows("SELECT sighting FROM removed WHERE version > ?", (since,))
            gone = [f"owner in {[row[0] for row in rows[at : at + BATCH]]}" for at in range(0, len(rows), BATCH)]
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            where = f"id >= {some[0]} and id <= {some[-1]}" if since is None else f"id in {some}"
            there, stored = self._ask(per, where), self._read(per, some)
            send = [row for row in stored if there.get(row["id"]) != row["print"]]
            yield send, sorted(there.keys() - {row["id"] for row in stored})
        for where in gone:
            before = None
            while there := self._ask(per, where):  # an answer has at most `LISTED` rows
                yield [], sorted(there)
                if there == before:
                    break
                before = there

    def _read(self, per: Per, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows that have an embedding, as they are sent."""
        rows = self._database.rows(f"{_ROWS[per]} ({', '.join('?' * len(ids))})", list(ids))
        precision = read_precision(self._database.read("precision"))
        width = len(rows[0][3]) // np.dtype(precision).itemsize if rows else 1  # a model of another size may just come
        vectors = unit(unpack([row[3] for row in rows], precision, width))
        return [
            _row(number, owner, UNKNOWN if camera is None else camera, zlib.crc32(blob, camera or 0), vector)
            for (number, owner, camera, blob), vector in zip(rows, vectors, strict=True)
        ]

    def _create(self, name: str) -> None:
        from pymilvus import DataType, MilvusClient

        schema, search = MilvusClient.create_schema(auto_id=False), MilvusClient.prepare_index_params()
        for field in ("id", "owner", "camera", "print"):
            schema.add_field(field, DataType.INT64, is_primary=field == "id", is_partition_key=field == "camera")
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._size)
        search.add_index("vector", index_type="FLAT", metric_type="IP")
        level = "Strong"  # a search sees what was acknowledged before
        self._server.call("create_collection", name, schema=schema, index_params=search, consistency_level=level)


def _row(number: int, owner: int, camera: int, check: int, vector: NDArray[np.float64]) -> dict[str, Any]:
    return {"id": number, "owner": owner, "camera": camera, "print": check, "vector": vector.astype(np.float32)}
