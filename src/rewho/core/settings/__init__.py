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
from rewho.core.settings.distill import (
    BranchSettings,
    DistillSettings,
    MimicSettings,
    RepresentSettings,
    TeachersSettings,
)
from rewho.core.settings.parts import (
    AugmentSettings,
    CheckpointSettings,
    DataSettings,
    DeviceSettings,
    EngineSettings,
    LoopSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
)
from rewho.core.settings.pretrain import (
    ContrastAugmentSettings,
    ContrastSettings,
    PretrainPictureSettings,
    PretrainSettings,
)
from rewho.core.settings.table import TableSettings
from rewho.core.settings.train import LossSettings, TrainSettings
from rewho.core.settings.use import (
    CompareSettings,
    DemoSettings,
    EmbedSettings,
    EvaluateSettings,
    ExplainSettings,
    ExportSettings,
)

__all__ = [
    "AugmentSettings",
    "BranchSettings",
    "CheckpointSettings",
    "CompareSettings",
    "ContrastAugmentSettings",
    "ContrastSettings",
    "CropSettings",
    "CropsSettings",
    "DataSettings",
    "DemoSettings",
    "DetectorSettings",
    "DeviceSettings",
    "DistillSettings",
    "EmbedSettings",
    "EngineSettings",
    "EvaluateSettings",
    "ExplainSettings",
    "ExportSettings",
    "LimitSettings",
    "LoopSettings",
    "LossSettings",
    "MimicSettings",
    "ModelSettings",
    "OptimizerSettings",
    "PoseSettings",
    "PretrainPictureSettings",
    "PretrainSettings",
    "RepresentSettings",
    "RuleSettings",
    "SamplerSettings",
    "SamplingSettings",
    "ScreenSettings",
    "SelectionSettings",
    "TableSettings",
    "TeachersSettings",
    "TermsSettings",
    "TrainSettings",
]
