"""The protocol of detectors, and the checks that several adapters share.

What is unusual: a detector gets batches of frames of one video and is informed when a video begins, so that a file of
detections is a detector like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rewho.core.check import UserError
from rewho.video.people import Frame, Person

PERSON_NAMES = frozenset(("person", "persons", "people", "pedestrian", "pedestrians", "human", "humans"))


class Detector(Protocol):
    """Finds people in frames.

    Attributes:
        name: Kind of detector and model, stored with each crop.
        sha256: Hash of the weights or of the detections file; empty where there is neither.
    """

    name: str
    sha256: str

    def begin(self, video: Path) -> None:
        """Prepare for the frames of a video; most detectors have nothing to do."""
        return

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame, most confident first, with keypoints where the detector gives them."""


def find_person_classes(names: Mapping[int, str], option: str, fix: str) -> tuple[int, ...]:
    """Return the numbers of the classes that are people; `option` and `fix` are for the message."""
    found = tuple(number for number, name in sorted(names.items()) if name.strip().lower() in PERSON_NAMES)
    if not found:
        listed = ", ".join(f"{number}: {name}" for number, name in sorted(names.items())[:10])
        raise UserError(option, expected="a detector with a class `person`", got=listed, fix=fix)
    return found


def check_weights_file(path: Path | None, option: str, endings: tuple[str, ...]) -> Path:
    """Return the path of a weights file that exists and has one of these endings."""
    expected = f"a {' or '.join(endings)} file"
    if path is None:
        fix = f"Pass --{option} FILE, or --{option.partition('.')[0]} NAME after `rewho models get NAME`."
        raise UserError(option, expected=expected, got="nothing", fix=fix)
    if not path.is_file():
        raise UserError(option, expected=expected, got=f"nothing at {path}", fix="Check the path.")
    if path.suffix.lower() not in endings:
        raise UserError(option, expected=expected, got=str(path), fix="Convert it; other formats may run code.")
    return path
