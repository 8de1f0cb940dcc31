"""CMC, mAP in its two conventions, and mINP, from a ranking.

* Published mAP mixes two conventions that differ by up to two points; both are computed, each under its own name.
* Means over the queries that have a match and over all queries stand side by side, and the queries without a match are
  counted by reason.
* Tied images are scored at their expected value (`ties.py`), so the order in which images are stored has no influence.
* No gallery is ever sorted. Only the number of images nearer than each match counts; it is looked up in the sorted
  distances up to the query's last match.

Letters: Q queries, V of them with a match, K ranked gallery images, M matches, B queries of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_count, check_flag
from rewho.rank.interval import bootstrap_interval
from rewho.rank.ranking import Ranking, RankingBlock, no_match_error
from rewho.rank.scores import CameraPair, Metric, QueryScores, Scores
from rewho.rank.ties import QueryMatches, expected_first_rank, group_ties, inverse_last_rank, match_within

METRICS = (
    Metric(
        "rank_1",
        "rank_1",
        "Rank-1",
        "Share of queries whose nearest ranked image shows the same person.",
        lambda matches: match_within(matches.first, 1)[:, 0],
        interval=True,
    ),
    Metric(
        "mAP_rectangular",
        "ap_rectangular",
        "mAP (rectangular)",
        "Mean average precision as fast-reid, torchreid and scikit-learn compute it.",
        lambda matches: matches.average_precisions[0],
        interval=True,
    ),
    Metric(
        "mAP_trapezoid",
        "ap_trapezoid",
        "mAP (trapezoid)",
        "Mean average precision as Market-1501's own evaluation computes it.",
        lambda matches: matches.average_precisions[1],
        interval=True,
    ),
    Metric(
        "mINP",
        "inp",
        "mINP",
        "How early the last match comes: matches divided by the last match's rank.",
        lambda matches: matches.counts * inverse_last_rank(matches.last),
    ),
)
"""All metrics of an evaluation, in the order in which they are shown."""


def evaluate(
    ranking: Ranking,
    *,
    max_rank: int = 50,
    camera_pairs: bool = False,
    resamples: int = 1000,
    seed: int = 1,
    threads: int | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> Scores:
    """Compute all scores of a ranking.

    Args:
        ranking: What to score.
        max_rank: Length of the CMC curve.
        camera_pairs: Also score each pair of cameras, which takes about twice as long.
        resamples: Resamples of the bootstrap interval over people; 0 leaves it out.
        seed: Seed of the bootstrap.
        threads: Threads; None takes one per processor.
        metrics: What to compute: `METRICS`, with metrics of your own behind them.

    Raises:
        UserError: No query has a match, or `max_rank` is below 1.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> query, gallery = ImageLabels(np.array([1])), ImageLabels(np.array([1, 2, 1]))
        >>> scores = evaluate(Ranking.from_distances(np.array([[0.1, 0.2, 0.3]]), query, gallery))
        >>> round(scores.mAP_rectangular, 4), round(scores.mAP_trapezoid, 4), scores.rank(1)
        (0.8333, 0.7917, 1.0)
    """
    max_rank, resamples, seed = (
        check_count(name, value, low)
        for name, value, low in (("max_rank", max_rank, 1), ("resamples", resamples, 0), ("seed", seed, 0))
    )
    check_flag("camera_pairs", camera_pairs)
    cameras = np.unique(ranking.gallery.cameras[ranking.kept]) if camera_pairs else np.empty(0, np.int64)
    parts = ranking.map_blocks(lambda block: _match_ranks(ranking, block, cameras), threads)
    whole, *by_camera = (QueryMatches(group_ties(*np.concatenate(part, axis=1))) for part in zip(*parts, strict=True))
    queries, people = len(ranking.query), ranking.query.person_ids
    per_query = _score_queries(whole, people, metrics)
    count = int(per_query.valid.sum())
    if not count:
        raise no_match_error(ranking)
    # A query without a match adds nothing to any sum.
    curve = match_within(whole.first, max_rank).sum(axis=0)
    sums = {metric.name: float(np.nansum(per_query.values[metric.query_name])) for metric in metrics}
    absent = int((ranking.same_person() == 0).sum())
    return Scores(
        description=ranking.description,
        queries=queries,
        valid_queries=count,
        not_in_gallery=absent,
        only_left_out=queries - count - absent,
        cmc=curve / count,
        cmc_all_queries=curve / queries,
        values={name: total / count for name, total in sums.items()}
        | {f"{name}_all_queries": total / queries for name, total in sums.items()},
        people=len(np.unique(people[per_query.valid])),
        intervals=_intervals(per_query, metrics, resamples, seed) if resamples else {},
        camera_pairs=tuple(
            pair
            for camera, matches in zip(cameras.tolist(), by_camera, strict=True)
            for pair in _camera_pairs(ranking, camera, _score_queries(matches, people, metrics), metrics)
        ),
        per_query=per_query,
        metrics=tuple(metrics),
    )


def _match_ranks(ranking: Ranking, block: RankingBlock, cameras: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rank the matches of a block among all images, then among the images of each camera alone."""
    column_cameras = ranking.gallery.cameras[ranking.kept]
    ranks = [_count_nearer(block)]
    for camera in cameras:
        inside = column_cameras == camera
        of_camera = inside[block.match_columns]
        new_columns = np.cumsum(inside) - 1
        part = RankingBlock(
            block.rows,
            block.distances[:, inside],
            block.match_rows[of_camera],
            new_columns[block.match_columns[of_camera]],
        )
        ranks.append(_count_nearer(part))
    return ranks


