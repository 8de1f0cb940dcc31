"""CMC, mAP in its two conventions, and mINP, from a ranking.

What is unusual:

* Published mAP figures mix two conventions that differ by up to two points; both are computed, and each has its name.
* Nothing is averaged in silence: figures over the queries that have a match and over all queries stand side by side,
  and the queries without a match are counted by reason.
* Tied images are scored at their expected value (`ties.py`), so the order in which images are stored has no influence.
* No gallery is ever put in order. Only the number of images nearer than each match counts, and that is looked up in the
  sorted distances up to the query's last match.

Letters: Q queries, K ranked gallery images, M matches, B queries of a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.rank.interval import bootstrap_interval
from rewho.rank.ranking import Ranking, RankingBlock
from rewho.rank.scores import CameraPair, QueryScores, Scores
from rewho.rank.ties import (
    TieGroups,
    expected_first_rank,
    group_ties,
    inverse_last_rank,
    match_within,
    precision_sums,
)


def evaluate(
    ranking: Ranking,
    *,
    max_rank: int = 50,
    camera_pairs: bool = False,
    resamples: int = 1000,
    seed: int = 1,
    threads: int | None = None,
) -> Scores:
    """Compute all scores of a ranking.

    Args:
        ranking: What to score.
        max_rank: Length of the CMC curve.
        camera_pairs: Also score each pair of cameras, which takes about twice as long.
        resamples: Resamples of the bootstrap interval over people; 0 leaves it out.
        seed: Seed of the bootstrap.
        threads: Threads; None takes one per processor.

    Raises:
        UserError: No query has a match, or `max_rank` is below 1.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> query, gallery = ImageLabels(np.array([1])), ImageLabels(np.array([1, 2, 1]))
        >>> scores = evaluate(Ranking.from_distances(np.array([[0.1, 0.2, 0.3]]), query, gallery))
        >>> round(scores.mAP_rectangular, 4), round(scores.mAP_trapezoid, 4), scores.rank(1)
        (0.8333, 0.7917, 1.0)
    """
    if max_rank < 1:
        raise UserError("max_rank", expected="at least 1", got=str(max_rank), fix="Ask for one rank or more.")
    cameras = np.unique(ranking.gallery.cameras[ranking.kept]) if camera_pairs else np.empty(0, np.int64)
    parts = ranking.map_blocks(lambda block: _match_ranks(ranking, block, cameras), threads)
    over_all, *by_camera = (_join(part) for part in zip(*parts, strict=True))
    queries = len(ranking.query)
    found = group_ties(*over_all)
    per_query = _score_queries(found, ranking.query.person_ids)
    valid = per_query.valid
    if not valid.any():
        raise _no_match(ranking)
    # A query without a match adds nothing to any sum.
    curve = match_within(found.first(), max_rank).sum(axis=0)
    names = ("ap_rectangular", "ap_trapezoid", "inp")
    sums = {name: float(np.nansum(getattr(per_query, name))) for name in names}
    count = int(valid.sum())
    absent = int((ranking.same_person() == 0).sum())
    return Scores(
        description=ranking.description,
        queries=queries,
        valid_queries=count,
        not_in_gallery=absent,
        only_left_out=queries - count - absent,
        cmc=curve / count,
        mAP_rectangular=sums["ap_rectangular"] / count,
        mAP_trapezoid=sums["ap_trapezoid"] / count,
        mINP=sums["inp"] / count,
        cmc_all_queries=curve / queries,
        mAP_rectangular_all_queries=sums["ap_rectangular"] / queries,
        mAP_trapezoid_all_queries=sums["ap_trapezoid"] / queries,
        mINP_all_queries=sums["inp"] / queries,
        people=len(np.unique(per_query.person_ids[valid])),
        intervals=_intervals(per_query, resamples, seed) if resamples else {},
        camera_pairs=tuple(
            pair
            for camera, ranks in zip(cameras.tolist(), by_camera, strict=True)
            for pair in _camera_pairs(ranking, camera, _score_queries(group_ties(*ranks), ranking.query.person_ids))
        ),
        per_query=per_query,
    )


class _MatchRanks(NamedTuple):
    """For each match: its query, the images strictly nearer, and those as near or nearer; int64 [M] each."""

    query: NDArray[np.int64]
    nearer: NDArray[np.int64]
    not_farther: NDArray[np.int64]


def _match_ranks(ranking: Ranking, block: RankingBlock, cameras: NDArray[np.int64]) -> list[_MatchRanks]:
    """Rank the matches of a block among all images, then among the images of each camera alone."""
    column_cameras = ranking.gallery.cameras[ranking.kept]
    alone = []
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
        alone.append(_count_nearer(part))
    return [_count_nearer(block), *alone]


def _count_nearer(block: RankingBlock) -> _MatchRanks:
    """Count the images nearer than each match."""
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
    return _MatchRanks(block.rows[rows], nearer, not_farther)


def _not_farther_than(distances: NDArray[Any], limit: np.floating[Any]) -> NDArray[Any]:
    """Return a query's distances up to `limit`, or a copy of all where that is quicker."""
    inside = distances <= limit
    return distances.compress(inside) if 8 * np.count_nonzero(inside) < len(distances) else distances.copy()


