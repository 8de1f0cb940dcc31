"""State of a training: saving, restoring, and detecting a loss that diverges."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from rewho.core.check import UserError
from rewho.settings import CheckpointSettings
from rewho.training.engine import Engine
from rewho.training.optim import restore_optimizer

SPIKE_WINDOW = 50  # recent losses that a new one is compared with
SPIKE_NEEDS = 5  # recent losses needed for the comparison
SPIKE_FLOOR = 2.0  # a loss below this is never a spike: late in training single hard batches stand out
SPIKE_OVER_LARGEST = 1.5  # a spike also exceeds the largest recent loss by this factor


@dataclass
class State:
    """State of a training beside weights and optimizer.

    Attributes:
        step: Optimizer steps taken.
        closed_epochs: Epochs that are evaluated and logged.
        recent: Last losses, for `find_divergence`.
        sums: Sum of each loss term over the current epoch.
        best: Best mAP so far, and its epoch.
        figures: Figures of the last evaluation.
        log_bytes: Length of the log in bytes.
    """

    step: int = 0
    closed_epochs: int = 0
    recent: list[float] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    best: list[float] = field(default_factory=lambda: [-1.0, 0.0])
    figures: dict[str, float] = field(default_factory=dict)
    log_bytes: int = 0


def find_divergence(
    values: Mapping[str, float], state: State, settings: CheckpointSettings, *, scaled: bool = False
) -> str:
    """Return which loss terms are not finite, or how far the loss jumps; an empty text if all is well.

    Args:
        values: Loss terms and gradient norm of the current step.
        state: State with the recent losses.
        settings: When a jump is a spike.
        scaled: Ignore the gradient norm: fp16 overflows now and then, and its scaler skips such steps.
    """
    wrong = [
        name for name, value in values.items() if not math.isfinite(value) and not (scaled and name == "gradient_norm")
    ]
    if wrong:
        return f"{', '.join(wrong)} = NaN or infinity"
    recent, factor = state.recent, settings.spike_factor
    if not factor or state.step < settings.spike_after or len(recent) < SPIKE_NEEDS:
        return ""
    limit = max(factor * statistics.median(recent), SPIKE_OVER_LARGEST * max(recent), SPIKE_FLOOR)
    return f"loss {values['total']:.4g} > {limit:.4g}" if values["total"] > limit else ""


def state_parts(module: nn.Module, optimizer: Optimizer, engine: Engine, state: State) -> dict[str, Any]:
    """Return all parts of a training's state by name, for a checkpoint."""
    buffers = dict(module.named_buffers())
    tensors = module.state_dict()
    return {
        "parameters": {name: tensor for name, tensor in tensors.items() if name not in buffers},
        "buffers": {name: tensor for name, tensor in tensors.items() if name in buffers},
        "optimizer": optimizer.state_dict(),
        "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
        "precision": engine.precision,
        **{f"state.{name}": value for name, value in vars(state).items()},
    }


def check_fits(parts: Mapping[str, Any], module: nn.Module, optimizer: Optimizer, folder: Path) -> None:
    """Check that a checkpoint's weights and optimizer state have the names and shapes of these."""
    shapes = [
        {name: list(tensor.shape) for name, tensor in tensors.items()}
        for tensors in ({**parts["parameters"], **parts["buffers"]}, module.state_dict())
    ]
    saved, here = shapes
    wrong = [
        f"{name} {saved.get(name, 'absent')} instead of {here.get(name, 'none')}"
        for name in sorted(saved.keys() | here.keys())
        if saved.get(name) != here.get(name)
    ]
    groups = [
        [(len(group["params"]), "betas" in group) for group in state["param_groups"]]
        for state in (parts["optimizer"], optimizer.state_dict())
    ]
    if not wrong and groups[0] != groups[1]:
        wrong = ["the state of another optimizer"]
    if wrong:
        raise UserError(
            f"--out {folder}",
            expected="a checkpoint of the network and optimizer that these settings describe",
            got=", ".join(wrong[:3]) + (f", and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""),
            fix="Undo the change, or choose another --out. --allow_config_change is for settings that leave every "
            "weight its shape.",
        )


def check_precision(parts: Mapping[str, Any], engine: Engine) -> None:
    """Check that a run resumes with its first precision; `auto` may choose another one on another machine."""
    began = parts.get("precision", engine.precision)
    if began != engine.precision:
        raise UserError(
            "--engine.precision",
            expected=f"{began}, the precision of this run",
            got=engine.precision,
            fix=f"Pass --engine.precision {began}, or choose another --out.",
        )


def restore_parts(parts: Mapping[str, Any], module: nn.Module, optimizer: Optimizer, engine: Engine) -> State:
    """Load the parts of a checkpoint, as `state_parts` returned them; return the state."""
    module.load_state_dict({**parts["parameters"], **parts["buffers"]})
    restore_optimizer(optimizer, parts["optimizer"])
    if engine.scaler is not None:
        engine.scaler.load_state_dict(parts["scaler"])
    return State(**{name.removeprefix("state."): value for name, value in parts.items() if name.startswith("state.")})
