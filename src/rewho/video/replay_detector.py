"""A file of detections in place of a detector: LUPerson's published layout as JSON, and MOT's text files.

What is unusual: published detections or ground truth suffice to build a crop set. LUPerson's published pickle files are
refused, because reading one runs the code in it.

LUPerson's layout, with frame numbers as text::

    {frame: [[object, {"bbox": [left, top, right, bottom], "conf": …, "pose": [17][2], "prob": [17][1]}], …]}

MOT's columns: frame, id, left, top, width, height, then nothing, a confidence, or more. Ground truth has 9 columns in
all (flag, class, visible share). MOT15's files and trackers' output have 10 (confidence and three that are ignored).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.files import find_spelling, parse_json, read_bytes
from rewho.core.people import KEYPOINTS
from rewho.core.progress import say
from rewho.settings import DetectorSettings
from rewho.video.detector import Detector
from rewho.video.people import Frame, Person

ENDINGS = (".detections.json", ".json", ".gt.txt", ".det.txt", ".txt")
"""Endings of files of detections, tried in this order for a video of the same name."""
LARGEST = 2**30  # bytes of a file of detections
PEDESTRIAN = 1  # MOT's class; the others are vehicles, reflections, people on vehicles and the like
NO_CLASS = UNKNOWN = -1  # what trackers write for the class and for a confidence
FEWEST_LEFT = 5
"""Times that people left, after which it is no chance that it was always the one with the highest id."""
Box = tuple[int, int, NDArray[np.float64], float, NDArray[np.float32] | None]
"""Frame, id (negative for none), corners, confidence and keypoints, as in the file."""


class ReplayDetector(Detector):
    """Returns the detections in a file; keypoints too, if the file has them.

    Args:
        detections: One file, a folder with a file for each video (`NAME.detections.json`, `NAME.json`, `NAME.gt.txt`,
            `NAME.txt`), or None for files beside the videos.
        first_frame: Number of the first frame in the file.
    """

    name = "replay"

    def __init__(self, detections: Path | None, first_frame: int = 1) -> None:
        self._detections, self._first = detections, first_frame
        self._people: dict[int, list[Person]] = {}
        self._beyond = self._seen = 0
        self.sha256 = ""

    def begin(self, video: Path) -> None:
        """Read the detections of a video."""
        path = self._find(video)
        parsed, self.sha256 = self.read(path)
        self._people, self._beyond, self._seen = parsed.people, 0, 0
        for note in parsed.notes:
            say(f"warning: {path}: {note}")

    def read(self, path: Path) -> tuple[Parsed, str]:
        """Return a file's detections and its hash; raise a UserError if they are not of such a video."""
        data = read_bytes(path, LARGEST, expected="detections as JSON or as MOT text")
        parsed = parse_detections(data, str(path))
        first = min(parsed.people, default=self._first)
        if first < self._first:
            fix = f"Pass the first_frame of this file: {first} if its first frame is that of the video."
            raise UserError(str(path), expected=f"frames numbered from {self._first}", got=f"frame {first}", fix=fix)
        return parsed, hashlib.sha256(data).hexdigest()

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the file's people for each frame."""
        found = [self._people.get(frame.number + self._first, []) for frame in frames]
        for frame, people in zip(frames, found, strict=True):
            height, width = frame.image.shape[:2]
            boxes = np.array([one.box for one in people]).reshape(-1, 4)
            self._seen += len(boxes)
            self._beyond += int(((boxes[:, :2] < -1).any(1) | (boxes[:, 2:] > (width + 1, height + 1)).any(1)).sum())
        return found

    def notes(self) -> list[str]:
        """Return warnings for the end of the video: boxes beyond the frame, frame numbers that do not match."""
        notes = []
        if self._beyond:
            notes.append(
                f"{self._beyond:,} of {self._seen:,} boxes reach beyond the frame and are cut at its border"
                + ("; are the columns left, top, width, height?" if self._beyond > self._seen / 2 else "")
            )
        if not self._seen and self._people:
            first, last = min(self._people), max(self._people)
            notes.append(f"the file has frames {first} to {last}; the first frame of the video is {self._first} there")
        return notes

    def _find(self, video: Path) -> Path:
        given = self._detections
        if given is not None and given.is_file():
            return given
        folder = video.parent if given is None else given
        for ending in ENDINGS:
            for name in (video.stem, video.name):
                if (found := find_spelling(folder / f"{name}{ending}")).is_file():
                    return found
        expected = f"a file such as {video.stem}.detections.json in {folder}"
        fix = "Pass detector.detections: a file, or a folder with one file per video."
        raise UserError(f"detections of {video.name}", expected=expected, got="none", fix=fix)