def _join(parts: tuple[_MatchRanks, ...]) -> _MatchRanks:
    return _MatchRanks(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _score_queries(groups: TieGroups, person_ids: NDArray[np.int64]) -> QueryScores:
    first, last, queries = groups.first(), groups.last(), len(person_ids)
    matches = np.bincount(groups.query, weights=groups.matches, minlength=queries)
    valid = matches > 0

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        everywhere = np.full(queries, np.nan)
        everywhere[first.query] = values
        return everywhere

    rectangular, trapezoid = (
        spread((np.bincount(groups.query, weights=sums, minlength=queries) / np.maximum(matches, 1))[valid])
        for sums in precision_sums(groups)
    )
    return QueryScores(
        person_ids=person_ids,
        valid=valid,
        rank_1=spread(match_within(first, 1)[:, 0]),
        ap_rectangular=rectangular,
        ap_trapezoid=trapezoid,
        inp=spread(matches[valid] * inverse_last_rank(last)),
        first_match=spread(expected_first_rank(first)),
    )


def _intervals(per_query: QueryScores, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    valid = per_query.valid
    names = ("rank_1", "mAP_rectangular", "mAP_trapezoid")
    columns = (per_query.rank_1, per_query.ap_rectangular, per_query.ap_trapezoid)
    low, high = bootstrap_interval(
        np.stack([column[valid] for column in columns], axis=1),
        per_query.person_ids[valid],
        resamples=resamples,
        seed=seed,
    )
    ends = zip(names, low.tolist(), high.tolist(), strict=True)
    return {name: (lower, upper) for name, lower, upper in ends if np.isfinite(lower)}


def _camera_pairs(ranking: Ranking, gallery_camera: int, scores: QueryScores) -> list[CameraPair]:
    pairs = []
    for query_camera in np.unique(ranking.query.cameras[scores.valid]).tolist():
        chosen = scores.valid & (ranking.query.cameras == query_camera)
        means = [float(column[chosen].mean()) for column in (scores.rank_1, scores.ap_rectangular, scores.ap_trapezoid)]
        pairs.append(CameraPair(query_camera, gallery_camera, int(chosen.sum()), *means))
    return pairs


def _no_match(ranking: Ranking) -> UserError:
    absent = int((ranking.same_person() == 0).sum())
    return UserError(
        "evaluation",
        expected="at least one query whose person another camera saw too",
        got=f"none of {len(ranking.query)} ({absent} people are not in the gallery, the others only from the query's "
        "own camera)",
        fix="Check that query and gallery belong together, and that person and camera ids were read as meant.",
    )
