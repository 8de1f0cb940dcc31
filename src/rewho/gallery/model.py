"""The gallery's own copy of its model, whose hash guards every query and every addition."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest, hash_file
from rewho.core.check import UserError
from rewho.core.shipped import find_model
from rewho.embedding.embedder import Embedder, load
from rewho.models.weights import CARD, TENSORS, read_card
from rewho.settings.fields import Device

MODEL = "model"
"""Name of the copy's folder within the gallery's."""


def hash_model(folder: Path) -> str:
    """Return the hash of a model folder's weights and description."""
    return digest([hash_file(folder / TENSORS), hash_file(folder / CARD)])


def copy_model(model: Path, gallery: Path) -> tuple[str, int]:
    """Copy a model folder into a new gallery; return its hash and the size of its embeddings."""
    model = find_model(model)
    description = read_card(model)
    size = load(model, "cpu").embed(np.zeros((64, 32, 3), np.uint8), flip=False).shape[1]
    folder = gallery / MODEL
    folder.mkdir(parents=True)
    for name in (TENSORS, CARD):
        shutil.copyfile(model / name, folder / name)
    del description
    return hash_model(folder), int(size)


def check_model(found: str, wanted: str, what: str) -> None:
    """Raise a UserError if a model is not the gallery's."""
    if found != wanted:
        raise UserError(
            what,
            expected=f"the gallery's own model, {wanted}",
            got=f"another one, {found}",
            fix="Use the model in the gallery's folder, or make a new gallery with this one.",
        )


class GalleryModel:
    """The model of a gallery, loaded when the first image is embedded.

    Args:
        gallery: The gallery's folder.
        sha256: Hash of its model.
        device: auto, cpu or cuda.
    """

    def __init__(self, gallery: Path, sha256: str, device: Device = "auto") -> None:
        self._folder, self._sha256, self._device = gallery / MODEL, sha256, device
        self._guard = threading.Lock()
        self._loaded: Embedder | None = None

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the embeddings [N, D] of uint8 RGB images, averaged with their mirror images."""
        with self._guard:
            if self._loaded is None:
                check_model(hash_model(self._folder), self._sha256, f"model {self._folder}")
                self._loaded = load(self._folder, self._device)
        return self._loaded.embed(images)
