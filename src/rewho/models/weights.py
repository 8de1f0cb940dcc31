"""The model folder: `model.safetensors` + `model.json`. Nothing that is loaded executes code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rewho.core.artifact import MANIFEST, check_sum, hash_file, plain, rewho_version, write_file, write_json
from rewho.core.check import UserError
from rewho.core.progress import say
from rewho.models.backbone import fill, read_weights
from rewho.models.kinds import build_model
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.settings import ModelSettings

TENSORS = "model.safetensors"
CARD = "model.json"
CLASSIFIER = "classifier.safetensors"
SUMS = "sha256"
"""Field of `model.json` with the hash of each file of weights beside it, so that a copied folder can be checked."""
FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """What stands in `model.json` beside the architecture: where a model comes from and what it can do.

    Args:
        trained_on: Name and digest of the training data.
        licence: Terms of the training data, as far as known.
        metrics: Figures measured at the end of training, by data set.
        provenance: Everything else worth keeping: pre-training, recipe, version.
        classifier: Kind of the classifier that is kept beside the model, linear or circle; empty where there is none.
    """

    trained_on: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown: ask whoever collected the training pictures"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    classifier: str = ""


def save_model(folder: Path, model: SingleViewModel, card: ModelCard, beside: Iterable[Path] = ()) -> list[Path]:
    """Write a model folder; returns the files written, the description with the hashes of the others last.

    Args:
        folder: Where to write; made if missing.
        model: The network, without any training-only branch.
        card: What to write beside the architecture.
        beside: Files with more weights that lie in the folder already.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors)
    description = {
        "format": FORMAT,
        "rewho": rewho_version(),
        "architecture": plain(model.settings) | {"pretrained": "none", "pretrained_labels": "auto"},
        "input_size": list(model.input_size),
        **({"box": list(model.box)} if model.box else {}),
        "embedding_size": model.settings.embedding,
        "mean": [round(value / 255, 6) for value in model.mean.tolist()],
        "std": [round(value**0.5 / 255, 6) for value in model.variance.tolist()],
        "parameters": parameter_count(model),
        **plain(card),
        SUMS: {TENSORS: hashlib.sha256(content).hexdigest(), **{file.name: hash_file(file) for file in beside}},
    }
    return [
        *beside,
        write_file(folder / TENSORS, lambda file: file.write(content)),
        write_json(folder / CARD, description),
    ]


def load_model(folder: Path) -> tuple[SingleViewModel, dict[str, Any]]:
    """Read a model folder.

    Returns:
        The network in evaluation mode on the CPU, and the content of `model.json`.

    Raises:
        UserError: Files missing or damaged, written by a newer version, or tensors that do not fit.
    """
    description = read_card(folder)
    known = {entry.name for entry in fields(ModelSettings)}
    architecture = {key: value for key, value in description["architecture"].items() if key in known}
    size = (int(description["input_size"][0]), int(description["input_size"][1]))
    architecture["input_size"] = size
    model = build_model(ModelSettings(**architecture), size, tuple(description["mean"]), tuple(description["std"]))
    model.box = tuple(description.get("box", ()))
    fill(model, tensors_of(folder), f"{folder / TENSORS}")
    return model.eval(), description


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder by name, every byte of them verified.

    Raises:
        UserError: The file is damaged.
    """
    if not check_sum(folder / TENSORS, CARD, MANIFEST):
        say(f"warning: {folder / CARD} holds no hash of {TENSORS}, which cannot be checked for damage")
    try:
        return load_file(folder / TENSORS)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{folder / TENSORS}",
            expected="a whole safetensors file",
            got=f"{type(error).__name__}: {error}",
            fix="Copy the model folder again; the file is damaged.",
        ) from error


def save_classifier(folder: Path, classifier: nn.Module) -> Path:
    """Write the identity classifier beside a model: nobody needs it to embed, a distillation begins from it."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()})
    return write_file(folder / CLASSIFIER, lambda file: file.write(content))


def load_classifier(folder: Path, classifier: nn.Module) -> None:
    """Fill a classifier with the weights that `save_classifier` wrote.

    Raises:
        UserError: There is none, or it knows other identities.
    """
    fill(classifier, read_weights(folder / CLASSIFIER), f"{folder / CLASSIFIER}")


def read_card(folder: Path) -> dict[str, Any]:
    """Return the content of a model folder's `model.json`.

    Raises:
        UserError: Files are missing or damaged, or were written by a newer version.
    """
    for name in (CARD, TENSORS):
        if not (folder / name).is_file():
            raise UserError(
                f"model {folder}",
                expected=f"a model folder with {TENSORS} and {CARD}",
                got=f"no {name}" if folder.is_dir() else "no such folder",
                fix="Give the folder that `rewho train --out` wrote; unfinished runs and exports are no models.",
            )
    path = folder / CARD
    try:
        description: dict[str, Any] = json.loads(path.read_text())
        missing = {"architecture", "input_size", "mean", "std"} - description.keys()
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}", expected="JSON as rewho writes it", got=str(error), fix="Copy the model folder again."
        ) from error
    if missing or description.get("format", 0) > FORMAT:
        raise UserError(
            f"{path}",
            expected=f"a model description of format {FORMAT}",
            got=f"format {description.get('format')}, missing {sorted(missing) or 'nothing'}",
            fix="Use the rewho version that wrote it, or a newer one.",
        )
    try:
        check_sum(path, MANIFEST)
    except UserError as error:
        say(f"warning: {path} is not the file that the run wrote: {error.got}")
    return description
