"""Keypoints → masks of body parts: limbs as thick lines, the torso as a polygon, the head as a disc.

Sizes are fractions of the image's height, because images are cropped to the person.

Letters: H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.people import KEYPOINTS

LIMBS = {
    "left_arm": ("left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_shoulder", "right_elbow", "right_wrist"),
    "left_leg": ("left_hip", "left_knee", "left_ankle"),
    "right_leg": ("right_hip", "right_knee", "right_ankle"),
}
GROUPS = {"arms": ("left_arm", "right_arm"), "legs": ("left_leg", "right_leg")}
FACE, TRUNK = KEYPOINTS[:5], ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
PARTS = ("head", "torso", *LIMBS, *GROUPS)
THICKNESS = 0.1
"""Thickness of a limb as a fraction of the image's height. Ours: with loose clothes."""

HEAD = 0.8
"""Radius of the head in thicknesses of a limb: a head with hair is about 1/6 of a person's height."""


def draw_parts(
    seen: Mapping[str, tuple[float, float]], parts: Sequence[str], size: tuple[int, int], thickness: float = THICKNESS
) -> NDArray[np.uint8]:
    """Return the mask of body parts, uint8 [H, W]: 255 inside, 0 outside.

    A limb is drawn between neighbouring visible points, the torso from at least three of its four corners, the head
    around the mean of the visible points of the face. `seen` is x and y in pixels of the visible keypoints, by name;
    `thickness` of a limb is a fraction of the height.
    """
    mask = np.zeros(size, np.uint8)
    pixels = max(1, round(thickness * size[0]))
    for part in dict.fromkeys(name for group in parts for name in GROUPS.get(group, (group,))):
        if part in LIMBS:
            joints = [seen.get(point) for point in LIMBS[part]]
            for start, end in pairwise(joints):
                if start is not None and end is not None:
                    cv2.line(mask, _pixel(start), _pixel(end), 255, pixels)
            continue
        points = [seen[point] for point in (FACE if part == "head" else TRUNK) if point in seen]
        if part == "head" and points:
            middle = np.mean(points, axis=0)
            cv2.circle(mask, _pixel((middle[0], middle[1])), max(1, round(HEAD * pixels)), 255, -1)
        elif part == "torso" and len(points) >= 3:
            corners = np.array([_pixel(point) for point in points], np.int32)
            cv2.fillConvexPoly(mask, cv2.convexHull(corners), 255)
            cv2.polylines(mask, [corners], True, 255, max(1, pixels // 2))
    return mask


def _pixel(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0]), round(point[1])
