"""Trainings of stages as a kill or a broken disk leaves them, and whether two ended with the same bits."""

import shutil
from pathlib import Path

import torch

from checkpoints import same
from rewho.core.artifact import MANIFEST
from rewho.core.record import STARTED
from rewho.training.checkpoint import STATE, load_checkpoint, save_checkpoint
from rewho.training.log import LOG

# What a stage writes when its training has ended.
LEFT_AT_THE_END = (
    MANIFEST,
    *("model.json", "model.safetensors", "branches.json", "branches.safetensors", "classifier.safetensors"),
)


def checkpoint_of(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def cut(whole: Path, copy: Path, *steps: int) -> Path:
    """Copy a run as it was on disk with the checkpoints of some steps, and a log that runs on beyond them."""
    for step in steps:
        shutil.copytree(checkpoint_of(whole, step), checkpoint_of(copy, step))
    for file in whole.iterdir():
        if file.is_file() and file.name not in LEFT_AT_THE_END:
            shutil.copy(file, copy / file.name)
    if last(copy)["state.best"][1] and (whole / "best").is_dir():  # the best model so far, where one is kept
        shutil.copytree(whole / "best", copy / "best")
    return copy


def state_after(folder: Path, step: int) -> dict:
    return torch.load(checkpoint_of(folder, step) / STATE, weights_only=True)


def lose(folder: Path, step: int, lost: str, *groups: str) -> int:
    """Set the tensors whose names hold `lost` to zero in a sound checkpoint; return how many there were."""
    state = state_after(folder, step)
    tensors = [tensor for group in groups for name, tensor in named_tensors(state[group]) if lost in name]
    for tensor in tensors:
        tensor.zero_()
    save_checkpoint(folder / "checkpoints", step, state)
    return len(tensors)


def named_tensors(value, name: str = "") -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if not isinstance(value, dict):
        return []
    return [found for key, inner in value.items() for found in named_tensors(inner, f"{name}.{key}")]


def last(folder: Path) -> dict:
    """Return the newest state: parameters, buffers, optimizer, and everything else that the loop keeps."""
    _, state = load_checkpoint(folder / "checkpoints")
    return state


def differing_files(left: Path, right: Path) -> list[str]:
    """Return the files that two finished runs leave beside their checkpoints and that are not equal to the byte."""
    own = (STARTED, MANIFEST)  # they tell when and how long
    names = {
        file.relative_to(folder).as_posix()
        for folder in (left, right)
        for file in folder.rglob("*")
        if file.is_file() and file.name not in own and not {"checkpoints", "tensorboard"} & {*file.parts}
    }
    return [
        name
        for name in sorted(names)
        if not all((folder / name).is_file() for folder in (left, right))
        or (left / name).read_bytes() != (right / name).read_bytes()
    ]


def check_equal(found: Path, expected: Path, after: str = "") -> None:
    """Check that two finished runs left the same state, log and files."""
    assert same(last(found), last(expected)), after
    assert (found / LOG).read_bytes() == (expected / LOG).read_bytes(), after
    assert differing_files(found, expected) == [], after
