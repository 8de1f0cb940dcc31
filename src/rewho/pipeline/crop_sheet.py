"""Many crops on one picture, faces hidden: the quickest way to see what a crop set is worth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.data.faces import hide_face
from rewho.data.shards import CropSet
from rewho.pipeline.crop_video import moved

CELL = (160, 80)  # height and width in pixels
ACROSS = 14
GAP = 4
PAPER = 244  # grey level


def contact_sheet(crops: CropSet, most: int = 70) -> NDArray[np.uint8]:
    """Return up to `most` crops, spread evenly over the set, in rows; uint8 RGB.

    Args:
        crops: The set.
        most: How many are shown.
    """
    chosen = np.unique(np.linspace(0, len(crops) - 1, min(most, len(crops))).round().astype(np.int64))
    down = max(1, -(-len(chosen) // ACROSS))
    sheet = np.full((GAP + down * (CELL[0] + GAP), GAP + ACROSS * (CELL[1] + GAP), 3), PAPER, np.uint8)
    for place, row in enumerate(chosen):
        top, left = (GAP + step * (size + GAP) for step, size in zip(divmod(place, ACROSS), CELL, strict=True))
        sheet[top : top + CELL[0], left : left + CELL[1]] = fitted(hidden(crops, int(row)))
    return sheet


def hidden(crops: CropSet, row: int) -> NDArray[np.uint8]:
    """Return a crop with its face hidden, uint8 RGB."""
    points, cut = known_points(crops, row)
    return hide_face(crops[row], None if points is None else moved(points, cut))


def known_points(crops: CropSet, row: int) -> tuple[NDArray[np.float32] | None, tuple[int, int, int, int]]:
    """Return a crop's key points, in pixels of the frame, and where it was cut from it."""
    shard, at = crops.place(row)
    one = crops.rows_of(shard, ["key_points", "cut"]).slice(at, 1).to_pylist()[0]
    points = None if one["key_points"] is None else np.array(one["key_points"], np.float32).reshape(17, 3)
    left, top, right, bottom = one["cut"]
    return points, (left, top, right, bottom)


def fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture scaled into a cell, with paper around it.

    Example:
        >>> fitted(np.zeros((100, 100, 3), np.uint8)).shape
        (160, 80, 3)
    """
    scale = min(CELL[0] / pixels.shape[0], CELL[1] / pixels.shape[1])
    size = (max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    cell = np.full((*CELL, 3), PAPER, np.uint8)
    top, left = (CELL[0] - size[1]) // 2, (CELL[1] - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell
