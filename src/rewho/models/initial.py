"""Where a model's first weights come from: nothing, ImageNet, an encoder or model of ours, a published checkpoint.

What is known about the origin goes with the weights: the images' mean and deviation, whether labels were used (which
decides about the extra batch normalisation, LUPerson section 4.3), and enough to write the provenance down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say
from rewho.models.backbone import build_backbone, fill, fit_positions, load_pretrained, read_weights
from rewho.models.kinds import build_model
from rewho.models.single_view import IMAGENET_MEAN, IMAGENET_STD, SingleViewModel
from rewho.models.weights import CARD, TENSORS, read_card, tensors_of
from rewho.settings import ModelSettings

ORIGIN = "origin.json"
"""File of a training run; who resumes it no longer needs the first weights, but must know where they came from."""
QUERY_ENCODERS = ("encoder_q.", "base_encoder.")
"""What the names of MoCo's checkpoints hold: of facebookresearch/moco and LUPerson's code after it, and of moco-v3."""

USUAL_NAME = re.compile(r"[-._](imagenet|[0-9a-f]{8})\.(pth|safetensors)")
"""What follows the backbone in the name of a file of ImageNet's weights: the hash of torchvision's, or the word."""


@dataclass(frozen=True)
class Origin:
    """Where first weights come from, as plain values that a file can hold.

    Args:
        mean: Channel means that the weights expect, RGB in 0 to 1.
        std: Channel standard deviations that they expect.
        labels: Whether they were trained with labels; None where there was no training or nothing is known.
        provenance: What goes into `model.json`.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    labels: bool | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def read_origin(folder: Path) -> Origin:
    """Return the origin that a training wrote into its folder as `ORIGIN`."""
    read = read_json(folder / ORIGIN, mean=list, std=list, provenance=dict)
    return Origin(
        _three(f"mean in {folder / ORIGIN}", tuple(read["mean"])),
        _three(f"std in {folder / ORIGIN}", tuple(read["std"])),
        read.get("labels"),
        read["provenance"],
    )


def weights_digest(source: str, run: Path) -> str:
    """Return what tells first weights from all others: the sha256 of their file, or `none` or `imagenet`.

    Weights that are no longer where they were count as those that the run in a folder began with, so that an encoder
    can be moved away before its training is over.

    Args:
        source: What `--model.pretrained` says.
        run: The run's folder, which may hold an `ORIGIN`.

    Raises:
        UserError: Nothing is there, and no run that began with a file.

    Example:
        >>> weights_digest("none", Path("runs/train"))
        'none'
    """
    if source in ("none", "imagenet"):
        return source
    file = Path(source, TENSORS) if Path(source).is_dir() else Path(source)
    if file.is_file():
        return hash_file(file)
    began = read_origin(run).provenance if (run / ORIGIN).is_file() else {}
    if "weights_sha256" not in began:
        raise UserError(
            "--model.pretrained",
            expected="none, imagenet, a weights file, or a model folder of ours",
            got=f"nothing at {file}",
            fix="Check the path, of --model.pretrained or in the recipe.",
        )
    say(f"nothing is left at {source}; going by what {run} began with: {began['weights_began_as']}")
    return str(began["weights_sha256"])


def check_backbone(settings: ModelSettings) -> None:
    """Refuse to begin from a model folder of another backbone, before anything else is done.

    Raises:
        UserError: `pretrained` is a model folder, and `backbone` not the one that it was trained with.

    Example:
        >>> check_backbone(ModelSettings(pretrained="none"))
    """
    folder = Path(settings.pretrained)
    if not all((folder / name).is_file() for name in (CARD, TENSORS)):
        return  # a run that has begun no longer needs them
    trained = read_card(folder)["architecture"].get("backbone", settings.backbone)
    if trained != settings.backbone:
        raise UserError(
            "--model.backbone",
            expected=f"{trained}, which {folder} was trained with",
            got=settings.backbone,
            fix=f"Pass --model.backbone {trained}, or begin from other weights.",
        )


def origin_of(settings: ModelSettings) -> Origin:
    """Look at where first weights shall come from, without loading them into anything.

    Args:
        settings: `pretrained` and, to override what it says, `pretrained_labels`, `pixel_mean`, `pixel_std` are used.

    Raises:
        UserError: No such file or folder, one that holds no weights or those of another backbone, or a wrong word about
            labels.

    Example:
        >>> origin_of(ModelSettings(pretrained="none")).provenance
        {'weights_began_as': 'none'}
    """
    check_backbone(settings)
    origin = _origin(settings.pretrained)
    labels = settings.pretrained_labels
    if labels != "auto":
        origin = replace(origin, labels=labels == "yes")
    if settings.pixel_mean:
        origin = replace(origin, mean=_three("--model.pixel_mean", settings.pixel_mean))
    if settings.pixel_std:
        origin = replace(origin, std=_three("--model.pixel_std", settings.pixel_std))
    return origin


