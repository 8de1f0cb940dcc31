"""The choice of a detector by its settings; adapters are imported when they are chosen."""

from __future__ import annotations

from rewho.settings import DetectorSettings
from rewho.settings.fields import check
from rewho.video.detector import Detector


def build_detector(settings: DetectorSettings | None = None) -> Detector:
    """Return the detector that the settings name.

    Raises:
        UserError: An unknown kind, a missing or unusable file, a missing library.

    Example:
        >>> build_detector(DetectorSettings(kind="hog")).name
        'hog'
    """
    settings = settings or DetectorSettings()
    check(settings, "detector.")
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
