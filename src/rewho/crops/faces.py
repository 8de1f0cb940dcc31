"""Hides faces in images that are shown or given away.

What is unusual: no face is looked for. Where a head is follows from the keypoints, and where those are missing, from
where heads are in crops of people; this also covers heads seen from behind, which costs little and misses less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SEEN = 0.2
"""Score from which a keypoint says where a head is: lower than for keeping a crop, for a false blur harms nobody."""
HEAD_POINTS = slice(0, 5)
EARS = slice(3, 5)
SHOULDERS = slice(5, 7)
BAND = 0.24
"""Without keypoints: the upper share of a crop that is hidden over its full width. In the rendered street it covers
every head (tests/data/test_faces.py)."""
LOW = 0.05
"""A head that begins below this share of the crop is doubted, and what is above it is hidden as well: keypoints of
people seen from behind were found half a head too low."""
WIDER = 1.2
"""Width of what is hidden above a doubted head over the head's. Hiding the whole band there costs a model more."""
ASIDE = 0.3
"""A head whose centre lies further than this share of the width from the middle is doubted too, and the upper band is
hidden as well: keypoints were found on a neighbour, and the head of the person that the crop is of stayed open."""
GRAINS = 6
"""Into how many spots across a hidden head is reduced before it is blurred."""


class Head(NamedTuple):
    """An upright ellipse around a head, in pixels of the crop.

    Args:
        x: Centre.
        y: Centre.
        width: Half of it.
        height: Half of it.
    """

    x: float
    y: float
    width: float
    height: float


def locate_head(keypoints: NDArray[np.float32] | None, size: tuple[int, int]) -> Head | None:
    """Return where the head is in a crop, or None where the keypoints do not say.

    The ellipse reaches from above the crown to the chin: half a head is .3 of the distance between shoulders and head
    points upwards and downwards in an adult who stands. Whatever estimate is larger is taken.

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
    head = keypoints[HEAD_POINTS][keypoints[HEAD_POINTS, 2] >= SEEN]
    shoulders = keypoints[SHOULDERS][keypoints[SHOULDERS, 2] >= SEEN]
    if len(head) == 0:
        return None
    x, y = head[:, 0].mean(), head[:, 1].mean()
    if (keypoints[EARS, 2] >= SEEN).all():  # a head turns about the line between its ears; nose and eyes lie before it
        x = keypoints[EARS, 0].mean()
    spread = float(max(np.ptp(head[:, 0]), np.ptp(head[:, 1])))
    neck = max(0.0, float(shoulders[:, 1].mean() - y)) if len(shoulders) else 0.0
    half = max(0.75 * spread, 0.75 * neck, 0.07 * size[0])
    return Head(float(x), float(y), 0.95 * half, 1.25 * half)


def hide_face(
    pixels: NDArray[np.uint8], keypoints: NDArray[np.float32] | None = None, others: Sequence[Head] = ()
) -> NDArray[np.uint8]:
    """Return a copy in which the head cannot be known: reduced to a few spots, then blurred.

    Args:
        pixels: uint8 RGB [H, W, 3], one person.
        keypoints: float32 [17, 3], in pixels of this image, with scores; without them, or where they show no head,
            the upper quarter is hidden.
        others: Heads of other people in the image, which are hidden too.

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
        across = min(width, 2 * _drawn(mask, head))
        if head.y - head.height > LOW * height:
            left, right = (round(head.x + side * WIDER * head.width) for side in (-1, 1))
            mask[: max(1, round(head.y)), max(0, left) : max(1, right)] = 255
        if abs(head.x / width - 0.5) > ASIDE:
            mask[: max(1, round(BAND * height))] = 255
    hidden = _covered(pixels, mask, across)
    for other in others:
        mask = np.zeros((height, width), np.uint8)
        hidden = _covered(hidden, mask, 2 * _drawn(mask, other))
    return hidden


def _drawn(mask: NDArray[np.uint8], head: Head) -> int:
    """Draw a head into a mask; return half of its width in pixels."""
    axes = (max(1, round(head.width)), max(1, round(head.height)))
    cv2.ellipse(mask, (round(head.x), round(head.y)), axes, 0, 0, 360, 255, -1)
    return axes[0]


def _covered(pixels: NDArray[np.uint8], mask: NDArray[np.uint8], across: int) -> NDArray[np.uint8]:
    height, width = mask.shape
    spot = max(2.0, across / GRAINS)
    few = (max(1, round(width / spot)), max(1, round(height / spot)))
    coarse = cv2.resize(pixels, few, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), spot / 2)
    return np.where(mask[..., None] > 0, smooth, pixels)
