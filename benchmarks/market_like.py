"""Embeddings with the sizes and the difficulty of Market-1501, made of random numbers; the benchmarks share them.

Unusual: people differ in how much their images scatter, and cameras shift all of theirs the same way, so that the
distances of matches and non-matches overlap as they do for a trained network (mAP near .6), and average precision
varies between queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.people import JUNK
from rewho.core.runtime import generator
from rewho.rank.labels import ImageLabels

PEOPLE, CAMERAS, DIMENSIONS = 751, 6, 256
QUERIES, GALLERY, JUNK_IMAGES, DISTRACTORS = 3368, 15913, 3819, 2793
SCATTER, CAMERA_SHIFT = 1.75, 0.3


class Task(NamedTuple):
    """Embeddings float32 [Q, D] and [G, D], and labels; the gallery holds junk beside its ranked images."""

    query_embeddings: NDArray[np.float32]
    query: ImageLabels
    gallery_embeddings: NDArray[np.float32]
    gallery: ImageLabels


def market_like(queries: int = QUERIES, gallery: int = GALLERY, junk: int = JUNK_IMAGES, seed: int = 1) -> Task:
    """Return a task of `queries` x `gallery` ranked images, and `junk` images that are dropped."""
    random = generator(seed, "benchmark embeddings")
    people, cameras = (random.normal(size=(count, DIMENSIONS)) for count in (PEOPLE, CAMERAS))
    spread = np.exp(0.3 * random.normal(size=PEOPLE))

    def embed(person_ids: NDArray[np.int64], camera_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        known = person_ids > 0
        embeddings = random.normal(size=(len(person_ids), DIMENSIONS))
        embeddings *= SCATTER * np.where(known, spread[person_ids - 1], 1)[:, None]
        embeddings += np.where(known[:, None], people[person_ids - 1], random.normal(size=embeddings.shape))
        return (embeddings + CAMERA_SHIFT * cameras[camera_ids]).astype(np.float32)

    distractors = round(gallery * DISTRACTORS / GALLERY)
    gallery_people = random.integers(1, PEOPLE + 1, gallery + junk)
    gallery_people[:distractors] = 0
    gallery_people[distractors : distractors + junk] = JUNK
    random.shuffle(gallery_people)
    query_people = random.integers(1, PEOPLE + 1, queries)
    query_cameras, gallery_cameras = (random.integers(CAMERAS, size=count) for count in (queries, gallery + junk))
    return Task(
        embed(query_people, query_cameras),
        ImageLabels(query_people, query_cameras),
        embed(gallery_people, gallery_cameras),
        ImageLabels(gallery_people, gallery_cameras),
    )
