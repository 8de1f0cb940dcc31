"""The exact best rows for a query, where another engine holds the vectors and answers inner products.

Vectors relative to their cameras' means are stored nowhere, because the means change with every addition. Let x be a
unit vector, m the mean of its camera, q the query relative to that of its own, p = x.m and b the length of x - m. Their
similarity is (x.q - m.q) / b, and b = sqrt(1 + m.m - 2 p) is concave in p, so nowhere below its chord between the
least and the largest p of the camera. So where the similarity reaches t >= 0, the inner product of x with
q - t * slope * m reaches a bound: one question per camera finds the rows that could be among the best, and the last one
that it returns proves that none is missing. Similarities are then computed in float64 from the database, as
`rewho.gallery.scan` does, so neither they nor the order of ties depend on the engine.

Letters: N rows of the index, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.gallery.index import Index
from rewho.gallery.records import WITHDRAWN
from rewho.gallery.scan import Best, Wanted, exact

LISTED = 16_384
"""Most ids in an expression, and most rows of an answer: Milvus' limit."""
LEAST = 64
"""Fewest rows to ask for; where a filter leaves no more, all are computed from the database."""
PART = 1024
"""Rows computed at a time."""
ERROR = 1e-4
"""Bound on the error of an inner product in float32 of a unit vector, per length of the other one."""
Vector = NDArray[np.float64]
Ask = Callable[[Sequence[Vector], str, int], Sequence[Sequence[tuple[int, float]]]]
"""Returns for each vector the ids and inner products of the best rows that an expression selects, at most so many."""


class _Part(NamedTuple):
    """Rows to keep, ascending; an expression that selects just these; the mean to subtract, and the ends of p."""

    rows: NDArray[np.int64]
    where: str
    mean: Vector | None
    ends: tuple[float, float]

    def aim(self, query: Vector, least: float) -> tuple[Vector, float, float, float]:
        """Return the vector to ask with, its bound for similarities from `least` on, the smallest and largest b."""
        if self.mean is None:
            return query, least, 1.0, 1.0
        square = 1 + float(self.mean @ self.mean)
        far, near = (float(np.sqrt(max(square - 2 * end, 1e-12))) for end in self.ends)
        slope = (near - far) / (self.ends[1] - self.ends[0])
        bound = float(self.mean @ query) + least * (far - slope * self.ends[0])
        return query - least * slope * self.mean, bound, near, far


class EngineScan:
    """Finds the best rows for one query; `ask` is the engine."""

    def __init__(self, ask: Ask, index: Index, wanted: Wanted) -> None:
        self._ask, self._index, self._wanted = ask, index, wanted

    def best(self, keep: NDArray[np.bool_]) -> Best:
        """Return the best rows among those to keep, bool [N]."""
        found = Best(np.empty(0, np.int64), np.empty(0))
        for part in self._parts(keep):
            found = self._find(part, found)
        return found

    def _mean(self, camera: int) -> Vector | None:
        means = self._wanted.means
        return None if means is None else means.mean(camera)

    def _parts(self, keep: NDArray[np.bool_]) -> Iterator[_Part]:
        """Yield the rows to keep in parts of one mean, which an expression of bearable length selects."""
        cameras, ids = self._index.column("cameras"), self._index.column("ids")
        groups: dict[int, list[int]] = {}
        for camera in np.unique(cameras[keep]).tolist():
            groups.setdefault(self._wanted.camera if self._mean(camera) is None else camera, []).append(camera)
        for camera, members in groups.items():
            here = np.isin(cameras, members)
            rows, mean = np.flatnonzero(here & keep), self._mean(camera)
            rest = ids[here & ~keep & (self._index.column("states") < WITHDRAWN)].tolist()
            ends = (-1.0, 1.0) if mean is None or len(rows) <= LEAST else self._ends(mean, members)
            if len(rest) <= LISTED:
                where = f"camera in {members}" + (f" and id not in {rest}" if rest else "")
                yield _Part(rows, where, mean, ends)
                continue
            for start in range(0, len(rows), LISTED):
                some = rows[start : start + LISTED]
                yield _Part(some, f"id in {ids[some].tolist()}", mean, ends)

    def _ends(self, mean: Vector, cameras: Sequence[int]) -> tuple[float, float]:
        """Return bounds on the inner products of a mean with the vectors of some cameras."""
        assert self._wanted.statistics is not None
        known, key = self._wanted.statistics.ends, tuple(cameras)
        if key not in known:
            low, high = (hits[0][1] if hits else 1.0 for hits in self._ask([-mean, mean], f"camera in {cameras}", 1))
            known[key] = -low - ERROR, high + ERROR
        return known[key]

    def _find(self, part: _Part, before: Best) -> Best:
        """Return the best of what was found before and of a part, from as few of its rows as are sure to do."""
        found, limit = before, max(2 * self._wanted.count, LEAST)
        while limit < min(len(part.rows), LISTED):
            least = max(self._last(found), 0.0)
            aim, bound, near, far = part.aim(self._wanted.query, least)
            hits = self._ask([aim], part.where, limit)[0]
            rows = self._index.find(np.array([number for number, _ in hits], np.int64))
            found = self._add(before, rows[np.isin(rows, part.rows)])
            if len(hits) < limit:
                return found
            excess = hits[-1][1] + ERROR * float(np.sqrt(aim @ aim)) - bound
            if least + excess / (near if excess > 0 else far) < self._last(found):
                return found
            limit *= 1 if least == 0 < self._last(found) else 4  # the first answer told what to ask for
        return self._add(before, part.rows)

    def _last(self, found: Best) -> float:
        """Return the similarity that a row must reach to be among the best."""
        return float(found.similarities[-1]) if len(found.rows) == self._wanted.count else -np.inf

    def _add(self, found: Best, rows: NDArray[np.int64]) -> Best:
        """Return the best of some rows and others, whose similarities are computed from the database."""
        for start in range(0, len(rows), PART):
            some = rows[start : start + PART]
            alike = exact(self._index, some, self._wanted)
            behind = self._wanted.is_behind(alike, self._index.column("ids")[some])
            rows_ = np.concatenate([found.rows, some[behind]])
            alike = np.concatenate([found.similarities, alike[behind]])
            order = np.lexsort((rows_, -alike))[: self._wanted.count]  # rows are in the order of their ids
            found = Best(rows_[order], alike[order])
        return found
