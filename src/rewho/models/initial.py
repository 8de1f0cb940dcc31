"""Where a model's first weights come from: none, ImageNet, an encoder or model of ours, a published checkpoint.

What is known about the weights goes with them: the images' mean and standard deviation, whether labels were used (which
decides about the extra batch normalisation, LUPerson section 4.3), and their provenance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say
from rewho.core.shipped import CARD, TENSORS, find_model, name_of
from rewho.core.tensors import read_weights
from rewho.models.backbone import build_backbone
from rewho.models.kinds import build_model
from rewho.models.loading import DOWNLOADED, load_pretrained, load_tensors, resample_positions, tensors_under
from rewho.models.single_view import IMAGENET_MEAN, IMAGENET_STD, SingleViewModel
from rewho.models.weights import read_card
from rewho.settings import ModelSettings

ORIGIN = "origin.json"
"""File of a training run: a resumed run no longer needs its first weights, but must know where they came from."""
QUERY_ENCODERS = ("encoder_q.", "base_encoder.")
"""Parts of the tensors' names in MoCo's checkpoints: facebookresearch/moco and LUPerson's code; moco-v3."""

USUAL_NAME = re.compile(r"[-._](imagenet|[0-9a-f]{8})\.(pth|safetensors)")
"""What follows the backbone in the name of a file of ImageNet's weights: the hash of torchvision's, or the word."""


