"""The audit: who did what, when and why; append-only, and each record is chained to the one before by its hash.

A record is written in the transaction of what it records, so that neither exists without the other. It holds ids, never
a vector, an image or a name of a person.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewho.core.artifact import plain
from rewho.core.check import UserError, check_choice, check_count
from rewho.gallery.database import Database

HEAD = "audit head"
"""Name in the table `about` of the number and hash of the last record, which show that records at the end are gone."""
HEAD_FORM = re.compile(r"[0-9]{1,18}\s+[0-9a-f]{64}")
START = bytes(32)
CHANGES = ("group", "hide", "merge", "name", "rename", "show", "split", "take out")
ACTIONS = (
    *CHANGES, *(f"undo {change}" for change in CHANGES), "adapt", "adapted", "add", "browse", "calibrate", "collect",
    "create", "drop", "export", "forget", "job", "job stopped", "judge", "login", "login refused", "logout", "model",
    "open case", "receipt", "retention", "run", "search", "source", "timeline", "token ended", "token made",
    "user changed", "user created", "view", "withdraw",
)  # fmt: skip
"""Every action that is recorded."""


@dataclass(frozen=True)
class Record:
    """One record of the audit.

    Args:
        id: Its number, from 1.
        time: Seconds since 1970, UTC.
        who: Who did it.
        purpose: Why, as stated.
        action: What was done, such as "search".
        asked: What was asked: filters, counts, options.
        ids: Ids of what was returned or changed, by kind.
    """

    id: int
    time: float
    who: str
    purpose: str
    action: str
    asked: Mapping[str, Any]
    ids: Mapping[str, Sequence[int]]


def hash_record(before: bytes, values: Sequence[object]) -> bytes:
    """Return the hash of a record, given as its columns, behind another one's hash."""
    content = json.dumps(list(values), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(before + content.encode()).digest()


def append(
    database: Database,
    who: str,
    purpose: str,
    action: str,
    asked: Mapping[str, Any] | None = None,
    **ids: Iterable[int],
) -> int:
    """Append a record within the transaction of what it records; return its number."""
    assert action in ACTIONS, action
    last = database.one("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1") or (0, START)
    texts = [
        json.dumps(value, sort_keys=True, separators=(",", ":"))
        for value in (plain(asked or {}), {kind: sorted(map(int, some)) for kind, some in ids.items()})
    ]
    values = [last[0] + 1, database.now(), who, purpose, action, *texts]
    found = hash_record(last[1], values)
    database.link.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*values, found])
    database.write(HEAD, f"{values[0]} {found.hex()}")
    return int(values[0])


def head(database: Database) -> str:
    """Return number and hash of the last record; kept elsewhere, they prove later that nothing before was changed."""
    return database.read(HEAD, f"0 {START.hex()}")


def find_edits(database: Database, known: str = "") -> list[str]:
    """Return in words what was changed in the audit; nothing if it is as it was written.

    Args:
        database: The gallery's.
        known: A `head` that was noted down before.
    """
    wrong: list[str] = []
    before, number = START, 0
    hashes = {0: START.hex()}
    if known and not HEAD_FORM.fullmatch(known.strip()):
        fix = "Copy the line `head` of `rewho gallery audit`, in quotes."
        raise UserError("head", expected="a number and a hash of 64 digits", got=repr(known)[:80], fix=fix)
    wanted = int(known.split(maxsplit=1)[0]) if known else -1
    for *values, found in database.rows(
        "SELECT id, time, who, purpose, action, asked, ids, hash FROM audit ORDER BY id"
    ):
        number += 1
        if values[0] != number:
            wrong.append(f"record {number} is missing" if values[0] > number else f"record {values[0]} is not ours")
            number = values[0]
        if hash_record(before, values) != found:
            wrong.append(f"record {values[0]} was changed")
        before = found
        if values[0] == wanted:
            hashes[wanted] = found.hex()
    if head(database) != f"{number} {before.hex()}":
        wrong.append(f"the last record should be {head(database).split()[0]}, and is {number}, or another one")
    if known and hashes.get(wanted, "") != known.rsplit(maxsplit=1)[-1]:
        wrong.append(f"record {wanted} is not the one that was noted down")
    return wrong


def read(
    database: Database,
    *,
    action: str = "",
    who: str = "",
    sightings: Iterable[int] = (),
    before: int | None = None,
    limit: int = 2**62,
) -> Iterator[Record]:
    """Yield records, the newest first.

    Args:
        database: The gallery's.
        action: Only this action, such as "export".
        who: Only what this person did.
        sightings: Only records with one of these sightings among their ids, also as what was searched with.
        before: Only records before this number.
        limit: Most records.
    """
    if action:
        check_choice("action", action, ACTIONS)
    wanted, count, limit = set(sightings), 0, check_count("limit", limit)
    for row in database.rows(
        "SELECT id, time, who, purpose, action, asked, ids FROM audit WHERE id < ? ORDER BY id DESC",
        (2**62 if before is None else check_count("before", before, 0),),
    ):
        if (action and row[4] != action) or (who and row[2] != who):
            continue
        ids = json.loads(row[6])
        if wanted and wanted.isdisjoint([*ids.get("sightings", ()), *ids.get("query", ())]):
            continue
        number, time, who_, purpose, action_ = row[:5]
        yield Record(number, time, who_, purpose, action_, json.loads(row[5]), ids)
        count += 1
        if count >= limit:
            return
