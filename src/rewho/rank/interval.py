"""Confidence intervals by resampling people with all their queries (a cluster bootstrap over identities).

Scores of one person's queries are correlated, so resampling single queries gives intervals that are too narrow. The
interval is about other people in the same gallery and with the same model, not about another gallery, another training
run or another camera network. With fewer than about 30 people it is still too narrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator


def bootstrap_interval(
    scores: NDArray[np.floating[Any]],
    groups: NDArray[np.int64],
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper ends, [S] each, of the 95 % percentile bootstrap interval of each column's mean.

    Both are NaN if all queries show one person.

    Args:
        scores: One row per query, one column per score: [Q, S], finite. All columns share their resamples.
        groups: Person of each query, int64 [Q]; each resample draws as many people, with all their queries.
        resamples: Number of resamples, from 1.
        seed: Seed of the draws.
    """
    if len(scores) == 0 or resamples < 1 or len(groups) != len(scores):
        got = f"{len(scores)} queries, {len(groups)} people, {resamples} resamples"
        fix = "Pass at least one query and one resample."
        raise UserError("bootstrap", expected="queries, one person for each, and resamples", got=got, fix=fix)
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[number]  # by first query, so that renumbered people give the same draws
    units = len(first)
    if units == 1:
        return np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan)
    sizes = np.bincount(number)
    sums = np.stack([np.bincount(number, weights=column) for column in scores.T], axis=1)
    random = generator(seed, "bootstrap")
    means = np.empty((resamples, scores.shape[1]))
    for resample in range(resamples):
        drawn = np.bincount(random.integers(units, size=units), minlength=units)
        means[resample] = drawn @ sums / (drawn @ sizes)
    tail = (1 - 0.95) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def gain_interval(
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
    groups: NDArray[np.int64],
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> tuple[float, float, float]:
    """Return the mean of `after - before` over queries, and the ends of its 95 % interval over people.

    Both scores of a query are resampled together: hard queries cancel out, so a gain can be significant although the
    two single intervals overlap. The ends are NaN if all queries show one person. `before` and `after` are scores [Q]
    with two models, NaN where a query has no match; other arguments as of `bootstrap_interval`.

    Example:
        >>> gain, low, high = gain_interval(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.6, 1.0]), np.arange(3))
        >>> round(gain, 3), round(low, 3), round(high, 3)
        (0.1, 0.1, 0.1)
    """
    if before.shape != after.shape or not np.array_equal(np.isnan(before), np.isnan(after)):
        got = f"{len(before)} and {len(after)} queries, or other ones without a match"
        fix = "Evaluate both models on the same data set."
        raise UserError("scores to compare", expected="two scores of the same queries", got=got, fix=fix)
    scored = ~np.isnan(before)
    differences = (after - before)[scored]
    low, high = bootstrap_interval(differences[:, None], groups[scored], resamples=resamples, seed=seed)
    return float(differences.mean()), float(low[0]), float(high[0])
