"""Train a single-view model: a teacher, a student, or a plain baseline (FD section 3.1, step 1 of section 3.6)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.artifact import Stage, plain
from rewho.core.progress import say
from rewho.core.runtime import generator
from rewho.core.settings import LossSettings, TrainSettings
from rewho.data.batches import Batch
from rewho.data.benchmarks import read_settings
from rewho.data.table import ImageTable
from rewho.data.views import View
from rewho.losses.classify import cross_entropy
from rewho.models.backbone import load_pretrained
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import CARD, TENSORS, ModelCard, save_classifier, save_model
from rewho.pipeline.training import (
    FREE_SETTINGS,
    Preparation,
    build_training,
    claim,
    decode_part,
    training_part,
    view_of_settings,
)
from rewho.train.engine import launch
from rewho.train.log import LOG
from rewho.train.loop import State, train
from rewho.train.optim import build_optimizer


class IdentityTask(nn.Module):
    """A model, its identity classifier, and their loss: what the training loop calls.

    Args:
        model: The single-view model.
        identities: Number of training identities.
        loss: Label smoothing.
    """

    def __init__(self, model: SingleViewModel, identities: int, loss: LossSettings) -> None:
        super().__init__()
        self.model = model
        self.classifier = Classifier(model.settings.embedding, identities)
        self.loss = loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms of a batch."""
        logits = self.classifier(self.model(batch.images))
        return {"total": cross_entropy(logits, batch.labels, self.loss.label_smoothing, self.loss.smoothing_over)}


def run(settings: TrainSettings) -> Path:
    """Train a model and leave a model folder.

    Args:
        settings: Data, model, augmentation, schedule, output folder.

    Returns:
        The folder, with model.safetensors, model.json, classifier.safetensors, log.jsonl, checkpoints and, last,
        manifest.json.

    Raises:
        UserError: Anything wrong with data or settings, or a diverged training.
        Interrupted: Stopped by SIGTERM or Ctrl-C; the same command goes on.
    """
    began = time.monotonic()
    table = read_settings(settings.data)
    part = training_part(table)
    view = view_of_settings(settings.model)
    inputs = {"data": table.digest(), **view.inputs()}
    stage = Stage(settings.out, "train", plain(settings), inputs, (*FREE_SETTINGS, "model.pretrained"), "checkpoints")
    if claim(stage, settings, table):
        return settings.out
    engine = launch(settings.engine)
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))
    model = _model(settings, view, resumed=(settings.out / "checkpoints").is_dir())
    task = IdentityTask(model, len(np.unique(part.person_ids)), settings.loss)
    pictures = decode_part(part, settings.data.memory_gb)
    prepare = Preparation(pictures, part.labels(), view, settings.augment, settings.seed, tuple(model.mean.tolist()))
    training = build_training(
        task,
        model,
        lambda: build_optimizer(model.backbone, [model.pooling, model.embedding, task.classifier], settings.optimizer),
        prepare,
        table,
        settings,
        engine,
        keep_best=lambda figures: _save(settings.out / "best", task, table, figures, settings),
    )
    state = train(training, engine)
    if engine.fabric.is_global_zero:
        _leave(stage, task, table, state, settings, time.monotonic() - began)
    engine.fabric.barrier()
    return settings.out


def _model(settings: TrainSettings, view: View, *, resumed: bool) -> SingleViewModel:
    model = SingleViewModel(settings.model, view.size)
    if not resumed:  # the checkpoint holds every weight; the file it began with may be gone by now
        say(load_pretrained(model.backbone, settings.model.backbone, settings.model.pretrained))
    return model.to(memory_format=torch.channels_last)


def _save(
    folder: Path, task: IdentityTask, table: ImageTable, figures: Mapping[str, Any], settings: TrainSettings
) -> list[Path]:
    trained_on = {"name": table.name, "rows_sha256": table.digest(), "images": len(training_part(table))}
    provenance = {"weights_began_as": settings.model.pretrained, "epochs": settings.epochs, "seed": settings.seed}
    card = ModelCard(trained_on=trained_on, metrics={table.name: dict(figures)}, provenance=provenance)
    return [*save_model(folder, task.model, card), save_classifier(folder, task.classifier)]


def _leave(
    stage: Stage, task: IdentityTask, table: ImageTable, state: State, settings: TrainSettings, seconds: float
) -> None:
    """Write the model folder and, last, the manifest."""
    files = _save(stage.folder, task, table, state.figures, settings)
    counts = {
        "steps": state.step,
        "training_images": len(training_part(table)),
        "parameters": parameter_count(task.model),
        "best_mAP": state.best[0],
        "best_epoch": state.best[1],
        "figures": state.figures,
    }
    stage.finish([*files, stage.folder / LOG], counts, seconds)
    say(f"model: {stage.folder / CARD}, {stage.folder / TENSORS}")
