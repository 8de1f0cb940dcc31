# ruff: noqa: N815  (mAP and mINP are what the field calls them)
"""What an evaluation leaves: figures under names that say which convention they follow and which queries they cover."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_range


@dataclass(frozen=True, eq=False)
class QueryScores:
    """Scores of each query; NaN where it has no match.

    Args:
        person_ids: Person that each query shows, int64 [Q].
        valid: Whether the query has a match left, bool [Q].
        rank_1: Probability that the nearest image is a match: 0 or 1 but for ties, [Q].
        ap_rectangular: Average precision, mean of (i + 1) / (r + 1) over the matches, [Q].
        ap_trapezoid: Average precision, mean of half the sum of (i + 1) / (r + 1) and i / r (1 where r = 0), [Q].
        inp: Inverse negative penalty, matches / rank of the last match, [Q].
        first_match: Rank of the first match, counted from 1, [Q].
    """

    person_ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    rank_1: NDArray[np.float64]
    ap_rectangular: NDArray[np.float64]
    ap_trapezoid: NDArray[np.float64]
    inp: NDArray[np.float64]
    first_match: NDArray[np.float64]


@dataclass(frozen=True)
class CameraPair:
    """Scores of one camera's queries against one camera's gallery images; means over the queries with a match there.

    Args:
        query_camera: Camera of the queries; -1 is unknown.
        gallery_camera: Camera of the gallery images.
        valid_queries: Queries of that camera that have a match in the other.
        rank_1: Share of them whose nearest image is a match.
        mAP_rectangular: Mean average precision, rectangular.
        mAP_trapezoid: Mean average precision, trapezoid.
    """

    query_camera: int
    gallery_camera: int
    valid_queries: int
    rank_1: float
    mAP_rectangular: float
    mAP_trapezoid: float


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What an evaluation found. All figures are shares from 0 to 1.

    Args:
        description: How the distances were made.
        queries: Number of queries.
        valid_queries: Queries that have a match.
        not_in_gallery: Queries without a match because no ranked image shows their person.
        only_left_out: Queries without a match because all images of their person are left out: same camera, or the
            query itself.
        cmc: Share of the valid queries with a match among the k nearest, k = 1 … max_rank.
        mAP_rectangular: Mean over the valid queries (fast-reid, torchreid, scikit-learn).
        mAP_trapezoid: Mean over the valid queries (Market-1501's own code).
        mINP: Mean inverse negative penalty over the valid queries.
        cmc_all_queries: As cmc, over all queries; one without a match counts as a miss.
        mAP_rectangular_all_queries: Mean over all queries; one without a match counts 0.
        mAP_trapezoid_all_queries: Mean over all queries; one without a match counts 0.
        mINP_all_queries: Mean over all queries; one without a match counts 0.
        people: People that the valid queries show.
        intervals: 95 % bootstrap interval over people for rank_1 and both mAPs; empty if not asked for, or where there
            is one person only.
        camera_pairs: One entry per pair of cameras with a match; empty if not asked for.
        per_query: Scores of each query.
    """

    description: str
    queries: int
    valid_queries: int
    not_in_gallery: int
    only_left_out: int
    cmc: NDArray[np.float64]
    mAP_rectangular: float
    mAP_trapezoid: float
    mINP: float
    cmc_all_queries: NDArray[np.float64]
    mAP_rectangular_all_queries: float
    mAP_trapezoid_all_queries: float
    mINP_all_queries: float
    people: int
    intervals: dict[str, tuple[float, float]]
    camera_pairs: tuple[CameraPair, ...]
    per_query: QueryScores

    def __repr__(self) -> str:
        return (
            f"Scores({self.description}: Rank-1 {self.rank(1):.4f}, mAP {self.mAP_rectangular:.4f} rectangular, "
            f"{self.mAP_trapezoid:.4f} trapezoid, {self.valid_queries} of {self.queries} queries)"
        )

    def line(self) -> str:
        """Return the headline figures in percent, the interval over people and the counts of queries on one line."""
        if self.people == 1:
            interval = " (one person, so no interval)"
        elif self.intervals:
            low, high = self.intervals["mAP_rectangular"]
            interval = f" (95 % over {self.people:,} people: {100 * low:.2f} – {100 * high:.2f})"
        else:
            interval = ""
        return (
            f"Rank-1 {100 * self.rank(1):.2f}, mAP {100 * self.mAP_rectangular:.2f} rectangular{interval}, "
            f"{100 * self.mAP_trapezoid:.2f} trapezoid, mINP {100 * self.mINP:.2f}; {self.valid_queries:,} queries, "
            f"{self.queries - self.valid_queries:,} without a match"
        )

    def rank(self, k: int) -> float:
        """Return the share of the valid queries with a match among the k nearest.

        Raises:
            UserError: The curve does not reach k, or k is below 1.
        """
        return float(self.cmc[int(check_range("rank", k, 1, len(self.cmc))) - 1])

    def as_dict(self, *, with_queries: bool = False, camera_name: Callable[[int], int | str] = int) -> dict[str, Any]:
        """Return everything as numbers, lists and dictionaries that JSON can hold; NaN becomes None.

        Args:
            with_queries: Add the scores of each query.
            camera_name: Returns what the pairs of cameras call a camera; by default its id.
        """
        named = {name: value for name, value in vars(self).items() if name not in ("per_query", "camera_pairs")}
        named |= {f"rank_{k}": self.rank(k) for k in (1, 5, 10, 20) if k <= len(self.cmc)}
        named["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        named["camera_pairs"] = [
            vars(pair) | {name: camera_name(getattr(pair, name)) for name in ("query_camera", "gallery_camera")}
            for pair in self.camera_pairs
        ]
        if with_queries:
            named["per_query"] = {name: _json_list(value) for name, value in vars(self.per_query).items()}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in named.items()}


def _json_list(values: NDArray[Any]) -> list[Any]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]
