"""Writing crops with their embeddings into a gallery: durable, once each, whole tracks at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.crops.suppression import place_key
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.index import CROP_COLUMNS, SIGHTING_COLUMNS
from rewho.gallery.inputs import check_zone
from rewho.gallery.model import check_same
from rewho.gallery.records import Actor, Added, NewCrop, check_time
from rewho.gallery.vectors import Precision, mean_vector, pack, row_sum, unpack


class Embedded(NamedTuple):
    """A crop to add, its embedding [D] and its thumbnail."""

    crop: NewCrop
    embedding: NDArray[Any]
    thumbnail: bytes | None


def crop_key(crop: NewCrop) -> bytes:
    """Return the hash that knows a crop again: of its frame and box, or of its image where no frame is known."""
    if crop.frame is not None and crop.box is not None:
        return bytes.fromhex(place_key(crop.frame, crop.box))
    content = crop.sha256 or hashlib.sha256(crop.image).hexdigest()
    return hashlib.sha256(f"image {content}".encode()).digest()


def open_source(
    database: Database, kind: str, path: str, digest: str, terms: Mapping[str, Any], expires: float | None, by: Actor
) -> int:
    """Return the id of a source, which is new or was added before under the same digest."""
    check_time("expires", expires)
    with database.writing() as link:
        found = link.execute("SELECT id FROM sources WHERE digest = ?", (digest,)).fetchone()
        if found:
            if expires is not None:
                link.execute("UPDATE sources SET expires = ? WHERE id = ?", (expires, found[0]))
                audit.append(database, by.who, by.purpose, "retention", {"expires": expires}, sources=[found[0]])
            return int(found[0])
        values = (kind, path, digest, json.dumps(dict(terms), sort_keys=True), database.now(), expires)
        made = link.execute(
            "INSERT INTO sources (kind, path, digest, terms, added, expires) VALUES (?, ?, ?, ?, ?, ?)", values
        ).lastrowid
        assert made is not None
        audit.append(database, by.who, by.purpose, "source", {"kind": kind}, sources=[made])
        return made


def close_source(database: Database, source: int) -> None:
    """Mark a source as completely added."""
    with database.writing() as link:
        link.execute("UPDATE sources SET status = 'complete' WHERE id = ? AND status = 'adding'", (source,))


def camera_id(database: Database, name: str, zone: str | None = None) -> int:
    """Return the id of a camera, which is new or known, within a transaction; `zone` sets its time zone."""
    if zone is not None:
        check_zone(zone)
    link = database.link
    found = link.execute("SELECT id FROM cameras WHERE name = ?", (name,)).fetchone()
    if found and zone is not None:
        link.execute("UPDATE cameras SET zone = ? WHERE id = ?", (zone, found[0]))
    if found:
        return int(found[0])
    made = link.execute("INSERT INTO cameras (name, zone) VALUES (?, ?)", (name, zone or "UTC")).lastrowid
    assert made is not None
    return made


class Writer:
    """Writes batches of crops of one source.

    Args:
        database: The gallery's.
        precision: Of the stored embeddings.
        size: D.
        source: Id of the source.
        by: Who adds.
        model: Hash of the model that the embeddings are of.
        zone: Time zone of cameras that are new.

    Attributes:
        runtime: The library that computed the embeddings, for the audit; "" where it is not known.
    """

    def __init__(
        self,
        database: Database,
        precision: Precision,
        size: int,
        source: int,
        by: Actor,
        model: str,
        zone: str | None = None,
    ) -> None:
        self._database, self._precision, self._size, self._model = database, precision, size, model
        self.source, self._by, self._zone = source, by, zone
        self._labels: dict[str, int] = {}
        self.runtime = ""

    def select_new(self, crops: Sequence[NewCrop]) -> tuple[list[NewCrop], Added]:
        """Return the crops that are not in the gallery, and counts of the others."""
        new: list[NewCrop] = []
        keys = set[bytes]()
        done = Added(self.source)
        for crop in crops:
            key = crop_key(crop)
            if self._has("suppressed", key):
                done = replace(done, suppressed=done.suppressed + 1)
            elif key in keys or self._has("crops", key):
                done = replace(done, present=done.present + 1)
            else:
                keys.add(key)
                new.append(crop)
        return new, done

    def write(self, batch: Sequence[Embedded]) -> Added:
        """Write a batch in one transaction; return what it did once it is on the disk."""
        if not batch:
            return Added(self.source)
        stored = pack(np.stack([item.embedding for item in batch]), self._precision)
        with self._database.writing():
            check_same(self._database.read("model"), self._model, "add")
            new, done = self.select_new([item.crop for item in batch])  # another process may have added some
            chosen = {id(crop) for crop in new}
            tracks: dict[str, list[tuple[Embedded, bytes, bytes]]] = {}
            for item, blob in zip(batch, stored, strict=True):
                if id(item.crop) in chosen:
                    key = crop_key(item.crop)
                    track = f"\0{key.hex()}" if item.crop.track is None else item.crop.track
                    tracks.setdefault(track, []).append((item, blob, key))
            if not tracks:
                return done
            self._version = self._database.next_version()
            known = {track: self._find(track) for track in tracks}
            changed = [self._write_track(track, items, known[track]) for track, items in tracks.items()]
            done = replace(done, crops=len(new), sightings=sum(one is None for one in known.values()))
            asked = {"crops": len(new), **({"runtime": self.runtime} if self.runtime else {})}
            audit.append(
                self._database, self._by.who, self._by.purpose, "add", asked,
                sources=[self.source], sightings=changed,
            )  # fmt: skip
        return done

    def _has(self, table: str, key: bytes) -> bool:
        query = {"suppressed": "SELECT 1 FROM suppressed WHERE key = ?", "crops": "SELECT 1 FROM crops WHERE key = ?"}
        return self._database.link.execute(query[table], (key,)).fetchone() is not None

    def _find(self, track: str) -> int | None:
        query = "SELECT id FROM sightings WHERE source = ? AND track = ?"
        found = self._database.link.execute(query, (self.source, track)).fetchone()
        return int(found[0]) if found else None

    def _write_track(self, track: str, items: list[tuple[Embedded, bytes, bytes]], known: int | None) -> int:
        """Write the crops of one track and the sighting that they are; return its id."""
        link, first = self._database.link, items[0][0].crop
        camera = None if first.camera is None else camera_id(self._database, first.camera, self._zone)
        sighting = known
        if sighting is None:
            stored = track if first.track is not None else None
            values = (self.source, camera, stored, self._version)
            sighting = link.execute(
                "INSERT INTO sightings (source, camera, track, crops, version, sum) VALUES (?, ?, ?, 0, ?, 0)", values
            ).lastrowid
            assert sighting is not None
        for item, blob, key in items:
            write_crop(self._database, sighting, item, blob, key)
        if len(items) == 1 and known is None:  # by far the most frequent case, with nothing to average
            number = link.execute("SELECT last_insert_rowid()").fetchone()[0]
            time, person = first.time, self._label(first)
            link.execute(
                "UPDATE sightings SET crops = 1, best = ?, began = ?, ended = ?, embedding = ?, person = ? "
                "WHERE id = ?",
                (number, time, time, items[0][1], person, sighting),
            )
            seal_sighting(self._database, sighting)
        else:
            if (person := self._label(first)) is not None:
                link.execute("UPDATE sightings SET person = ? WHERE id = ? AND person IS NULL", (person, sighting))
            summarise_sighting(self._database, sighting, self._precision, self._size, self._version)
        return sighting

    def _label(self, crop: NewCrop) -> int | None:
        """Return the id of the person of a crop's label; people with one name are one person."""
        if crop.person is None:
            return None
        if crop.person not in self._labels:
            link = self._database.link
            found = link.execute("SELECT id FROM people WHERE name = ? ORDER BY id", (crop.person,)).fetchone()
            if not found:
                now = self._database.now()
                found = (
                    link.execute("INSERT INTO people (name, created) VALUES (?, ?)", (crop.person, now)).lastrowid,
                )
            self._labels[crop.person] = int(found[0])
        return self._labels[crop.person]


