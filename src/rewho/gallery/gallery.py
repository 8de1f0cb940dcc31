"""The gallery: one folder, opened from Python; the command line and the web page use the same class."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rewho.core.artifact import ASIDE, remove_unfinished
from rewho.core.check import UserError, check_ids, check_path
from rewho.core.signing import make_key
from rewho.gallery import audit
from rewho.gallery.accounts import Accounts
from rewho.gallery.adding import Writer, close_source, open_source
from rewho.gallery.browse import browse
from rewho.gallery.database import FILE, Clock, create_database, open_database
from rewho.gallery.embedding import add_input, check_terms
from rewho.gallery.erasure import finish_receipts
from rewho.gallery.index import UNKNOWN
from rewho.gallery.inputs import Input, Labels, check_zone, open_input
from rewho.gallery.jobs import Jobs
from rewho.gallery.judgements import Links, judge, read_links
from rewho.gallery.model import check_model, check_same, copy_model
from rewho.gallery.parts import Cases, Erasure, Moments, People
from rewho.gallery.people import members
from rewho.gallery.proposals import Proposals
from rewho.gallery.query import Box, Image, Query, check_asked, from_crop, from_images, from_search, from_sightings
from rewho.gallery.receipts import KEY
from rewho.gallery.records import Actor, Added, Filters, Found, Per, Sighting
from rewho.gallery.replies import Replies
from rewho.gallery.search import Ask, camera_ids, search
from rewho.gallery.store import MEMORY, check_store, new_store, store_of
from rewho.gallery.vectors import Precision
from rewho.gallery.verify import check_open, find_damage
from rewho.gallery.views import (
    Camera,
    CropView,
    check_visible,
    list_cameras,
    view_crops,
    view_sightings,
    view_thumbnail,
)
from rewho.settings.fields import Device


class Gallery(Proposals):
    """A gallery that is open; use it in a `with` block. Safe from several threads and several processes.

    Args:
        folder: Its folder, made by `Gallery.create`.
        device: Where images are embedded: auto, cpu or cuda.
        clock: The time of records; tests pass their own.

    Raises:
        UserError: No gallery there, one of a newer version, or a damaged one.

    Example:
        >>> from rewho import Gallery
        >>> Gallery("no such folder")
        Traceback (most recent call last):
        ...
        rewho.core.check.UserError: no such folder: expected a gallery (a folder with gallery.sqlite), got none.
          Fix: Check the path, or make one with `rewho gallery create FOLDER --model MODEL`.
    """

    def __init__(self, folder: Path | str, device: Device = "auto", *, clock: Clock = time.time) -> None:
        self.folder = check_path("gallery", folder)
        database = open_database(self.folder / FILE, clock)
        check_open(database)
        self._open(database, device)
        self.people = People(self.database, self.index, self.statistics, self._guard)
        self.cases, self.erasure = Cases(self.database), Erasure(self.database)
        self.moments = Moments(self.database)
        finish_receipts(self.database)
        self.accounts, self.jobs, self.replies = Accounts(self.database), Jobs(self.database), Replies(self.database)

    @classmethod
    def create(
        cls,
        folder: Path | str,
        model: Path | str,
        *,
        terms: Mapping[str, str] | None = None,
        precision: Precision = "float16",
        store: str = MEMORY,
        device: Device = "auto",
        by: Actor | None = None,
        clock: Clock = time.time,
    ) -> Gallery:
        """Make a new gallery and open it.

        Args:
            folder: A folder that does not exist, or is empty.
            model: Model folder; a copy of it stays in the gallery.
            terms: Terms of sources that bring none: name, source, licence, purpose, legal_basis, contact, retention.
            precision: Of stored embeddings: float16 takes half the memory and time of float32.
            store: Where vectors are searched: sqlite (in memory), milvus://HOST:PORT, or milvus:FILE.db (Milvus Lite).
            device: Where images are embedded.
            by: Who makes it.
            clock: The time of records.
        """
        place, user = check_path("gallery", folder), by or Actor()
        _check_new(place)
        check_store(store)
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(place.parent)
        aside = place.with_name(f"{ASIDE}{os.getpid()}-{place.name}")
        try:
            aside.mkdir()
            sha256, size = copy_model(check_path("model", model), aside)
            database = create_database(aside / FILE, clock)
            with database.writing():
                known = {"model": sha256, "size": str(size), "precision": precision, "version": "0", KEY: make_key()}
                known |= new_store(store)
                for name, value in {**known, "terms": json.dumps(dict(terms or {}))}.items():
                    database.write(name, value)
                audit.append(database, user.who, user.purpose, "create", {"model": sha256, "precision": precision})
            database.close()
            _check_new(place)  # another process may have made one meanwhile
            if place.is_dir():
                place.rmdir()
            aside.replace(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return cls(place, device, clock=clock)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery."""
        store_of(self.database).close()
        self.database.close()
        self._let_go()

    def __len__(self) -> int:
        """Return the number of sightings, hidden and withdrawn ones among them."""
        return int(self.database.one("SELECT count(*) FROM sightings")[0])

    def add(
        self,
        source: Path | str | Iterable[Path | str] | Any,  # noqa: ANN401 - or a CropSet
        *,
        camera: str = "",
        start: float | None = None,
        pattern: str = "",
        videos: Path | str | None = None,
        zone: str = "UTC",
        terms: Mapping[str, str] | None = None,
        expires: float | None = None,
        by: Actor | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Added:
        """Add the people in images, a folder, a CSV file or a crop set; what is there already is not added again.

        Args:
            source: An image or several; a folder; a CSV file with the columns path, and perhaps camera, time, person,
                track; a crop set, whose tracks become sightings.
            camera: Name of the camera of all images that have none.
            start: Time of the images, or of the first frame of videos, in seconds since 1970, UTC.
            pattern: Regular expression with groups `camera` and perhaps `person`, searched in each image's path.
            videos: For crop sets: CSV file with the columns video, camera, start.
            zone: Time zone of times that have none, and of new cameras.
            terms: Terms of the source; those of the crop set or of the gallery by default.
            expires: When the source is to be erased, in seconds since 1970.
            by: Who adds.
            stop: Asked within each batch and after it; the batches before are kept.
            progress: Called with the number of crops of each finished batch.
        """
        check_zone(zone)
        user = by or Actor()
        labels = Labels(camera, start, pattern, None if videos is None else Path(videos), zone)
        opened = source if isinstance(source, Input) else open_input(_as_source(source), labels)
        given = terms or opened.terms or json.loads(self.database.read("terms", "{}"))
        check_terms(given, opened.path)
        number = open_source(self.database, opened.kind, opened.path, opened.digest, given, expires, user)
        model = self._follow()
        writer = Writer(self.database, self.precision, self.size, number, user, model.sha256, zone)
        done = add_input(self.database, opened, writer, model, stop, progress)
        store_of(self.database).fill()
        return replace(done, source=number, notes=opened.notes)

    def writer(
        self, name: str, model: str, *, terms: Mapping[str, str] | None = None, by: Actor | None = None
    ) -> Writer:
        """Return a writer of embeddings that were computed elsewhere, with the gallery's model.

        Args:
            name: Names the source; the same name continues it.
            model: Hash of the model that computed them, see `model_sha256`.
            terms: Terms of the source; the gallery's by default.
            by: Who adds.
        """
        check_model(model, self.model_sha256, f"embeddings of {name}")
        given = terms or json.loads(self.database.read("terms", "{}"))
        check_terms(given, name)
        user = by or Actor()
        number = open_source(self.database, "embeddings", name, f"embeddings {name}", given, None, user)
        close_source(self.database, number)
        return Writer(self.database, self.precision, self.size, number, user, model)

    def query(
        self,
        images: Image | Sequence[Image] | None = None,
        *,
        sightings: Sequence[int] = (),
        crop: int | None = None,
        search: int | None = None,
        box: Box | None = None,
        camera: str = "",
        time: float | None = None,
        by: Actor | None = None,
    ) -> Query:
        """Return one person to search for; exactly one of images, sightings, crop and search.

        Args:
            images: An image, or several of one person: files, encoded bytes, uint8 RGB arrays [H, W, 3].
            sightings: Ids of sightings of one person.
            crop: Id of a crop.
            search: Number of an earlier search.
            box: Left, top, right, bottom of the person in the image, in pixels.
            camera: Name of the images' camera, where it is one of the gallery's.
            time: When the images were taken, in seconds since 1970.
            by: Who asks.
        """
        user = by or Actor()
        check_asked(
            {"images": images, "sightings": sightings or None, "crop": crop, "search": search},
            {"box": box, "camera": camera or None, "time": time},
        )
        with self._guard, self.database.reading():  # one state, of one model
            if images is None:
                index = self.index() if crop is None else self.index("crop")
                if sightings:
                    found = from_sightings(sightings, index, self.database, user)
                elif crop is not None:
                    found = from_crop(crop, index, self.database, user)
                elif search is not None:
                    found = from_search(search, self.database, index, lambda: self.index("crop"), user)
                return replace(found, model=self.model_sha256)
        number = camera_ids(self.database, [camera], user)[0] if camera else UNKNOWN
        several: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        model = self._follow()
        return replace(from_images(several, model, box, number, time), model=model.sha256)

    def search(
        self,
        images: Image | Sequence[Image] | Query | None = None,
        *,
        count: int = 20,
        filters: Filters | None = None,
        per: Per = "sighting",
        after: tuple[float, int] | None = None,
        normalise: bool = True,
        refine: bool = True,
        by: Actor | None = None,
        **query: Any,  # noqa: ANN401 - arguments of `query`
    ) -> Found:
        """Return the sightings that look most like a person: candidates, the most alike first.

        Args:
            images: One image or several of one person, or a `query`.
            count: How many.
            filters: What to search through.
            per: sighting, or crop for all crops.
            after: Continue behind this (similarity, id): `Found.after` of the page before.
            normalise: Compare relative to the cameras' means, where the query's camera has one.
            refine: Move the query by the judgements on it.
            by: Who asks; decides which cameras are searched.
            **query: As of `query`: sightings, crop, search, box, camera, time.
        """
        user = by or Actor()
        asked = images if isinstance(images, Query) else self.query(images, by=user, **query)
        ask = Ask(count, filters or Filters(), after, normalise, refine)
        with self._guard:  # the one lock of all threads that read or refresh the matrix
            with self.database.reading():  # one state, of one model
                check_same(self.model_sha256, asked.model or self.model_sha256, "search")
                index, statistics = self.index(per), self.statistics(per)
            found = search(self.database, index, statistics, asked, ask, user)
            return self._explain(found, asked, per, user)

    def judge(self, search: int, verdicts: Mapping[int, str], *, by: Actor | None = None) -> None:
        """Store verdicts on the results of a search: yes, no or skip by id of the sighting.

        What was judged "no" never comes back for this query, nor do the two sightings come together in groups.
        """
        user = by or Actor()
        check_visible(self.database, verdicts, user)
        judge(self.database, self.query(search=search, by=user), verdicts, user, search)

    def links(self) -> Links:
        """Return the pairs of sightings that must, or cannot, be one person."""
        return read_links(self.database)

    def sightings(self, ids: Sequence[int], *, by: Actor | None = None) -> list[Sighting]:
        """Return sightings by their ids; the view is in the audit."""
        return view_sightings(self.database, ids, by or Actor())

    def browse(
        self, count: int = 20, *, before: int | None = None, cameras: Sequence[str] = (), by: Actor | None = None
    ) -> list[Sighting]:
        """Return sightings without a query, the last added first; `before` continues behind one of them."""
        user = by or Actor()
        chosen = camera_ids(self.database, cameras, user)
        return browse(self.database, user, count=count, before=before, cameras=chosen)

    def crops(self, sighting: int, *, by: Actor | None = None) -> list[CropView]:
        """Return the crops of a sighting in the order of time; the view is in the audit."""
        return view_crops(self.database, sighting, by or Actor())

    def thumbnail(self, crop: int, *, by: Actor | None = None, record: bool = True) -> bytes:
        """Return a crop's thumbnail, a JPEG with hidden faces; without `record` the view is not in the audit."""
        return view_thumbnail(self.database, crop, by or Actor(), record=record)

    def cameras(self, *, by: Actor | None = None) -> list[Camera]:
        """Return the cameras that the user may see, by name."""
        return list_cameras(self.database, by or Actor())

    def audit(
        self,
        *,
        action: str = "",
        who: str = "",
        sightings: Sequence[int] = (),
        person: int | None = None,
        before: int | None = None,
        limit: int = 2**62,
    ) -> list[audit.Record]:
        """Return records of the audit, the newest first.

        Args:
            action: Only this action, such as "export"; `audit.ACTIONS` has all.
            who: Only what this user did.
            sightings: Only records that name one of these sightings, also those that were forgotten.
            person: Only records that name a sighting of this person.
            before: Only records before this number.
            limit: Most records.
        """
        wanted = check_ids("sightings", sightings)
        wanted += [] if person is None else members(self.database, person, Actor())
        return list(audit.read(self.database, action=action, who=who, sightings=wanted, before=before, limit=limit))

    def audit_head(self) -> str:
        """Return number and hash of the last record; noted down elsewhere, it proves all records before it."""
        return audit.head(self.database)

    def verify(self, head: str = "") -> list[str]:
        """Read the whole gallery; return a line on each damage, and on each change of the audit.

        Args:
            head: An earlier `audit_head`, stored elsewhere; empty checks only the chain of hashes itself.
        """
        found = find_damage(self.database, self.precision, self.size, head)
        return found + store_of(self.database).find_damage()

    def stats(self) -> dict[str, Any]:
        """Return the counts and properties of the gallery."""
        count = {
            name: self.database.one(f"SELECT count(*) FROM {name}")[0]  # noqa: S608 - names of our own
            for name in ("sightings", "crops", "people", "judgements", "cases", "searches", "suppressed")
        }
        sources = self.database.rows("SELECT id, kind, path, status, added, expires FROM sources ORDER BY id")
        return {
            **count,
            "model": self.model_sha256,
            "dimensions": self.size,
            "precision": self.precision,
            "version": int(self.database.read("version", "0")),
            "cameras": [one._asdict() for one in self.cameras()],
            "sources": [
                dict(zip(("id", "kind", "path", "status", "added", "expires"), row, strict=True)) for row in sources
            ],
            "calibration": self.calibration_text(),
            "store": store_of(self.database).promise,
        }


def _check_new(place: Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        got = "a gallery" if (place / FILE).is_file() else "a file or files"
        raise UserError(str(place), expected="a new or empty folder", got=got, fix="Choose another.")


def _as_source(source: Any) -> Any:  # noqa: ANN401 - a path, several, or a crop set
    if isinstance(source, str | Path):
        return Path(source)
    return source if hasattr(source, "contents") else [Path(one) for one in source]
