"""The exact best rows of an index for a query, among the rows that filters leave.

Two passes: one product of the whole matrix, in its own precision, gives every similarity with a known bound on its
error; the rows that could be among the best are then computed in float64. The result does not depend on the blocks or
on the filter: it equals a float64 scan of the filtered rows, ties by id.

Letters: N rows of the index, S rows that filters leave, D embedding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.gallery.index import BLOCK, UNKNOWN, Index
from rewho.gallery.vectors import unit
from rewho.rank.camera_norm import LEAST_CROPS, CameraMeans, camera_means, centre_by_camera

GATHER = 0.4
"""Share of the rows up to which only these are multiplied: gathering rows costs about as much as multiplying them."""
PART = 2048
"""Rows that are summed at a time."""
FEW = 512
"""Rows up to which each is computed in float64 at once."""
LEAST_SPREAD = 1e-3  # of a row's distance to its camera's mean, below which the bound on its similarity says nothing


class Best(NamedTuple):
    """Rows of an index and their similarities, float64, the best first."""

    rows: NDArray[np.int64]
    similarities: NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Args:
        query: Unit vector [D]; with statistics, relative to the mean of its camera.
        count: Number of rows to return; fewer if fewer are kept.
        after: Continue behind this (similarity, id).
        statistics: Compare relative to the cameras' means; None compares plain embeddings.
        camera: The query's camera. Its mean is also used for rows whose camera has no mean.
    """

    query: NDArray[np.float64]
    count: int
    after: tuple[float, int] | None = None
    statistics: Statistics | None = None
    camera: int = UNKNOWN

    @property
    def means(self) -> CameraMeans | None:
        """The cameras' means to compare relative to."""
        return self.statistics.means if self.statistics else None

    def is_behind(self, similarities: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows come after `after`, bool [S]."""
        if self.after is None:
            return np.ones(len(ids), bool)
        return np.asarray((similarities < self.after[0]) | ((similarities == self.after[0]) & (ids > self.after[1])))


class Statistics:
    """The means of an index's cameras, and each row's distance to its own, computed when they are first needed.

    Args:
        index: The rows; their camera must not change without `index.statistics`.
        earlier: Those of fewer of its rows, of which the sums are taken over where no row has changed.
    """

    def __init__(self, index: Index, earlier: Statistics | None = None) -> None:
        self.index, self.number, self._rewritten = index, index.statistics, index.rewritten
        self._whole = CameraMeans(np.zeros((0, index.size)), np.zeros(0)), 0  # of whole parts, and of how many rows
        if earlier is not None and earlier._rewritten == self._rewritten:
            self._whole = earlier._whole
        self.means = self._sum()
        self.ends: dict[tuple[int, ...], tuple[float, float]] = {}
        """Least and largest inner product of a mean with the vectors of some cameras, where an engine told them."""

    def _sum(self) -> CameraMeans:
        """Return the means of unit embeddings, weighted by the crops of each sighting."""
        total, done = self._whole
        cameras, weights = self.index.column("cameras").astype(np.int64), self.index.column("weights")
        for start in range(done, len(self.index), PART):
            rows = np.arange(start, min(start + PART, len(self.index)))
            total = _join(total, camera_means(unit(self.index.vectors(rows)), cameras[rows], weights[rows]))
            if len(rows) == PART:
                self._whole = total, start + PART
        return total

    @functools.cached_property
    def spread(self) -> NDArray[np.float32]:
        """Return each row's distance to its camera's mean, approximately, float32 [N]; 1 where there is no mean."""
        spread = np.ones(len(self.index), np.float32)
        cameras = self.index.column("cameras")
        for camera in range(len(self.means.counts)):
            mean = self.means.mean(camera)
            if mean is not None:
                rows = np.flatnonzero(cameras == camera)
                product = multiply(self.index, mean, rows)
                spread[rows] = np.sqrt(np.maximum(1 - 2 * product + float(mean @ mean), 0))
        return spread


def _join(one: CameraMeans, other: CameraMeans) -> CameraMeans:
    count = max(len(one.counts), len(other.counts))
    joined = CameraMeans(np.zeros((count, one.sums.shape[1])), np.zeros(count))
    for part in (one, other):
        joined.sums[: len(part.counts)] += part.sums
        joined.counts[: len(part.counts)] += part.counts
    return joined


def multiply(index: Index, vector: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Return the product of a vector with all rows, or with these, float32; its error is below `error_of(index)`.

    The products are made where the matrix lies, in its own precision: half the bytes take half the time.
    """
    import torch  # takes half a gigabyte, and grouping does without

    kind = torch.float16 if index.precision == "float16" else torch.float32
    query = torch.from_numpy(np.asarray(vector)).to(kind)
    found = np.empty(len(index) if rows is None else len(rows), np.float32)
    for start, block in index.parts():
        matrix = torch.from_numpy(block)
        if rows is None:
            found[start : start + len(block)] = torch.mv(matrix, query).float().numpy()
            continue
        first, last = np.searchsorted(rows, [start, start + BLOCK])
        if last > first:
            inside = torch.from_numpy(rows[first:last] - start)
            found[first:last] = torch.mv(matrix.index_select(0, inside), query).float().numpy()
    return found


def error_of(index: Index) -> float:
    """Return a bound on the error of `multiply` for unit vectors, with a factor of two to spare.

    float16: the query and the result are rounded to 11 bits, which is 2^-12 of each, and sums are made in float32.
    Vectors are stored as rounded unit vectors, whose length differs from 1 by at most 2^-11.
    """
    return 2e-3 if index.precision == "float16" else 1e-4


def exact(index: Index, rows: NDArray[np.int64], wanted: Wanted) -> NDArray[np.float64]:
    """Return the similarity of rows to a query in float64; its last bits do not depend on the other rows."""
    return np.asarray((relative(index, wanted.means, rows, wanted.camera) * wanted.query).sum(axis=1), np.float64)


def relative(
    index: Index, means: CameraMeans | None, rows: NDArray[np.int64], camera: int = UNKNOWN
) -> NDArray[np.float64]:
    """Return the unit vectors of rows, relative to the mean of the camera of each, float64.

    Args:
        index: The rows.
        means: Means of the cameras; None returns plain vectors.
        rows: The rows to return.
        camera: Camera whose mean is used for rows whose own has none; without it these stay plain.
    """
    vectors = unit(index.vectors(rows))
    if means is None:
        return vectors
    return centre_by_camera(vectors, index.column("cameras")[rows], means, means.mean(camera))


def best(index: Index, wanted: Wanted, keep: NDArray[np.bool_]) -> Best:
    """Return the best rows among those to keep, bool [N]."""
    rows = np.flatnonzero(keep)
    if not len(rows):
        return Best(rows, np.empty(0))
    if len(rows) > FEW:
        rows = _could_be_best(index, wanted, rows)
    found, ids = exact(index, rows, wanted), index.column("ids")[rows]
    behind = wanted.is_behind(found, ids)
    rows, found, ids = rows[behind], found[behind], ids[behind]
    order = np.lexsort((ids, -found))[: wanted.count]
    return Best(rows[order], found[order])


def _could_be_best(index: Index, wanted: Wanted, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of some rows that could be among the best, by bounds on their similarities."""
    rough, error = _estimate(index, wanted, rows)
    count, after = wanted.count, wanted.after
    if after is not None:
        behind = rough - error <= after[0]
        rows, rough, error = rows[behind], rough[behind], error[behind]
    # The count-th best lower bound is a bound on the last result, if all rows counted for it are surely behind `after`.
    sure = np.flatnonzero(rough + error < after[0]) if after is not None else np.arange(len(rows))
    if len(sure) > count:
        low = (rough - error)[sure]
        least = np.partition(low, len(low) - count)[len(low) - count]
        could = rough + error >= least
        rows = rows[could]
    return rows


def _estimate(index: Index, wanted: Wanted, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the similarity of rows, float32 [S], and a bound on its error."""
    some = rows if len(rows) < GATHER * len(index) else None
    product = multiply(index, wanted.query, some)
    product = product if some is not None else product[rows]
    error = error_of(index)
    if wanted.statistics is None:
        return product, np.full(len(rows), error, np.float32)
    means = wanted.statistics.means
    own = means.mean(wanted.camera)
    assert own is not None
    cameras = index.column("cameras")[rows]
    several = means.counts >= LEAST_CROPS
    shifts = np.full(len(several) + 1, wanted.query @ own)  # the last one is of rows whose camera is unknown
    shifts[:-1][several] = means.sums[several] @ wanted.query / means.counts[several]
    shift, spread = shifts.astype(np.float32)[cameras], wanted.statistics.spread[rows].copy()
    without = ~np.append(several, False)[cameras]
    if without.any():
        products = multiply(index, own, rows[without])
        spread[without] = np.sqrt(np.maximum(1 - 2 * products + float(own @ own), 0))
    spread = np.maximum(spread, LEAST_SPREAD)
    return (product - shift) / spread, 3 * error / spread**2