@dataclass(frozen=True)
class Origin:
    """Where first weights come from, as plain values that a file can hold.

    Args:
        mean: Channel means that the weights expect, RGB in 0 to 1.
        std: Channel standard deviations that they expect.
        labels: Whether they were trained with labels; None where they were not trained or nothing is known.
        provenance: Goes into `model.json`.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    labels: bool | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def read_origin(folder: Path) -> Origin:
    """Return the origin that a training wrote into its folder as `ORIGIN`."""
    file = folder / ORIGIN
    read = read_json(file, mean=list, std=list, provenance=dict)
    mean, std = (_check_channels(f"{name} in {file}", tuple(read[name])) for name in ("mean", "std"))
    return Origin(mean, std, read.get("labels"), read["provenance"])


def hash_pretrained(source: str, run: Path) -> str:
    """Return the sha256 of the file of first weights; `none` and what is downloaded as they are.

    For weights that are gone, return the hash of those that the run began with: an encoder may be moved away before the
    training that began from it is over.
    """
    if source in ("none", *DOWNLOADED):
        return source
    place = find_model(source)
    file = place / TENSORS if place.is_dir() else place
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
    say(f"nothing is left at {source}; using what {run} began with: {began['weights_began_as']}")
    return str(began["weights_sha256"])


def check_backbone(settings: ModelSettings) -> None:
    """Check that a model folder to begin from has the backbone that the settings name."""
    folder = find_model(settings.pretrained)
    if not all((folder / name).is_file() for name in (CARD, TENSORS)):
        return  # a resumed run no longer needs them
    trained = read_card(folder)["architecture"].get("backbone", settings.backbone)
    if trained != settings.backbone:
        raise UserError(
            "--model.backbone",
            expected=f"{trained}, which {folder} was trained with",
            got=settings.backbone,
            fix=f"Pass --model.backbone {trained}, or begin from other weights.",
        )


def find_origin(settings: ModelSettings) -> Origin:
    """Return what is known about first weights; `pretrained_labels`, `pixel_mean` and `pixel_std` override it."""
    check_backbone(settings)
    origin = _read_origin_of(settings.pretrained)
    if settings.pretrained_labels != "auto":
        origin = replace(origin, labels=settings.pretrained_labels == "yes")
    if settings.pixel_mean:
        origin = replace(origin, mean=_check_channels("--model.pixel_mean", settings.pixel_mean))
    if settings.pixel_std:
        origin = replace(origin, std=_check_channels("--model.pixel_std", settings.pixel_std))
    return origin


def _read_origin_of(source: str) -> Origin:
    provenance: dict[str, Any] = {"weights_began_as": source}
    if source == "none":
        return Origin(provenance=provenance)
    if source in DOWNLOADED:
        return Origin(labels=True, provenance=provenance)
    path = find_model(source)
    if path.is_dir():
        card = read_card(path)
        provenance |= {
            "weights_sha256": hash_file(path / TENSORS),
            "before": {name: card.get(name) for name in ("trained_on", "licence", "provenance", "metrics")},
        }
        labels = card.get("provenance", {}).get("labels", True)
        return Origin(tuple(card["mean"]), tuple(card["std"]), labels, provenance)
    names = read_weights(path)
    provenance["weights_sha256"] = hash_file(path)
    contrastive = any(query in name for query in QUERY_ENCODERS for name in names)
    if contrastive:
        provenance["layout"] = "MoCo checkpoint, query encoder"
    return Origin(labels=False if contrastive else None, provenance=provenance)


def _check_channels(option: str, values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 3 or not all(0 < value < 1 for value in values):
        raise UserError(option, expected="three numbers between 0 and 1", got=str(values), fix="Divide by 255.")
    return values


def describe_assumptions(settings: ModelSettings, origin: Origin) -> str | None:
    """Describe what we assume about a weights file without metadata; None if nothing.

    Two things may be unknown: whether the weights were trained with labels, and the pixel statistics of their images.
    A file under the usual name of ImageNet's weights is assumed to be what its name says.

    Example:
        >>> describe_assumptions(ModelSettings(pretrained="squeezenet1_1-b8a52dc0.pth"), Origin())
        "ImageNet's weights by the name of the file: no extra batch normalisation, ImageNet's pixel statistics"
        >>> describe_assumptions(ModelSettings(pretrained="resnet50.pth", extra_bn="no"), Origin())[:55]
        "resnet50.pth: unknown pixel statistics: ImageNet's mean"
        >>> describe_assumptions(ModelSettings(pretrained="none"), Origin())
    """
    source = settings.pretrained
    if source in ("none", *DOWNLOADED) or find_model(source).is_dir():
        return None
    labels_unknown = origin.labels is None and settings.extra_bn == "auto"
    given = {"mean": settings.pixel_mean, "standard deviation": settings.pixel_std}
    assumed = " and ".join(name for name, values in given.items() if not values)
    if USUAL_NAME.fullmatch(Path(source).name.removeprefix(settings.backbone.removesuffix("_in"))):
        assumptions = ["no extra batch normalisation"] if labels_unknown else []
        assumptions += ["ImageNet's pixel statistics"] if assumed else []
        return f"ImageNet's weights by the name of the file: {', '.join(assumptions)}" if assumptions else None
    warnings = []
    if labels_unknown:
        warnings.append(
            f"{source}: unknown whether learned with labels: no extra batch normalisation; pass "
            "--model.pretrained_labels no (or yes)"
        )
    if assumed:
        warnings.append(
            f"{source}: unknown pixel statistics: ImageNet's {assumed}; pass those of its images, such as LUPerson's: "
            "--model.pixel_mean 0.3525 0.3106 0.3140 --model.pixel_std 0.2660 0.2522 0.2505"
        )
    return "; ".join(warnings) or None


def build_initial_model(settings: ModelSettings, input_size: tuple[int, int], origin: Origin) -> SingleViewModel:
    """Build a model for weights of that origin, which `load_initial_weights` loads.

    `extra_bn="auto"` becomes yes for weights that were trained without labels.
    """
    if settings.extra_bn == "auto":
        settings = replace(settings, extra_bn="yes" if origin.labels is False else "no")
    return build_model(settings, input_size, origin.mean, origin.std)


def load_initial_weights(model: SingleViewModel) -> str:
    """Load the first weights that a new model's settings name; returns one readable line about them.

    A model folder of the same kind fills all pre-trained parts; one of another kind fills the backbone.
    """
    settings, source = model.settings, model.settings.pretrained
    if source == "none":
        return f"{settings.backbone}: random weights"
    plain = build_backbone(settings.backbone, settings.stride_one_at, model.input_size)
    folder = find_model(source)
    if source in DOWNLOADED or not folder.is_dir():
        line = load_pretrained(plain, settings.backbone, source)
        model.load_backbone(plain)
        return line
    card = read_card(folder)
    height, width = card["input_size"]
    tensors, resampled = resample_positions(model, read_weights(folder / TENSORS), (height, width))
    kind = card["architecture"].get("kind", "single_view")
    if kind == settings.kind:
        parts = model.pretrained_parts()
        for name, part in parts.items():
            load_tensors(part, tensors_under(tensors, name), f"{name} of {folder}")
        return f"{settings.backbone}: {', '.join(parts)} of {name_of(folder)}{resampled}"
    if kind == "mgn":
        raise UserError(
            f"--model.pretrained {folder}",
            expected="a model with one plain backbone",
            got="an MGN, whose backbone ends in three branches",
            fix="Choose another model folder, or --model.kind mgn.",
        )
    load_tensors(plain, tensors_under(tensors, "backbone"), f"backbone of {folder}")
    model.load_backbone(plain)
    return f"{settings.backbone}: backbone of {name_of(folder)}{resampled}"
