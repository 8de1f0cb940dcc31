"""The result of an evaluation: scores with their labels.

Each score carries its name, label and explanation. Report, CSV, JSON and log need not name scores: a new metric is one
entry in `metrics.METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_count, check_flag
from rewho.rank.ties import QueryMatches

Value = TypeVar("Value")


class Metric(NamedTuple):
    """A score of each query, whose mean over queries is reported.

    Attributes:
        name: Name of the mean: attribute of `Scores`, and key in metrics.json.
        query_name: Name of a query's own score: attribute of `QueryScores`, and column of per_query.csv.
        label: Name in tables and on the report's page.
        explanation: One sentence for the reader of the report.
        compute: Returns the score, 0 to 1, of each query that has a match, float64 [V].
        interval: Whether a bootstrap interval is computed, and the gain over another model.
    """

    name: str
    query_name: str
    label: str
    explanation: str
    compute: Callable[[QueryMatches], NDArray[np.float64]]
    interval: bool = False


class Headline(NamedTuple):
    """One score as the report shows it: a share from 0 to 1, and the ends of its 95 % interval or None."""

    label: str
    value: float
    low: float | None
    high: float | None
    explanation: str


class _ByName(Generic[Value]):
    """Gives each of its `values` as an attribute too."""

    values: Mapping[str, Value]

    def __getattr__(self, name: str) -> Value:
        values = self.__dict__.get("values", {})  # absent while the object is being copied
        if name not in values:
            raise AttributeError(f"{type(self).__name__} has no score {name!r}; it has {', '.join(values)}")
        value: Value = values[name]
        return value


@dataclass(frozen=True, eq=False)
class QueryScores(_ByName[NDArray[np.float64]]):
    """Scores of each query; NaN where it has no match.

    Args:
        person_ids: Person that each query shows, int64 [Q].
        valid: Whether the query has a match left, bool [Q].
        first_match: Rank of the first match, counted from 1, [Q].
        values: By the `query_name` of each metric, [Q]: `rank_1`, `ap_rectangular`, `ap_trapezoid`, `inp`.
    """

    person_ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    first_match: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class CameraPair(_ByName[float]):
    """Scores of one camera's queries against one camera's gallery images.

    Args:
        query_camera: Camera of the queries; -1 is unknown.
        gallery_camera: Camera of the gallery images.
        valid_queries: Queries of that camera that have a match in the other.
        values: Mean over these queries, by the name of each metric.
    """

    query_camera: int
    gallery_camera: int
    valid_queries: int
    values: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Scores(_ByName[float]):
    """The scores of a ranking, as shares from 0 to 1.

    Args:
        description: How the distances were made.
        queries: Number of queries.
        valid_queries: Queries that have a match.
        not_in_gallery: Queries without a match because no ranked image shows their person.
        only_left_out: Queries without a match because all images of their person are left out: same camera, or the
            query itself.
        cmc: Share of the valid queries with a match among the k nearest, k = 1 … max_rank.
        cmc_all_queries: The same share of all queries; one without a match counts as a miss.
        values: Mean over the valid queries by the name of each metric (`mAP_rectangular`, `mAP_trapezoid`, `mINP`), and
            over all queries under the same name with `_all_queries`; a query without a match counts 0 there.
        people: People that the valid queries show.
        intervals: 95 % bootstrap interval over people, by the name of the metric; empty if not requested, or where
            there is one person only.
        camera_pairs: One entry per pair of cameras with a match; empty if not requested.
        per_query: Scores of each query.
        metrics: What was computed.
    """

    description: str
    queries: int
    valid_queries: int
    not_in_gallery: int
    only_left_out: int
    cmc: NDArray[np.float64]
    cmc_all_queries: NDArray[np.float64]
    values: Mapping[str, float]
    people: int
    intervals: Mapping[str, tuple[float, float]]
    camera_pairs: tuple[CameraPair, ...]
    per_query: QueryScores
    metrics: tuple[Metric, ...]

    def __repr__(self) -> str:
        return f"Scores({self.description}: {self.line()})"

    def headlines(self) -> Iterator[Headline]:
        """Yield Rank-1, 5 and 10 and the mean of every metric, each with its label, interval and explanation."""
        for metric in self.metrics:
            low, high = self.intervals.get(metric.name, (None, None))
            yield Headline(metric.label, self.values[metric.name], low, high, metric.explanation)
            for k in (5, 10) if metric.name == "rank_1" else ():
                if k <= len(self.cmc):
                    explanation = f"Share of queries with a match among the nearest {k}."
                    yield Headline(f"Rank-{k}", self.rank(k), None, None, explanation)

    def line(self) -> str:
        """Return the usual scores in percent, the interval over people and the counts of queries on one line."""
        if self.people == 1:
            interval = " (one person, so no interval)"
        elif "mAP_rectangular" in self.intervals:
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
        """Return the share of the valid queries with a match among the k nearest."""
        return float(self.cmc[check_count("rank", k, 1, len(self.cmc)) - 1])

    def as_dict(self, *, with_queries: bool = False, camera_name: Callable[[int], int | str] = int) -> dict[str, Any]:
        """Return everything as numbers, lists and dictionaries that JSON can hold; NaN becomes None.

        Args:
            with_queries: Add the scores of each query.
            camera_name: Returns the name of a camera by its id.
        """
        check_flag("with_queries", with_queries)
        apart = ("values", "intervals", "camera_pairs", "per_query", "metrics")
        named = {name: value for name, value in vars(self).items() if name not in apart} | dict(self.values)
        named |= {f"rank_{k}": self.rank(k) for k in (1, 5, 10, 20) if k <= len(self.cmc)}
        named["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        named["camera_pairs"] = [
            {name: camera_name(getattr(pair, name)) for name in ("query_camera", "gallery_camera")}
            | {"valid_queries": pair.valid_queries, **pair.values}
            for pair in self.camera_pairs
        ]
        if with_queries:
            queries = {name: value for name, value in vars(self.per_query).items() if name != "values"}
            named["per_query"] = {name: _json_list(v) for name, v in (queries | dict(self.per_query.values)).items()}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in named.items()}


def _json_list(values: NDArray[Any]) -> list[Any]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]