def _count_nearer(block: RankingBlock) -> NDArray[np.int64]:
    """Return for each match its query, the images strictly nearer, and those as near or nearer, [3, M]."""
    distances, rows = block.distances, block.match_rows
    of_match = distances[rows, block.match_columns]
    of_match = of_match[np.lexsort((of_match, rows))]
    nearer, not_farther = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    ends = np.searchsorted(rows, np.arange(len(distances) + 1))
    for row in np.unique(rows):
        matches = slice(ends[row], ends[row + 1])
        sought = of_match[matches]
        ahead = _not_farther_than(distances[row], sought[-1])
        # Values alone: sorting them is several times faster than an argsort.
        ahead.sort()
        nearer[matches] = ahead.searchsorted(sought, "left")
        not_farther[matches] = ahead.searchsorted(sought, "right")
    return np.stack([block.rows[rows], nearer, not_farther])


def _not_farther_than(distances: NDArray[Any], limit: np.floating[Any]) -> NDArray[Any]:
    """Return a query's distances up to `limit`, or a copy of all where that is quicker."""
    inside = distances <= limit
    return distances.compress(inside) if 8 * np.count_nonzero(inside) < len(distances) else distances.copy()


def _score_queries(matches: QueryMatches, person_ids: NDArray[np.int64], metrics: Sequence[Metric]) -> QueryScores:
    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        everywhere = np.full(len(person_ids), np.nan)
        everywhere[matches.queries] = values
        return everywhere

    first = spread(expected_first_rank(matches.first))
    return QueryScores(
        person_ids, ~np.isnan(first), first, {metric.query_name: spread(metric.compute(matches)) for metric in metrics}
    )


def _intervals(
    per_query: QueryScores, metrics: Sequence[Metric], resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    valid, with_interval = per_query.valid, [metric for metric in metrics if metric.interval]
    if not with_interval:
        return {}
    low, high = bootstrap_interval(
        np.stack([per_query.values[metric.query_name][valid] for metric in with_interval], axis=1),
        per_query.person_ids[valid],
        resamples=resamples,
        seed=seed,
    )
    ends = zip(with_interval, low.tolist(), high.tolist(), strict=True)
    return {metric.name: (lower, upper) for metric, lower, upper in ends if np.isfinite(lower)}


def _camera_pairs(
    ranking: Ranking, gallery_camera: int, scores: QueryScores, metrics: Sequence[Metric]
) -> list[CameraPair]:
    pairs = []
    for query_camera in np.unique(ranking.query.cameras[scores.valid]).tolist():
        chosen = scores.valid & (ranking.query.cameras == query_camera)
        means = {metric.name: float(scores.values[metric.query_name][chosen].mean()) for metric in metrics}
        pairs.append(CameraPair(query_camera, gallery_camera, int(chosen.sum()), means))
    return pairs
