"""The nearest images of every image, from one triangle of the matrix of their distances.

The distance of two images is computed once and counts for both. A strip of rows is multiplied with the images from its
own first one on, a tile at a time: the tile's rows find neighbours among its columns, and its columns among its rows.
So every image meets the others in the order of their numbers, which decides between equal distances.

Letters: N images, D embedding, K neighbours, B rows of a strip, M columns of a tile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_count
from rewho.rank.blocks import MOST_ROWS, MOST_THREADS, one_thread_each
from rewho.rank.distance import EmbeddingDistances, smallest

TILE_COLUMNS = 2048
"""A float32 tile of 4 MB stays in the processor's cache until both its sides have been searched."""
MOST_NUMBERED = 2**31 - 1
"""Images whose numbers int32 can hold."""


class Neighbours(NamedTuple):
    """The K nearest images of every image.

    Attributes:
        indices: int64 [N, K]; column 0 is the image itself, the others follow by distance, equal ones by number.
        farthest: Distance of each image's farthest one, float32 [N].
    """

    indices: NDArray[np.int64]
    farthest: NDArray[np.float32]


class _Candidates(NamedTuple):
    """Images, others and distances [N], by image; those of an image by number, or where equal ones are by number."""

    images: NDArray[np.int64]
    others: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest_neighbours(
    embeddings: NDArray[Any], k: int, metric: str = "cosine", threads: int | None = None
) -> Neighbours:
    """Return the k nearest images of each image, itself included; memory grows with N k.

    Of fewer than k images all are returned. `threads=None` uses one thread per processor. The result does not depend
    on their number.
    """
    source = EmbeddingDistances(embeddings, embeddings, metric, "float32")
    count = source.shape[0]
    workers = check_count("threads", threads or min(os.cpu_count() or 1, MOST_THREADS))
    found = _Found(count, min(k, count))
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, MOST_ROWS):
            rows = np.arange(start, min(start + MOST_ROWS, count))
            search = partial(_search, rows, source=source, found=found)
            for candidates, maxima in pool.map(search, _tiles(start, count)):
                found.add(candidates, rows, maxima)
    return found.result()


def _tiles(start: int, stop: int) -> Iterator[slice]:
    """Yield the columns of the tiles of a strip that begins with image `start`; the first tile holds its own images."""
    edges = [start, *range(start + MOST_ROWS, stop, TILE_COLUMNS), stop]
    return (slice(first, last) for first, last in pairwise(edges) if first < last)


def _search(
    rows: NDArray[np.int64], columns: slice, *, source: EmbeddingDistances, found: _Found
) -> tuple[_Candidates, NDArray[np.float32]]:
    """Add a tile's rows to the neighbours of its columns; return what its columns are to its rows, and their maxima.

    A tile alone has its columns, but shares its rows with the other tiles of the strip.
    """
    distances = source.tile(rows, columns)
    if columns.start == rows[0]:
        upper = np.triu(distances)
        distances = upper + np.triu(distances, 1).T
        maxima = distances.max(axis=1)
        np.fill_diagonal(distances, -1)
        return found.select(distances, rows, columns.start), maxima
    others = np.arange(columns.start, columns.stop)
    found.add(found.select(distances.T, others, int(rows[0])), others, distances.max(axis=0))
    return found.select(distances, rows, columns.start), distances.max(axis=1)


class _Found:
    """The nearest images found so far: K of each image, in order, and up to K later ones that are not sorted in yet."""

    def __init__(self, images: int, k: int) -> None:
        self._k = k
        self._distances = np.full((images, 2 * k), np.inf, np.float32)
        self._numbers = np.zeros((images, 2 * k), np.int64 if images > MOST_NUMBERED else np.int32)
        self._filled = np.zeros(images, np.int64)
        self._bound = np.full(images, np.inf, np.float32)  # what an image must be nearer than
        self._farthest = np.full(images, -np.inf, np.float32)

    def select(self, distances: NDArray[np.float32], images: NDArray[np.int64], first: int) -> _Candidates:
        """Return the entries that may be among the K smallest of their rows.

        Args:
            distances: Of `images` to consecutive ones, [B, M].
            images: The images of the rows, [B].
            first: The number of the first column's image.
        """
        bound = self._bound[images]
        if np.isinf(bound).any():
            columns, values = smallest(distances, self._k)
            return _Candidates(np.repeat(images, columns.shape[1]), first + columns.ravel(), values.ravel())
        if distances.flags.c_contiguous:
            rows, columns = np.divmod(np.flatnonzero(distances < bound[:, None]), distances.shape[1])
        else:
            columns, rows = np.divmod(np.flatnonzero(bound > distances.T), distances.shape[0])
            order = np.argsort(rows, kind="stable")
            rows, columns = rows[order], columns[order]
        return _Candidates(images[rows], first + columns, distances[rows, columns])

    def add(self, found: _Candidates, images: NDArray[np.int64], maxima: NDArray[np.float32]) -> None:
        """Add candidates, which come after all earlier ones by number, and the largest distances of `images`."""
        self._farthest[images] = np.maximum(self._farthest[images], maxima)
        while len(found.images):
            rows, counts = np.unique(found.images, return_counts=True)
            place = self._filled[found.images] + np.arange(len(found.images))
            place -= np.repeat(np.cumsum(counts) - counts, counts)
            fits = place < 2 * self._k
            self._distances[found.images[fits], place[fits]] = found.distances[fits]
            self._numbers[found.images[fits], place[fits]] = found.others[fits]
            self._filled[rows] = np.minimum(self._filled[rows] + counts, 2 * self._k)
            found = _Candidates(found.images[~fits], found.others[~fits], found.distances[~fits])
            left = self._filled[rows]
            self._sort(rows[(left == 2 * self._k) | ((left >= self._k) & np.isinf(self._bound[rows]))])

    def _sort(self, images: NDArray[np.int64]) -> None:
        """Keep the K nearest of some images."""
        order = np.argsort(self._distances[images], axis=1, kind="stable")[:, : self._k]
        self._distances[images, : self._k] = np.take_along_axis(self._distances[images], order, 1)
        self._numbers[images, : self._k] = np.take_along_axis(self._numbers[images], order, 1)
        self._distances[images, self._k :] = np.inf
        self._filled[images] = np.minimum(self._filled[images], self._k)
        self._bound[images] = self._distances[images, self._k - 1]

    def result(self) -> Neighbours:
        """Return what was found."""
        self._sort(np.arange(len(self._filled)))
        return Neighbours(self._numbers[:, : self._k].astype(np.int64), self._farthest)
