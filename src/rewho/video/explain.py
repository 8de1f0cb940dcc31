"""Draw what the rules decided onto a frame: kept boxes in green, rejected ones in red with every reason.

What is unusual: the images show people. Blur faces before you publish one, as the crop stage does.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import write_file
from rewho.settings import RuleSettings
from rewho.video.people import FramePeople, Verdict

GREEN, RED, BLACK, WHITE = (40, 200, 40), (235, 60, 40), (0, 0, 0), (255, 255, 255)
WIDEST = 1600  # pixels of an image; larger frames are reduced
LINE = 14  # pixels of a line of text


def draw_verdicts(found: FramePeople, rules: RuleSettings | None = None) -> NDArray[np.uint8]:
    """Return a frame with all boxes, keypoints and reasons, uint8 RGB.

    Keypoints from the score `rules.keypoint_score` on are filled.

    Example:
        >>> from rewho.video.people import Frame
        >>> draw_verdicts(FramePeople(Frame(0, 0.0, np.zeros((90, 160, 3), np.uint8)), ())).shape
        (90, 160, 3)
    """
    threshold = (rules or RuleSettings()).keypoint_score
    image, scale = found.frame.image, min(1.0, WIDEST / found.frame.image.shape[1])
    canvas: NDArray[np.uint8] = np.array(image)
    if scale < 1:
        canvas = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    # Kept boxes are drawn last, so that no rejected one hides them.
    for verdict in sorted(found.people, key=lambda one: not one.reasons):
        _draw_person(canvas, verdict, scale, threshold)
    kept = sum(not one.reasons for one in found.people)
    title = f"frame {found.frame.number}, {found.frame.time:.2f} s: {kept} of {len(found.people)} kept"
    _write(canvas, title, (4, LINE), WHITE)
    return canvas


def write_explanation(path: Path, found: FramePeople, rules: RuleSettings | None = None) -> None:
    """Write the image of `draw_verdicts` as a JPEG file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(draw_verdicts(found, rules), cv2.COLOR_RGB2BGR))
    assert done, "a uint8 image can always be encoded"
    write_file(path, lambda file: file.write(data.tobytes()))


def _draw_person(canvas: NDArray[np.uint8], verdict: Verdict, scale: float, threshold: float) -> None:
    colour, person = RED if verdict.reasons else GREEN, verdict.person
    left, top, right, bottom = (round(side * scale) for side in person.box)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1 if verdict.reasons else 2)
    for x, y, score in [] if person.keypoints is None else person.keypoints:
        if np.isfinite((x, y)).all() and abs(x) + abs(y) < 1e5:
            centre = (round(float(x) * scale), round(float(y) * scale))
            cv2.circle(canvas, centre, 2, colour, -1 if score >= threshold else 1)
    lines = [f"{person.index}: {person.confidence:.2f}", *map(_shorten, verdict.reasons)]
    for row, text in enumerate(lines):
        _write(canvas, text, (left + 2, max(top, 0) + LINE * (row + 1)), colour)


def _shorten(reason: str) -> str:
    """Return a short form of a rule's name, since there is little room beside a box."""
    if reason.endswith("_not_visible"):
        return f"no {reason.removesuffix('_not_visible').replace('_', ' ')}"
    return reason.replace("_not_above_", " <= ").replace("_not_below_", " >= ").replace("_", " ")


def _write(canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    for border, thickness in ((BLACK, 3), (colour, 1)):
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, border, thickness, cv2.LINE_AA)