def write_crop(database: Database, sighting: int, item: Embedded, blob: bytes, key: bytes) -> int:
    """Insert the row of a crop, within a transaction; return its id."""
    crop, link = item.crop, database.link
    check_time(f"time of {crop.name}", crop.time)
    frame = None if crop.frame is None else hashlib.sha256(crop.frame.encode()).digest()
    box = None if crop.box is None else json.dumps([round(float(side), 2) for side in crop.box])
    names = CROP_COLUMNS.split(", ")[1:]
    values = (
        *(sighting, key, frame, crop.name, crop.number, crop.time, box, float(crop.quality), crop.sha256),
        *(crop.licence, blob, item.thumbnail),
    )
    marks = ", ".join("?" * (len(names) + 1))
    number = link.execute(f"INSERT INTO crops ({', '.join(names)}, sum) VALUES ({marks})", (*values, 0)).lastrowid  # noqa: S608 - names of our own
    assert number is not None
    link.execute("UPDATE crops SET sum = ? WHERE id = ?", (row_sum((number, *values)), number))
    return number


def seal_sighting(database: Database, sighting: int, version: int | None = None) -> None:
    """Compute a sighting's sum again after a change, within a transaction, and mark it as changed in `version`."""
    query = f"SELECT {SIGHTING_COLUMNS} FROM sightings WHERE id = ?"  # noqa: S608 - names of our own
    values = database.link.execute(query, (sighting,)).fetchone()
    database.link.execute("UPDATE sightings SET sum = ? WHERE id = ?", (row_sum(values), sighting))
    if version is not None:
        database.link.execute("UPDATE sightings SET version = ? WHERE id = ?", (version, sighting))


def summarise_sighting(database: Database, sighting: int, precision: Precision, size: int, version: int) -> None:
    """Compute a sighting's embedding, times, number of crops and best crop from its crops, within a transaction."""
    link = database.link
    rows = link.execute(
        "SELECT id, time, quality, embedding FROM crops WHERE sighting = ? ORDER BY id", (sighting,)
    ).fetchall()
    whole = [row for row in rows if row[3] is not None]
    times = [row[1] for row in rows if row[1] is not None]
    blob = None
    if whole:
        vectors = unpack([row[3] for row in whole], precision, size)
        blob = whole[0][3]
        if len(whole) > 1:
            blob = pack(mean_vector(vectors, [row[2] for row in whole])[None], precision)[0]
    best = max(rows, key=lambda row: (row[2], -row[0]))[0] if rows else None
    values = (len(rows), best, min(times, default=None), max(times, default=None), blob, sighting)
    link.execute("UPDATE sightings SET crops = ?, best = ?, began = ?, ended = ?, embedding = ? WHERE id = ?", values)
    seal_sighting(database, sighting, version)
