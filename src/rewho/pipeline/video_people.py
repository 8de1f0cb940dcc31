"""Where the people of a video come from: probe, screen, detector and key points, loaded once per process.

What is unusual: the object is sent to worker processes as settings alone; models are loaded where they are first used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from rewho.core.settings import CropSettings
from rewho.video.detect import Detector, build_detector
from rewho.video.finding import people_in
from rewho.video.frames import probe
from rewho.video.people import FramePeople, Probe
from rewho.video.pose import PoseEstimator, build_pose
from rewho.video.screen import refuse_video


class PeopleSource(Protocol):
    """Gives what is in a video."""

    def models(self) -> tuple[str, str]:
        """Return the ids of the detector and of the key-point model, each with the hash of its file."""

    def look(self, path: Path) -> tuple[Probe, str]:
        """Return what is known of a video, and why it is refused as a whole, or an empty text."""

    def people(self, path: Path) -> Iterator[FramePeople]:
        """Yield the sampled frames with everybody in them; may raise VideoFailure."""


class VideoPeople:
    """The people of videos, as the settings of `crop` say.

    Args:
        settings: Sampling, screen, limits, detector, pose and rules are used.

    Example:
        >>> from rewho.core.settings import DetectorSettings, PoseSettings
        >>> source = VideoPeople(CropSettings(detector=DetectorSettings(kind="hog"), pose=PoseSettings(kind="none")))
        >>> source.models()
        ('hog', 'none')
    """

    def __init__(self, settings: CropSettings) -> None:
        self.settings = settings

    def __getstate__(self) -> dict[str, CropSettings]:
        return {"settings": self.settings}

    @cached_property
    def _detector(self) -> Detector:
        return build_detector(self.settings.detector)

    @cached_property
    def _pose(self) -> PoseEstimator | None:
        return build_pose(self.settings.pose)

    def models(self) -> tuple[str, str]:
        """Return the ids of detector and key-point model, such as `onnx yolox_nano sha256:…`."""
        return _id(self._detector), _id(self._pose) if self._pose is not None else "none"

    def look(self, path: Path) -> tuple[Probe, str]:
        """Return what is known of a video, and why it is refused as a whole, or an empty text."""
        screen = self.settings.screen
        known = probe(path, self.settings.limits, screen.static_frames)
        return known, refuse_video(known, screen, path.name)

    def people(self, path: Path) -> Iterator[FramePeople]:
        """Yield the sampled frames with everybody in them.

        Raises:
            VideoFailure: The video cannot be read to its end.
        """
        given = self.settings
        return people_in(
            path,
            self._detector,
            self._pose,
            given.sampling,
            given.limits,
            given.rules,
            batch=given.detector.batch,
            only_possible=given.pose.only_possible,
        )


def _id(model: Detector | PoseEstimator) -> str:
    return f"{model.name} sha256:{model.sha256}" if model.sha256 else model.name
