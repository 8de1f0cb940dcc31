"""Settings of `rewho pretrain`.

The defaults are LUPerson's final setting (sections 4 and 5.1) where the paper gives a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Mistake, Processes, Range, Seed, Share, SomeShare
from rewho.settings.parts import (
    ERASE_NOTHING,
    DataSettings,
    EraseFill,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainingSettings,
    ordered,
)

MomentumSchedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class ContrastAugmentSettings:
    """Random changes that make a view of an image (LUPerson section 4.2); the defaults are its -CJ+RE, area 0.6.

    Args:
        crop_area_low: Smallest share of the image's area that a view shows.
        crop_area_high: Largest share.
        crop_ratio_low: Smallest width/height of what a view shows.
        crop_ratio_high: Largest width/height. People are 0.375 to 0.667 wide; the paper's 0.75 to 1.333 show 44 percent
            of a person's height.
        jitter: Probability of colour jitter.
        jitter_strength: Factors of brightness, contrast, saturation go from 1 - strength to 1 + strength.
        jitter_hue: Largest turn of the hue, either way, as a share of a full turn.
        grayscale: Probability of losing all colour.
        blur: Probability of a Gaussian blur.
        blur_sigma_low: Smallest standard deviation of the blur, in pixels of the view.
        blur_sigma_high: Largest standard deviation.
        flip: Probability of a horizontal flip.
        erase: Probability that a rectangle is erased.
        erase_area_low: Smallest erased share of the view's area.
        erase_area_high: Largest erased share.
        erase_aspect: Smallest height/width of the rectangle; the largest is its inverse.
        erase_fill: mean (the images' mean colour, as the published code has it) or noise (as the paper says).
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
        """Yield what is wrong between fields."""
        yield from ordered(self, "erase_area_low", "erase_area_high", ERASE_NOTHING)
        for name in ("crop_area", "crop_ratio", "blur_sigma"):
            yield from ordered(self, f"{name}_low", f"{name}_high")


@dataclass(frozen=True)
class ContrastSettings:
    """Momentum contrast (MoCo v2, LUPerson section 4.1).

    Args:
        temperature: What similarities are divided by; 0.07 in the paper, 0.1 in its published script.
        queue: Keys to tell an image from; any number.
        momentum: Share of its own weights that the key encoder keeps at a step.
        momentum_schedule: constant, or cosine, which lets the momentum rise to 1 by half a cosine (MoCo v3).
        projection: Length of the vectors that are compared.
        norm_group: Images that share a batch normalisation while training, on however many devices; 0 normalises
            each device's part of a batch as a whole, which lets a single device cheat.
        reference_batch: Batch that the learning rate is given for; another batch scales it. 0 takes the rate as it is.
        head_norm: Batch normalisation in the projection head (MoCo v3); for backbones that have none of their own, and
            transformers.
        freeze_patches: Transformers: leave the projection of patches as it was drawn, which keeps them stable
            (MoCo v3).
    """

    temperature: Annotated[float, Range(0.001, 10)] = 0.07
    queue: Annotated[int, Range(1, 100_000_000)] = 65536
    momentum: Share = 0.999
    momentum_schedule: MomentumSchedule = "constant"
    projection: Annotated[int, Range(1)] = 128
    norm_group: Annotated[int, Range(0)] = 32
    reference_batch: Annotated[int, Range(0)] = 2560
    head_norm: bool = False
    freeze_patches: bool = False


@dataclass(frozen=True)
class PretrainImageSettings:
    """How the images are held, and how many of them.

    Args:
        share: Share of the images to keep, above 0, at most 1; a smaller share is part of a larger one.
        share_seed: Seed that draws the share.
        memory_gb: Decoded images are kept in memory up to this many gigabytes, and decoded again each time beyond.
        workers: Processes that prepare batches; 0 prepares them in the main process.
        statistics_of: Images that mean and standard deviation are taken of; 0 takes all.
    """

    share: SomeShare = 1.0
    share_seed: Seed = 1
    memory_gb: Annotated[float, Range(0, 1_000_000)] = 4.0
    workers: Processes = 2
    statistics_of: Annotated[int, Range(0)] = 50_000


@dataclass(frozen=True)
class PretrainSettings(TrainingSettings):
    """Everything that `rewho pretrain` does.

    Args:
        out: Folder of the run; it becomes the encoder's model folder.
        crops: Folders of images, data sets (their training part is taken, without its labels), crop sets.
        images: How they are held, and how many of them.
        model: Which encoder; its head is left out, and its mean and deviation are those of the images.
        contrast: Queue, temperature, momentum.
        augment: What makes two views of an image.
        sampler: Batch; only `shuffle` makes sense.
        optimizer: How the weights move; the rate is for `contrast.reference_batch`.
        probe: Labelled data set that the encoder is scored on now and then, by nearest neighbours; empty is none.
        probe_reading: How the probe is read; its `root` is replaced.
        epochs: Passes over the images.
        evaluate_every: Score on the probe every so many epochs, and at the end; 0 is only at the end, -1 is never.
    """

    out: Path = Path("runs/pretrain")
    crops: tuple[Path, ...] = ()
    images: PretrainImageSettings = field(default_factory=PretrainImageSettings)
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
    probe: Path | None = None
    probe_reading: DataSettings = field(default_factory=DataSettings)
    epochs: Annotated[int, Range(1)] = 200
    evaluate_every: Annotated[int, Range(-1)] = 20

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if self.sampler.kind != "shuffle":
            yield Mistake("sampler.kind", "shuffle", "There are no labels here.")
        for name, only in (("kind", "single_view"), ("head", "none")):
            if getattr(self.model, name) != only:
                yield Mistake(f"model.{name}", f"{only} for an encoder", "Leave it out; heads come with `rewho train`.")
        if self.model.extra_bn == "yes":
            yield Mistake("model.extra_bn", "auto or no: an encoder has no head to put it before", "Leave it out.")
        if self.model.view != "holistic":
            fix = "Leave it out, and pass the size as {at}model.input_size."
            yield Mistake("model.view", "holistic: views are random crops of whole images", fix)
