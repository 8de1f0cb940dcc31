"""Adding a source: reads its images, embeds them, makes thumbnails, and writes all in batches."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.crops.terms import TERMS
from rewho.data.images import decode, read_all
from rewho.gallery.adding import Embedded, Writer, close_source
from rewho.gallery.database import Database
from rewho.gallery.inputs import Input
from rewho.gallery.model import GalleryModel
from rewho.gallery.moments import remember_videos
from rewho.gallery.records import Added, NewCrop
from rewho.gallery.thumbnails import HEIGHT, make_thumbnail

BATCH = 256
"""Crops that are embedded and written together."""


def check_terms(terms: Mapping[str, Any], what: str) -> None:
    """Raise a UserError if a term is missing."""
    missing = [name for name in TERMS if not str(terms.get(name, "")).strip()]
    if missing:
        fix = "Pass --terms.name … for each, when the gallery is made or now."
        got = f"nothing on {', '.join(missing)}"
        raise UserError(f"terms of {what}", expected="on what terms people in it are stored", got=got, fix=fix)


def add_input(
    database: Database,
    source: Input,
    writer: Writer,
    model: GalleryModel,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> Added:
    """Embed and write all crops of a source that are not there yet."""
    total = Added(0)
    remember_videos(database, writer.source, source.videos)
    crops = source.crops()

    def look(count: int = 0) -> None:
        del count
        if stop():
            raise Interrupted(f"{total.crops:,} new crops are in the gallery")

    with ThreadPoolExecutor() as pool:
        while batch := list(itertools.islice(crops, BATCH)):
            new, known = writer.select_new(batch)
            pixels = read_all(functools.partial(_decode, model), new, pool.map)
            thumbnails = pool.map(make_thumbnail, pixels, new)
            vectors: Iterable[Any] = model.embed(pixels, source.count, look) if new else ()
            writer.runtime = model.runtime
            total = _sum(_sum(total, known), writer.write(list(map(Embedded, new, vectors, thumbnails))))
            progress(len(batch))
            look()
    close_source(database, writer.source)
    return total


def _decode(model: GalleryModel, crop: NewCrop) -> NDArray[np.uint8]:
    """Return what is embedded and becomes a thumbnail; whole where heads are located in its pixels."""
    return decode(crop.image, crop.name, least=None if crop.heads else (max(HEIGHT, *model.least),) * 2)


def _sum(one: Added, other: Added) -> Added:
    names = ("sightings", "crops", "present", "suppressed")
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in names})
