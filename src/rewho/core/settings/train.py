"""Settings of `rewho train`.

The defaults are the paper preset of Factorized Distillation's initial student (FD section 4.1, table 2) where the paper
gives a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rewho.core.settings.parts import (
    AugmentSettings,
    CheckpointSettings,
    DataSettings,
    EngineSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
)


@dataclass(frozen=True)
class LossSettings:
    """The losses: of identities (FD equation 1, as a mean over the batch), and of triplets.

    Args:
        identity: Weight of the identity loss of each head; 0 leaves classifiers out.
        triplet: Weight of the batch-hard triplet loss of each head; 0 leaves it out.
        label_smoothing: Share of the target spread over other identities, 0 to 1.
        smoothing_over: all (PyTorch: share / C to every class) or others (fast-reid: share / (C - 1) to the others).
        classifier: linear, or circle (circle-softmax, fast-reid's MGN).
        circle_scale: Scale of circle-softmax.
        circle_margin: Margin of circle-softmax.
        margin: Margin of the triplet loss; 0 is the soft margin.
        triplet_distance: euclidean, unit_euclidean (of vectors of length 1) or unit_squared (2 - 2 cos).
    """

    identity: float = 1.0
    triplet: float = 0.0
    label_smoothing: float = 0.0
    smoothing_over: str = "all"
    classifier: str = "linear"
    circle_scale: float = 64.0
    circle_margin: float = 0.35
    margin: float = 0.3
    triplet_distance: str = "euclidean"


@dataclass(frozen=True)
class TrainSettings:
    """Everything that `rewho train` does.

    Args:
        out: Folder of the run; it becomes the model folder.
        data: Which pictures.
        model: Which network.
        augment: Which random changes.
        sampler: Which images make a batch.
        optimizer: How the weights move.
        loss: Which loss.
        engine: Where it is computed.
        checkpoint: When it is saved.
        epochs: Passes over the training set.
        steps_per_epoch: Stop each epoch after so many steps; 0 takes them all.
        evaluate_every: Evaluate every so many epochs, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        resume: Continue an interrupted run found in `out`; false refuses where there is one.
        allow_config_change: Resume although a setting or the data changed; the difference is logged.
    """

    out: Path = Path("runs/train")
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 80
    steps_per_epoch: int = 0
    evaluate_every: int = 10
    seed: int = 1
    resume: bool = True
    allow_config_change: bool = False