def load_detector(settings: DetectorSettings) -> ReplayDetector:
    """Return the detector that the settings name; a file that holds for all videos is checked before the first."""
    detector = ReplayDetector(settings.detections, settings.first_frame)
    if settings.detections is not None and settings.detections.is_file():
        detector.read(settings.detections)
    return detector


@dataclass(frozen=True)
class Parsed:
    """The people of each frame, by the file's own frame numbers, and warnings about what was skipped or changed."""

    people: dict[int, list[Person]]
    notes: tuple[str, ...] = ()


def parse_detections(data: bytes, what: str) -> Parsed:
    """Return the people of each frame and warnings; `what` names the file in messages.

    Example:
        >>> people = parse_detections(b"1,7,10,20,30,60,1,1,0.9", "gt.txt").people[1]
        >>> people[0].box, people[0].index
        ((10.0, 20.0, 40.0, 80.0), 7)
    """
    if data[:1] == b"\x80" or data[:4] in (b"(dp0", b"PK\x03\x04"):
        got = "a pickle file, which can run code when it is read"
        fix = "If you trust it, convert it yourself: json.dump(detections, file, default=lambda array: array.tolist())."
        raise UserError(what, expected="detections as JSON or as MOT text", got=got, fix=fix)
    text = data.decode(errors="replace").lstrip("\ufeff \n\r\t")
    try:
        boxes, notes = (_luperson(parse_json(text)), []) if text[:1] == "{" else _mot(text)
        _check_pixels(boxes)
        return _numbered(boxes, notes)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        got = f"a line too short or a field missing ({error})" if isinstance(error, LookupError) else str(error)
        expected = "LUPerson's layout as JSON, or MOT's columns (frame, id, left, top, width, height, confidence)"
        got, fix = " ".join(got.split())[:200], "See `rewho.video.replay_detector` for both layouts."
        raise UserError(what, expected=expected, got=got, fix=fix) from error


def _luperson(content: dict[str, Any]) -> list[Box]:
    return [
        (frame, int(index), *_fields(f"frame {frame}, object {index}", fields))
        for frame, found in {int(frame): found for frame, found in content.items()}.items()
        for index, fields in found
    ]


def _fields(where: str, fields: dict[str, Any]) -> tuple[NDArray[np.float64], float, NDArray[np.float32] | None]:
    box = np.asarray(fields["bbox"], np.float64).reshape(4)
    keypoints = None
    if fields.get("pose") is not None:
        places = np.asarray(fields["pose"], np.float32).reshape(len(KEYPOINTS), 2)
        scores = np.asarray(fields["prob"], np.float32).reshape(len(KEYPOINTS), 1)
        keypoints = np.concatenate([places, scores], axis=1)
    return _checked_box(box, where), float(fields["conf"]), keypoints


