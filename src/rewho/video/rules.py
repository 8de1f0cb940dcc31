"""Which boxes are kept, and every reason against the others (LUPerson section 3.1).

What is unusual: the paper names the rules and four thresholds, and published no code. Everything it leaves open is a
setting with a reason (`RuleSettings`). A rejected box lists all rules that it fails, not the first one.

Dimensions: N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewho.settings import RuleSettings
from rewho.video.people import Person, Verdict

HEAD = (0, 1, 2, 3, 4)  # nose, eyes, ears
SHOULDERS = (5, 6)
UPPER_BODY = (5, 6, 7, 8, 9, 10)  # shoulders, elbows, wrists
LOWER_BODY = (11, 12, 13, 14)  # hips, knees; the paper does not count ankles
NO_KEYPOINTS = "no_keypoints"


def rule_names(settings: RuleSettings | None = None) -> tuple[str, ...]:
    """Return the names of all rules, in the order in which reasons are given.

    Example:
        >>> rule_names()[:2]
        ('ratio_not_above_1.5', 'ratio_not_below_5')
    """
    rules = settings or RuleSettings()
    return (
        f"ratio_not_above_{rules.min_ratio:g}",
        f"ratio_not_below_{rules.max_ratio:g}",
        f"confidence_not_above_{rules.min_confidence:g}",
        f"width_not_above_{rules.min_width:g}",
        f"side_gap_below_{rules.side_gap:g}",
        "head_not_visible",
        "upper_body_not_visible",
        "lower_body_not_visible",
        NO_KEYPOINTS,
    )


def clip_boxes(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return boxes [N, 4] clipped to a frame of a height and width."""
    height, width = size
    return np.clip(boxes, 0, [width, height, width, height])


def find_box_failures(
    boxes: NDArray[np.float64], confidences: NDArray[np.float64], settings: RuleSettings
) -> NDArray[np.bool_]:
    """Return which of the four rules on size and confidence each box fails, bool [N, 4] in the order of `rule_names`.

    Comparisons are strict, as in the paper, and in single precision: detectors give single precision, in which 0.72 is
    slightly more than in double precision, and exactly 0.72 must fail. An empty box has the ratio 0.
    """
    wide, high = (boxes[:, 2:] - boxes[:, :2]).T
    ratio = np.divide(high, wide, out=np.zeros_like(high), where=wide > 0).astype(np.float32)
    return ~np.stack(
        [
            ratio > np.float32(settings.min_ratio),
            ratio < np.float32(settings.max_ratio),
            confidences.astype(np.float32) > np.float32(settings.min_confidence),
            wide.astype(np.float32) > np.float32(settings.min_width),
        ],
        axis=1,
    )


def find_side_failures(boxes: NDArray[np.float64], width: int, settings: RuleSettings) -> NDArray[np.bool_]:
    """Return which boxes are so close to the left or right border that it may cut a person lengthwise, bool [N]."""
    if settings.side_gap <= 0:
        return np.zeros(len(boxes), bool)
    return np.asarray(np.minimum(boxes[:, 0], width - boxes[:, 2]) < settings.side_gap)


def find_body_failures(
    keypoints: NDArray[np.float32], boxes: NDArray[np.float64], settings: RuleSettings
) -> NDArray[np.bool_]:
    """Return which parts of the body are not visible, bool [N, 3]: head, upper body, lower body.

    A keypoint [N, 17, 3] counts if its score reaches the threshold and it lies in the box, or in the margin around it.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    slack = settings.margin * (high - low)
    places = keypoints[..., :2]
    inside = ((places >= low - slack) & (places <= high + slack)).all(axis=2)
    seen = inside & (keypoints[..., 2] >= np.float32(settings.keypoint_score))
    upper = (seen[:, UPPER_BODY].sum(1) >= settings.upper_points) & (
        seen[:, SHOULDERS].any(1) | (settings.upper_points == 0)
    )
    head = seen[:, HEAD].sum(1) >= settings.head_points
    return ~np.stack([head, upper, seen[:, LOWER_BODY].sum(1) >= settings.lower_points], axis=1)


def find_failures(
    people: Sequence[Person], size: tuple[int, int], settings: RuleSettings, body: bool = True
) -> NDArray[np.bool_]:
    """Return which rules each person fails, bool [N, 9] in the order of `rule_names`.

    Args:
        people: Detections of one frame.
        size: Height and width of the frame.
        settings: The thresholds.
        body: Require visible parts of the body; people without keypoints then fail `no_keypoints`.
    """
    found = np.zeros((len(people), 9), bool)
    if not people:
        return found
    boxes = np.array([one.box for one in people], np.float64)
    boxes = clip_boxes(boxes, size) if settings.clip_first else boxes
    found[:, :4] = find_box_failures(boxes, np.array([one.confidence for one in people], np.float64), settings)
    found[:, 4] = find_side_failures(boxes, size[1], settings)
    if body:
        known = np.array([one.keypoints is not None for one in people])
        found[~known, 8] = True
        if known.any():
            points = np.stack([one.keypoints for one in people if one.keypoints is not None])
            found[known, 5:8] = find_body_failures(points, boxes[known], settings)
    return found


def apply_rules(
    people: Sequence[Person], size: tuple[int, int], settings: RuleSettings | None = None, body: bool = True
) -> tuple[Verdict, ...]:
    """Return each person with the names of all rules that it fails; see `find_failures`.

    `no_keypoints` is given only where no other rule fails: for a rejected box, keypoints are often not computed.

    Example:
        >>> apply_rules([Person((0, 0, 40, 100), 0.9, None, 0)], (360, 640))[0].reasons
        ('width_not_above_48',)
    """
    settings = settings or RuleSettings()
    names, found = rule_names(settings), find_failures(people, size, settings, body)
    found[:, 8] &= ~found[:, :5].any(1)
    return tuple(
        Verdict(person, tuple(name for name, failed in zip(names, row, strict=True) if failed))
        for person, row in zip(people, found, strict=True)
    )
