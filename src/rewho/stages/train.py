"""Train a model on labelled images: a teacher, a student, or a method that pre-training improves.

A method is a kind of model and the weights of its identity and triplet losses (FD section 3.1; LUPerson section 5.2).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from rewho.core.artifact import plain, write_json
from rewho.core.lock import release_locks
from rewho.core.progress import say
from rewho.core.runtime import is_main_process, run_in_processes
from rewho.core.stage import Stage
from rewho.data.datasets import read_settings
from rewho.data.view_file import view_of_settings
from rewho.data.views import View, box_of
from rewho.embedding.saved import describe
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
from rewho.models.weights import ModelCard, save_classifier, save_model
from rewho.settings import TrainSettings
from rewho.settings.fields import check
from rewho.tasks.identity import BuildLoss, IdentityTask, check_losses
from rewho.tasks.labelled import (
    Preparation,
    build_plans,
    decode_part,
    describe_inputs,
    describe_part,
    select_training_part,
)
from rewho.tasks.run import (
    FIXED,
    FIXED_BY_ORIGIN,
    FREE_SETTINGS,
    build_training,
    claim_folder,
    finish_training,
    score_test_part,
    seed_weights,
    train_marking_best,
)
from rewho.training.checkpoint import WHOLE, has_checkpoint
from rewho.training.engine import launch
from rewho.training.optim import build_optimizer


@run_in_processes
@release_locks
def run(settings: TrainSettings, losses: Mapping[str, tuple[float, BuildLoss]] | None = None) -> Path:
    """Train a model and leave a model folder.

    Args:
        settings: Data, model, losses, augmentation, schedule, output folder.
        losses: Weight and builder of losses of your own, by name, beside those of `settings.loss`.

    Returns:
        The folder, with model.safetensors, model.json, classifier.safetensors, log.jsonl, checkpoints and, last,
        manifest.json.

    Raises:
        UserError: Anything wrong with data or settings, or a diverged training.
        Interrupted: Stopped by SIGTERM or Ctrl-C; the same command resumes the run.
    """
    check(settings, kind=TrainSettings)
    began, losses = time.monotonic(), losses or {}
    check_backbone(settings.model)

    # Data
    table = read_settings(settings.data)
    part = select_training_part(table)
    labels, view = part.labels(), view_of_settings(settings.model)
    check_losses(settings, labels, losses)
    plans = build_plans(settings, part)
    inputs = {
        **describe_inputs(table, plans),
        "model.pretrained": hash_pretrained(settings.model.pretrained, settings.out),
        **view.inputs(),
        **{f"loss {name}": f"weight {weight:g}" for name, (weight, _) in losses.items()},
    }
    free, fixed = (*FREE_SETTINGS, "model.pretrained"), (*FIXED, *FIXED_BY_ORIGIN)
    stage = Stage(settings.out, "train", plain(settings), inputs, free, WHOLE, fixed)
    engine = launch(settings.engine)
    if claim_folder(stage, settings, table):
        return settings.out

    # Model
    seed_weights(settings)
    origin, model = _build_model(settings, view, resumed=has_checkpoint(settings.out))

    # Loss
    task = IdentityTask(model, int(labels.max()) + 1, settings.loss, losses)
    kind = settings.loss.classifier if len(task.classifiers) == 1 else ""  # what a distillation can begin from
    provenance = {**origin.provenance, "epochs": settings.epochs, "seed": settings.seed, "labels": True}
    card = ModelCard(describe_part(table, settings.data), provenance=provenance)

    def save(folder: Path, figures: Mapping[str, float]) -> list[Path]:
        measured = replace(card, metrics={table.name: dict(figures)}, classifier=kind)
        return save_model(folder, model, measured, [save_classifier(folder, task.classifiers[0])] if kind else ())

    # Batches
    images = decode_part(part, settings.data.memory_gb)
    prepare = Preparation(images, labels, view, settings.augment, settings.seed, tuple(model.mean.tolist()))

    # Loop
    pretrained = list(model.pretrained_parts().values())
    training = build_training(
        task,
        lambda: build_optimizer(nn.ModuleList(pretrained), task.new_parts(), settings.optimizer),
        prepare,
        plans,
        settings,
        engine,
        workers=settings.data.workers,
        name=part.paths.__getitem__,
        score=lambda stop: score_test_part(model, table, engine.fabric.device, stop),
        save=save,
        description=describe(model, card, "model"),
        pretrained=() if settings.model.pretrained == "none" else pretrained,
    )
    state = train_marking_best(training, engine, table.name)
    counts = {"training_images": len(part), "parameters": parameter_count(model)}
    finish_training(stage, save, state, counts, began, score_on=settings.data.root)
    return settings.out


def _build_model(settings: TrainSettings, view: View, *, resumed: bool) -> tuple[Origin, SingleViewModel]:
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
