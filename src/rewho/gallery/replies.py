"""Answers to requests that a program may send twice, so that the second one changes nothing."""

from __future__ import annotations

import hashlib

from rewho.core.check import UserError
from rewho.gallery.database import Database

KEPT_S = 86_400.0
"""How long an answer is kept."""


class Replies:
    """The answers of the last day, by the key that the program chose.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, who: str, key: str, request: bytes) -> tuple[int, str] | None:
        """Return the earlier answer to this request, or None for a new one, which is noted down as begun.

        Raises:
            UserError: The key belongs to another request, or to one whose end is not known.
        """
        digest = hashlib.sha256(request).digest()
        with self._database.writing() as link:
            now = self._database.now()
            link.execute("DELETE FROM replies WHERE made < ?", (now - KEPT_S,))
            query = "SELECT request, status, content FROM replies WHERE who = ? AND key = ?"
            row = link.execute(query, (who, key)).fetchone()
            if row is None:
                link.execute("INSERT INTO replies VALUES (?, ?, ?, NULL, NULL, ?)", (who, key, digest, now))
                return None
        if bytes(row[0]) != digest:
            fix = "Choose a new key for each request."
            raise UserError("Idempotency-Key", expected="a key of this request", got="one of another", fix=fix)
        if row[1] is None:
            fix = "See whether it was done, and choose a new key."
            got = "a request that is still running, or whose service ended meanwhile"
            raise UserError("Idempotency-Key", expected="a finished request", got=got, fix=fix)
        return int(row[1]), str(row[2])

    def finish(self, who: str, key: str, status: int, content: str) -> None:
        """Keep the answer to a request."""
        with self._database.writing() as link:
            query = "UPDATE replies SET status = ?, content = ? WHERE who = ? AND key = ?"
            link.execute(query, (status, content, who, key))

    def drop(self, who: str, key: str) -> None:
        """Forget a request that failed, so that it may be sent again."""
        with self._database.writing() as link:
            link.execute("DELETE FROM replies WHERE who = ? AND key = ? AND status IS NULL", (who, key))
