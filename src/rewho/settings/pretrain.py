"""Settings of `rewho pretrain`.

The defaults are LUPerson's final setting (sections 4 and 5.1) where the paper gives a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import ERASE_NOTHING, DataSettings, EraseFill, Gigabytes, check_interval
from rewho.settings.fields import Command, Mistake, Processes, Range, Seed, Share, SomeShare
from rewho.settings.model import ModelSettings
from rewho.settings.training import EvaluateEvery, OptimizerSettings, SamplerSettings, TrainingSettings

MomentumSchedule = Literal["constant", "cosine"]
Positives = Literal["same", "track"]


@dataclass(frozen=True)
class ContrastAugmentSettings:
    """Augmentation of the two views of an image (LUPerson section 4.2; defaults: its -CJ+RE, area 0.6).

    Args:
        crop_area_low: Smallest fraction of the image's area in a random crop.
        crop_area_high: Largest fraction of the image's area in a random crop.
        crop_ratio_low: Smallest width/height of a random crop.
        crop_ratio_high: Largest width/height of a random crop. People are 0.375 to 0.667 wide; the paper's 0.75 to
            1.333 show 44 percent of a person's height.
        jitter: Probability of colour jitter.
        jitter_strength: Strength of brightness, contrast and saturation jitter: factors from 1 - strength to
            1 + strength.
        jitter_hue: Largest shift of the hue, either way, as a fraction of the colour circle.
        grayscale: Probability of conversion to grey.
        blur: Probability of a Gaussian blur.
        blur_sigma_low: Smallest standard deviation of the blur, in pixels of the crop after resizing.
        blur_sigma_high: Largest standard deviation of the blur, in pixels of the crop after resizing.
        flip: Probability of a horizontal flip.
        erase: Probability of random erasing.
        erase_area_low: Smallest erased fraction of the image's area.
        erase_area_high: Largest erased fraction of the image's area.
        erase_aspect: Smallest height/width of the erased rectangle; the largest is its inverse.
        erase_fill: Fill of the erased rectangle: mean (the images' mean colour, as in the published code) or noise
            (random pixels, as in the paper).
    """

    crop_area_low: Annotated[float, Range(0.001, 1)] = 0.2
    crop_area_high: Annotated[float, Range(0.001, 1)] = 1.0
    crop_ratio_low: Annotated[float, Range(0.01, 100)] = 0.75
    crop_ratio_high: Annotated[float, Range(0.01, 100)] = 4 / 3
    jitter: Share = 0.0
    jitter_strength: Share = 0.4
    jitter_hue: Annotated[float, Range(0, 0.5)] = 0.1
    grayscale: Share = 0.2
    blur: Share = 0.5
    blur_sigma_low: Annotated[float, Range(0.01, 100)] = 0.1
    blur_sigma_high: Annotated[float, Range(0.01, 100)] = 2.0
    flip: Share = 0.5
    erase: Share = 0.5
    erase_area_low: Share = 0.02
    erase_area_high: Share = 0.6
    erase_aspect: Annotated[float, Range(0.001, 1)] = 0.3
    erase_fill: EraseFill = "mean"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        yield from check_interval(self, "erase_area_low", "erase_area_high", ERASE_NOTHING)
        for name in ("crop_area", "crop_ratio", "blur_sigma"):
            yield from check_interval(self, f"{name}_low", f"{name}_high")


@dataclass(frozen=True)
class ContrastSettings:
    """Momentum contrast (MoCo v2, LUPerson section 4.1).

    Args:
        temperature: Divisor of the similarities. Paper: 0.07; its published script: 0.1.
        queue: Number of keys in the queue of negatives.
        momentum: Momentum of the key encoder: the fraction of its weights that it keeps at each step.
        momentum_schedule: constant, or cosine (rises to 1 by half a cosine, as in MoCo v3).
        projection: Length of the vectors that are compared.
        norm_group: Images per batch-normalisation group in training, on any number of devices; 0 normalises each
            device's batch as a whole, so that on one device a key reveals its own batch.
        reference_batch: Batch size that the learning rate is given for; it is scaled to the actual batch size. 0 does
            not scale it.
        head_norm: Batch normalisation in the projection head (MoCo v3), for transformers and other backbones without.
        positives: Which two images are views of one person: same (one image twice, as in the paper) or track (two
            images of one track, such as crops of one person in neighbouring frames; where a track has one image only,
            that one twice). With track, keys of the query's track are no negatives.
        apart: With track, least time in seconds between the two images where the track has such; else any two.
        freeze_patches: Transformers: keep the random patch projection frozen, for stability (MoCo v3).
    """

    temperature: Annotated[float, Range(0.001, 10)] = 0.07
    queue: Annotated[int, Range(1, 100_000_000)] = 65536
    momentum: Share = 0.999
    momentum_schedule: MomentumSchedule = "constant"
    projection: Annotated[int, Range(1)] = 128
    norm_group: Annotated[int, Range(0)] = 32
    reference_batch: Annotated[int, Range(0)] = 2560
    head_norm: bool = False
    positives: Positives = "same"
    apart: Annotated[float, Range(0, 1_000_000)] = 1.0
    freeze_patches: bool = False


@dataclass(frozen=True)
class PretrainDataSettings:
    """Which images are used, and how they are loaded.

    Args:
        root: Folders of images, data sets (their training part, without labels), crop sets or CSV lists.
        share: Fraction of the images to keep, above 0, at most 1; a smaller one is a subset of a larger one.
        share_seed: Seed of the random choice of the share.
        memory_gb: Memory in gigabytes for decoded images; images beyond it are decoded again each time.
        workers: Worker processes that prepare batches; 0 prepares them in the main process.
        statistics_of: Number of images from which mean and standard deviation are computed; 0 uses all.
    """

    root: tuple[Path, ...] = ()
    share: SomeShare = 1.0
    share_seed: Seed = 1
    memory_gb: Gigabytes = 4.0
    workers: Processes = 2
    statistics_of: Annotated[int, Range(0)] = 50_000


@dataclass(frozen=True)
class ProbeSettings(DataSettings):
    """The labelled data set on which an encoder is evaluated, and how its images are loaded.

    Args:
        root: Folder of the data set, or a CSV file; empty is none.
    """

    root: Path | None = None  # type: ignore[assignment] # a training always has a data set


@dataclass(frozen=True)
class PretrainSettings(TrainingSettings):
    """Settings of `rewho pretrain`.

    Args:
        out: Folder of the run, which becomes the encoder's model folder.
        data: Images, their number and loading.
        model: Encoder; it has no head, and its mean and standard deviation are those of the images.
        contrast: Queue, temperature, momentum.
        augment: Augmentation of the two views of an image.
        sampler: Batches; only `shuffle` is possible.
        optimizer: Optimizer and learning rate; the learning rate is for `contrast.reference_batch`.
        probe: Labelled data set on which the encoder is evaluated by nearest neighbours.
    """

    command = Command(
        "pretrain",
        "train an encoder on images without labels",
        "data.root",
        common="data.root out model.backbone model.input_size model.pretrained epochs sampler.batch "
        "optimizer.learning_rate contrast.queue contrast.temperature probe.root data.share data.workers engine.device "
        "seed",
        examples=(
            "pretrain crops",
            "pretrain crops Market-1501 --recipe luperson/moco-r18 --probe people",
            "pretrain crops --backbone resnet18 --batch 128 --epochs 50",
        ),
        secondary="probe",
        required="data.root",
    )

    out: Path = Path("runs/pretrain")
    data: PretrainDataSettings = field(default_factory=PretrainDataSettings)
    model: ModelSettings = field(
        default_factory=lambda: ModelSettings(
            backbone="resnet50", stride_one_at="none", pooling="gap", head="none", pretrained="none"
        )
    )
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    augment: ContrastAugmentSettings = field(default_factory=ContrastAugmentSettings)
    sampler: SamplerSettings = field(default_factory=lambda: SamplerSettings(batch=256))
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=0.3, weight_decay=1e-4, schedule="cosine")
    )
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    epochs: Annotated[int, Range(1)] = 200
    evaluate_every: EvaluateEvery = 20

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        yield from super().mistakes()
        if self.sampler.kind != "shuffle":
            yield Mistake("sampler.kind", "shuffle", "There are no labels here.")
        for name, only in (("kind", "single_view"), ("head", "none")):
            if getattr(self.model, name) != only:
                yield Mistake(f"model.{name}", f"{only} for an encoder", "Leave it out; heads come with `rewho train`.")
        if self.model.extra_bn == "yes":
            yield Mistake(
                "model.extra_bn", "auto or no: it precedes the head, and an encoder has none", "Leave it out."
            )
        if self.model.view != "holistic":
            fix = "Leave it out, and pass the size as {at}model.input_size."
            yield Mistake("model.view", "holistic: views are random crops of whole images", fix)
