"""Train a model on labelled images: a teacher, a student, or one of the methods that pre-training improves.

Every method is a kind of model and two weights: of the identity loss of each head, and of the triplet loss of each head
(FD section 3.1; LUPerson section 5.2: IDE, Trip, MGN, BDB).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.artifact import plain, write_folder, write_json
from rewho.core.check import UserError
from rewho.core.lock import release_locks
from rewho.core.progress import say
from rewho.core.runtime import generator, is_main_process, on_main_process, run_in_processes
from rewho.core.stage import Stage
from rewho.data.batches import Batch
from rewho.data.datasets import read_settings
from rewho.data.table import ImageTable
from rewho.data.view_file import view_of_settings
from rewho.data.views import View, box_of
from rewho.embedding.saved import describe
from rewho.losses.classify import circle_logits, cross_entropy
from rewho.losses.triplet import triplet_loss
from rewho.models.heads import build_classifier
from rewho.models.initial import (
    ORIGIN,
    Origin,
    build_initial_model,
    check_backbone,
    describe_assumptions,
    find_origin,
    hash_pretrained,
    load_initial_weights,
    read_origin,
)
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import CARD, TENSORS, ModelCard, save_classifier, save_model
from rewho.settings import LossSettings, TrainSettings
from rewho.settings.fields import check
from rewho.tasks.labelled import (
    FIXED,
    FIXED_BY_ORIGIN,
    FREE_SETTINGS,
    Preparation,
    build_training,
    claim,
    decode_part,
    inputs_of,
    plans_of,
    train_marking_best,
    training_part,
)
from rewho.training.checkpoint import WHOLE, has_checkpoint
from rewho.training.engine import launch
from rewho.training.log import LOG
from rewho.training.optim import build_optimizer
from rewho.training.state import State


class IdentityTask(nn.Module):
    """A model, an identity classifier per head, and their losses: what the training loop calls.

    Args:
        model: The model.
        identities: Number of training identities.
        loss: Which losses, and their weights.
    """

    def __init__(self, model: SingleViewModel, identities: int, loss: LossSettings) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        sizes = model.classified_sizes() if loss.identity else ()
        self.classifiers = nn.ModuleList(build_classifier(loss.classifier, size, identities) for size in sizes)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms of a batch."""
        features, loss = self.model.features(batch.images), self.loss
        terms = {}
        if loss.identity:
            pairs = zip(self.classifiers, features.classified, strict=True)
            terms["identity"] = torch.stack([self._identity(layer(seen), batch.labels) for layer, seen in pairs]).sum()
        if loss.triplet:
            hardest = [
                triplet_loss(seen, batch.labels, loss.margin, loss.triplet_distance) for seen in features.compared
            ]
            terms["triplet"] = torch.stack(hardest).sum()
        total = sum(
            (getattr(loss, name) * term for name, term in terms.items()), torch.zeros((), device=batch.labels.device)
        )
        return {"total": total, **terms} if len(terms) > 1 else {"total": total}

    def _identity(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.loss.classifier == "circle":
            logits = circle_logits(logits, labels, self.loss.circle_scale, self.loss.circle_margin)
        return cross_entropy(logits, labels, self.loss.label_smoothing, self.loss.smoothing_over)

    def new_parts(self) -> list[nn.Module]:
        """Return everything that does not begin from pre-trained weights."""
        return [*self.model.new_parts(), self.classifiers]


@run_in_processes
@release_locks
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
    check(settings, kind=TrainSettings)
    began = time.monotonic()
    check_backbone(settings.model)
    table = read_settings(settings.data)
    part = training_part(table)
    _check_triplets(settings, part)
    plans = plans_of(settings, part)
    view = view_of_settings(settings.model)
    inputs = {
        **inputs_of(table, plans),
        "model.pretrained": hash_pretrained(settings.model.pretrained, settings.out),
        **view.inputs(),
    }
    free, fixed = (*FREE_SETTINGS, "model.pretrained"), (*FIXED, *FIXED_BY_ORIGIN)
    stage = Stage(settings.out, "train", plain(settings), inputs, free, WHOLE, fixed)
    engine = launch(settings.engine)
    if claim(stage, settings, table):
        return settings.out
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))
    origin, model = _model(settings, view, resumed=has_checkpoint(settings.out))
    task = IdentityTask(model, len(np.unique(part.person_ids)), settings.loss)
    images = decode_part(part, settings.data.memory_gb)
    prepare = Preparation(images, part.labels(), view, settings.augment, settings.seed, tuple(model.mean.tolist()))
    training = build_training(
        task,
        lambda: model,
        lambda: build_optimizer(nn.ModuleList(model.pretrained_parts().values()), task.new_parts(), settings.optimizer),
        prepare,
        table,
        plans,
        settings,
        engine,
        keep_best=lambda figures: write_folder(
            settings.out / "best", lambda best: _save(best, task, table, figures, settings, origin)
        ),
        pretrained=() if settings.model.pretrained == "none" else model.pretrained_parts().values(),
        description=describe(model, _card(table, {}, settings, origin), "model"),
    )
    state = train_marking_best(training, engine, table.name)
    on_main_process(lambda: _leave(stage, task, table, state, settings, origin, time.monotonic() - began))
    return settings.out


