"""The protocol of pose estimators, and those that need no model.

What is unusual: keypoints that a detector or a file has already given come through the same protocol, so that the
rules need not distinguish where they are from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewho.video.boxes import compute_iou
from rewho.video.people import Frame, Person
from rewho.video.replay_detector import ReplayDetector

SAME_PERSON = 0.5  # least intersection over union of a box with the file's box whose keypoints it gets
Box = tuple[float, float, float, float]


class PoseEstimator(Protocol):
    """Finds the 17 keypoints of people.

    Attributes:
        name: Kind of estimator and model, stored with each crop.
        sha256: Hash of the weights or of the file; empty where there is neither.
    """

    name: str
    sha256: str

    def begin(self, video: Path) -> None:
        """Prepare for the frames of a video; most estimators have nothing to do."""
        return

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people of each frame, in the same order, with their keypoints where they are found."""


class TopDownPose(PoseEstimator, Protocol):
    """A pose model that gets one person at a time; people of several frames share a batch."""

    batch: int  # most people per call of the model

    def estimate(self, people: Sequence[tuple[NDArray[np.uint8], Box]]) -> list[NDArray[np.float32]]:
        """Return float32 [17, 3] in pixels of the frame for each frame image and box."""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people of each frame with their keypoints."""
        found = [list(some) for some in people]
        flat = [(row, at) for row, some in enumerate(people) for at in range(len(some))]
        for start in range(0, len(flat), self.batch):
            part = flat[start : start + self.batch]
            points = self.estimate([(frames[row].image, people[row][at].box) for row, at in part])
            for (row, at), keypoints in zip(part, points, strict=True):
                found[row][at] = replace(people[row][at], keypoints=keypoints)
        return found


class DetectorKeypoints(PoseEstimator):
    """The keypoints that the detector gave, or None where it gave none."""

    name, sha256 = "detector", ""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people unchanged."""
        return [list(found) for found in people]


class KeypointFile(PoseEstimator):
    """Keypoints from a file in LUPerson's layout, each given to the box that overlaps most with the file's.

    Args:
        keypoints: One file, a folder with a file for each video, or None for files beside the videos.
        first_frame: Number of the first frame in the file.
    """

    name = "file"

    def __init__(self, keypoints: Path | None, first_frame: int = 1) -> None:
        self._replay = ReplayDetector(keypoints, first_frame)
        self.sha256 = ""

    def begin(self, video: Path) -> None:
        """Read the file of a video."""
        self._replay.begin(video)
        self.sha256 = self._replay.sha256

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people with the keypoints of the file's box that overlaps most with theirs."""
        return [_match(found, given) for found, given in zip(people, self._replay.detect(frames), strict=True)]


def _match(people: Sequence[Person], given: Sequence[Person]) -> list[Person]:
    if not people or not given:
        return list(people)
    shared = compute_iou(np.array([one.box for one in people]), np.array([one.box for one in given]))
    nearest = shared.argmax(1)
    return [
        replace(one, keypoints=given[at].keypoints) if shared[row, at] >= SAME_PERSON else one
        for row, (one, at) in enumerate(zip(people, nearest, strict=True))
    ]
