"""Another model for a gallery: everything is embedded again, then all of it changes in one transaction.

The new model lies beside the old one before the transaction, and the old one goes after it; which of them is the
gallery's, the database says. So a process that is killed anywhere leaves the gallery with the one or with the other.

Letters: N crops, D embedding.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewho.core.artifact import remove_unfinished
from rewho.core.check import UserError
from rewho.core.lock import Lock
from rewho.core.shipped import find_model
from rewho.data.images import decode
from rewho.embedding.exported import ExportedModel, load_model
from rewho.gallery import audit
from rewho.gallery.adding import summarise_sighting
from rewho.gallery.database import Database
from rewho.gallery.index import CROP_COLUMNS
from rewho.gallery.lineage import gone_from, record_adapted
from rewho.gallery.model import (
    MODEL,
    NAME,
    SINCE,
    check_same,
    embedding_size,
    hash_model,
    other_models,
    place_model,
)
from rewho.gallery.records import WITHDRAWN, Actor
from rewho.gallery.vectors import pack, read_precision, row_sum
from rewho.settings.fields import Device

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

BATCH = 256
"""Crops that are embedded together."""
SWITCHING = ".switching.lock"


class Switched(NamedTuple):
    """What another model changed.

    Attributes:
        model: Hash of the model that the gallery has now.
        before: Hash of the one before; the same if nothing changed.
        crops: How many were embedded again.
        sightings: How many were.
    """

    model: str
    before: str
    crops: int
    sightings: int


def switch_model(
    database: Database,
    model: Path,
    device: Device,
    adapted_to: Sequence[int],
    by: Actor,
    progress: Callable[[int], None] = lambda count: None,
) -> Switched:
    """Give a gallery another model; see `Gallery.use_model`."""
    by.need_all("model")
    gallery, model = database.file.parent, find_model(model)
    loaded, sha256 = load_model(model, device), hash_model(model)
    with Lock(gallery / SWITCHING, str(gallery)):
        before = database.read("model")
        if before == sha256:
            return Switched(sha256, before, 0, 0)
        check_thumbnails(database)
        try:
            about = {"model": sha256, "size": str(embedding_size(loaded)), NAME: place_model(model, gallery, sha256)}
            made: dict[int, bytes] = {}
            count: int | None = None
            while count is None:  # others may add meanwhile
                _embed(database, loaded, made, progress)
                count = _change(database, before, about, made, adapted_to, model, by)
        finally:
            _remove_unused(database)
        return Switched(sha256, before, len(made), count)


def check_thumbnails(database: Database) -> None:
    """Raise a UserError if a crop cannot be embedded again."""
    count = database.one("SELECT count(*) FROM crops WHERE embedding IS NOT NULL AND thumbnail IS NULL")[0]
    if count:
        expected = "a thumbnail of every crop, to embed it again"
        fix = "Make another gallery with `rewho gallery create`, and add the images there."
        raise UserError(str(database.file.parent), expected=expected, got=f"{count:,} crops without one", fix=fix)


def _missing(database: Database, made: Mapping[int, bytes]) -> list[int]:
    """Return the crops that have an embedding in the gallery and not in `made`."""
    rows = database.rows("SELECT id FROM crops WHERE embedding IS NOT NULL ORDER BY id")
    return [int(row[0]) for row in rows if row[0] not in made]


def _embed(
    database: Database, loaded: Embedder | ExportedModel, made: dict[int, bytes], progress: Callable[[int], None]
) -> None:
    """Embed the crops that are missing in `made`, by their thumbnails."""
    precision = read_precision(database.read("precision"))
    missing = _missing(database, made)
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        marks = ", ".join("?" * len(batch))
        query = f"SELECT id, thumbnail FROM crops WHERE thumbnail IS NOT NULL AND id IN ({marks})"  # noqa: S608 - marks
        rows = database.rows(query, batch)
        if rows:
            images = [decode(image, f"thumbnail of crop {number}") for number, image in rows]
            vectors = loaded.embed(images, of=len(made) + len(missing))
            made |= {int(row[0]): blob for row, blob in zip(rows, pack(vectors, precision), strict=True)}
        progress(len(batch))


def _change(
    database: Database,
    before: str,
    about: Mapping[str, str],
    made: Mapping[int, bytes],
    adapted_to: Sequence[int],
    model: Path,
    by: Actor,
) -> int | None:
    """Write everything of the new model; return how many sightings it changed, None if crops are missing in `made`."""
    with database.writing():
        check_same(database.read("model"), before, "model")
        check_thumbnails(database)
        if _missing(database, made):
            return None
        asked = {"model": about["model"], "before": before}
        if adapted_to:
            record_adapted(database, about["model"], before, model, adapted_to, by)
            if gone := gone_from(database, about["model"]):
                raise _gone(gone)
        version, size = database.next_version(), int(about["size"])
        for name, value in {**about, SINCE: str(version)}.items():
            database.write(name, value)
        chosen = _write(database, made, size, version)
        database.link.execute("UPDATE searches SET embedding = NULL")  # of images that are not kept
        audit.append(database, by.who, by.purpose, "model", {**asked, "crops": len(made)}, sightings=chosen)
    return len(chosen)


def _gone(sightings: Sequence[int]) -> UserError:
    expected = "everybody that it was trained on to be in the gallery"
    got = f"{len(sightings):,} sightings that were forgotten or withdrawn since"
    fix = "Remove it, and run `rewho adapt` with another --out."
    return UserError("the model", expected=expected, got=got, fix=fix)


def _write(database: Database, made: Mapping[int, bytes], size: int, version: int) -> list[int]:
    """Write the embeddings of crops and of their sightings, within a transaction; return the sightings."""
    link = database.link
    precision = read_precision(database.read("precision"))
    place, query = CROP_COLUMNS.split(", ").index("embedding"), f"SELECT {CROP_COLUMNS} FROM crops WHERE id = ?"  # noqa: S608
    for number, blob in made.items():
        row = link.execute(query, (number,)).fetchone()
        if row is None or row[place] is None:
            continue  # somebody was forgotten or withdrawn meanwhile
        total = row_sum((*row[:place], blob, *row[place + 1 :]))
        link.execute("UPDATE crops SET embedding = ?, sum = ? WHERE id = ?", (blob, total, number))
    rows = link.execute("SELECT id FROM sightings WHERE state <> ? ORDER BY id", (WITHDRAWN,)).fetchall()
    for (one,) in rows:
        summarise_sighting(database, one, precision, size, version)
    return [int(row[0]) for row in rows]


def remove_unused(database: Database) -> None:
    """Remove copies of models that a killed process left, unless a switch is under way."""
    gallery = database.file.parent
    remove_unfinished(gallery)
    if other_models(gallery, database.read(NAME, MODEL)):
        with contextlib.suppress(UserError), Lock(gallery / SWITCHING, str(gallery)):
            _remove_unused(database)


def _remove_unused(database: Database) -> None:
    for folder in other_models(database.file.parent, database.read(NAME, MODEL)):
        shutil.rmtree(folder)
