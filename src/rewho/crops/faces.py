"""Hides faces in images that are shown or exported.

No face detector is used. The head is located from keypoints; without them the upper band of the crop is hidden. Heads
seen from behind are hidden too: that costs little and misses fewer faces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_SCORE = 0.2
"""Score from which keypoints locate a head: lower than for keeping a crop, because a needless blur does little harm."""
HEAD_POINTS = slice(0, 5)
EARS = slice(3, 5)
SHOULDERS = slice(5, 7)
BAND = 0.24
"""Upper share of a crop that is hidden over its full width if there are no keypoints. In the rendered street it covers
every head (tests/crops/test_faces.py)."""
WIDER = 1.5
"""Width of the region that is hidden from the head's centre up, relative to the head's: a small model's keypoints are
often half a head too low, or beside it. Hiding the whole band there would cost a model more."""
OFF_CENTRE = 0.3
"""If the head's centre is further from the middle than this share of the width, the upper band is hidden too: keypoints
of a neighbour were found, and the head of the crop's own person stayed visible."""
SPOTS = 6
"""Pixels across a hidden head after reduction, before it is blurred."""
FACE_COLUMNS = ("keypoints", "other_heads", "cut")
"""Columns of the manifest that `hide_known_faces` needs."""


class Head(NamedTuple):
    """An upright ellipse around a head, in pixels of the crop: centre, half width and half height."""

    x: float
    y: float
    width: float
    height: float


def locate_head(keypoints: NDArray[np.float32] | None, size: tuple[int, int]) -> Head | None:
    """Return the head in a crop, or None if the keypoints do not show it.

    The ellipse reaches from above the crown to the chin. Its size is the largest of three estimates: from the spread of
    the head's keypoints, from their distance to the shoulders, and from the height of the crop.

    Args:
        keypoints: float32 [17, 3], in pixels of the crop, with scores; None where none are known.
        size: Height and width of the crop.

    Example:
        >>> points = np.zeros((17, 3), np.float32)
        >>> points[[0, 5, 6]] = [[30, 20, 1], [15, 45, 1], [45, 45, 1]]
        >>> locate_head(points, (200, 60)) is not None, locate_head(None, (200, 60))
        (True, None)
    """
    if keypoints is None:
        return None
    head = keypoints[HEAD_POINTS][keypoints[HEAD_POINTS, 2] >= MIN_SCORE]
    shoulders = keypoints[SHOULDERS][keypoints[SHOULDERS, 2] >= MIN_SCORE]
    if len(head) == 0:
        return None
    x, y = head[:, 0].mean(), head[:, 1].mean()
    if (keypoints[EARS, 2] >= MIN_SCORE).all():  # the ears are beside the head's centre, nose and eyes in front of it
        x = keypoints[EARS, 0].mean()
    spread = float(max(np.ptp(head[:, 0]), np.ptp(head[:, 1])))
    neck = max(0.0, float(shoulders[:, 1].mean() - y)) if len(shoulders) else 0.0
    half = max(0.75 * spread, 0.75 * neck, 0.075 * size[0])
    return Head(float(x), float(y), 0.95 * half, 1.25 * half)


def hide_face(
    pixels: NDArray[np.uint8], keypoints: NDArray[np.float32] | None = None, others: Sequence[Head] = ()
) -> NDArray[np.uint8]:
    """Return a copy of a crop with hidden heads: reduced to a few pixels, then blurred.

    Args:
        pixels: uint8 RGB [H, W, 3].
        keypoints: The person's, float32 [17, 3], in pixels of the crop, with scores; if they show no head, the upper
            band is hidden.
        others: Heads of other people in the crop, which are hidden too.

    Example:
        >>> image = np.random.default_rng(1).integers(0, 256, (100, 40, 3), np.uint8)
        >>> hidden = hide_face(image)
        >>> bool((hidden[40:] == image[40:]).all()), bool(hidden[5:15].std() < image[5:15].std() / 3)
        (True, True)
        >>> bool((hide_face(image, others=[Head(20, 70, 8, 10)])[62:78] != image[62:78]).any())
        True
    """
    height, width = pixels.shape[:2]
    head = locate_head(keypoints, (height, width))
    mask = np.zeros((height, width), np.uint8)
    if head is None:
        across = width
        mask[: max(1, round(BAND * height))] = 255
    else:
        across = min(width, 2 * _draw_head(mask, head))
        left, right = (round(head.x + side * WIDER * head.width) for side in (-1, 1))
        mask[: max(1, round(head.y)), max(0, left) : max(1, right)] = 255
        if abs(head.x / width - 0.5) > OFF_CENTRE:
            mask[: max(1, round(BAND * height))] = 255
    hidden = _blur(pixels, mask, across)
    for other in others:
        mask = np.zeros((height, width), np.uint8)
        hidden = _blur(hidden, mask, 2 * _draw_head(mask, other))
    return hidden


def hide_known_faces(pixels: NDArray[np.uint8], row: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return a stored crop, uint8 RGB, with all heads hidden that its manifest row knows; needs `FACE_COLUMNS`."""
    points = None
    if row["keypoints"] is not None:
        points = shift_keypoints(np.array(row["keypoints"], np.float32).reshape(17, 3), *row["cut"][:2])
    others = np.array(row["other_heads"], np.float64).reshape(-1, 4).tolist()
    return hide_face(pixels, points, [Head(*one) for one in others])


def shift_keypoints(points: NDArray[np.float32] | None, left: float, top: float) -> NDArray[np.float32] | None:
    """Return keypoints relative to a corner, such as that of a crop in its frame."""
    return None if points is None else points - np.array([left, top, 0], np.float32)


def _draw_head(mask: NDArray[np.uint8], head: Head) -> int:
    """Draw a head into a mask; return half of its width in pixels."""
    axes = (max(1, round(head.width)), max(1, round(head.height)))
    cv2.ellipse(mask, (round(head.x), round(head.y)), axes, 0, 0, 360, 255, -1)
    return axes[0]


def _blur(pixels: NDArray[np.uint8], mask: NDArray[np.uint8], across: int) -> NDArray[np.uint8]:
    """Return a copy that is blurred under a mask, for a head `across` pixels wide."""
    height, width = mask.shape
    spot = max(2.0, across / SPOTS)
    few = (max(1, round(width / spot)), max(1, round(height / spot)))
    coarse = cv2.resize(pixels, few, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), spot / 2)
    return np.where(mask[..., None] > 0, smooth, pixels)
