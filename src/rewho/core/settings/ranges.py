"""What every number among the settings may be: one table, checked before a command reads anything.

A new option gets a line in `RANGES`; `tests/core/test_ranges.py` fails where it has none. What depends on the data, or
on the machine, is found where that is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from rewho.core.check import UserError
from rewho.core.settings.crop import (
    DetectorSettings,
    LimitSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
)
from rewho.core.settings.crops import CropSettings, CropsSettings, SelectionSettings
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
from rewho.core.settings.use import DemoSettings, EmbedSettings, EvaluateSettings, ExportSettings


@dataclass(frozen=True)
class Range:
    """What a number may be; infinity and NaN never are.

    Args:
        low: The smallest value.
        high: The largest value.
        above: `low` itself is out.

    Example:
        >>> Range(1).words("a whole number"), Range(0, 1, above=True).words("a number")
        ('a whole number from 1', 'a number above 0, at most 1')
    """

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return self.low <= value <= self.high and value != math.inf and not (self.above and value == self.low)

    def words(self, number: str) -> str:
        """Return the range in words."""
        low = f"{number} {'above' if self.above else 'from'} {self.low:,}"
        return low if self.high == math.inf else f"{low}{', at most' if self.above else ' to'} {self.high:,}"


@dataclass(frozen=True)
class Relation:
    """What settings of one class must be to each other.

    Args:
        option: The option that is named where they are not.
        holds: Whether they are.
        expected: What the option would have to be; settings of the class stand in braces.
        fix: What the user can do; `{at}` is what stands before the options' names.
    """

    option: str
    holds: Callable[[Any], bool]
    expected: str
    fix: str


NOT_NEGATIVE, POSITIVE, FROM_ONE = Range(0), Range(0, above=True), Range(1)
SHARE, SOME = Range(0, 1), Range(0, 1, above=True)
AT_ONCE, PROCESSES = Range(1, 100_000), Range(0, 1024)
BITS, ASPECT, WEIGHT = Range(0, 256), Range(0.001, 1), Range(0, 1_000_000)
TRAINING = {
    "epochs": FROM_ONE,
    "steps_per_epoch": NOT_NEGATIVE,
    "evaluate_every": Range(-1),
    "seed": NOT_NEGATIVE,
}

RANGES: dict[type, dict[str, Range]] = {
    DataSettings: {
        "share": SOME,
        "split_seed": NOT_NEGATIVE,
        "hold_out": NOT_NEGATIVE,
        "memory_gb": Range(0, 1_000_000),
        "workers": PROCESSES,
    },
    AugmentSettings: {
        "flip": SHARE,
        "crop_padding": Range(0, 1000),
        "colour": SHARE,
        "rotation": Range(0, 180),
        "erase": SHARE,
        "erase_area_low": SHARE,
        "erase_area_high": SHARE,
        "erase_aspect": ASPECT,
    },
    ModelSettings: {
        "pooling_kernel": FROM_ONE,
        "embedding": FROM_ONE,
        "input_size": Range(1, 10_000),
        "pixel_mean": SOME,
        "pixel_std": SOME,
    },
    SamplerSettings: {"batch": Range(2), "images_per_identity": FROM_ONE, "accumulate": FROM_ONE},
    OptimizerSettings: {
        "learning_rate": NOT_NEGATIVE,
        "momentum": SHARE,
        "weight_decay": NOT_NEGATIVE,
        "head_factor": NOT_NEGATIVE,
        "halve_every": POSITIVE,
        "step_epochs": NOT_NEGATIVE,
        "step_factor": NOT_NEGATIVE,
        "flat_epochs": NOT_NEGATIVE,
        "warmup_epochs": NOT_NEGATIVE,
        "freeze_epochs": NOT_NEGATIVE,
    },
    LossSettings: {
        "identity": Range(0, 1000),
        "triplet": Range(0, 1000),
        "label_smoothing": SHARE,
        "circle_scale": Range(0.1, 1000),
        "circle_margin": SHARE,
        "margin": Range(0, 100),
    },
    DeviceSettings: {"threads": PROCESSES},
    EngineSettings: {"threads": PROCESSES, "devices": Range(1, 1024)},
    CheckpointSettings: {
        "every_epochs": FROM_ONE,
        "every_steps": NOT_NEGATIVE,
        "keep": FROM_ONE,
        "spike_factor": NOT_NEGATIVE,
        "spike_after": NOT_NEGATIVE,
    },
    TrainSettings: TRAINING,
    TeachersSettings: TRAINING
    | {
        "holistic_size": Range(1, 10_000),
        "partial_size": Range(1, 10_000),
        "holistic_embedding": FROM_ONE,
        "partial_embedding": FROM_ONE,
    },
    RepresentSettings: {"batch": AT_ONCE},
    BranchSettings: {
        "features": Range(1, 1_000_000),
        "kernel": Range(1, 1000),
        "warmup_epochs": Range(0, 1_000_000),
    },
    MimicSettings: {"alpha": WEIGHT, "beta": WEIGHT, "ignore_above": SHARE, "dropout": Range(0, 0.99)},
    DistillSettings: TRAINING,
    ContrastAugmentSettings: {
        "crop_area_low": ASPECT,
        "crop_area_high": ASPECT,
        "crop_ratio_low": Range(0.01, 100),
        "crop_ratio_high": Range(0.01, 100),
        "jitter": SHARE,
        "jitter_strength": SHARE,
        "jitter_hue": Range(0, 0.5),
        "grayscale": SHARE,
        "blur": SHARE,
        "blur_sigma_low": Range(0.01, 100),
        "blur_sigma_high": Range(0.01, 100),
        "flip": SHARE,
        "erase": SHARE,
        "erase_area_low": SHARE,
        "erase_area_high": SHARE,
        "erase_aspect": ASPECT,
    },
    ContrastSettings: {
        "temperature": Range(0.001, 10),
        "queue": Range(1, 100_000_000),
        "momentum": SHARE,
        "projection": FROM_ONE,
        "norm_group": NOT_NEGATIVE,
        "reference_batch": NOT_NEGATIVE,
    },
    PretrainPictureSettings: {
        "share": SOME,
        "share_seed": NOT_NEGATIVE,
        "memory_gb": Range(0, 1_000_000),
        "workers": PROCESSES,
        "statistics_of": NOT_NEGATIVE,
    },
    PretrainSettings: TRAINING,
    TableSettings: {"seed": NOT_NEGATIVE},
    EvaluateSettings: {
        "k1": FROM_ONE,
        "k2": FROM_ONE,
        "lambda_value": SHARE,
        "max_rank": FROM_ONE,
        "sheets": NOT_NEGATIVE,
        "attention": NOT_NEGATIVE,
        "batch": AT_ONCE,
        "seed": NOT_NEGATIVE,
    },
    EmbedSettings: {"batch": AT_ONCE},
    ExportSettings: {"batch": AT_ONCE},
    DemoSettings: {"identities": Range(2, 100_000), "epochs": Range(1, 10_000), "seed": Range(0, 999_999)},
    SamplingSettings: {"every": Range(1, 10**9), "offset": Range(0, 10**9), "seconds": Range(0.001, 1_000_000)},
    LimitSettings: {
        "seconds": POSITIVE,
        "silence": POSITIVE,
        "memory_mb": FROM_ONE,
        "megapixels": POSITIVE,
        "hours": POSITIVE,
        "threads": PROCESSES,
    },
    ScreenSettings: {
        "min_frames": NOT_NEGATIVE,
        "static_frames": NOT_NEGATIVE,
        "static_difference": Range(0, 255),
        "vr_seam": NOT_NEGATIVE,
    },
    DetectorSettings: {
        "first_frame": NOT_NEGATIVE,
        "confidence": SHARE,
        "overlap": SHARE,
        "most": FROM_ONE,
        "batch": Range(1, 1024),
        "threads": PROCESSES,
    },
    PoseSettings: {"first_frame": NOT_NEGATIVE, "batch": Range(1, 4096), "threads": PROCESSES},
    RuleSettings: {
        "min_ratio": NOT_NEGATIVE,
        "max_ratio": Range(0, 1_000_000),
        "min_confidence": SHARE,
        "min_width": NOT_NEGATIVE,
        "side_gap": Range(0, 1_000_000),
        "keypoint_score": SHARE,
        "head_points": Range(0, 5),
        "upper_points": Range(0, 6),
        "lower_points": Range(0, 4),
        "margin": NOT_NEGATIVE,
    },
    SelectionSettings: {"distance": BITS, "most_per_video": Range(0, 2**31), "share": SOME},
    CropSettings: {
        "jpeg_quality": Range(1, 100),
        "workers": PROCESSES,
        "gpus": Range(0, 64),
        "failure_limit": SHARE,
        "explain": Range(0, 1000),
    },
    CropsSettings: {"distance": BITS},
}
"""By class and option; of lists, what each number in them may be."""


def _in_order(low: str, high: str, fix: str = "Give the smaller one first.") -> Relation:
    def holds(settings: Any) -> bool:  # noqa: ANN401 - any settings
        return bool(getattr(settings, low) <= getattr(settings, high))

    return Relation(high, holds, f"at least {low}, which is {{{low}:g}}", fix)


ERASED = _in_order(
    "erase_area_low", "erase_area_high", "To erase nothing, pass {at}erase 0; else lower {at}erase_area_low too."
)
RELATIONS: dict[type, tuple[Relation, ...]] = {
    AugmentSettings: (ERASED,),
    ContrastAugmentSettings: (
        ERASED,
        _in_order("crop_area_low", "crop_area_high"),
        _in_order("crop_ratio_low", "crop_ratio_high"),
        _in_order("blur_sigma_low", "blur_sigma_high"),
    ),
    RuleSettings: (_in_order("min_ratio", "max_ratio"),),
    ModelSettings: (
        Relation(
            "embedding",
            lambda model: model.embedding % {"mgn": 8, "bdb": 3}.get(model.kind, 1) == 0,
            "a multiple of 8 for mgn, of 3 for bdb",
            "Pass {at}embedding 2048 with mgn, 1536 with bdb.",
        ),
    ),
    SamplerSettings: (
        Relation(
            "batch",
            lambda sampler: (
                sampler.kind != "identities"
                or (
                    sampler.batch % sampler.images_per_identity == 0
                    and sampler.batch >= 2 * sampler.images_per_identity
                )
            ),
            "P x images_per_identity, which is {images_per_identity}, with P from 2",
            "Pass {at}batch 32 and {at}images_per_identity 4.",
        ),
        Relation(
            "accumulate",
            lambda sampler: sampler.batch % sampler.accumulate == 0 and sampler.batch >= 2 * sampler.accumulate,
            "a divisor of the batch of {batch}, and 2 or more images a pass",
            "Choose a batch that is a multiple of {at}accumulate.",
        ),
    ),
    OptimizerSettings: (
        Relation(
            "momentum",
            lambda optimizer: optimizer.momentum > 0 or not (optimizer.nesterov and optimizer.kind == "sgd"),
            "a number above 0 beside nesterov",
            "Pass {at}momentum 0.9, or leave {at}nesterov out.",
        ),
    ),
    EvaluateSettings: (
        Relation(
            "k2",
            lambda evaluate: evaluate.k2 <= evaluate.k1 + 1,
            "at most one more than k1, which is {k1}",
            "Pass a smaller {at}k2, or a larger {at}k1.",
        ),
    ),
}
"""By class; looked at where each number by itself is in its range."""


def check_ranges(settings: Any, prefix: str = "--") -> None:  # noqa: ANN401 - any settings
    """Refuse settings out of their ranges, all at once, those of the groups of settings within them too.

    Args:
        settings: An object of a settings class.
        prefix: What stands before the options' names in messages.

    Raises:
        UserError: Names every option that is wrong.

    Example:
        >>> check_ranges(TrainSettings(epochs=0))
        Traceback (most recent call last):
        rewho.core.check.UserError: --epochs: expected a whole number from 1, got 0.
          Fix: Choose a value in the range.
    """
    wrong = list(_wrong(settings, prefix))
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        lines = [f"  {error.what} {error.got}: expected {error.expected}" for error in wrong]
        raise UserError(
            f"{len(wrong)} options",
            expected="values in their ranges",
            got="\n".join(["these:", *lines]),
            fix=" ".join(dict.fromkeys(error.fix for error in wrong)),
        )


def _wrong(settings: Any, prefix: str) -> Iterator[UserError]:  # noqa: ANN401 - any settings
    """Yield an error per wrong option."""
    kinds = get_type_hints(type(settings))
    sound = True
    for name, allowed in RANGES.get(type(settings), {}).items():
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        if not all(map(allowed.holds, values)):
            sound = False
            whole = kinds[name] in (int, tuple[int, ...])
            each = "each " if isinstance(value, tuple) else ""
            yield UserError(
                prefix + name,
                expected=each + allowed.words("a whole number" if whole else "a number"),
                got=" ".join(map(str, values)),
                fix="Choose a value in the range.",
            )
    for relation in RELATIONS.get(type(settings), ()) if sound else ():
        if not relation.holds(settings):
            yield UserError(
                prefix + relation.option,
                expected=relation.expected.format(**vars(settings)),
                got=str(getattr(settings, relation.option)),
                fix=relation.fix.format(at=prefix),
            )
    for entry in fields(settings):
        if is_dataclass(part := getattr(settings, entry.name)):
            yield from _wrong(part, f"{prefix}{entry.name}.")
