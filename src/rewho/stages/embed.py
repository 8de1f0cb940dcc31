"""Turn a folder of images into embeddings that any other program can read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rewho.core.artifact import plain, write_file
from rewho.core.check import UserError
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.runtime import StopRequest, run_in_processes
from rewho.core.stage import Stage
from rewho.core.text import csv_table
from rewho.crops.shards import CropSet
from rewho.embedding.exported import ExportedModel, load_model
from rewho.settings import EmbedSettings
from rewho.settings.fields import check
from rewho.tasks.crop_embeddings import PARTS, embed_parts, join_parts, part_file, read_runtimes
from rewho.tasks.unlabelled import read_images

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

FREE_SETTINGS = ("out", "images", "model", "engine", "batch", "ray", "address", "workers", "gpus")


@run_in_processes
@release_locks
def run(settings: EmbedSettings) -> Path:
    """Embed every image of a folder or crop set; return the folder of embeddings.npy [N, D] and images.csv [N]."""
    check(settings)
    began = time.monotonic()
    model = load_model(settings.model, settings.engine.device, settings.engine.threads, settings.runtime)
    images, names, sha256 = read_images(settings.images)
    if settings.ray and not isinstance(images, CropSet):
        fix = "Leave --ray out; or `rewho crop` the folder, which makes a crop set of photographs too."
        raise UserError(
            "--ray", expected="a crop set, whose files are divided", got=f"images in {settings.images}", fix=fix
        )
    inputs = model.identity() | {"images": sha256}
    stage = Stage(settings.out, "embed", plain(settings), inputs, FREE_SETTINGS)
    if stage.begin() == "finished":
        return settings.out
    if any(name != name.encode(errors="replace").decode() for name in names):
        say("note: names that are not UTF-8 are written with escapes such as \\udcff in images.csv")
    file = settings.out / "embeddings.npy"
    dimensions = _embed(settings, model, images, file)
    table = csv_table([("image",), *((name,) for name in names)])
    outputs = [file, write_file(settings.out / "images.csv", lambda opened: opened.write(table))]
    runtimes = read_runtimes(settings.out) or [model.runtime]
    counts = {"images": len(images), "dimensions": dimensions, "runtimes": runtimes}
    stage.finish(outputs, counts, time.monotonic() - began)
    shutil.rmtree(settings.out / PARTS, ignore_errors=True)
    return settings.out


def _embed(
    settings: EmbedSettings, model: Embedder | ExportedModel, images: Sequence[Path] | CropSet, out: Path
) -> int:
    """Write the embeddings; return how many numbers each has."""
    if not isinstance(images, CropSet) or not len(images):
        progress = Progress("embed", len(images), unit="images")
        embeddings = model.embed(images, flip=settings.flip, batch=settings.batch, done=progress.advance)
        progress.close()
        write_file(out, lambda file: np.save(file, embeddings, allow_pickle=False))
        return int(embeddings.shape[1])
    counts = [shard.crops for shard in images.contents.shards]
    there = sum(count for number, count in enumerate(counts) if part_file(settings.out, number).is_file())
    progress = Progress("embed", len(images), there, unit="crops")
    with StopRequest() as stop:
        try:
            embed_parts(settings, images, model, done=progress.advance, stop=lambda: stop.wanted)
        finally:
            progress.close()
        if progress.done < len(images):
            stop.end_if_wanted(f"{progress.done:,} of {len(images):,} crops are embedded in {settings.out}")
        return join_parts(settings.out, images, out)[1]
