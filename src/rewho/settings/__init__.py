"""Settings of every stage, as frozen dataclasses: each option with its name, type, choices or range, and default.

Recipes (YAML) and the command line fill the same classes, see `command_line.py`. A class with a `command` is a
sub-command. Nothing heavy is imported here, so that `rewho train --help` starts fast.
"""

from rewho.settings.adapt import AdaptSettings, ClusterSettings, MemorySettings, SourceSettings
from rewho.settings.crop import (
    DetectorSettings,
    LimitSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
    TrackingSettings,
)
from rewho.settings.crops import CropSettings, CropsSettings, SelectionSettings, TermsSettings
from rewho.settings.data import AugmentSettings, DataSettings
from rewho.settings.distill import BranchSettings, DistillSettings, MimicSettings, RepresentSettings, TeachersSettings
from rewho.settings.export import CalibrationSettings, ExportSettings, ExportTestSettings
from rewho.settings.gallery import GallerySettings
from rewho.settings.listing import CompletionSettings, ModelsSettings, RecipesSettings
from rewho.settings.model import LossSettings, ModelSettings
from rewho.settings.pretrain import (
    ContrastAugmentSettings,
    ContrastSettings,
    PretrainDataSettings,
    PretrainSettings,
    ProbeSettings,
)
from rewho.settings.run import RunSettings
from rewho.settings.serve import ServeSettings, ServiceLimits
from rewho.settings.table import TableSettings
from rewho.settings.training import (
    CheckpointSettings,
    DeviceSettings,
    EngineSettings,
    LabelledTrainingSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainingSettings,
    TrainSettings,
)
from rewho.settings.use import (
    CompareSettings,
    DemoSettings,
    EmbedSettings,
    EvaluateDataSettings,
    EvaluateSettings,
    ExplainSettings,
)
