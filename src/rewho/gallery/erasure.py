"""Withdraw and forget: what identifies a person is removed, and that it is gone is proved by reading every byte.

`forget` first removes all rows in one transaction. Then the write-ahead log is emptied and every file of the folder
is searched for pieces of what was removed; if any are found, the database is rewritten and searched again. A receipt
that was begun and not finished, because the process was killed, is finished when the gallery is opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rewho.core.byte_scan import Scan, scan_apart
from rewho.core.check import UserError, check_count
from rewho.core.lock import waiting_lock
from rewho.core.progress import say
from rewho.gallery import audit, receipts
from rewho.gallery.adding import seal_sighting
from rewho.gallery.database import Database
from rewho.gallery.index import CROP_COLUMNS
from rewho.gallery.lineage import trained_on
from rewho.gallery.records import DAY_S, WITHDRAWN, Actor, check_time
from rewho.gallery.store import store_of
from rewho.gallery.vectors import row_sum
from rewho.gallery.views import check_visible

WAIT_S = 30.0
"""Longest wait for readers of old states, which keep the write-ahead log from being emptied."""
ERASING = ".erasing.lock"
QUERY_DAYS = "query days"
"""Name in the table `about` of the days that embeddings of searched images are kept; 30 by default."""


def _erasing(database: Database) -> AbstractContextManager[None]:
    """Hold the lock of erasures, so that nobody takes a running one for an interrupted one."""
    folder = database.file.parent
    return waiting_lock(folder / ERASING, str(folder), WAIT_S)


def withdraw(database: Database, sightings: Sequence[int], by: Actor) -> dict[str, Any]:
    """Remove embeddings and thumbnails of sightings; their records stay. Returns the receipt."""
    store_of(database).reach()
    with _erasing(database):
        number, contents = _withdraw_rows(database, sightings, by)
        return _finish(database, number, contents)


def _withdraw_rows(database: Database, sightings: Sequence[int], by: Actor) -> tuple[int, list[bytes]]:
    with database.writing() as link:
        chosen = check_visible(database, sightings, by)
        contents = _contents(database, chosen)
        version = database.next_version()
        for one in chosen:
            rows = link.execute(f"SELECT {CROP_COLUMNS} FROM crops WHERE sighting = ?", (one,)).fetchall()  # noqa: S608
            for row in rows:
                values = (*row[:-2], None, None)
                link.execute(
                    "UPDATE crops SET embedding = NULL, thumbnail = NULL, sum = ? WHERE id = ?",
                    (row_sum(values), row[0]),
                )
            link.execute("UPDATE sightings SET embedding = NULL, state = ? WHERE id = ?", (WITHDRAWN, one))
            seal_sighting(database, one, version)
            _drop_queries(database, one)
        audit.append(database, by.who, by.purpose, "withdraw", {}, sightings=chosen)
        return _begin(database, "withdraw", chosen, by), contents


def forget(database: Database, sightings: Sequence[int], by: Actor, *, people: Sequence[int] = ()) -> dict[str, Any]:
    """Remove sightings and all that belongs to them, and people; return the signed receipt.

    Their frames and boxes are kept as hashes, so that they are not added again. Whom nobody is left of goes with them,
    also who was merged into another.
    """
    store_of(database).reach()
    with _erasing(database):
        number, contents = _forget_rows(database, sightings, by, people)
        return _finish(database, number, contents)


def _forget_rows(
    database: Database, sightings: Sequence[int], by: Actor, people: Sequence[int]
) -> tuple[int, list[bytes]]:
    with database.writing() as link:
        chosen = check_visible(database, sightings, by)
        contents = _contents(database, chosen)
        version = database.next_version()
        now = database.now()
        earlier = _earlier_people(database, chosen)
        for one in chosen:
            link.execute("INSERT OR IGNORE INTO suppressed SELECT key, ? FROM crops WHERE sighting = ?", (now, one))
            _drop_queries(database, one)
            link.execute("DELETE FROM changes WHERE what IN ('person', 'state') AND target = ?", (one,))
            link.execute("DELETE FROM sightings WHERE id = ?", (one,))
            link.execute("INSERT INTO removed VALUES (?, ?)", (one, version))
        for person in sorted({*people, *(one for one in earlier if not _is_referred_to(database, one))}):
            if link.execute("SELECT 1 FROM sightings WHERE person = ?", (person,)).fetchone() is None:
                link.execute("DELETE FROM changes WHERE what = 'name' AND target = ?", (person,))
                link.execute("DELETE FROM people WHERE id = ?", (person,))
        audit.append(database, by.who, by.purpose, "forget", {}, sightings=chosen, people=people)
        return _begin(database, "forget", chosen, by), contents


def _earlier_people(database: Database, sightings: Iterable[int]) -> set[int]:
    """Return the people whom sightings belong to, or belonged to before they were merged into another."""
    query = (
        "SELECT before, after FROM changes WHERE what = 'person' AND target = ? "
        "UNION SELECT person, NULL FROM sightings WHERE id = ?"
    )
    found = (row for one in sightings for row in database.rows(query, (one, one)))
    return {int(person) for row in found for person in row if person is not None}


def _is_referred_to(database: Database, person: int) -> bool:
    """Return whether a person could get a sighting back when an event is undone."""
    query = "SELECT 1 FROM changes WHERE what = 'person' AND (before = ? OR after = ?)"
    return database.one(query, (str(person), str(person))) is not None


def _contents(database: Database, sightings: Iterable[int]) -> list[bytes]:
    """Return what must not be found any more: embeddings, thumbnails and hashes of the images."""
    found = set[bytes]()
    for one in sightings:
        rows = database.rows("SELECT embedding, thumbnail, sha256 FROM crops WHERE sighting = ?", (one,))
        rows += database.rows("SELECT embedding, NULL, NULL FROM sightings WHERE id = ?", (one,))
        found |= {value.encode() if isinstance(value, str) else value for row in rows for value in row if value}
    return sorted(found)


def _drop_queries(database: Database, sighting: int) -> None:
    """Remove the embeddings of searched images that found this sighting, for they may show the same person."""
    database.link.execute(
        "UPDATE searches SET embedding = NULL WHERE key IN (SELECT key FROM shown WHERE sighting = ?)", (sighting,)
    )


def _begin(database: Database, action: str, sightings: Sequence[int], by: Actor) -> int:
    content = {
        "action": action,
        "sightings": sorted(sightings),
        "who": by.who,
        "purpose": by.purpose,
        "model": database.read("model"),
        "version": int(database.read("version", "0")),
        "models trained on them": [one._asdict() for one in trained_on(database, set(sightings))],
    }
    values = (database.now(), json.dumps(content))
    made = database.link.execute("INSERT INTO receipts (time, content) VALUES (?, ?)", values).lastrowid
    assert made is not None
    return made


def _finish(database: Database, number: int, contents: Sequence[bytes] | None) -> dict[str, Any]:
    """Empty the log, search every byte, and sign the receipt; `contents` is None after an interruption."""
    store = store_of(database)
    store.erase()
    empty_log(database)
    rewritten = contents is None
    if rewritten:
        _rewrite(database)
    scan = scan_apart(database.file.parent, contents or [])
    kept = _kept_copies(database, scan, contents or [])
    if scan.found and not kept:
        _rewrite(database)
        scan, rewritten = scan_apart(database.file.parent, contents or []), True
        kept = _kept_copies(database, scan, contents or [])
    if scan.found and not kept:
        file, at = scan.found[0]
        fix = "Run the same command again; if that does not help, copy what is left into a new gallery."
        got = f"a piece at byte {at:,} of {file}"
        raise UserError(f"receipt {number}", expected="nothing of it in any file", got=got, fix=fix)
    row = database.one("SELECT content FROM receipts WHERE id = ?", (number,))
    content = json.loads(row[0]) | {
        "receipt": number,
        "finished": database.now(),
        "files": scan.files,
        "bytes": scan.length,
        "pieces": scan.windows,
        "found": len(scan.found) if kept else 0,
        "log emptied": True,
        "rewritten": rewritten,
        "audit": audit.head(database),
        "store": store.receipt,
    }
    if kept:
        content["same content in sightings that were kept"] = kept
    if contents is None:
        content["interrupted"] = "not searched for, because what was removed is not known any more; rewritten instead"
    signed = receipts.sign(database, content)
    with database.writing() as link:
        link.execute("UPDATE receipts SET content = ?, done = 1 WHERE id = ?", (json.dumps(signed), number))
        audit.append(
            database, content["who"], content["purpose"], "receipt", {"of": content["action"]}, receipts=[number]
        )
    empty_log(database)
    return signed


def _kept_copies(database: Database, scan: Scan, contents: Sequence[bytes]) -> list[int]:
    """Return sightings that were kept and have the same content, such as the same image of another source."""
    if not scan.found:
        return []
    found = set[int]()
    for content in contents:
        query = "SELECT sighting FROM crops WHERE embedding = ? OR thumbnail = ? OR sha256 = ?"
        text = content.decode("ascii", "replace")
        found |= {int(row[0]) for row in database.rows(query, (content, content, text))}
    return sorted(found)


def empty_log(database: Database) -> None:
    """Move the write-ahead log into the database and truncate it to nothing."""
    began = time.monotonic()
    while True:
        with database.alone():
            busy = database.link.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not busy:
            return
        if time.monotonic() - began > WAIT_S:
            fix = "Close other programs that have the gallery open, and run the same command again."
            got = "a reader of an older state, which keeps the log"
            raise UserError(str(database.file.parent), expected="no other reader", got=got, fix=fix)
        time.sleep(0.05)


def _rewrite(database: Database) -> None:
    with database.alone():
        database.link.execute("VACUUM")
    empty_log(database)


def finish_receipts(database: Database) -> list[int]:
    """Finish erasures that were interrupted after their rows were removed; return their receipts."""
    if database.one("SELECT 1 FROM receipts WHERE done = 0") is None:
        return []
    with _erasing(database):
        numbers = [int(row[0]) for row in database.rows("SELECT id FROM receipts WHERE done = 0 ORDER BY id")]
        for number in numbers:
            say(f"note: finishing erasure {number}, which was interrupted")
            _finish(database, number, None)
    return numbers


def expired_sources(database: Database, now: float | None = None) -> list[int]:
    """Return the sources whose retention has ended, which are not shown.

    They do not come back where the clock is set back: `now` is by default not before the last record of the audit.
    """
    now = database.now() if now is None else now
    rows = database.rows("SELECT id FROM sources WHERE expires IS NOT NULL AND expires <= ? ORDER BY id", (now,))
    return [int(row[0]) for row in rows]


def keep_until(database: Database, source: int, expires: float | None, by: Actor) -> None:
    """Set when a source is to be erased, in seconds since 1970; None keeps it without an end.

    Raises:
        UserError: There is no such source, or the user may not see every camera.
    """
    by.need_all("retention")
    source, expires = check_count("source", source, 0), check_time("expires", expires)
    with database.writing() as link:
        if not link.execute("UPDATE sources SET expires = ? WHERE id = ?", (expires, source)).rowcount:
            fix = "`rewho gallery stats` lists them."
            raise UserError(f"source {source}", expected="a source of the gallery", got="no such source", fix=fix)
        audit.append(database, by.who, by.purpose, "retention", {"expires": expires}, sources=[source])


def is_due(database: Database) -> bool:
    """Return whether `expire` has something to erase."""
    now = database.clock()
    oldest = now - DAY_S * float(database.read(QUERY_DAYS, "30"))
    query = (
        "SELECT 1 FROM sources s WHERE s.expires <= ? AND "
        "(s.status <> 'expired' OR EXISTS (SELECT 1 FROM sightings t WHERE t.source = s.id)) "
        "UNION SELECT 1 FROM searches WHERE made < ? AND embedding IS NOT NULL LIMIT 1"
    )
    return database.one(query, (now, oldest)) is not None


def expire(database: Database, by: Actor) -> list[dict[str, Any]]:
    """Erase sources whose retention has ended, and old embeddings of searched images; return the receipts.

    A source is erased in one transaction, so that a kill leaves all of it or nothing; the next call continues. What
    the clock says counts, not a record of the future, which a clock that was wrong for a moment has left.
    """
    made = []
    for source in expired_sources(database, database.clock()):
        rows = database.rows("SELECT id FROM sightings WHERE source = ?", (source,))
        if rows:
            made.append(forget(database, [int(row[0]) for row in rows], by))
        with database.writing() as link:
            link.execute("UPDATE sources SET status = 'expired' WHERE id = ?", (source,))
    oldest = database.clock() - DAY_S * float(database.read(QUERY_DAYS, "30"))
    with database.writing() as link:
        link.execute("UPDATE searches SET embedding = NULL WHERE made < ?", (oldest,))
    empty_log(database)
    return made