def _mot(text: str) -> tuple[list[Box], list[str]]:
    """Return the rows and warnings of one of MOT's files.

    MOT16 and later write ground truth in 9 columns with a flag and a class. MOT15's and trackers' files have 10 columns
    with a confidence; the last three are places in the world, or -1.
    """
    rows = [(number, _row(number, line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    widths = sorted({len(row) for _, row in rows})
    if len(widths) > 1:
        raise ValueError(f"lines of {widths[0]} and of {widths[-1]} columns")
    truth = widths[:1] in ([8], [9]) and any(row[7] != NO_CLASS for _, row in rows)
    if truth and not all(row[6] in (0, 1) for _, row in rows):
        raise ValueError("classes beside confidences; MOT's ground truth has a flag, 0 or 1, in column 7")
    if widths == [10] and _has_classes(np.array([row[7:] for _, row in rows])):
        raise ValueError("several classes in column 8, as in VisDrone; keep the rows of people, with -1 in it")
    people = [row for row in rows if row[1][6] and row[1][7] == PEDESTRIAN] if truth else rows
    notes = []
    if truth and not people:
        classes = ", ".join(str(int(one)) for one in sorted({row[7] for _, row in rows})[:10])
        notes.append(f"none of {len(rows):,} rows is a person (class {PEDESTRIAN}, flag 1); classes {classes}")
    given = [row[6] for _, row in people] if widths and widths[0] > 6 and not truth else []
    known = bool(given) and set(given) != {UNKNOWN}
    if given and not known:
        notes.append(f"the confidence of all {len(given):,} boxes is -1 (not known) and is taken as 1")
    boxes: list[Box] = []
    for number, row in people:
        frame, person = _whole(row[0], number, "frame"), _whole(row[1], number, "id")
        box = _checked_box(np.array([row[2], row[3], row[2] + row[4], row[3] + row[5]]), f"line {number}")
        boxes.append((frame, person, box, row[6] if known else 1.0, None))
    return boxes, notes


def _check_pixels(boxes: Sequence[Box]) -> None:
    """Raise a ValueError where all boxes lie within the first pixel: their numbers are shares of the frame."""
    if boxes and all(box[2].max() <= 1 for box in boxes):
        raise ValueError("boxes from 0 to 1, shares of the frame; multiply them by its width and height")


def _has_classes(last: NDArray[np.float64]) -> bool:
    """Return whether the last three columns are class, truncation and occlusion, and not a place in the world."""
    whole = bool((last == np.rint(last)).all() and last.min() >= 0)
    return whole and len(np.unique(last[:, 0])) > 1 and bool((last.max(0) <= (11, 2, 2)).all())


def _row(number: int, line: str) -> list[float]:
    """Return the numbers of a line, which are separated by commas, semicolons, tabs or spaces."""
    parts = re.split(r"[,;]", line.strip()) if re.search("[,;]", line) else line.split()
    try:
        values = [float(part) for part in parts]
    except ValueError:
        raise ValueError(f"line {number}, which is not numbers: {line[:60]!r}") from None
    if not 6 <= len(values) <= 10 or not np.isfinite(values).all():
        raise ValueError(f"line {number}, not 6 to 10 finite numbers: {line[:60]!r}")
    return values


def _whole(value: float, line: int, name: str) -> int:
    if value != int(value):
        raise ValueError(f"line {line}: {name} {value:g} is not whole")
    return int(value)


def _checked_box(box: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    left, top, right, bottom = box
    if not (np.isfinite(box).all() and right > left and bottom > top):
        size = f"{right - left:g} x {bottom - top:g} pixels"
        raise ValueError(f"{where}: a box of {size}; width and height must be above 0")
    return box


def _count_per_frame(boxes: Sequence[Box]) -> bool:
    """Return whether ids only number the detections of each frame, as in LUPerson's files, and follow nobody.

    Then every frame has the ids from the lowest on without a gap, and the one who leaves always had the highest one.
    """
    ids: dict[int, list[int]] = {}
    for frame, given, *_ in boxes:
        ids.setdefault(frame, []).append(given)
    low = min((given for _, given, *_ in boxes), default=-1)
    if low not in (0, 1) or any(sorted(one) != list(range(low, low + len(one))) for one in ids.values()):
        return False
    counts = [len(ids[frame]) for frame in sorted(ids)]
    return sum(later < before for before, later in pairwise(counts)) >= FEWEST_LEFT


def _numbered(boxes: Sequence[Box], notes: list[str]) -> Parsed:
    """Return people by frame, with indices unique within their frame and confidences clipped to 0 to 1."""
    people: dict[int, list[Person]] = {}
    per_frame = _count_per_frame(boxes)
    again, used, ids = 0, set[tuple[int, int]](), {(frame, given) for frame, given, *_ in boxes}
    for frame, given, box, confidence, keypoints in boxes:
        if not np.isfinite([confidence, *([] if keypoints is None else keypoints.ravel())]).all():
            raise ValueError(f"frame {frame}, detection {given}: NaN or infinity")
        found = people.setdefault(frame, [])
        left, top, right, bottom = map(float, box)
        index = given
        if given < 0 or (frame, given) in used:
            again += given >= 0
            free = count(max(given + 1, len(found)))
            index = next(n for n in free if (frame, n) not in used and (frame, n) not in ids)
        used.add((frame, index))
        track = given if index == given and not per_frame else None
        found.append(Person((left, top, right, bottom), min(max(confidence, 0.0), 1.0), keypoints, index, track))
    clipped = [confidence for *_, confidence, _ in boxes if not 0 <= confidence <= 1]
    if clipped:
        span = f"from {min(clipped):g} to {max(clipped):g}"
        notes.append(f"{len(clipped):,} of {len(boxes):,} confidences lie beyond 0 to 1 ({span}) and are clipped")
    if again:
        notes.append(f"{again:,} boxes have an id that another box of their frame has, and get the next free number")
    if not people and not notes:
        notes.append("the file holds no detections")
    return Parsed(people, tuple(notes))
