"""Confidence intervals by resampling queries.

What is unusual: the interval speaks of other queries put to the same gallery by the same model, not of another gallery,
another training run or another camera network. Queries that show one person rise and fall together; resampling whole
people (`groups`) says so and gives a wider interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator


def bootstrap_interval(
    scores: NDArray[np.floating[Any]],
    *,
    groups: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    coverage: float = 0.95,
    seed: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the percentile bootstrap interval of the mean of each column.

    Args:
        scores: One row per query, one column per score: [Q, S], finite. All columns share their resamples.
        groups: Group of each query, such as its person, int64 [Q]; whole groups are drawn. None draws queries.
        resamples: How many resamples, >= 1.
        coverage: Share of the resampled means inside the interval, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        Lower and upper ends, float64 [S] each.

    Raises:
        UserError: No query, or `resamples` below 1.

    Example:
        >>> low, high = bootstrap_interval(np.array([[0.0], [1.0]] * 50))
        >>> bool(0.3 < low[0] < 0.5 < high[0] < 0.7)
        True
    """
    if len(scores) == 0 or resamples < 1:
        raise UserError(
            "bootstrap",
            expected="queries and resamples",
            got=f"{len(scores)} and {resamples}",
            fix="Pass at least one.",
        )
    number = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(number.max()) + 1
    sizes = np.bincount(number)
    sums = np.stack([np.bincount(number, weights=column) for column in scores.T], axis=1)
    random = generator(seed, "bootstrap")
    means = np.empty((resamples, scores.shape[1]))
    for resample in range(resamples):
        drawn = np.bincount(random.integers(units, size=units), minlength=units)
        means[resample] = drawn @ sums / (drawn @ sizes)
    tail = (1 - coverage) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def gain_interval(
    before: NDArray[np.floating[Any]], after: NDArray[np.floating[Any]], *, resamples: int = 1000, seed: int = 1
) -> tuple[float, float, float]:
    """Return the mean gain of a score over the same queries, and its 95 % interval; queries are drawn in pairs.

    Because both scores of a query stay together, hard queries cancel out, and a gain can be told from chance although
    the two single intervals overlap.

    Args:
        before: Score of each query with one model, [Q]; NaN where the query has no match.
        after: Score of the same queries with another, [Q].
        resamples: How many resamples, >= 1.
        seed: Seed of the draws.

    Returns:
        Mean of `after - before`, and the ends of its interval.

    Raises:
        UserError: The two are not of the same queries, or no query has a match.

    Example:
        >>> gain, low, high = gain_interval(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.6, 1.0]))
        >>> round(gain, 3), round(low, 3), round(high, 3)
        (0.1, 0.1, 0.1)
    """
    if before.shape != after.shape or not np.array_equal(np.isnan(before), np.isnan(after)):
        raise UserError(
            "scores to compare",
            expected="two scores of the same queries",
            got=f"{len(before)} and {len(after)} queries, or other ones without a match",
            fix="Evaluate both models on the same data set.",
        )
    differences = (after - before)[~np.isnan(before)]
    low, high = bootstrap_interval(differences[:, None], resamples=resamples, seed=seed)
    return float(differences.mean()), float(low[0]), float(high[0])
