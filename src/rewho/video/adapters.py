"""Build the detector and the pose estimator that the settings name.

The detector of kind KIND is the function `load_detector` of the module `rewho.video.KIND_detector`. A new kind needs
that module and its name among the choices of `DetectorSettings.kind`. A module is imported when it is chosen, because
torch and transformers are slow to import and may be absent. The name of a downloaded model is the kind `onnx` with its
file.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from rewho.core.check import UserError
from rewho.core.named_models import NAMED_MODELS, find_named
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
    if settings.kind in NAMED_MODELS:
        settings = replace(settings, kind="onnx", weights=_named_file(settings, "detector"))
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
    if settings.kind in NAMED_MODELS:
        settings = replace(settings, kind="onnx", weights=_named_file(settings, "pose"))
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


def _named_file(settings: DetectorSettings | PoseSettings, group: str) -> Path:
    """Return the file of a named model; fail where another is given as well."""
    if settings.weights is not None:
        expected, got = f"one model: --{group} {settings.kind}, or a file", f"both, and {settings.weights}"
        fix = f"Leave out --{group}.weights, or pass --{group} onnx."
        raise UserError(f"{group}.weights", expected=expected, got=got, fix=fix)
    return find_named(settings.kind, f"{group}.kind")
