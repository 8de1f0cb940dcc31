"""The gallery's own copy of its model, whose hash guards every query and every addition.

The first copy is in the folder `model` and stays. A later one is in a folder named by its hash; which of them is the
gallery's says the database, so that both change in one transaction.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest, hash_file, write_folder
from rewho.core.check import UserError
from rewho.core.shipped import CARD, TENSORS, find_model
from rewho.embedding.exported import ExportedModel, find_exported, load_model
from rewho.settings.fields import Device

if TYPE_CHECKING:  # loading a model takes half a gigabyte, and grouping does without
    from rewho.embedding.embedder import Embedder

MODEL = "model"
"""Name of the first copy's folder within the gallery's."""
NAME = "model folder"
"""Name in the table `about` of the folder of the copy that is used; absent for the first."""
SINCE = "model since"
"""Name in the table `about` of the gallery's state in which it got that model; absent for the first."""


def _files(folder: Path) -> tuple[Path, Path]:
    """Return a model folder's weights and description, of an exported ONNX model, too."""
    return find_exported(folder) or folder / TENSORS, folder / CARD


def hash_model(folder: Path) -> str:
    """Return the hash of a model folder's weights and description."""
    return digest([hash_file(file) for file in _files(folder)])


def copy_model(model: Path, gallery: Path) -> tuple[str, int]:
    """Copy a model folder into a new gallery; return its hash and the size of its embeddings."""
    model = find_model(model)
    size = embedding_size(load_model(model, "cpu"))
    folder = gallery / MODEL
    folder.mkdir(parents=True)
    _copy(model, folder)
    return hash_model(folder), size


def _copy(model: Path, folder: Path) -> None:
    for file in _files(model):
        shutil.copyfile(file, folder / file.name)


def embedding_size(loaded: Embedder | ExportedModel) -> int:
    """Return D of a loaded model."""
    return int(loaded.embed(np.zeros((64, 32, 3), np.uint8)).shape[1])


def place_model(model: Path, gallery: Path, sha256: str) -> str:
    """Copy another model into a gallery, flushed to the disk; return the name of its folder."""
    if hash_model(gallery / MODEL) == sha256:
        return MODEL
    name = f"{MODEL}-{sha256[:16]}"
    write_folder(gallery / name, lambda folder: _copy(model, folder))
    check_model(hash_model(gallery / name), sha256, f"model {model}")
    return name


def other_models(gallery: Path, used: str) -> list[Path]:
    """Return the copies that are neither the first nor the one that is used."""
    return [one for one in sorted(gallery.glob(f"{MODEL}-*")) if one.is_dir() and one.name != used]


def check_model(found: str, wanted: str, what: str) -> None:
    """Raise a UserError if embeddings are of another model than the gallery's; both hashes are shown."""
    if found != wanted:
        raise UserError(
            what,
            expected=f"the gallery's own model, {wanted}",
            got=f"another one, {found}",
            fix="Use the model in the gallery's folder, or make a new gallery with this one.",
        )


def check_same(now: str, before: str, what: str) -> None:
    """Raise a UserError if the gallery got another model while something was under way."""
    if now != before:
        got = f"another one since then, {now}"
        fix = "Run the same command again."
        raise UserError(what, expected=f"the gallery's model as it was at the start, {before}", got=got, fix=fix)


class GalleryModel:
    """A model of a gallery, loaded when the first image is embedded.

    Args:
        folder: The copy's folder.
        sha256: Its hash.
        device: auto, cpu or cuda.
    """

    def __init__(self, folder: Path, sha256: str, device: Device = "auto") -> None:
        self.sha256 = sha256
        self._folder, self._device = folder, device
        self._guard = threading.Lock()
        self._loaded: Embedder | ExportedModel | None = None

    @property
    def runtime(self) -> str:
        """The library that computed the last embeddings; "" before the first."""
        return self._loaded.runtime if self._loaded else ""

    @property
    def least(self) -> tuple[int, int]:
        """Height and width that an image needs."""
        return self._load().view.least

    def embed(
        self, images: Sequence[NDArray[np.uint8]], of: int = 0, done: Callable[[int], None] = lambda count: None
    ) -> NDArray[np.float32]:
        """Return the embeddings [N, D] of uint8 RGB images, averaged with their mirror images.

        Args:
            images: The images.
            of: Number of images of the whole source, all of which one library computes.
            done: Called with the number of images of each finished part; may end it by raising `Interrupted`.
        """
        return self._load().embed(images, of=of, done=done)

    def _load(self) -> Embedder | ExportedModel:
        with self._guard:
            if self._loaded is None:
                found = hash_model(self._folder) if self._folder.is_dir() else "none in its place"
                check_model(found, self.sha256, f"model {self._folder}")
                self._loaded = load_model(self._folder, self._device)
            return self._loaded
