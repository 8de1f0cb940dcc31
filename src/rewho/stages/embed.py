"""Turn a folder of images into embeddings that any other program can read."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from rewho.core.artifact import plain, write_file
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.runtime import run_in_processes
from rewho.core.stage import Stage
from rewho.core.text import csv_table
from rewho.embedding.exported import load_model
from rewho.settings import EmbedSettings
from rewho.settings.fields import check
from rewho.tasks.unlabelled import read_images

FREE_SETTINGS = ("out", "images", "model", "engine", "batch")


@run_in_processes
@release_locks
def run(settings: EmbedSettings) -> Path:
    """Embed every image of a folder or crop set; return the folder of embeddings.npy [N, D] and images.csv [N]."""
    check(settings)
    began = time.monotonic()
    model = load_model(settings.model, settings.engine.device, settings.engine.threads)
    images, names, sha256 = read_images(settings.images)
    inputs = model.identity() | {"images": sha256}
    stage = Stage(settings.out, "embed", plain(settings), inputs, FREE_SETTINGS)
    if stage.begin() == "finished":
        return settings.out
    progress = Progress("embed", len(images), unit="images")
    embeddings = model.embed(images, flip=settings.flip, batch=settings.batch, done=progress.advance)
    progress.close()
    if any(name != name.encode(errors="replace").decode() for name in names):
        say("note: names that are not UTF-8 are written with escapes such as \\udcff in images.csv")
    table = csv_table([("image",), *((name,) for name in names)])
    outputs = [
        write_file(settings.out / "embeddings.npy", lambda file: np.save(file, embeddings, allow_pickle=False)),
        write_file(settings.out / "images.csv", lambda file: file.write(table)),
    ]
    stage.finish(outputs, {"images": len(images), "dimensions": embeddings.shape[1]}, time.monotonic() - began)
    return settings.out
