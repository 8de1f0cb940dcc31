"""Which members of clusters to trust: self-paced learning of SpCL (Ge et al., NeurIPS 2020, section 3.3).

A cluster is independent if it stays the same under a looser criterion, and compact if it stays the same under a tighter
one. Both are intersections over unions of sets of images. They follow from the counts of labels that occur together, so
nothing is N x N.

Letters: N images, C clusters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.rank.clustering import OUTLIER

SHARE_KEPT = 0.9
"""Quantile of the clusters' independence at the first epoch that becomes the threshold."""


class Reliability(NamedTuple):
    """Reliable clusters.

    Attributes:
        labels: int64 [N], from 0; every image that is not trusted is alone in its group. Numbers may be unused.
        clusters: Number of groups of two images and more.
        compactness: 1 - IoU with the tighter cluster, float64 [N].
        independence: 1 - IoU with the looser cluster, float64 [N].
        threshold: Largest independence of a cluster that is kept.
    """

    labels: NDArray[np.int64]
    clusters: int
    compactness: NDArray[np.float64]
    independence: NDArray[np.float64]
    threshold: float


def split_outliers(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels in which every outlier has a number of its own, after those of the clusters.

    Example:
        >>> split_outliers(np.array([-1, 0, 0, -1])).tolist()
        [1, 0, 0, 2]
    """
    alone = labels == OUTLIER
    split = labels.copy()
    split[alone] = labels.max(initial=OUTLIER) + 1 + np.arange(alone.sum())
    return split


def disagreement(labels: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 - IoU of every image's group in two groupings without outliers, float64 [N].

    Example:
        >>> disagreement(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])).round(2).tolist()
        [0.33, 0.33, 0.75, 0.5]
    """
    width = int(others.max()) + 1
    _, pair, together = np.unique(labels * width + others, return_inverse=True, return_counts=True)
    shared = together[pair]
    union = np.bincount(labels)[labels] + np.bincount(others)[others] - shared
    # SpCL's code divides in float32. Equal ratios of counts are equal in float64 too, so the comparisons agree.
    return np.asarray(1 - shared / union, np.float64)


def select_reliable(
    labels: NDArray[np.int64],
    tight: NDArray[np.int64],
    loose: NDArray[np.int64],
    threshold: float | None = None,
) -> Reliability:
    """Return the groups to train on, from clusterings at eps, at a smaller and at a larger eps.

    A cluster's independence and compactness are the minima over its images. An image stays in its cluster if the
    cluster's independence is at most the threshold, and the image's compactness equals the cluster's.

    Args:
        labels: int64 [N], -1 for outliers.
        tight: The labels with a smaller eps.
        loose: The labels with a larger eps.
        threshold: The threshold of the first epoch; None computes it.
    """
    labels, tight, loose = (split_outliers(part) for part in (labels, tight, loose))
    compactness, independence = disagreement(labels, tight), disagreement(labels, loose)
    groups = int(labels.max()) + 1
    least_compact, least_independent = (_minima(values, labels, groups) for values in (compactness, independence))
    sizes = np.bincount(labels, minlength=groups)
    if threshold is None:
        several = np.sort(least_independent[sizes > 1])
        threshold = float(several[min(len(several) - 1, round(SHARE_KEPT * len(several)))]) if len(several) else 1.0
    kept = (least_independent[labels] <= threshold) & (compactness <= least_compact[labels])
    reliable = labels.copy()
    reliable[~kept] = groups + np.arange((~kept).sum())
    clusters = int((np.bincount(reliable) > 1).sum())
    return Reliability(reliable, clusters, compactness, independence, threshold)


def _minima(values: NDArray[np.float64], labels: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    least: NDArray[Any] = np.full(groups, np.inf)
    np.minimum.at(least, labels, values)
    return least