def _check_triplets(settings: TrainSettings, part: ImageTable) -> None:
    """Check that batches hold positives for the triplet loss, which would be without effect otherwise.

    Raises:
        UserError: They do not.
    """
    if not settings.loss.triplet:
        return
    sampler, most = settings.sampler, int(np.bincount(part.labels()).max())
    if sampler.kind != "identities" or sampler.images_per_identity < 2:
        raise UserError(
            "--loss.triplet",
            expected="batches of several images of each identity",
            got=f"--sampler.kind {sampler.kind}"
            + (f" with {sampler.images_per_identity} image each" if sampler.kind == "identities" else ""),
            fix="Pass --sampler.kind identities --sampler.images_per_identity 4, or --loss.triplet 0.",
        )
    if most < 2:
        raise UserError(
            "--loss.triplet",
            expected="identities with two training images or more",
            got=f"one image of each of {len(part):,} identities",
            fix="Pass --loss.triplet 0, or data with several images of an identity.",
        )


def _model(settings: TrainSettings, view: View, *, resumed: bool) -> tuple[Origin, SingleViewModel]:
    """Build the model; when a run is resumed its checkpoint holds every weight, and what it began with may be gone."""
    written = settings.out / ORIGIN
    origin = read_origin(settings.out) if resumed and written.is_file() else find_origin(settings.model)
    model = build_initial_model(settings.model, view.size, origin)
    model.box = box_of(view)
    if not resumed:
        began = load_initial_weights(model)
        added = "one more batch normalisation before the head" if model.settings.extra_bn == "yes" else ""
        say("; ".join(filter(None, [began, added, describe_assumptions(settings.model, origin)])))
        if is_main_process():
            write_json(written, origin)
    return origin, model.to(memory_format=torch.channels_last)


def _save(
    folder: Path,
    task: IdentityTask,
    table: ImageTable,
    figures: Mapping[str, Any],
    settings: TrainSettings,
    origin: Origin,
) -> list[Path]:
    kind = settings.loss.classifier if len(task.classifiers) == 1 else ""  # what a distillation can begin from
    card = replace(_card(table, figures, settings, origin), classifier=kind)
    return save_model(folder, task.model, card, [save_classifier(folder, task.classifiers[0])] if kind else ())


def _card(table: ImageTable, figures: Mapping[str, Any], settings: TrainSettings, origin: Origin) -> ModelCard:
    trained_on = {"name": table.name, "rows_sha256": table.digest(), "images": len(training_part(table))}
    provenance = {**origin.provenance, "epochs": settings.epochs, "seed": settings.seed, "labels": True}
    return ModelCard(trained_on, metrics={table.name: dict(figures)}, provenance=provenance)


def _leave(
    stage: Stage,
    task: IdentityTask,
    table: ImageTable,
    state: State,
    settings: TrainSettings,
    origin: Origin,
    seconds: float,
) -> None:
    """Write the model folder and, last, the manifest."""
    files = _save(stage.folder, task, table, state.figures, settings, origin)
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
