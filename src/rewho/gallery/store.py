"""Where the vectors of a gallery are searched: in this process's memory, or in Milvus.

Chosen when a gallery is made and recorded in it. SQLite is the truth of both, embeddings among it, so that a store can
always be filled again.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.gallery.database import Database
from rewho.gallery.index import Index
from rewho.gallery.records import Per
from rewho.gallery.scan import Best, Wanted, best
from rewho.gallery.vectors import Precision

MEMORY = "sqlite"
"""Name of the store that needs nothing else."""
STORE = "store"
COLLECTION = "collection"
"""Names in the table `about` of the store, and of the gallery's collections in it."""
_OPEN: weakref.WeakKeyDictionary[Database, Store] = weakref.WeakKeyDictionary()
_GUARD = threading.Lock()


class Store(Protocol):
    """What a gallery asks of the place where its vectors are searched; one that is always there need not say so.

    Attributes:
        promise: What it promises, and what not, for `stats`.
        receipt: What it promises of erasures, for receipts.
    """

    promise: str
    receipt: str

    def index(self, per: Per, precision: Precision, size: int) -> Index:
        """Return an index of sightings or crops with embeddings of this precision and size, still empty."""
        ...

    def best(self, index: Index, wanted: Wanted, keep: NDArray[np.bool_]) -> Best:
        """Return the best rows among those to keep, bool [N]; see `rewho.gallery.scan.best`."""
        ...

    def reach(self) -> None:
        """Raise a UserError if it cannot be reached."""
        return

    def fill(self) -> None:
        """Take over what the database has and it has not, so that no search has to wait for it."""
        return

    def erase(self) -> None:
        """Remove what the database has no more."""
        return

    def find_damage(self) -> list[str]:
        """Return in words where it differs from the database."""
        return []

    def close(self) -> None:
        """Release what it holds."""
        return


class Memory(Store):
    """The exact matrix in memory, read from the database."""

    promise = "SQLite with an exact matrix in memory: ties by id, erasure proved by a scan of every byte"
    receipt = "SQLite"
    best = staticmethod(best)

    def index(self, per: Per, precision: Precision, size: int) -> Index:
        """Return an index of sightings or crops with embeddings of this precision and size, still empty."""
        return Index(per, precision, size)


def check_store(name: str) -> None:
    """Raise a UserError for a store that there is not, or that cannot be reached.

    Args:
        name: sqlite, milvus://HOST:PORT, or milvus: and a file of Milvus Lite.
    """
    if name == MEMORY:
        return
    if name.partition(":")[0] not in ("milvus", "milvus+tls"):
        fix = f"Pass {MEMORY}, milvus://HOST:19530, or milvus:FILE.db for Milvus Lite."
        raise UserError("store", expected="a store of vectors", got=repr(name), fix=fix)
    from rewho.gallery.milvus import Server

    server = Server(name)
    server.call("list_collections")
    server.close()


def new_store(name: str) -> dict[str, str]:
    """Return what a new gallery records of its store, for the table `about`; nothing of memory."""
    kind, _, place = name.partition(":")
    full = name if place.startswith("//") else f"{kind}:{Path(place).absolute()}"
    return {} if name == MEMORY else {STORE: full, COLLECTION: f"rewho_{secrets.token_hex(8)}"}


def store_of(database: Database) -> Store:
    """Return the store of an open gallery."""
    with _GUARD:
        if database not in _OPEN:
            name = database.read(STORE, MEMORY)
            if name == MEMORY:
                _OPEN[database] = Memory()
            else:
                from rewho.gallery.milvus import Milvus

                _OPEN[database] = Milvus(database, name)
        return _OPEN[database]
