"""A file of detections in place of a detector: LUPerson's published layout as JSON, and MOT's text files.

What is unusual: nobody needs a detector to build a crop set from published detections, or from ground truth. The
published pickle files are refused, because reading one runs whatever its author wrote.

LUPerson's layout, with frames as text::

    {frame: [[object, {"bbox": [left, top, right, bottom], "conf": …, "pose": [17][2], "prob": [17][1]}], …]}

MOT's columns: frame, person, left, top, width, height, confidence or flag, class, visible share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.video.people import KEY_POINTS, Frame, Person

ENDINGS = (".detections.json", ".json", ".gt.txt", ".det.txt", ".txt")
"""How a file of detections may end, tried in this order for a video of the same name."""
PEDESTRIAN = 1  # MOT's class; the others are vehicles, reflections, people on vehicles and the like
MOT_GROUND_TRUTH_COLUMNS = 8


class Replay:
    """A detector that gives what stands in a file; key points too, where the file has them.

    Args:
        detections: One file, a folder with a file for each video (`NAME.detections.json`, `NAME.json`, `NAME.gt.txt`,
            `NAME.txt`), or None for files beside the videos.
        first_frame: Number of the first frame in the file.

    Example:
        >>> Replay(None).name
        'replay'
    """

    name = "replay"

    def __init__(self, detections: Path | None, first_frame: int = 1) -> None:
        self._detections, self._first = detections, first_frame
        self._people: dict[int, list[Person]] = {}
        self.sha256 = ""

    def begin(self, video: Path) -> None:
        """Read the detections of a video.

        Raises:
            UserError: There are none, or the file cannot be read.
        """
        path = self._find(video)
        data = path.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._people = parse_detections(data, str(path))

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people that the file names for each frame."""
        return [self._people.get(frame.number + self._first, []) for frame in frames]

    def _find(self, video: Path) -> Path:
        given = self._detections
        if given is not None and given.is_file():
            return given
        folder = video.parent if given is None else given
        for ending in ENDINGS:
            for name in (video.stem, video.name):
                if (folder / f"{name}{ending}").is_file():
                    return folder / f"{name}{ending}"
        raise UserError(
            f"detections of {video.name}",
            expected=f"a file such as {video.stem}.detections.json in {folder}",
            got="none",
            fix="Pass detector.detections: a file, or a folder with one file per video.",
        )


def parse_detections(data: bytes, what: str) -> dict[int, list[Person]]:
    """Return the people of each frame, by the file's own frame numbers.

    Args:
        data: The file's bytes.
        what: The file's name, for messages.

    Raises:
        UserError: Pickle, or neither of the known layouts.

    Example:
        >>> people = parse_detections(b"1,7,10,20,30,60,1,1,0.9", "gt.txt")[1]
        >>> people[0].box, people[0].index
        ((10.0, 20.0, 40.0, 80.0), 7)
    """
    if data[:1] == b"\x80" or data[:4] in (b"(dp0", b"PK\x03\x04"):
        raise UserError(
            what,
            expected="detections as JSON or as MOT text",
            got="a pickle file, which can run code when it is read",
            fix="Where you trust it, convert it once with a script of your own: json.dump(detections, file, "
            "default=lambda array: array.tolist()).",
        )
    text = data.decode(errors="replace").lstrip("\ufeff \n\r\t")
    try:
        return _luperson(json.loads(text)) if text[:1] == "{" else _mot(text)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise UserError(
            what,
            expected="LUPerson's layout as JSON, or MOT's comma-separated columns",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            fix="See `rewho.video.replay` for both layouts.",
        ) from error


def _luperson(content: dict[str, Any]) -> dict[int, list[Person]]:
    return {int(frame): [_person(int(index), fields) for index, fields in found] for frame, found in content.items()}


def _person(index: int, fields: dict[str, Any]) -> Person:
    box = np.asarray(fields["bbox"], np.float64).reshape(4)
    keypoints = None
    if fields.get("pose") is not None:
        places = np.asarray(fields["pose"], np.float32).reshape(len(KEY_POINTS), 2)
        scores = np.asarray(fields["prob"], np.float32).reshape(len(KEY_POINTS), 1)
        keypoints = np.concatenate([places, scores], axis=1)
    return _checked(box, float(fields["conf"]), keypoints, index)


def _mot(text: str) -> dict[int, list[Person]]:
    people: dict[int, list[Person]] = {}
    for line in filter(str.strip, text.splitlines()):
        values = [float(value) for value in line.split(",")]
        frame, person, left, top, width, height = values[:6]
        truth = len(values) >= MOT_GROUND_TRUTH_COLUMNS and person > 0
        if truth and (not values[6] or int(values[7]) != PEDESTRIAN):
            continue
        found = people.setdefault(int(frame), [])
        index = int(person) if person >= 0 else len(found)
        confidence = 1.0 if truth or len(values) == 6 else min(max(values[6], 0.0), 1.0)
        found.append(_checked(np.array([left, top, left + width, top + height]), confidence, None, index))
    return people


def _checked(box: NDArray[np.float64], confidence: float, keypoints: NDArray[np.float32] | None, index: int) -> Person:
    numbers = [*box, confidence, *([] if keypoints is None else keypoints.ravel())]
    if not np.isfinite(numbers).all():
        raise ValueError(f"detection {index} holds NaN or infinity")
    left, top, right, bottom = map(float, box)
    return Person((left, top, right, bottom), confidence, keypoints, index)
