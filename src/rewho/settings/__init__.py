"""The settings of every stage, as frozen dataclasses: each option with its name, type, choices or range, and default.

A recipe (YAML) and the command line fill the same classes, see `command_line.py`. Nothing heavy is imported here, so
that `rewho train --help` answers at once.
"""

from rewho.settings.crop import (
    DetectorSettings,
    LimitSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
)
from rewho.settings.crops import CropSettings, CropsSettings, SelectionSettings, TermsSettings
from rewho.settings.distill import (
    BranchSettings,
    DistillSettings,
    MimicSettings,
    RepresentSettings,
    TeachersSettings,
)
from rewho.settings.parts import (
    AugmentSettings,
    CheckpointSettings,
    DataSettings,
    DeviceSettings,
    EngineSettings,
    LabelledTrainingSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainingSettings,
)
from rewho.settings.pretrain import (
    ContrastAugmentSettings,
    ContrastSettings,
    PretrainImageSettings,
    PretrainSettings,
)
from rewho.settings.table import TableSettings
from rewho.settings.train import TrainSettings
from rewho.settings.use import (
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
    "LabelledTrainingSettings",
    "LimitSettings",
    "LossSettings",
    "MimicSettings",
    "ModelSettings",
    "OptimizerSettings",
    "PoseSettings",
    "PretrainImageSettings",
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
    "TrainingSettings",
]
