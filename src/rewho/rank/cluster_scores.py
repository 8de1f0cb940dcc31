"""How good a clustering is: silhouette, mutual information with other labels, purity.

Letters: N images, D embedding, C clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.rank.blocks import map_row_blocks
from rewho.rank.clustering import OUTLIER, ROUNDING
from rewho.rank.distance import unit_vectors

MOST_SCORED = 20_000
"""Images whose silhouette is computed; of more a random sample, always the same."""


def silhouette(embeddings: NDArray[Any], labels: NDArray[np.int64]) -> float | None:
    """Return the mean silhouette by cosine distance, -1 to 1, without outliers; None without two clusters.

    Exact for every scored image: the mean cosine distance to a cluster is that to the mean of its unit vectors, so the
    cost is N C D instead of N N D (Rousseeuw, 1987). Copies of one image in two clusters score 0.

    Args:
        embeddings: [N, D].
        labels: int64 [N], -1 for outliers.

    Example:
        >>> points = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.01, 1.0]])
        >>> round(silhouette(points, np.array([0, 0, 1, 1])), 3)
        1.0
    """
    rows = np.flatnonzero(labels != OUTLIER)
    known, own = np.unique(labels[rows], return_inverse=True)
    if len(known) < 2:
        return None
    units = unit_vectors(embeddings[rows], "float32")
    sizes = np.bincount(own)
    sums = np.zeros((len(known), units.shape[1]), np.float32)
    np.add.at(sums, own, units)
    scored = np.arange(len(rows))
    if len(rows) > MOST_SCORED:
        scored = np.sort(generator(0, "silhouette").permutation(len(rows))[:MOST_SCORED])

    def score(block: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = scored[block]
        distance = 1 - (units[chosen] @ sums.T).astype(np.float64) / sizes
        place = np.arange(len(chosen)), own[chosen]
        size = sizes[own[chosen]]
        within = distance[place] * size / np.maximum(size - 1, 1)  # the image itself is at distance 0
        distance[place] = np.inf
        other = distance.min(axis=1)
        largest = np.maximum(within, other)
        apart = largest > ROUNDING  # nearer images are copies, whose distances are only rounding
        return np.where((size > 1) & apart, (other - within) / np.where(apart, largest, 1.0), 0.0)

    return float(np.concatenate(map_row_blocks(score, len(scored), len(known))).mean())


def mutual_information(labels: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Return the normalised mutual information of two groupings, 0 to 1; arithmetic mean of the entropies.

    Two groupings of one group each are equal: 1.

    Example:
        >>> mutual_information(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2]))
        1.0
    """
    first, second = (np.unique(part, return_inverse=True)[1] for part in (labels, others))
    counts = [np.bincount(part) for part in (first, second, np.unique([first, second], axis=1, return_inverse=True)[1])]
    entropies = [-float((share * np.log(share)).sum()) for share in (part / len(labels) for part in counts)]
    mean = (entropies[0] + entropies[1]) / 2
    return min(1.0, max(0.0, (entropies[0] + entropies[1] - entropies[2]) / mean)) if mean > 0 else 1.0


def purity(labels: NDArray[np.int64], identities: NDArray[np.int64]) -> float:
    """Return the share of images whose cluster's most frequent identity is their own, 0 to 1.

    Example:
        >>> purity(np.array([0, 0, 0, 1]), np.array([7, 7, 8, 9]))
        0.75
    """
    pairs, counts = np.unique(np.stack([labels, identities]), axis=1, return_counts=True)
    most = np.zeros(int(labels.max()) + 1, np.int64)
    np.maximum.at(most, pairs[0], counts)
    return float(most.sum() / len(labels))
