"""Checkpoints, written atomically with hashes; if the newest is damaged, the one before it is used.

A checkpoint is a folder `step-00000123/` with `state.pt`, `checkpoint.json` and a manifest that holds their sha256,
written aside, synced and renamed. `state.pt` is read with `weights_only=True`: tensors, numbers and text, no
code. `checkpoint.json` holds the version of the format and the task's description of the network.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from rewho.core.artifact import json_bytes, remove_unfinished, write_folder
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say
from rewho.core.record import find_damage
from rewho.core.tensors import read_torch

STATE = "state.pt"
DESCRIPTION = "checkpoint.json"
VERSION = 1
WHOLE = "checkpoints/step-*"
"""Pattern of finished checkpoints in a run's folder; leftovers of killed writers have other names."""


def has_checkpoint(run: Path) -> bool:
    """Return whether a run's folder holds a checkpoint to resume from."""
    return any(run.glob(WHOLE))


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, Any], keep: int = 2, description: Mapping[str, Any] | None = None
) -> Path:
    """Save the state after `step` steps and remove all but the newest `keep` checkpoints.

    Args:
        folder: Folder of all checkpoints of a run.
        step: Optimizer steps taken.
        state: Parts of the state by name; each holds tensors, numbers, text, lists and dictionaries only.
        keep: Number of checkpoints to keep, at least 1.
        description: Description of the network, as JSON.
    """

    def fill(aside: Path) -> None:
        (aside / DESCRIPTION).write_bytes(json_bytes({"version": VERSION, **(description or {})}))
        try:
            with (aside / STATE).open("wb") as file:
                torch.save(dict(state), file)
        except RuntimeError as error:  # torch's error for a failed write; the cause is in its context
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    path = write_folder(folder / f"step-{step:08d}", fill)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)
    return path


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Return step and state of the newest undamaged checkpoint, or None, and remove leftovers of killed writers."""
    remove_unfinished(folder)
    found = newest_checkpoint(folder)
    return None if found is None else (int(found[0].name.removeprefix("step-")), found[1])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state that a checkpoint holds, every byte of it verified.

    Args:
        path: The folder of one checkpoint.
    """
    wrong = find_damage(path)
    if wrong is not None:
        raise UserError(
            f"checkpoint {path}",
            expected="an undamaged checkpoint",
            got=wrong,
            fix="Use another checkpoint of the run, or restore this one from a copy.",
        )
    return _state(path)


def read_description(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says about its network."""
    description = read_json(path / DESCRIPTION, f"checkpoint {path}") if (path / DESCRIPTION).is_file() else {}
    if description.get("version") != VERSION:
        raise UserError(
            f"checkpoint {path}",
            expected=f"version {VERSION} of the format",
            got=f"version {description['version']!r}" if "version" in description else f"no version in {DESCRIPTION}",
            fix="Use the rewho version that wrote it, or choose a new --out to start again.",
        )
    return description


def _state(path: Path) -> dict[str, Any]:
    read_description(path)
    state = read_torch(path / STATE)
    if not isinstance(state, dict):
        raise UserError(
            f"checkpoint {path}", expected="parts by name", got=type(state).__name__, fix="Use another checkpoint."
        )
    return state


@contextlib.contextmanager
def explain_mismatch(folder: Path) -> Iterator[None]:
    """Turn errors about a checkpoint with unexpected content into a UserError that names the run's folder."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"checkpoints in {folder}",
            expected="the state of a training by rewho",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            fix="Restore the folder from a copy, or choose a new --out to start again.",
        ) from error


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return folder and state of the newest undamaged checkpoint, or None without checkpoints.

    Each damaged one gives a warning. The folder is not changed.

    Args:
        folder: Folder of all checkpoints of a run.
    """
    paths = _newest_first(folder)
    for path in paths:
        wrong = find_damage(path)
        if wrong is None:
            return path, _state(path)
        say(f"warning: checkpoint {path} is damaged ({wrong}); using the one before it")
    if paths:
        raise UserError(
            f"checkpoints in {folder}",
            expected="at least one undamaged checkpoint",
            got=f"{len(paths)} damaged: {wrong}",
            fix="Restore the folder from a copy, or choose a new --out to start again.",
        )
    return None
