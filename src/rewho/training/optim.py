"""Optimizer and learning rate, which is a pure function of the step, so that there is no schedule state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from rewho.settings import OptimizerSettings


def learning_rate(settings: OptimizerSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0.

    Args:
        settings: Learning rate, warm-up and schedule.
        step: Steps taken.
        steps_per_epoch: Steps per epoch.
        epochs: Epochs of the training.

    Example:
        >>> paper = OptimizerSettings(learning_rate=0.0025, schedule="halve", halve_every=20)
        >>> [learning_rate(paper, epoch * 10, 10, 80) for epoch in (0, 19, 20, 79)]
        [0.0025, 0.0025, 0.00125, 0.0003125]
        >>> twice = OptimizerSettings(learning_rate=1.0, schedule="steps", step_epochs=(40, 70))
        >>> [round(learning_rate(twice, epoch * 10, 10, 120), 3) for epoch in (39, 40, 70)]
        [1.0, 0.1, 0.01]
    """
    epoch = step / steps_per_epoch
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (step + 1) / (settings.warmup_epochs * steps_per_epoch + 1)
    if settings.schedule == "halve":
        return settings.learning_rate * 0.5 ** math.floor(epoch / settings.halve_every + 1e-9)
    if settings.schedule == "steps":
        return settings.learning_rate * settings.step_factor ** sum(epoch >= at - 1e-9 for at in settings.step_epochs)
    if settings.schedule == "cosine":
        start = max(settings.warmup_epochs, settings.flat_epochs)
        done = max(0.0, epoch - start) / max(epochs - start, 1e-9)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return settings.learning_rate


def schedule_warnings(settings: OptimizerSettings, epochs: int, freezable: bool) -> list[str]:
    """Return warnings about a schedule that is longer than the training, as after lowering `epochs` of a preset.

    Args:
        settings: Warm-up, schedule and frozen epochs.
        epochs: Epochs of the training.
        freezable: Whether there are pre-trained weights to freeze.
    """
    warmup, flat, frozen = settings.warmup_epochs, settings.flat_epochs, settings.freeze_epochs
    warnings = []
    if warmup >= epochs:
        warnings.append(
            f"warning: the warm-up ({warmup:g} epochs) is as long as the training ({epochs}): the learning rate only "
            "rises; pass --optimizer.warmup_epochs 0, or more --epochs"
        )
    elif settings.schedule == "cosine" and flat >= epochs:
        warnings.append(
            f"warning: the learning rate falls from epoch {flat:g} on, and the training has {epochs}; pass "
            "--optimizer.flat_epochs 0, or more --epochs"
        )
    if frozen and not freezable:
        warnings.append(f"warning: --optimizer.freeze_epochs {frozen:g} has no effect: no weights are pre-trained")
    elif frozen >= epochs:
        warnings.append(
            f"warning: the pre-trained weights are frozen ({frozen:g} epochs) during the whole training ({epochs}); to "
            "train them, pass --optimizer.freeze_epochs 0, or more --epochs"
        )
    return warnings


def build_optimizer(backbone: nn.Module, heads: Iterable[nn.Module], settings: OptimizerSettings) -> Optimizer:
    """Return the optimizer of a backbone and its heads, as two groups with their learning-rate `factor`."""
    of_heads = [parameter for head in heads for parameter in head.parameters() if parameter.requires_grad]
    of_backbone = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    groups = [{"params": of_backbone, "factor": 1.0}, {"params": of_heads, "factor": settings.head_factor}]
    # Reads each weight once instead of ten times: without it Adam takes 1/3 of a small ResNet-18 step on a CPU.
    fused = all(parameter.device.type in {"cpu", "cuda"} for parameter in of_backbone + of_heads)
    if settings.kind != "sgd":
        kind = AdamW if settings.kind == "adamw" else Adam
        return kind(groups, settings.learning_rate, weight_decay=settings.weight_decay, fused=fused or None)
    optimizer = SGD(
        groups,
        settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=fused or None,
    )
    if fused:
        _allocate_momentum(optimizer)
    return optimizer


def restore_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load a saved `state_dict` without its options, such as weight decay, which may have changed since."""
    options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
    _allocate_momentum(optimizer)


def _allocate_momentum(optimizer: Optimizer) -> None:
    """Give every weight of SGD a momentum buffer of zeros, unless it has one.

    Without, torch leaves the buffers uninitialised if fp16 overflows at the first step, and uses them afterwards.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every parameter group's learning rate to `rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def gradient_norm(module: nn.Module) -> torch.Tensor:
    """Return the Euclidean norm of all gradients, a scalar on their device; not finite if any of them is not."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
