"""A tiny model with random weights, crops and embeddings at random, and a clock that tests set."""

from pathlib import Path

import numpy as np
import torch

from rewho.crops.writer import encode
from rewho.gallery.adding import Embedded
from rewho.gallery.database import FILE, open_database
from rewho.gallery.records import NewCrop
from rewho.gallery.store import STORE, new_store
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import ModelSettings

SIZE = 16
TERMS = {
    "name": "a test",
    "source": "rendered",
    "licence": "CC0-1.0",
    "purpose": "tests",
    "legal_basis": "nobody is in it",
    "contact": "the developers",
    "retention": "until the test ends",
}


class Clock:
    """A clock that tests set."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_model(folder: Path, seed: int = 1, size: int = SIZE) -> Path:
    torch.manual_seed(seed)
    settings = ModelSettings(backbone="squeezenet1_1", embedding=size, input_size=(64, 32), pretrained="none")
    save_model(folder, build_model(settings, (64, 32)).eval(), ModelCard())
    return folder


def crops_of(count, cameras=("door", "yard", "lift"), first=0, **known):
    """Return crops without images, an hour apart, on cameras in turn."""
    return [
        NewCrop(
            f"crop-{number}",
            camera=cameras[number % len(cameras)] if cameras else None,
            time=1_700_000_000.0 + 3600 * number,
            sha256=f"{number:064x}",
            **known,
        )
        for number in range(first, first + count)
    ]


def fill(gallery, vectors, crops=None, name="random"):
    """Add embeddings; return what that did."""
    crops = crops or crops_of(len(vectors))
    writer = gallery.writer(name, gallery.model_sha256)
    return writer.write([Embedded(crop, vector, None) for crop, vector in zip(crops, vectors, strict=True)])


def random_vectors(count, seed=1, size=SIZE):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def write_images(folder, images):
    """Write images as numbered files; return their paths in order."""
    files = [folder / f"{number:02d}.png" for number in range(len(images))]
    for file, pixels in zip(files, images, strict=True):
        file.write_bytes(encode(pixels, "png"))
    return files


def move_to(folder, store):
    """Let a gallery that is closed search elsewhere."""
    database = open_database(folder / FILE)
    with database.writing():
        for name, value in {STORE: store, **new_store(store)}.items():
            database.write(name, value)
    database.close()
