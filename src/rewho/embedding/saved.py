"""Build the network that a training saved: in a model folder, an unfinished run or one checkpoint.

Each checkpoint holds the description that `describe` makes; `open_saved` builds the network from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.progress import say
from rewho.core.record import CONTINUED, STARTED, read_record, total_steps
from rewho.core.shipped import CARD, TENSORS
from rewho.models.factorization import BRANCH_TENSORS, Factorization, build_branches, folded_student, load_branches
from rewho.models.loading import load_tensors, tensors_under
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, build_described, check_description, describe_model, load_model
from rewho.training.checkpoint import (
    DESCRIPTION,
    STATE,
    explain_mismatch,
    newest_checkpoint,
    read_checkpoint,
    read_description,
)

BRANCHES = "factorization"  # prefix of the branches' tensors in a distillation's checkpoint


@dataclass(frozen=True)
class Saved:
    """A trained network on the CPU, the content of its model.json, its weights' files, and branches if any."""

    model: SingleViewModel
    description: dict[str, Any]
    weights: tuple[Path, ...]
    branches: Factorization | None = None


def describe(
    model: SingleViewModel,
    card: ModelCard,
    prefix: str,
    branches: Factorization | None = None,
    *,
    folded: bool = False,
) -> dict[str, Any]:
    """Return the description that a training saves in its checkpoints; `card` is added to it.

    `prefix` is that of the network's tensors in the checkpoint; `folded` as in `folded_student`.
    """
    described = {"network": describe_model(model, card), "prefix": prefix}
    return described | ({"branches": branches.description, "folded": folded} if branches is not None else {})


def open_saved(path: Path, *, branches: bool = False) -> Saved:
    """Read a model folder, the newest undamaged checkpoint of an unfinished run, or one checkpoint."""
    if (path / STATE).is_file():
        return _from_checkpoint(path, read_checkpoint(path), branches=branches)
    if (path / CARD).is_file() or (path / MANIFEST).is_file() or not (path / STARTED).is_file():
        model, description = load_model(path)
        found = load_branches(path) if branches else None
        started = path / STARTED
        if started.is_file() and not (path / MANIFEST).is_file() and read_record(started).get(CONTINUED):
            say(f"note: {path} is being continued, and unfinished: its model is the one from before")
        files = (path / TENSORS,) if found is None else (path / TENSORS, path / BRANCH_TENSORS)
        return Saved(model, description, files, found)
    newest = newest_checkpoint(path / "checkpoints")
    if newest is None:
        expected = "a model folder, or an unfinished run with a checkpoint"
        fix = "Wait for the end of its first epoch, or train with --checkpoint.every_steps 100."
        raise UserError(f"--model {path}", expected=expected, got="an unfinished run without one", fix=fix)
    whole = total_steps(read_record(path / STARTED))
    of = f" of {whole:,}" if whole else ""
    say(f"note: {path} is an unfinished run; using its newest checkpoint, {newest[0].name}{of}")
    return _from_checkpoint(*newest, branches=branches)


def _from_checkpoint(path: Path, state: Mapping[str, Any], *, branches: bool) -> Saved:
    with explain_mismatch(path):
        description, file = read_description(path), path / DESCRIPTION
        network = description["network"]
        check_description(file, network)
        tensors = {**state["parameters"], **state["buffers"]}
        own = tensors_under(tensors, description["prefix"])
        model = build_described(file, network, {name: tuple(own[name].shape) for name in own}, str(path))
        load_tensors(model, own, f"network in {path}")
        model.eval()
        found = None
        if "branches" in description and (branches or description["folded"]):
            found = build_branches(file, description["branches"])
            load_tensors(found, tensors_under(tensors, BRANCHES), f"branches in {path}")
            found.eval()
            model = folded_student(model, found) if description["folded"] else model
    return Saved(model, network, (path / STATE,), found if branches else None)
