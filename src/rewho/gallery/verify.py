"""Reads everything in a gallery and lists what is not as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from rewho.core.check import UserError
from rewho.core.signing import check_receipt
from rewho.gallery import audit, receipts
from rewho.gallery.database import Database
from rewho.gallery.index import CROP_COLUMNS, SIGHTING_COLUMNS
from rewho.gallery.model import MODEL, NAME, hash_model
from rewho.gallery.vectors import Precision, mean_vector, pack, row_sum, unpack


def find_damage(database: Database, precision: Precision, size: int, known: str = "") -> list[str]:
    """Return in words what is damaged; nothing if all is as it was written.

    Args:
        database: The gallery's.
        precision: Of its embeddings.
        size: Of its embeddings.
        known: A head of the audit that was noted down before.
    """
    wrong = []
    for row in database.rows("PRAGMA integrity_check(20)"):
        if row[0] != "ok":
            wrong.append(f"database: {row[0]}")
    wrong += [f"database: a row of {row[0]} points to nothing" for row in database.rows("PRAGMA foreign_key_check")]
    wrong += _sums(database, "sightings", SIGHTING_COLUMNS)
    wrong += _sums(database, "crops", CROP_COLUMNS)
    wrong += _means(database, precision, size)
    edits = [f"audit: {edit}" for edit in audit.find_edits(database, known)]
    wrong += edits or _judgements(database)
    key = receipts.public_key(database)
    for number, content in database.rows("SELECT id, content FROM receipts WHERE done = 1"):
        if not check_receipt(json.loads(content), key):
            wrong.append(f"receipt {number} is not as it was signed")
    try:
        if hash_model(database.file.parent / database.read(NAME, MODEL)) != database.read("model"):
            wrong.append("model: not the one that the embeddings are of")
    except OSError as error:
        wrong.append(f"model: {error}")
    return wrong


def _sums(database: Database, table: str, columns: str) -> Iterator[str]:
    for row in database.link.execute(f"SELECT {columns}, sum FROM {table}"):  # noqa: S608 - names of our own
        if row_sum(row[:-1]) != row[-1]:
            yield f"{table}: row {row[0]} was changed"


def _means(database: Database, precision: Precision, size: int) -> Iterator[str]:
    """Compute the embedding of each sighting anew from its crops."""
    last: int | None = None
    group: list[tuple[float, bytes]] = []
    query = (
        "SELECT s.id, s.embedding, c.quality, c.embedding FROM sightings s JOIN crops c ON c.sighting = s.id "
        "WHERE s.embedding IS NOT NULL ORDER BY s.id, c.id"
    )
    stored = b""
    for number, whole, quality, blob in [*database.link.execute(query), (None, b"", 0.0, b"")]:
        if number != last and last is not None:
            vectors = unpack([one for _, one in group], precision, size)
            mean = mean_vector(vectors, [heavy for heavy, _ in group])[None]
            wanted = group[0][1] if len(group) == 1 else pack(mean, precision)[0]
            near = np.abs(unpack([wanted], precision, size) - unpack([stored], precision, size)).max() < 2e-3
            if not near:
                yield f"sightings: the embedding of {last} is not the mean of its crops'"
        if number != last:
            group = []
        last, stored = number, whole
        if blob is not None:
            group.append((quality, blob))


def _judgements(database: Database) -> Iterator[str]:
    """Compare the verdicts with the audit, which holds each that was given."""
    given: dict[int, set[str]] = {}
    for record in audit.read(database, action="judge"):
        for sighting, verdict in record.asked["verdicts"].items():
            given.setdefault(int(sighting), set()).add(verdict)
    for number, sighting, verdict in database.rows("SELECT id, sighting, verdict FROM judgements"):
        if verdict not in given.get(sighting, ()):
            yield f"judgements: nobody gave verdict {number}"


def check_open(database: Database) -> None:
    """Raise a UserError for a gallery whose creation was not finished."""
    if not database.read("model"):
        fix = "Remove the folder, and make the gallery again."
        raise UserError(str(database.file.parent), expected="a finished gallery", got="an unfinished one", fix=fix)
