"""What finds people: the protocol that every detector fits behind, and the choice of one by its settings.

What is unusual: a detector takes a batch of frames of one video and is told when a video begins, so that a file of
detections is a detector like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rewho.core.check import UserError
from rewho.settings import DetectorSettings
from rewho.video.people import Frame, Person


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
        """Return the people in each frame, most confident first, with key points where the detector knows them."""


def build_detector(settings: DetectorSettings | None = None) -> Detector:
    """Return the detector that the settings name.

    Raises:
        UserError: An unknown kind, a missing or unusable file, a missing library.

    Example:
        >>> build_detector(DetectorSettings(kind="hog")).name
        'hog'
    """
    settings = settings or DetectorSettings()
    if settings.kind == "replay":
        from rewho.video.replay import Replay

        return Replay(settings.detections, settings.first_frame)
    if settings.kind == "hog":
        from rewho.video.hog import HogDetector

        return HogDetector(settings)
    if settings.kind == "onnx":
        from rewho.video.onnx_detector import OnnxDetector

        return OnnxDetector(settings)
    if settings.kind == "transformers":
        from rewho.video.transformers_models import TransformersDetector

        return TransformersDetector.load(settings)
    from rewho.video.keypoint_rcnn import KeypointRcnn

    return KeypointRcnn.load(settings)


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
