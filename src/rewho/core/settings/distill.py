"""Settings of Factorized Distillation's own stages: teachers, representations, distillation.

The defaults are the paper preset (FD sections 3.3 to 3.6 and 4.1) where the paper gives a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rewho.core.settings.parts import (
    AugmentSettings,
    CheckpointSettings,
    DataSettings,
    DeviceSettings,
    EngineSettings,
    OptimizerSettings,
    SamplerSettings,
)
from rewho.core.settings.train import LossSettings

PAPER_VIEWS = ("holistic", "up1", "mid1", "dn1", "up2", "mid2", "dn2")


@dataclass(frozen=True)
class TeachersSettings:
    """Everything that `rewho teachers` does: one training for each view, one after the other.

    Args:
        out: Folder of the teachers; each gets a model folder in it, called after its view.
        data: Which pictures.
        views: Views to train a teacher for: names of the paper's, or YAML files that describe others.
        backbone: The teachers' network, as in `rewho train --model.backbone`.
        stride_one_at: Which ResNet stage keeps its stride at 1: layer4, layer3 or none.
        pretrained: none, imagenet, or a file with backbone weights.
        holistic_size: Height and width of the holistic teacher's input; empty takes the view's own, 256 x 128.
        partial_size: Height and width of the others' input; empty takes the views' own, 224 x 224.
        holistic_embedding: Length of the holistic teacher's embedding.
        partial_embedding: Length of the others' embeddings.
        holistic_augment: Random changes for the holistic teacher (FD table 2).
        partial_augment: Random changes for the others (FD table 2).
        sampler: Which images make a batch.
        optimizer: How the weights move.
        loss: Which loss.
        engine: Where it is computed.
        checkpoint: When it is saved.
        epochs: Passes over the training set.
        steps_per_epoch: Stop each epoch after so many steps; 0 takes them all.
        evaluate_every: Evaluate every so many epochs, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        allow_config_change: Go on with unfinished teachers although a setting or the data changed.
    """

    out: Path = Path("runs/teachers")
    data: DataSettings = field(default_factory=DataSettings)
    views: tuple[str, ...] = PAPER_VIEWS
    backbone: str = "resnet101"
    stride_one_at: str = "layer4"
    pretrained: str = "imagenet"
    holistic_size: tuple[int, ...] = ()
    partial_size: tuple[int, ...] = ()
    holistic_embedding: int = 512
    partial_embedding: int = 256
    holistic_augment: AugmentSettings = field(default_factory=AugmentSettings)
    partial_augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(colour=0.2, rotation=10.0))
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 80
    steps_per_epoch: int = 0
    evaluate_every: int = 0
    seed: int = 1
    allow_config_change: bool = False


@dataclass(frozen=True)
class RepresentSettings:
    """Everything that `rewho represent` does.

    Args:
        teachers: Teachers' model folders, one per view; a folder of such folders stands for all in it, and a YAML file
            describes a network that is not ours (timm's, or an ONNX file).
        out: Folder for one [N, D] array per view and representations.json.
        data: Which pictures; the same settings as the distillation will have.
        dtype: float32 or float16.
        batch: Pictures at a time.
        engine: Where it is computed.
    """

    teachers: tuple[Path, ...] = ()
    out: Path = Path("runs/representations")
    data: DataSettings = field(default_factory=DataSettings)
    dtype: str = "float32"
    batch: int = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class BranchSettings:
    """The training-only branches (FD sections 3.3 and 3.4).

    Args:
        features: Features that each branch selects; the paper's FeatSel has 512.
        kernel: Averaging window of the feature-map branches' stabilised maximum.
        from_map: Use feature-map branches, L_attr.
        from_representation: Use representation branches, L_metric.
        warmup_epochs: Whole epochs in which the branches learn while the student does not feel them.
    """

    features: int = 512
    kernel: int = 4
    from_map: bool = True
    from_representation: bool = True
    warmup_epochs: int = 0


@dataclass(frozen=True)
class MimicSettings:
    """The regression losses (FD equations 3, 4 and 6).

    Args:
        alpha: Weight of the feature-map branches' losses.
        beta: Weight of the representation branches' losses.
        distance: sum (the paper's squared distance, summed over dimensions), mean (over dimensions) or cosine.
        divide_by: What masked losses are divided by: batch (all samples, the literal equation) or kept samples.
        balance: fixed (alpha and beta as they are), scale (each kind is first brought down to the size of the
            identity loss) or uncertainty (learned weights, Kendall et al., CVPR 2018).
        ignore_above: A view's losses are ignored where more than this share of it was erased.
        dropout: Probability that a view's losses are ignored for a sample, 0 to 0.99; with `divide_by batch` the others
            weigh less for it.
    """

    alpha: float = 4.0
    beta: float = 2.0
    distance: str = "sum"
    divide_by: str = "batch"
    balance: str = "fixed"
    ignore_above: float = 0.4
    dropout: float = 0.0


@dataclass(frozen=True)
class DistillSettings:
    """Everything that `rewho distill` does.

    Args:
        student: Model folder of the trained initial student; its network and its classifier are where it begins.
        representations: Folder that `rewho represent` made for the same data.
        out: Folder of the run; it becomes the model folder.
        data: Which pictures; the same settings as the student and the representations were made with.
        views: Views whose representations are used; empty takes all that are there.
        sr: stored (read back, the paper's) or online (computed from the augmented picture at every step).
        teachers: The teachers' model folders, or one folder that holds them: those that compute, with `--sr online`;
            else, if named at all, those that must have made the stored representations.
        classifier: student (go on with the student's) or new (begin a new one, for other training pictures).
        embedding_space: student (its own representation, the paper's) or teacher (as the teacher of the student's own
            view would answer: the mapping that was learned is folded into the embedding, which has as many layers as
            before; ours).
        augment: Which random changes (FD table 2: flip and erasing only); pictures can be neither shifted nor turned.
        sampler: Which images make a batch.
        optimizer: How the weights move.
        loss: The identity loss; its label smoothing can be chosen, the rest of these options is for `rewho train`.
        mimic: The regression losses.
        branches: What predicts the representations.
        engine: Where it is computed.
        checkpoint: When it is saved.
        epochs: Passes over the training set.
        steps_per_epoch: Stop each epoch after so many steps; 0 takes them all.
        evaluate_every: Evaluate every so many epochs, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        resume: Continue an interrupted run found in `out`; false refuses where there is one.
        allow_config_change: Resume although a setting or the data changed; the difference is logged.
    """

    student: Path = Path("runs/student")
    representations: Path = Path("runs/representations")
    out: Path = Path("runs/distill")
    data: DataSettings = field(default_factory=DataSettings)
    views: tuple[str, ...] = ()
    sr: str = "stored"
    teachers: tuple[Path, ...] = ()
    classifier: str = "student"
    embedding_space: str = "student"
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_padding=0))
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(halve_every=15))
    loss: LossSettings = field(default_factory=LossSettings)
    mimic: MimicSettings = field(default_factory=MimicSettings)
    branches: BranchSettings = field(default_factory=BranchSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 50
    steps_per_epoch: int = 0
    evaluate_every: int = 10
    seed: int = 1
    resume: bool = True
    allow_config_change: bool = False
