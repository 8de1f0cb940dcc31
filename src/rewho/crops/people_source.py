"""Finds the people of a video: probe, screen, detector and keypoint model, loaded once per process.

Only the settings are sent to worker processes; each process loads the models on first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from rewho.core.progress import say
from rewho.crops.photographs import is_photograph, open_photograph
from rewho.settings import CropSettings
from rewho.video.adapters import build_detector, build_pose
from rewho.video.detect import detect_video
from rewho.video.detector import Detector
from rewho.video.frames import open_video
from rewho.video.people import Frame, FramePeople, Probe, VideoFailure
from rewho.video.pose import PoseEstimator
from rewho.video.screen import screen_video


class VideoContent(NamedTuple):
    """The content of an open video."""

    probe: Probe
    refusal: str  # why the video is refused as a whole; empty where it is not
    people: Iterator[FramePeople]  # the sampled frames with their detections; lazy, may raise VideoFailure


class PeopleSource(Protocol):
    """Finds the people of videos."""

    def models(self) -> tuple[str, str]:
        """Return the ids of the detector and of the keypoint model, each with the hash of its file."""

    def open(self, path: Path) -> AbstractContextManager[VideoContent]:
        """Open a video for the duration of a `with` block."""


class VideoPeople:
    """Finds people with the detector and the keypoint model of the settings of `crop`.

    Args:
        settings: Sampling, screen, limits, detector, pose and rules are used.

    Example:
        >>> from rewho.settings import DetectorSettings, PoseSettings
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
        """Return the ids of detector and keypoint model, such as `onnx yolox_nano sha256:…`."""
        return _id(self._detector), _id(self._pose) if self._pose is not None else "none"

    @contextmanager
    def open(self, path: Path) -> Iterator[VideoContent]:
        """Open a video, whose probe and frames come from one decoding process, or a photograph."""
        given, screen = self.settings, self.settings.screen
        if is_photograph(path):  # the rules on videos as a whole, such as their length, are not for it
            with open_photograph(path, given.limits) as photograph:
                yield VideoContent(photograph.probe, photograph.probe.reason, self.people(path, photograph.frames))
            return
        with open_video(path, given.sampling, given.limits, screen.static_frames) as video:
            refusal = screen_video(video.probe, screen, path.name)
            yield VideoContent(video.probe, refusal, self._allowed(self.people(path, video.frames)))

    def people(self, path: Path, frames: Iterator[Frame] | None = None) -> Iterator[FramePeople]:
        """Yield the sampled frames with their detections, without screening; raise VideoFailure if reading fails."""
        given = self.settings
        return detect_video(
            path,
            self._detector,
            self._pose,
            given.sampling,
            given.limits,
            given.rules,
            batch=given.detector.batch,
            only_possible=given.pose.only_possible,
            frames=frames,
        )

    def _allowed(self, people: Iterator[FramePeople]) -> Iterator[FramePeople]:
        """Yield the same frames; if videos may be cut short or damaged, end where they do, with a warning."""
        try:
            yield from people
        except VideoFailure as failure:
            if not (self.settings.screen.allow_cut and failure.reason in ("cut short", "damaged")):
                raise
            say(f"warning: {failure}; what can be read is kept")


def _id(model: Detector | PoseEstimator) -> str:
    return f"{model.name} sha256:{model.sha256}" if model.sha256 else model.name
