"""The quality of a crop as training data, as one number, for selecting the best crops of a video or a set.

LUPerson has no such score. It is a geometric mean, so that one low factor is enough for a low score.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FULL_HEIGHT = 256.0
"""Height in pixels from which the score does not increase: the input height of the networks."""
SHARP = 300.0
"""Variance of the Laplacian, at 128 x 64, from which an image counts as sharp."""


def compute_quality(pixels: NDArray[np.uint8], confidence: float, keypoints: NDArray[np.float32] | None) -> float:
    """Return the geometric mean, 0 to 1, of confidence, keypoint scores, size and sharpness.

    Args:
        pixels: uint8 RGB [H, W, 3].
        confidence: The detector's, 0 to 1.
        keypoints: float32 [17, 3] with scores in the last column; None omits this factor.

    Example:
        >>> plain = np.zeros((200, 80, 3), np.uint8)
        >>> noisy = np.random.default_rng(1).integers(0, 256, (200, 80, 3), np.uint8)
        >>> compute_quality(plain, 0.9, None) < compute_quality(noisy, 0.9, None) <= 1
        True
    """
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (64, 128), interpolation=cv2.INTER_AREA)
    sharpness = float(cv2.Laplacian(small, cv2.CV_64F).var()) / SHARP
    parts = [confidence, min(1.0, pixels.shape[0] / FULL_HEIGHT), min(1.0, sharpness)]
    if keypoints is not None:
        parts.append(float(np.clip(keypoints[:, 2], 0, 1).mean()))
    return round(float(np.prod(np.clip(parts, 0, 1)) ** (1 / len(parts))), 6)
