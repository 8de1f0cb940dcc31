"""Camera normalisation: embeddings relative to the mean of their own camera.

What all images of a camera share - light, colours, height - makes two people on one camera look more alike than one
person on two. The mean embedding of a camera holds it. It is subtracted, not divided by a deviation: that measured
better (docs/LOG.md).

Letters: N images, D embedding, C cameras.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_CROPS = 20
"""Fewest crops from which the mean of a camera is used."""


class CameraMeans(NamedTuple):
    """Sums of the unit embeddings of each camera.

    Attributes:
        sums: float64 [C, D].
        counts: Crops of each camera, float64 [C].
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    def mean(self, camera: int) -> NDArray[np.float64] | None:
        """Return the mean embedding of a camera, float64 [D]; None if it has fewer than `LEAST_CROPS` crops."""
        if not 0 <= camera < len(self.counts) or self.counts[camera] < LEAST_CROPS:
            return None
        return np.asarray(self.sums[camera] / self.counts[camera], np.float64)


def camera_means(unit: NDArray[Any], cameras: NDArray[np.int64], weights: NDArray[Any] | None = None) -> CameraMeans:
    """Return the sums of unit embeddings [N, D] by camera, [N] from 0; negative cameras are not known and left out.

    Args:
        unit: Unit embeddings.
        cameras: Camera of each.
        weights: Crops that each stands for; 1 by default.
    """
    count = int(cameras.max(initial=-1)) + 1
    heavy = np.ones(len(unit)) if weights is None else np.asarray(weights, np.float64)
    sums, counts = np.zeros((count, unit.shape[1])), np.zeros(count)
    for camera in range(count):
        rows = np.flatnonzero(cameras == camera)
        sums[camera] = heavy[rows] @ unit[rows].astype(np.float64)
        counts[camera] = heavy[rows].sum()
    return CameraMeans(sums, counts)


def centre(unit: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit embeddings [N, D], or one [D], minus a mean [D], as unit vectors, float64; zero stays zero.

    Example:
        >>> centre(np.array([[1.0, 0], [0, 1]]), np.array([0.5, 0.5])).round(3).tolist()
        [[0.707, -0.707], [-0.707, 0.707]]
    """
    moved = np.asarray(unit, np.float64) - mean
    length = np.sqrt((moved * moved).sum(axis=-1, keepdims=True))
    return np.asarray(moved / np.where(length > 0, length, 1.0), np.float64)
