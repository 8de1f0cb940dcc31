"""The protocol that every detector fits behind, and what its adapters share: files of weights, classes that are people.

What is unusual: a detector takes a batch of frames of one video and is told when a video begins, so that a file of
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
        name: Kind of detector and model, for the provenance of each crop.
        sha256: Hash of the weights or of the detections file; empty where there is neither.
    """

    name: str
    sha256: str

    def begin(self, video: Path) -> None:
        """Prepare for the frames of a video; most detectors have nothing to do."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame, most confident first, with keypoints where the detector knows them."""


def person_classes(names: Mapping[int, str], option: str, fix: str) -> tuple[int, ...]:
    """Return the numbers of the classes that are people.

    Args:
        names: A model's own names of its classes.
        option: What gave the model, for messages.
        fix: What to do where none is.

    Raises:
        UserError: None is.

    Example:
        >>> person_classes({0: "Car", 1: "Pedestrian", 2: "people"}, "detector.weights", "")
        (1, 2)
    """
    found = tuple(number for number, name in sorted(names.items()) if name.strip().lower() in PERSON_NAMES)
    if not found:
        listed = ", ".join(f"{number}: {name}" for number, name in sorted(names.items())[:10])
        raise UserError(option, expected="a detector with a class `person`", got=listed, fix=fix)
    return found


def weights_file(path: Path | None, option: str, endings: tuple[str, ...]) -> Path:
    """Return a file of weights that is there and ends as it should.

    Raises:
        UserError: None given, no such file, or another ending.
    """
    wanted = " or ".join(endings)
    if path is None:
        raise UserError(option, expected=f"a {wanted} file", got="nothing", fix=f"Pass --{option} FILE.")
    if not path.is_file():
        raise UserError(option, expected=f"a {wanted} file", got=f"nothing at {path}", fix="Check the path.")
    if path.suffix.lower() not in endings:
        raise UserError(
            option, expected=f"a {wanted} file", got=str(path), fix="Convert it; other formats may run code."
        )
    return path
