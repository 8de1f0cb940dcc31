"""Settings of Factorized Distillation's own stages: teachers, representations, distillation.

The defaults are the paper preset (FD sections 3.3 to 3.6 and 4.1) where the paper gives a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Mistake, Range, Share
from rewho.settings.parts import (
    AugmentSettings,
    DataSettings,
    DeviceSettings,
    LabelledTrainingSettings,
    LossSettings,
    OptimizerSettings,
    StrideOneAt,
    TrainingSettings,
)

MimicDistance = Literal["sum", "mean", "cosine"]
Divisor = Literal["batch", "kept"]
Balance = Literal["fixed", "scale", "uncertainty"]
USED_OF_LOSS = ("label_smoothing", "smoothing_over")  # the options of --loss that `rewho distill` has a use for
PAPER_VIEWS = ("holistic", "up1", "mid1", "dn1", "up2", "mid2", "dn2")


@dataclass(frozen=True)
class TeachersSettings(TrainingSettings):
    """Everything that `rewho teachers` does: one training for each view, one after the other.

    Args:
        out: Folder of the teachers; each gets a model folder in it, called after its view.
        data: Which images.
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
        loss: Which loss.
    """

    out: Path = Path("runs/teachers")
    data: DataSettings = field(default_factory=DataSettings)
    views: tuple[str, ...] = PAPER_VIEWS
    backbone: str = "resnet101"
    stride_one_at: StrideOneAt = "layer4"
    pretrained: str = "imagenet"
    holistic_size: Annotated[tuple[int, ...], Range(1, 10_000)] = ()
    partial_size: Annotated[tuple[int, ...], Range(1, 10_000)] = ()
    holistic_embedding: Annotated[int, Range(1)] = 512
    partial_embedding: Annotated[int, Range(1)] = 256
    holistic_augment: AugmentSettings = field(default_factory=AugmentSettings)
    partial_augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(colour=0.2, rotation=10.0))
    loss: LossSettings = field(default_factory=LossSettings)
    evaluate_every: Annotated[int, Range(-1)] = 0


@dataclass(frozen=True)
class RepresentSettings:
    """Everything that `rewho represent` does.

    Args:
        teachers: Teachers' model folders, one per view; a folder of such folders stands for all in it, and a YAML file
            describes a network that is not ours (timm's, or an ONNX file).
        out: Folder for one [N, D] array per view and representations.json.
        data: Which images; the same settings as the distillation will have.
        dtype: float32 or float16.
        batch: Images at a time.
        engine: Where it is computed.
    """

    teachers: tuple[Path, ...] = ()
    out: Path = Path("runs/representations")
    data: DataSettings = field(default_factory=DataSettings)
    dtype: Literal["float32", "float16"] = "float32"
    batch: Annotated[int, Range(1, 100_000)] = 64
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

    features: Annotated[int, Range(1, 1_000_000)] = 512
    kernel: Annotated[int, Range(1, 1_000)] = 4
    from_map: bool = True
    from_representation: bool = True
    warmup_epochs: Annotated[int, Range(0, 1_000_000)] = 0


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

    alpha: Annotated[float, Range(0, 1_000_000)] = 4.0
    beta: Annotated[float, Range(0, 1_000_000)] = 2.0
    distance: MimicDistance = "sum"
    divide_by: Divisor = "batch"
    balance: Balance = "fixed"
    ignore_above: Share = 0.4
    dropout: Annotated[float, Range(0, 0.99)] = 0.0


@dataclass(frozen=True)
class DistillSettings(LabelledTrainingSettings):
    """Everything that `rewho distill` does.

    Args:
        student: Model folder of the trained initial student; its network and its classifier are where it begins.
        representations: Folder that `rewho represent` made for the same data.
        out: Folder of the run; it becomes the model folder.
        data: Which images; the same settings as the student and the representations were made with.
        views: Views whose representations are used; empty takes all that are there.
        sr: stored (read back, the paper's) or online (computed from the augmented image at every step).
        teachers: The teachers' model folders, or one folder that holds them: those that compute, with `--sr online`;
            else, if named at all, those that must have made the stored representations.
        classifier: student (go on with the student's) or new (begin a new one, for other training images).
        embedding_space: student (its own representation, the paper's) or teacher (as the teacher of the student's own
            view would answer: the mapping that was learned is folded into the embedding, which has as many layers as
            before; ours).
        augment: Which random changes (FD table 2: flip and erasing only); images can be neither shifted nor turned.
        optimizer: How the weights move.
        loss: The identity loss; its label smoothing can be chosen, the rest of these options is for `rewho train`.
        mimic: The regression losses.
        branches: What predicts the representations.
        epochs: Passes over the training set.
    """

    student: Path = Path("runs/student")
    representations: Path = Path("runs/representations")
    out: Path = Path("runs/distill")
    views: tuple[str, ...] = ()
    sr: Literal["stored", "online"] = "stored"
    teachers: tuple[Path, ...] = ()
    classifier: Literal["student", "new"] = "student"
    embedding_space: Literal["student", "teacher"] = "student"
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_padding=0))
    optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(halve_every=15))
    mimic: MimicSettings = field(default_factory=MimicSettings)
    branches: BranchSettings = field(default_factory=BranchSettings)
    epochs: Annotated[int, Range(1)] = 50

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        for option in fields(LossSettings):
            if option.name not in USED_OF_LOSS and getattr(self.loss, option.name) != option.default:
                expected = f"{option.default}: a distillation has a linear classifier and no other losses than its own"
                fix = f"Leave it out; of --loss, {' and '.join(USED_OF_LOSS)} are free."
                yield Mistake(f"loss.{option.name}", expected, fix)
        for name in ("crop_padding", "rotation"):
            if getattr(self.augment, name):
                expected = "0: after a shift or a rotation, the erased share of each view is unknown"
                yield Mistake(f"augment.{name}", expected, "Leave it out, as the paper does for final students.")
        if len(set(self.views)) < len(self.views):
            yield Mistake("views", "each view once", "Name every view once.")
