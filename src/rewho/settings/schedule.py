"""The learning rate, a pure function of the step: there is no schedule state to save. Imports no torch."""

from __future__ import annotations

import math

from rewho.settings.pretrain import PretrainSettings
from rewho.settings.training import OptimizerSettings, TrainingSettings

FINENESS = 20
"""Points of an epoch at which two schedules are compared."""


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


def find_dependence(settings: TrainingSettings, done: int) -> str:
    """Return what in the first `done` epochs depends on how many follow; an empty text if nothing does.

    Only then can a run be continued to more epochs: cosine schedules fall or rise over the whole training.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> find_dependence(TrainSettings(epochs=80), 40)
        ''
        >>> find_dependence(TrainSettings(epochs=80, optimizer=OptimizerSettings(schedule="cosine")), 40)
        'a learning rate that falls over the whole training (--optimizer.schedule cosine)'
    """
    optimizer = settings.optimizer
    for step in range(done * FINENESS):
        rates = (learning_rate(optimizer, step, FINENESS, epochs) for epochs in (done, settings.epochs))
        if len(set(rates)) > 1:
            return f"a learning rate that falls over the whole training (--optimizer.schedule {optimizer.schedule})"
    if isinstance(settings, PretrainSettings) and settings.contrast.momentum_schedule != "constant":
        return "a momentum that rises over the whole training (--contrast.momentum_schedule)"
    return ""
