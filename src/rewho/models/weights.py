"""The model folder: `model.safetensors` + `model.json`. Nothing that is loaded executes code."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rewho.core import shipped
from rewho.core.artifact import MANIFEST, hash_file, plain, verify_hash, write_file, write_json
from rewho.core.check import UserError, describe_path, is_dir, is_file, nearest
from rewho.core.files import check_fields, read_json
from rewho.core.progress import say
from rewho.core.record import rewho_version
from rewho.core.tensors import read_weights, tensor_shapes
from rewho.models.kinds import build_model
from rewho.models.loading import load_tensors, match_names, tensor_bytes
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.settings import ModelSettings
from rewho.settings.command_line import fill

TENSORS, CARD = shipped.TENSORS, shipped.CARD
CLASSIFIER = "classifier.safetensors"
SUMS = "sha256"
"""Field of `model.json` with the hash of each file of weights beside it, so that a copied folder can be checked."""
FORMAT = 1
COPY = "Copy the model folder again."
DRAWS = (
    *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_),
    *(Tensor.normal_, Tensor.uniform_),
)
"""Functions that fill a tensor with random numbers."""
FOREIGN = (".pth", ".pt", ".pth.tar", ".ckpt", ".safetensors")
FROZEN = (
    "`rewho train DATA --init {} --backbone NAME --pooling gap --head none --lr 0 --freeze_epochs 1 --epochs 1 "
    "--steps_per_epoch 1`"
)
"""Makes a model folder of a backbone's weights as they are."""


@dataclass(frozen=True)
class ModelCard:
    """What stands in `model.json` beside the architecture.

    Args:
        trained_on: Name and digest of the training data.
        licence: Terms of the training data, as far as known.
        metrics: Figures measured at the end of training, by data set.
        provenance: Everything else worth keeping: pre-training, recipe, version.
        classifier: Kind of the classifier that is kept beside the model, linear or circle; empty where there is none.
    """

    trained_on: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown: ask those who collected the training images"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    classifier: str = ""


def save_model(folder: Path, model: SingleViewModel, card: ModelCard, beside: Iterable[Path] = ()) -> list[Path]:
    """Write a model folder; returns the files written, the description with the hashes of the others last.

    `beside` are files with more weights, already in the folder.
    """
    content = tensor_bytes(model)
    sums = {TENSORS: hashlib.sha256(content).hexdigest(), **{file.name: hash_file(file) for file in beside}}
    description = describe_model(model, card) | {SUMS: sums}
    return [
        *beside,
        write_file(folder / TENSORS, lambda file: file.write(content)),
        write_json(folder / CARD, description),
    ]


def describe_model(model: SingleViewModel, card: ModelCard) -> dict[str, Any]:
    """Return the content of `model.json`, without the hashes of files: enough for `build_described`."""
    return {
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
    }


def load_model(folder: Path) -> tuple[SingleViewModel, dict[str, Any]]:
    """Read a model folder.

    Returns:
        The network in evaluation mode on the CPU, and the content of `model.json`.

    Raises:
        UserError: Files missing or damaged, written by a newer version, or tensors that do not fit.
    """
    description = read_card(folder)
    shapes = tensor_shapes(folder / TENSORS)
    model = build_described(folder / CARD, description, shapes, str(folder / TENSORS))
    if others := load_tensors(model, read_weights(folder / TENSORS), f"{folder / TENSORS}"):
        expected, got = f"the tensors of the network in {CARD} alone", f"others, such as {others[0]}"
        raise UserError(f"{folder / TENSORS}", expected=expected, got=got, fix=COPY)
    return model.eval(), description


def build_described(
    path: Path, description: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], weights: str
) -> SingleViewModel:
    """Build the untrained network of a description that `describe_model` returned, for tensors of these shapes.

    `path` and `weights` name the files of the description and of the tensors in messages.

    Raises:
        UserError: A field is missing or wrong, or the network is not that of the tensors.
    """
    settings = _architecture(path, description)
    height, width = settings.input_size
    _check_shapes(path, settings, shapes, weights)
    model = build_model(settings, (height, width), settings.pixel_mean, settings.pixel_std)
    model.box = tuple(description.get("box", ()))
    return model


