"""Settings of `rewho train`.

The defaults are the paper preset of Factorized Distillation's initial student (FD section 4.1, table 2) where the paper
gives a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rewho.settings.parts import LabelledTrainingSettings, ModelSettings


@dataclass(frozen=True)
class TrainSettings(LabelledTrainingSettings):
    """Everything that `rewho train` does.

    Args:
        model: Which network.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
