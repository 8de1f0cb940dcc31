"""The single-gallery-shot protocol of the first CUHK03 evaluations: one random gallery image per person.

Each query has its own gallery, drawn from the images that the camera rule leaves, and the CMC curve is the mean over
many draws. CUHK03's first protocol (Li et al., CVPR 2014) is this with 100 test people, queries from one camera and a
gallery from the other. Its scores are much higher than those of the full gallery and must not be compared with them.

Letters: Q queries, G gallery, P people in the gallery, R repeats, M matches, B queries of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_count
from rewho.core.runtime import generator
from rewho.rank.ranking import Ranking, RankingBlock, no_match_error
from rewho.rank.ties import TieGroups, match_within


@dataclass(frozen=True, eq=False)
class SingleShotScores:
    """CMC of the single-gallery-shot protocol.

    Args:
        description: How the distances were made.
        queries: Number of queries.
        valid_queries: Queries with a match; the others do not count.
        repeats: Galleries drawn for each query.
        cmc: Share of valid queries with their match among the k nearest, k = 1 … max_rank, mean over the repeats.
    """

    description: str
    queries: int
    valid_queries: int
    repeats: int
    cmc: NDArray[np.float64]


def single_gallery_shot(
    ranking: Ranking, *, max_rank: int = 50, repeats: int = 100, seed: int = 1, threads: int | None = None
) -> SingleShotScores:
    """Score a ranking by the single-gallery-shot protocol.

    Gallery images with a negative person id are never drawn.

    `max_rank` is the length of the CMC curve, `repeats` the number of galleries per query. The draws depend on the seed
    alone. `threads=None` uses one thread per processor.
    """
    max_rank, repeats, seed = (
        check_count(name, value, low)
        for name, value, low in (("max_rank", max_rank, 1), ("repeats", repeats, 1), ("seed", seed, 0))
    )
    parts = ranking.map_blocks(lambda block: _curves(ranking, block, max_rank, repeats, seed), threads)
    curves = np.concatenate(parts)
    if not len(curves):
        raise no_match_error(ranking)
    return SingleShotScores(ranking.description, len(ranking.query), len(curves), repeats, curves.mean(axis=0))


def _curves(ranking: Ranking, block: RankingBlock, max_rank: int, repeats: int, seed: int) -> NDArray[np.float64]:
    """Return one CMC curve per valid query of a block, [V, max_rank]."""
    people = ranking.gallery.person_ids[ranking.kept]
    named = np.flatnonzero(people >= 0)
    grouped = named[np.argsort(people[named], kind="stable")]
    persons, first, counts = np.unique(people[grouped], return_index=True, return_counts=True)
    ends = np.searchsorted(block.match_rows, np.arange(len(block.rows) + 1))
    curves = []
    for row in np.unique(block.match_rows):
        random = generator(seed, "single gallery shot", int(block.rows[row]))
        matches = block.match_columns[ends[row] : ends[row + 1]]
        sought = block.distances[row, matches[random.integers(len(matches), size=repeats)]][:, None]
        others = grouped[first + (random.random((repeats, len(persons))) * counts).astype(np.int64)]
        drawn = block.distances[row, others]
        drawn[:, persons == ranking.query.person_ids[block.rows[row]]] = np.inf
        nearer = (drawn < sought).sum(axis=1)
        one = np.ones(repeats, np.int64)
        groups = TieGroups(np.arange(repeats), nearer, 0 * one, 1 + (drawn == sought).sum(axis=1), one)
        curves.append(match_within(groups, max_rank).mean(axis=0))
    return np.array(curves).reshape(-1, max_rank)