def _architecture(path: Path, description: Mapping[str, Any]) -> ModelSettings:
    """Return the architecture that a `model.json` describes, with its input size, mean and deviation.

    Raises:
        UserError: A field is missing, of another type, or out of its range.
    """
    given = {"input_size": "input_size", "mean": "pixel_mean", "std": "pixel_std"}
    known = {entry.name for entry in fields(ModelSettings)}
    values = {key: value for key, value in description["architecture"].items() if key in known}
    values |= {option: description[name] for name, option in given.items()}
    lengths = {"input_size": 2, "mean": 3, "std": 3, "box": 4}
    with _naming(path):
        for name, length in lengths.items():
            if name in description and len(description[name]) != length:
                raise UserError(name, expected=f"{length} values", got=str(description[name]), fix=COPY)
        if not all(isinstance(side, str) for side in description.get("box", ())):
            raise UserError("box", expected="fractions as text", got=str(description["box"]), fix=COPY)
        return fill(ModelSettings, values, "train", prefix="")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except UserError as error:
        fix = error.fix if error.what.startswith("backbone ") else COPY
        raise UserError(f"{path}: {error.what}", expected=error.expected, got=error.got, fix=fix) from error


class _Undrawn(TorchFunctionMode):
    """Draws no random numbers: tensors without content have none, and there drawing imports torch's compiler."""

    def __torch_function__(  # torch's name
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if function in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def _check_shapes(path: Path, settings: ModelSettings, shapes: Mapping[str, tuple[int, ...]], weights: str) -> None:
    """Check the names and shapes of tensors against the architecture, before either takes any memory."""
    height, width = settings.input_size
    try:
        with torch.device("meta"), _Undrawn(), _naming(path):
            wanted = build_model(settings, (height, width)).state_dict()
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        if "meta" in str(error):  # models of older versions of timm compute while they are built
            return
        got = " ".join(str(error).split())[:160]
        raise UserError(f"{path}", expected="a network that exists", got=got, fix=COPY) from error
    match_names(wanted, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, weights)


def save_classifier(folder: Path, classifier: nn.Module) -> Path:
    """Write the identity classifier beside a model; only a distillation uses it."""
    return write_file(folder / CLASSIFIER, lambda file: file.write(tensor_bytes(classifier)))


def load_classifier(folder: Path, classifier: nn.Module) -> None:
    """Fill a classifier with the weights that `save_classifier` wrote; fails if they have other identities."""
    load_tensors(classifier, read_weights(folder / CLASSIFIER), f"{folder / CLASSIFIER}")


def read_card(folder: Path) -> dict[str, Any]:
    """Return the content of a model folder's `model.json`.

    Raises:
        UserError: Files are missing or damaged, or were written by a newer version.
    """
    for name in (CARD, TENSORS):
        if not (folder / name).is_file():
            raise _no_model(folder, name)
    path = folder / CARD
    description = read_json(path, fix=COPY)
    check_description(path, description)
    try:
        verify_hash(path, MANIFEST)
    except UserError as error:
        say(f"warning: {path} is not the file that the run wrote: {error.got}")
    return description


def _no_model(folder: Path, missing: str) -> UserError:
    got, fix = describe_path(folder), "Give the folder that `rewho train --out` wrote, or `starter`."
    if is_dir(folder):
        got = f"no {missing}"
        if exported := [file.name for file in sorted(folder.glob("model.*")) if file.suffix in (".onnx", ".pt2")]:
            fix = f"{exported[0]} in it is an exported file: give the folder of the model that was exported."
    elif is_file(folder) and (folder.parent / CARD).is_file():
        fix = f"Give its folder, {folder.parent}."
    elif is_file(folder) and folder.name.endswith(FOREIGN):
        fix = f"Make a model of another program's weights: {FROZEN.format(folder)}, with NAME their backbone; "
        fix += "see Weights in docs/guide/coming-from.md."
    elif near := nearest(str(folder), shipped.shipped_models()):
        fix = f"Did you mean the model `{near}`, which comes with rewho?"
    return UserError(f"model {folder}", expected=f"a model folder with {TENSORS} and {CARD}", got=got, fix=fix)


def check_description(path: Path, description: Mapping[str, Any]) -> None:
    """Check the fields of a model's description.

    Raises:
        UserError: One is missing or of another type, or a newer version wrote it.
    """
    needed: dict[str, type] = {"format": int, "architecture": dict, "input_size": list, "mean": list, "std": list}
    optional: dict[str, type] = {
        "trained_on": dict,
        "metrics": dict,
        "provenance": dict,
        "licence": str,
        "classifier": str,
        "box": list,
    }
    try:
        check_fields(description, needed | {name: kind for name, kind in optional.items() if name in description})
    except ValueError as error:
        raise UserError(f"{path}", expected="JSON as rewho writes it", got=str(error), fix=COPY) from error
    if description["format"] > FORMAT:
        raise UserError(
            f"{path}",
            expected=f"a model description of format {FORMAT}",
            got=f"format {description['format']}",
            fix="Use the rewho version that wrote it, or a newer one.",
        )
