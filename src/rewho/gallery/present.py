"""A gallery's present model and matrices, which follow what other threads and processes change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from rewho.core.check import check_choice
from rewho.data.images import check_header, decoding_bytes
from rewho.gallery.database import Database
from rewho.gallery.index import Index
from rewho.gallery.model import MODEL, NAME, GalleryModel
from rewho.gallery.records import Actor, Per
from rewho.gallery.scan import Statistics
from rewho.gallery.store import store_of
from rewho.gallery.switch import Switched, remove_unused, switch_model
from rewho.gallery.vectors import Precision, read_precision
from rewho.settings.fields import Device


class Present:
    """The part of a gallery that holds its model, and matrices and means in memory, of its present state."""

    database: Database
    _device: Device
    _guard: threading.RLock  # of all threads that read or refresh a matrix
    _model_sha256 = ""
    _changes = -1

    def _open(self, database: Database, device: Device) -> None:
        self.database, self._device, self._guard = database, device, threading.RLock()
        remove_unused(database)
        self._follow()

    def _follow(self) -> GalleryModel:
        """Return the model; if it is another one than before, let go of everything that is of the one before."""
        with self._guard:
            about = dict(self.database.rows("SELECT name, value FROM about"))
            if about["model"] != self._model_sha256:
                self._model_sha256, self._size = str(about["model"]), int(about["size"])
                self._precision = read_precision(about["precision"])
                folder = self.database.file.parent / about.get(NAME, MODEL)
                self._model = GalleryModel(folder, self._model_sha256, self._device)
                self._changes += 1
                self._let_go()
            return self._model

    def _let_go(self) -> None:
        self._indexes: dict[Per, Index] = {}
        self._statistics: dict[Per, Statistics] = {}

    @property
    def model_sha256(self) -> str:
        """Hash of the gallery's model."""
        return self._follow().sha256

    @property
    def size(self) -> int:
        """D, how many numbers an embedding has."""
        self._follow()
        return self._size

    @property
    def precision(self) -> Precision:
        """The precision of stored embeddings."""
        return self._precision

    def index(self, per: Per = "sighting") -> Index:
        """Return the matrix of sightings or crops with all changes up to now."""
        check_choice("per", per, get_args(Per))
        with self._guard, self.database.reading():
            self._follow()
            if per not in self._indexes:
                self._indexes[per] = store_of(self.database).index(per, self._precision, self._size)
            self._indexes[per].refresh(self.database)
            return self._indexes[per]

    def statistics(self, per: Per = "sighting") -> Statistics:
        """Return the means of the cameras; computed anew after additions and erasures."""
        with self._guard:
            index, earlier = self.index(per), self._statistics.get(per)
            if earlier is None or earlier.number != index.statistics:
                self._statistics[per] = Statistics(index, earlier)
            return self._statistics[per]

    def decoding_bytes(self, image: bytes, *, boxed: bool = False) -> int:
        """Return about how many bytes it takes to decode an image that is searched with, by its header alone.

        Args:
            image: The encoded image.
            boxed: Whether a box is drawn on it, which is cut out of the whole image.
        """
        return decoding_bytes(check_header(image, "image"), None if boxed else self._follow().least)

    def use_model(
        self,
        model: Path | str,
        *,
        adapted_to: Sequence[int] = (),
        by: Actor | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Switched:
        """Give the gallery another model: all sightings are embedded again, from their thumbnails.

        People, judgements, cases and the audit stay; a calibration holds for its own model only. The gallery changes
        in one transaction: a search meanwhile, or after a crash, has the one model or the other.

        Args:
            model: A model folder.
            adapted_to: Sightings that it was trained on, which `forget` names it for.
            by: Who does it; they must see every camera.
            progress: Called with the number of crops of each batch that was embedded.

        Raises:
            UserError: A crop has no thumbnail, or somebody of `adapted_to` is gone.
        """
        return switch_model(self.database, Path(model), self._device, adapted_to, by or Actor(), progress)
