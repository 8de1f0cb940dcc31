"""States of trainings: whether two are the same, and checkpoints as a broken disk leaves them."""

from pathlib import Path

import torch

from rewho.core.artifact import MANIFEST
from rewho.training.checkpoint import STATE

# Each kind of damage, and what the warning about it must say.
DAMAGES = {
    "empty": r"state\.pt has 0 bytes",
    "cut": r"state\.pt has [\d,]+ bytes, not",
    "flipped bit": r"state\.pt does not match its sha256",
    "no metadata": r".*manifest\.json: expected the record that a run wrote",
}


def same(left, right) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    return left == right


def damage_checkpoint(checkpoint: Path, kind: str) -> None:
    """Damage a checkpoint in one of the ways of `DAMAGES`."""
    content = bytearray((checkpoint / STATE).read_bytes())
    if kind == "empty":
        content = bytearray()
    elif kind == "cut":
        content = content[: len(content) // 2]
    elif kind == "flipped bit":
        content[len(content) // 2] ^= 1
    else:
        (checkpoint / MANIFEST).unlink()
    (checkpoint / STATE).write_bytes(content)
