"""Settings of Factorized Distillation: `rewho teachers`, `rewho represent`, `rewho distill`.

The defaults are the paper preset (FD sections 3.3 to 3.6 and 4.1) where the paper gives a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import AugmentSettings, DataSettings
from rewho.settings.fields import Batch, Command, Mistake, Range, Share
from rewho.settings.model import ImageSize, LossSettings, StrideOneAt
from rewho.settings.training import (
    DeviceSettings,
    EvaluateEvery,
    LabelledTrainingSettings,
    OptimizerSettings,
    TrainingSettings,
)

MimicDistance = Literal["sum", "mean", "cosine"]
Divisor = Literal["batch", "kept"]
Balance = Literal["fixed", "scale", "uncertainty"]
USED_OF_LOSS = ("label_smoothing", "smoothing_over")  # options of --loss that `rewho distill` uses
PAPER_VIEWS = ("holistic", "up1", "mid1", "dn1", "up2", "mid2", "dn2")


@dataclass(frozen=True)
class TeachersSettings(TrainingSettings):
    """Settings of `rewho teachers`, which trains one teacher per view, one after the other.

    Args:
        out: Folder of the teachers, with one model folder per view.
        data: Training images.
        views: Views to train a teacher for: the paper's names, or YAML files that describe others.
        backbone: The teachers' backbone, as in `rewho train --model.backbone`.
        stride_one_at: ResNet stage whose stride is 1: layer4, layer3 or none.
        pretrained: Initial weights: none, imagenet, or a file of backbone weights.
        holistic_size: Input height and width of the holistic teacher; empty uses the view's own, 256 x 128.
        partial_size: Input height and width of the other teachers; empty uses the views' own, 224 x 224.
        holistic_embedding: Length of the holistic teacher's embedding.
        partial_embedding: Length of the other teachers' embeddings.
        holistic_augment: Augmentation for the holistic teacher (FD table 2).
        partial_augment: Augmentation for the other teachers (FD table 2).
        loss: Losses.
    """

    command = Command(
        "teachers",
        "train one teacher per view of the body, one after the other",
        "data.root",
        common="data.root out views backbone pretrained epochs sampler.batch optimizer.learning_rate holistic_size "
        "partial_size data.hold_out data.layout data.workers engine.device seed",
        examples=(
            "teachers people",
            "teachers Market-1501 --views holistic up1 dn1 --backbone resnet50",
            "teachers Market-1501 --recipe fd/teachers --device cuda",
        ),
        required="data.root",
    )

    out: Path = Path("runs/teachers")
    data: DataSettings = field(default_factory=DataSettings)
    views: tuple[str, ...] = PAPER_VIEWS
    backbone: str = "resnet101"
    stride_one_at: StrideOneAt = "layer4"
    pretrained: str = "imagenet"
    holistic_size: ImageSize = ()
    partial_size: ImageSize = ()
    holistic_embedding: Annotated[int, Range(1)] = 512
    partial_embedding: Annotated[int, Range(1)] = 256
    holistic_augment: AugmentSettings = field(default_factory=AugmentSettings)
    partial_augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(colour=0.2, rotation=10.0))
    loss: LossSettings = field(default_factory=LossSettings)
    evaluate_every: EvaluateEvery = 0


@dataclass(frozen=True)
class RepresentSettings:
    """Settings of `rewho represent`.

    Args:
        teachers: The teachers' model folders, one per view. A folder of such folders stands for all of them; a YAML
            file describes a network from elsewhere (timm, or an ONNX file).
        out: Folder for one [N, D] array per view and representations.json.
        data: Training images, with the same settings as for the distillation.
        dtype: float32 or float16.
        batch: Images per forward pass.
        engine: Device.
    """

    command = Command(
        "represent",
        "compute and store each teacher's embedding of every training image",
        "teachers",
        common="teachers data.root out dtype batch data.hold_out data.share data.split_seed data.layout "
        "data.person_pattern data.memory_gb data.workers engine.device engine.threads",
        examples=(
            "represent runs/teachers --data people",
            "represent runs/teachers --data Market-1501 --dtype float16",
            "represent runs/teachers/holistic runs/teachers/up1 --data Market-1501 --out runs/two-views",
        ),
        required="teachers data.root",
    )

    teachers: tuple[Path, ...] = ()
    out: Path = Path("runs/represent")
    data: DataSettings = field(default_factory=DataSettings)
    dtype: Literal["float32", "float16"] = "float32"
    batch: Batch = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class BranchSettings:
    """Training-only branches (FD sections 3.3 and 3.4).

    Args:
        features: Features that each branch selects. Paper: 512 (FeatSel).
        kernel: Averaging window of the stabilised maximum in feature-map branches, in cells of the feature map.
        from_map: Use feature-map branches, L_attr.
        from_representation: Use representation branches, L_metric.
        warmup_epochs: Whole initial epochs in which only the branches train on their losses, not the student.
    """

    features: Annotated[int, Range(1, 1_000_000)] = 512
    kernel: Annotated[int, Range(1, 1_000)] = 4
    from_map: bool = True
    from_representation: bool = True
    warmup_epochs: Annotated[int, Range(0, 1_000_000)] = 0


@dataclass(frozen=True)
class MimicSettings:
    """Regression losses (FD equations 3, 4 and 6).

    Args:
        alpha: Weight of the feature-map branches' losses.
        beta: Weight of the representation branches' losses.
        distance: sum (squared distance summed over dimensions, as in the paper), mean (over dimensions) or cosine.
        divide_by: Divisor of masked losses: batch (all samples, the literal equation) or kept (unmasked samples).
        balance: fixed (alpha and beta as given), scale (first scales each kind of loss to the size of the identity
            loss) or uncertainty (learned weights, Kendall et al., CVPR 2018).
        ignore_above: Ignore a view's losses for a sample if more than this fraction of the view was erased.
        dropout: Probability of ignoring a view's losses for a sample, 0 to 0.99; with `divide_by batch` this lowers
            their weight.
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
    """Settings of `rewho distill`.

    Args:
        student: Model folder of the trained initial student, whose network and classifier are the starting point.
        representations: Folder that `rewho represent` wrote for the same data.
        data: Training images, with the same settings as for the student and the representations.
        views: Views whose representations are used; empty uses all.
        sr: stored (reads the representations from disk, as in the paper) or online (computes them from the augmented
            image at every step).
        teachers: With `--sr online`: the teachers to run, as model folders or one folder of them. With stored
            representations: optional; fails unless these teachers produced them.
        classifier: student (continue to train the student's) or new (a new one, for other training images).
        embedding_space: student (its own embedding, as in the paper) or teacher (ours: the learned mapping to the
            teacher of the student's view is folded into the embedding layer, without adding a layer).
        augment: Augmentation (FD table 2: flip and erasing only); shifts and rotations are not possible.
        loss: Identity loss; only its label smoothing can be chosen.
        mimic: Regression losses.
        branches: Branches that predict the representations.
    """

    command = Command(
        "distill",
        "train a student to regress the teachers' embeddings",
        "data.root",
        common="data.root student representations out views sr teachers epochs sampler.batch optimizer.learning_rate "
        "mimic.alpha mimic.beta data.hold_out engine.device seed",
        examples=(
            "distill people --student runs/train --representations runs/represent",
            "distill Market-1501 --student runs/train --representations runs/represent --recipe fd/distill-fast",
            "distill people --student runs/train --teachers runs/teachers --sr online",
        ),
        required="data.root",
    )

    student: Path = Path("runs/train")
    representations: Path = Path("runs/represent")
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
        """Yield broken rules between fields."""
        yield from super().mistakes()
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
