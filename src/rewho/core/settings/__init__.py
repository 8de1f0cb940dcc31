"""The settings of every stage, as frozen dataclasses: each option with its name, type, default and explanation.

A recipe (YAML) and the command line fill the same classes, see `core/config.py`. Nothing heavy is imported here, so
that `rewho train --help` answers at once.
"""

from rewho.core.settings.crop import (
    DetectorSettings,
    LimitSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
)
from rewho.core.settings.crops import CropSettings, CropsSettings, SelectionSettings, TermsSettings
from rewho.core.settings.parts import (
    AugmentSettings,
    CheckpointSettings,
    DataSettings,
    EngineSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
)
from rewho.core.settings.train import LossSettings, TrainSettings
from rewho.core.settings.use import CompareSettings, DemoSettings, EmbedSettings, EvaluateSettings

__all__ = [
    "AugmentSettings",
    "CheckpointSettings",
    "CompareSettings",
    "CropSettings",
    "CropsSettings",
    "DataSettings",
    "DemoSettings",
    "DetectorSettings",
    "EmbedSettings",
    "EngineSettings",
    "EvaluateSettings",
    "LimitSettings",
    "LossSettings",
    "ModelSettings",
    "OptimizerSettings",
    "PoseSettings",
    "RuleSettings",
    "SamplerSettings",
    "SamplingSettings",
    "ScreenSettings",
    "SelectionSettings",
    "TermsSettings",
    "TrainSettings",
]
