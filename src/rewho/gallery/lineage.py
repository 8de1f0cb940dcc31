"""Which models were adapted to which sightings, from the audit: a model cannot forget, so an erasure names them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.shipped import TENSORS
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.records import WITHDRAWN, Actor

ADAPTED = "adapted"
"""Action in the audit: a model was made from the sightings of the record."""
READ = "adapt"
"""Action in the audit: a training read the sightings of the record."""
CHECKPOINTS = "checkpoints"


class Trained(NamedTuple):
    """A model, or a training that was not finished.

    Attributes:
        model: Its hash; empty for a training that was not finished.
        folder: Where it was written.
        used: Whether it is the gallery's model now.
    """

    model: str
    folder: str
    used: bool


def record_adapted(
    database: Database, model: str, before: str, folder: Path, sightings: Sequence[int], by: Actor
) -> None:
    """Record, within a transaction, what a model was adapted to, and from which one it began."""
    asked = {"model": model, "before": before, "folder": str(folder.absolute())}
    audit.append(database, by.who, by.purpose, ADAPTED, asked, sightings=sightings)


def trained_on(database: Database, sightings: Collection[int]) -> list[Trained]:
    """Return what was trained on one of some sightings, also by way of the model that it began with."""
    present = database.read("model")
    found: dict[tuple[str, str], Trained] = {}
    known = set[str]()
    for asked, ids in _records(database, ADAPTED):
        if asked["before"] in known or not ids.isdisjoint(sightings):
            known.add(asked["model"])
            found[asked["model"], asked["folder"]] = Trained(asked["model"], asked["folder"], asked["model"] == present)
    folders = {one.folder for one in found.values()}
    for asked, ids in _records(database, READ):
        folder = str(asked.get("folder", ""))
        left = folder and (Path(folder, CHECKPOINTS).is_dir() or Path(folder, TENSORS).is_file())
        if left and folder not in folders and not ids.isdisjoint(sightings):
            found["", folder] = Trained("", folder, used=False)
    return list(found.values())


def gone_from(database: Database, model: str) -> list[int]:
    """Return the sightings that a model was adapted to, also by way of earlier models, that are gone since."""
    wanted, ids = {model}, set[int]()
    for asked, some in reversed(_records(database, ADAPTED)):
        if asked["model"] in wanted:
            wanted.add(asked["before"])
            ids |= some
    there = database.rows("SELECT id FROM sightings WHERE state <> ?", (WITHDRAWN,)) if ids else []
    return sorted(ids.difference(int(row[0]) for row in there))


def _records(database: Database, action: str) -> list[tuple[dict[str, Any], set[int]]]:
    """Return what was asked, and the sightings, of all records of an action, the oldest first."""
    rows = database.rows("SELECT asked, ids FROM audit WHERE action = ? ORDER BY id", (action,))
    return [(json.loads(asked), set(json.loads(ids).get("sightings", ()))) for asked, ids in rows]
