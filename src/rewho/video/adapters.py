"""Build the detector and the pose estimator that the settings name.

The detector of kind KIND is the function `load_detector` of the module `rewho.video.KIND_detector`. A new kind needs
that module and its name among the choices of `DetectorSettings.kind`. A module is imported when it is chosen, because
torch and transformers are slow to import and may be absent.
"""

from __future__ import annotations

from importlib import import_module

from rewho.settings import DetectorSettings, PoseSettings
from rewho.settings.fields import check
from rewho.video.detector import Detector
from rewho.video.pose import DetectorKeypoints, KeypointFile, PoseEstimator


def build_detector(settings: DetectorSettings | None = None) -> Detector:
    """Return the detector that the settings name.

    Example:
        >>> build_detector(DetectorSettings(kind="hog")).name
        'hog'
    """
    settings = settings or DetectorSettings()
    check(settings, "detector.")
    detector: Detector = import_module(f"rewho.video.{settings.kind}_detector").load_detector(settings)
    return detector


def build_pose(settings: PoseSettings | None = None) -> PoseEstimator | None:
    """Return the pose estimator that the settings name; None for `none`, which switches the rules on the body off.

    Example:
        >>> build_pose(PoseSettings(kind="detector")).name
        'detector'
    """
    settings = settings or PoseSettings()
    check(settings, "pose.")
    if settings.kind == "none":
        return None
    if settings.kind == "detector":
        return DetectorKeypoints()
    if settings.kind == "file":
        return KeypointFile(settings.keypoints, settings.first_frame)
    if settings.kind == "vitpose":
        from rewho.video.vitpose import load_pose

        return load_pose(settings)
    from rewho.video.onnx_pose import OnnxPose

    return OnnxPose(settings)
