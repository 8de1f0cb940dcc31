"""The architecture that `--init` brings along: that of the model or encoder, unless an option says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewho.core.files import read_json
from rewho.core.record import STARTED, flatten, read_record
from rewho.core.shipped import CARD, find_model

INIT = "model.pretrained"
NO_FOLDER = ("", "none", "imagenet", "imagenet_v2")
"""Initial weights that name no folder."""
OF_ENCODER = ("backbone", "input_size")
"""What an encoder's folder decides: it has no pooling and head of its own, and a fine-tuning has its own strides."""
OF_NETWORK = (
    "kind",
    *OF_ENCODER,
    "stride_one_at",
    "pooling",
    "pooling_kernel",
    "head",
    "embedding",
    "extra_bn",
    "view",
)


def read_architecture(command: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the architecture options that the initial weights' model folder sets, and a line about them.

    Options that the command line or the recipe gives are left as they are given. Nothing is taken where the initial
    weights are no model folder.

    Args:
        command: The command's name.
        values: The given options by full name.
        known: All options of the command.

    Example:
        >>> read_architecture("train", {"model.pretrained": "imagenet"}, {"model.pretrained": str})
        ({}, '')
        >>> taken, _ = read_architecture("train", {INIT: "starter"}, dict.fromkeys((INIT, "model.backbone"), str))
        >>> list(taken)
        ['model.backbone']
    """
    source = values.get(INIT)
    if INIT not in known or not isinstance(source, str | Path) or str(source) in NO_FOLDER:
        return {}, ""
    found = _read(find_model(source), values)
    whole = not found.pop("encoder", False) and command == "train"
    if found.get("kind", "single_view") != values.get("model.kind", found.get("kind", "single_view")):
        whole = False  # a network of another kind takes the backbone only
    names: tuple[str, ...] = OF_NETWORK if whole else OF_ENCODER
    if "model.view" in values:  # which has a size of its own
        names = tuple(name for name in names if name != "input_size")
    taken = {
        f"model.{name}": found[name]
        for name in names
        if name in found and f"model.{name}" in known and f"model.{name}" not in values
    }
    if not taken:
        return {}, ""
    shown = ", ".join(f"{name.removeprefix('model.')} {_show(value)}" for name, value in taken.items())
    return taken, f"taken from {source}: {shown}; the same options, when given, decide instead"


def _read(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture in a model folder, or where it is gone, that of the run which began from it."""
    if (folder / CARD).is_file():
        card = read_json(folder / CARD, architecture=dict, input_size=list)
        found = {**card["architecture"], "input_size": card["input_size"]}
        provenance = card.get("provenance")
        learned = isinstance(provenance, dict) and provenance.get("labels") is True
        found["encoder"] = found.get("head", "none") == "none" and not learned
        if str(found.get("view", "")).endswith((".yaml", ".yml")):  # a file that may lie elsewhere
            del found["view"]
        return found
    started = Path(str(values.get("out", ""))) / STARTED
    if not folder.exists() and started.is_file():
        began = flatten(read_record(started).get("settings", {}))
        if began.get(INIT) == str(folder):
            return {name.removeprefix("model."): value for name, value in began.items() if name.startswith("model.")}
    return {}


def _show(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
