"""What finds keypoints: the protocol that every pose model fits behind, and the choice of one by its settings.

What is unusual: keypoints that a detector or a file has already given come through the same protocol, so that the
rules need not know where they are from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from rewho.settings import PoseSettings
from rewho.settings.fields import check
from rewho.video.boxes import overlaps
from rewho.video.people import Frame, Person
from rewho.video.replay import Replay

SAME_PERSON = 0.5  # least overlap of a box with the file's box whose keypoints it takes


class PoseEstimator(Protocol):
    """Finds the 17 keypoints of people.

    Attributes:
        name: Kind of estimator and model, for the provenance of each crop.
        sha256: Hash of the weights or of the file; empty where there is neither.
    """

    name: str
    sha256: str

    def begin(self, video: Path) -> None:
        """Prepare for the frames of a video; most estimators have nothing to do."""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people of each frame, in the same order, with their keypoints where they are found."""


class FromDetector:
    """The keypoints that the detector gave, or None where it gave none.

    Example:
        >>> FromDetector().name
        'detector'
    """

    name, sha256 = "detector", ""

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people as they are."""
        return [list(found) for found in people]


class FromFile:
    """Keypoints from a file in LUPerson's layout, each given to the box that overlaps most with the file's.

    Args:
        keypoints: One file, a folder with a file for each video, or None for files beside the videos.
        first_frame: Number of the first frame in the file.

    Example:
        >>> FromFile(None).name
        'file'
    """

    name = "file"

    def __init__(self, keypoints: Path | None, first_frame: int = 1) -> None:
        self._replay = Replay(keypoints, first_frame)
        self.sha256 = ""

    def begin(self, video: Path) -> None:
        """Read the file of a video.

        Raises:
            UserError: There is none, or it cannot be read.
        """
        self._replay.begin(video)
        self.sha256 = self._replay.sha256

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people with the keypoints of the box that is most like theirs."""
        known = self._replay.detect(frames)
        return [_matched(found, given) for found, given in zip(people, known, strict=True)]


def _matched(people: Sequence[Person], given: Sequence[Person]) -> list[Person]:
    if not people or not given:
        return list(people)
    shared = overlaps(np.array([one.box for one in people]), np.array([one.box for one in given]))
    nearest = shared.argmax(1)
    return [
        replace(one, keypoints=given[at].keypoints) if shared[row, at] >= SAME_PERSON else one
        for row, (one, at) in enumerate(zip(people, nearest, strict=True))
    ]


def build_pose(settings: PoseSettings | None = None) -> PoseEstimator | None:
    """Return the estimator that the settings name; None for `none`, which leaves out the rules on the body.

    Raises:
        UserError: An unknown kind, a missing or unusable file, a missing library.

    Example:
        >>> build_pose(PoseSettings(kind="detector")).name
        'detector'
    """
    settings = settings or PoseSettings()
    check(settings, "pose.")
    if settings.kind == "none":
        return None
    if settings.kind == "detector":
        return FromDetector()
    if settings.kind == "file":
        return FromFile(settings.keypoints, settings.first_frame)
    if settings.kind == "vitpose":
        from rewho.video.transformers_models import VitPose

        return VitPose.load(settings)
    from rewho.video.onnx_pose import OnnxPose

    return OnnxPose(settings)
