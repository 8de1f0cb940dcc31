"""Boxes as arrays: intersection over union, and non-maximum suppression (NMS) for a whole batch.

Dimensions: B frames, N candidate boxes of a frame. Boxes are left, top, right, bottom.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.video.people import Person

MOST_CANDIDATES = 4000  # most boxes of a frame that NMS compares, the most confident ones; its time is quadratic


def compute_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of every pair of boxes [M, 4] and [N, 4]: float64 [M, N]; 0 for empty boxes.

    Example:
        >>> boxes = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
        >>> compute_iou(boxes[:1], boxes).round(2).tolist()
        [[1.0, 0.33, 0.0]]
    """
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    shared = sides.clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    share: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def apply_nms(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], confidence: float, overlap: float, most: int
) -> list[list[Person]]:
    """Return the people of each frame, most confident first, numbered from 0, without duplicates.

    Args:
        boxes: [B, N, 4].
        scores: [B, N], 0 to 1.
        confidence: Drop boxes with lower scores.
        overlap: Of two boxes with a larger intersection over union, drop the less confident one; 1 keeps all.
        most: Most people of a frame.

    Example:
        >>> boxes = np.array([[[0.0, 0, 10, 30], [1, 0, 11, 30], [50, 0, 60, 30]]])
        >>> found = apply_nms(boxes, np.array([[0.8, 0.9, 0.5]]), 0.3, 0.5, 10)[0]
        >>> [(one.index, round(one.confidence, 2)) for one in found]
        [(0, 0.9), (1, 0.5)]
    """
    flat = np.nan_to_num(scores.astype(np.float32), nan=0.0)
    if flat.shape[1] > MOST_CANDIDATES:
        least = np.partition(flat, -MOST_CANDIDATES, axis=1)[:, -MOST_CANDIDATES]
        flat = np.where(flat >= least[:, None], flat, 0)
    frame, place = np.nonzero(flat >= max(confidence, 1e-6))
    people: list[list[Person]] = [[] for _ in range(len(boxes))]
    chosen, sure = boxes[frame, place].astype(np.float64), flat[frame, place]
    finite = np.isfinite(chosen).all(1)
    chosen, sure, frame = chosen[finite], sure[finite], frame[finite]
    kept = _suppress(chosen, sure, frame, overlap)
    for at in kept[np.argsort(-sure[kept], kind="stable")]:
        found = people[int(frame[at])]
        if len(found) < most:
            left, top, right, bottom = chosen[at].tolist()
            found.append(Person((left, top, right, bottom), min(float(sure[at]), 1.0), None, len(found)))
    return people


def _suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float32], frames: NDArray[np.intp], overlap: float
) -> NDArray[np.intp]:
    """Return the indices of the boxes that stay; only boxes of the same frame suppress each other."""
    if overlap >= 1 or not len(boxes):
        return np.arange(len(boxes))
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(sides.tolist(), scores.tolist(), frames.tolist(), 0.0, overlap)
    return np.asarray(kept, np.intp).ravel()