def _origin(source: str) -> Origin:
    provenance: dict[str, Any] = {"weights_began_as": source}
    if source == "none":
        return Origin(provenance=provenance)
    if source == "imagenet":
        return Origin(labels=True, provenance=provenance)
    path = Path(source)
    if path.is_dir():
        card = read_card(path)
        before = card.get("provenance", {})
        provenance |= {
            "weights_sha256": hash_file(path / TENSORS),
            "before": {name: card.get(name) for name in ("trained_on", "licence", "provenance", "metrics")},
        }
        return Origin(tuple(card["mean"]), tuple(card["std"]), before.get("labels", True), provenance)
    names = read_weights(path)
    provenance["weights_sha256"] = hash_file(path)
    contrastive = any(query in name for query in QUERY_ENCODERS for name in names)
    if contrastive:
        provenance["layout"] = "MoCo checkpoint, query encoder"
    return Origin(labels=False if contrastive else None, provenance=provenance)


def _three(option: str, values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 3 or not all(0 < value < 1 for value in values):
        raise UserError(option, expected="three numbers between 0 and 1", got=str(values), fix="Divide by 255.")
    return values


def resolve(settings: ModelSettings, origin: Origin) -> ModelSettings:
    """Return the settings with the question of the extra batch normalisation answered.

    Example:
        >>> resolve(ModelSettings(), Origin(labels=False)).extra_bn
        'yes'
    """
    if settings.extra_bn != "auto":
        return settings
    return replace(settings, extra_bn="yes" if origin.labels is False else "no")


def doubt(settings: ModelSettings, origin: Origin) -> str | None:
    """Say what is taken for granted about a file of weights that does not tell it; None where nothing is.

    Two things may be unknown: whether the weights were learned with labels, and the statistics of their images. A
    file that has the usual name of ImageNet's weights is taken for what it says.

    Example:
        >>> doubt(ModelSettings(pretrained="squeezenet1_1-b8a52dc0.pth"), Origin())
        "ImageNet's weights by the name of the file: no extra batch normalisation, ImageNet's pixel statistics"
        >>> doubt(ModelSettings(pretrained="resnet50.pth", extra_bn="no"), Origin())[:55]
        "resnet50.pth: unknown pixel statistics: ImageNet's mean"
        >>> doubt(ModelSettings(pretrained="none"), Origin())
    """
    source = settings.pretrained
    if source in ("none", "imagenet") or Path(source).is_dir():
        return None
    labels_unknown = origin.labels is None and settings.extra_bn == "auto"
    given = {"mean": settings.pixel_mean, "standard deviation": settings.pixel_std}
    taken = " and ".join(name for name, values in given.items() if not values)
    if USUAL_NAME.fullmatch(Path(source).name.removeprefix(settings.backbone)):
        said = ["no extra batch normalisation"] if labels_unknown else []
        said += ["ImageNet's pixel statistics"] if taken else []
        return f"ImageNet's weights by the name of the file: {', '.join(said)}" if said else None
    said = []
    if labels_unknown:
        said.append(
            f"{source}: unknown whether learned with labels: no extra batch normalisation; pass "
            "--model.pretrained_labels no (or yes)"
        )
    if taken:
        said.append(
            f"{source}: unknown pixel statistics: ImageNet's {taken}; pass those of its images, such as LUPerson's: "
            "--model.pixel_mean 0.3525 0.3106 0.3140 --model.pixel_std 0.2660 0.2522 0.2505"
        )
    return "; ".join(said) or None


def initialise(model: SingleViewModel) -> str:
    """Give a new model its first weights, from where its settings say; returns one readable line about it.

    A model folder of the same kind gives all parts that pre-training can give; any other gives its backbone.

    Raises:
        UserError: Weights are missing or do not fit.
    """
    settings, source = model.settings, model.settings.pretrained
    if source == "none":
        return f"{settings.backbone}: random weights"
    plain = build_backbone(settings.backbone, settings.stride_one_at, model.input_size)
    folder = Path(source)
    if source == "imagenet" or not folder.is_dir():
        said = load_pretrained(plain, settings.backbone, source)
        model.take(plain)
        return said
    card = read_card(folder)
    height, width = card["input_size"]
    tensors, resampled = fit_positions(model, tensors_of(folder), (height, width))
    kind = card["architecture"].get("kind", "single_view")
    parts = model.pretrained_parts()
    if kind == settings.kind:
        for name, part in parts.items():
            fill(part, tensors_under(tensors, name), f"{name} of {folder}")
        return f"{settings.backbone}: {', '.join(parts)} of {folder}{resampled}"
    if kind == "mgn":
        raise UserError(
            f"--model.pretrained {folder}",
            expected="a model with one plain backbone",
            got="an MGN, whose backbone ends in three branches",
            fix="Choose another model folder, or --model.kind mgn.",
        )
    fill(plain, tensors_under(tensors, "backbone"), f"backbone of {folder}")
    model.take(plain)
    return f"{settings.backbone}: backbone of {folder}{resampled}"


def tensors_under(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of a part of a network, by their names within that part.

    Example:
        >>> import torch
        >>> tensors_under({"model.weight": torch.ones(1), "classifier.weight": torch.zeros(1)}, "model")
        {'weight': tensor([1.])}
    """
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


def first_model(settings: ModelSettings, input_size: tuple[int, int], origin: Origin) -> SingleViewModel:
    """Build a model for weights of that origin; they are not loaded yet, see `initialise`.

    Example:
        >>> origin = Origin(labels=False)
        >>> model = first_model(ModelSettings(embedding=8), (64, 32), origin)
        >>> model.settings.extra_bn
        'yes'
    """
    return build_model(resolve(settings, origin), input_size, origin.mean, origin.std)
