"""Distil the representations of all views into one student (FD sections 3.3 to 3.6).

The branches and the classifier are there while training only: the model folder holds backbone, pooling and embedding,
and has the size of the student that it began with. The branches' weights are kept in a file of their own, for images
of where each of them looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewho.core.artifact import hash_file, plain, write_folder
from rewho.core.check import UserError, check_choice
from rewho.core.lock import release_locks
from rewho.core.progress import say
from rewho.core.runtime import generator, on_main_process, run_in_processes
from rewho.core.stage import Stage
from rewho.data.datasets import read_settings
from rewho.data.table import ImageTable
from rewho.data.views import box_of
from rewho.embedding.embedder import view_of
from rewho.embedding.foreign_networks import open_teacher
from rewho.embedding.saved import describe
from rewho.models.factorization import Factorization, save_branches
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import (
    CLASSIFIER,
    TENSORS,
    ModelCard,
    load_classifier,
    load_model,
    save_classifier,
    save_model,
)
from rewho.settings import DistillSettings
from rewho.settings.fields import check
from rewho.tasks.distillation import DistillPreparation, DistillTask, Targets, online_targets, stored_targets
from rewho.tasks.labelled import (
    FIXED,
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
from rewho.tasks.representations import open_representations
from rewho.tasks.teachers import check_one_per_view, find_teachers
from rewho.training.checkpoint import WHOLE
from rewho.training.engine import launch
from rewho.training.log import LOG
from rewho.training.optim import build_optimizer
from rewho.training.state import State


@run_in_processes
@release_locks
def run(settings: DistillSettings) -> Path:
    """Train the final student and leave a model folder.

    Args:
        settings: Student, representations, data, losses, schedule, output folder.

    Returns:
        The folder: a model folder, with branches.safetensors beside the model.

    Raises:
        UserError: Student, representations and data do not belong together, or a diverged training.
        Interrupted: Stopped by SIGTERM or Ctrl-C; the same command goes on.
    """
    check(settings)
    began = time.monotonic()
    table = read_settings(settings.data)
    part = training_part(table)
    model, card = load_model(settings.student)
    _check_student(settings, table, model, card)
    targets = _targets(settings, part)
    plans = plans_of(settings, part)
    inputs = {**inputs_of(table, plans), "student": hash_file(settings.student / TENSORS), **targets.inputs}
    free = (*FREE_SETTINGS, "student", "representations", "teachers")
    stage = Stage(
        settings.out, "distill", plain(settings), inputs, free, WHOLE, (*FIXED, "classifier", "inputs.student")
    )
    engine = launch(settings.engine)
    if claim(stage, settings, table):
        return settings.out
    if targets.online is not None:
        targets.online.to(engine.fabric.device)
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))
    task = _task(settings, model, len(np.unique(part.person_ids)), targets)
    images = decode_part(part, settings.data.memory_gb)
    mean_colour = tuple(model.mean.tolist())
    plain_batches = Preparation(images, part.labels(), view_of(model), settings.augment, settings.seed, mean_colour)
    training = build_training(
        task,
        task.final_student,
        lambda: build_optimizer(model.backbone, [_heads(task)], settings.optimizer),
        DistillPreparation(plain_batches, targets.views, targets.stored, settings),
        table,
        plans,
        settings,
        engine,
        keep_best=lambda figures: write_folder(
            settings.out / "best", lambda best: _save(best, task, table, figures, settings, inputs)
        ),
        pretrained=[model.backbone],
        description=describe(
            model,
            _card(table, task, {}, settings, inputs),
            "model",
            task.factorization,
            folded=settings.embedding_space == "teacher",
        ),
    )
    state = train_marking_best(training, engine, table.name)
    on_main_process(lambda: _leave(stage, task, table, state, settings, time.monotonic() - began))
    return settings.out


def _check_student(
    settings: DistillSettings, table: ImageTable, model: SingleViewModel, card: Mapping[str, Any]
) -> None:
    kind = card["architecture"].get("kind", "single_view")
    if kind != "single_view":
        raise UserError(
            f"--student {settings.student}",
            expected="a single-view model: one feature map, one embedding",
            got=f"a model of the kind {kind}",
            fix="Train the student with --model.kind single_view; models of other kinds may be teachers.",
        )
    view = view_of(model)
    if box_of(view) != ("0", "1", "0", "1") or view.mask is not None:
        raise UserError(
            f"--student {settings.student}",
            expected="a student that sees the whole image, as the views of its teachers are parts of that",
            got=f"one for the view {view.name}",
            fix="Train the student with --model.view holistic.",
        )
    if settings.classifier == "student" and not (settings.student / CLASSIFIER).is_file():
        raise UserError(
            f"--student {settings.student}",
            expected=f"a student with its classifier, {CLASSIFIER}",
            got="one without; those that were distilled into their teacher's space have none",
            fix="Pass --classifier new, or the student that it was distilled from.",
        )
    if settings.classifier == "student" and card.get("classifier") == "circle":
        raise UserError(
            f"--student {settings.student}",
            expected="a student with a linear classifier, which a distillation goes on with",
            got="one trained with --loss.classifier circle, whose weights mean cosines",
            fix="Pass --classifier new.",
        )
    learned = card.get("trained_on", {}).get("rows_sha256")
    if settings.classifier == "student" and learned != table.digest():
        raise UserError(
            f"--student {settings.student}",
            expected="a student that was trained on these images, so that its classifier knows these people",
            got=f"one trained on {card.get('trained_on', {}).get('name', 'unknown images')} (other rows)",
            fix="Pass the same --data options as for the student, or --classifier new.",
        )


def _targets(settings: DistillSettings, part: ImageTable) -> Targets:
    """Return what is to be mimicked of the views that are used: stored, or computed by teachers."""
    teachers = []
    if settings.teachers or settings.sr == "online":
        teachers = [open_teacher(source, None, settings.engine) for source in find_teachers(settings.teachers)]
        check_one_per_view([teacher.view.name for teacher in teachers])
    if settings.sr == "stored":
        stored = open_representations(settings.representations, part.digest(), part.hash_contents())
        for teacher in teachers:
            stored.check_teacher(teacher.view.name, teacher.digest)
        return stored_targets(stored.select(settings.views))
    by_view = {teacher.view.name: teacher for teacher in teachers}
    chosen = [by_view[check_choice("--views", name, list(by_view))] for name in settings.views or by_view]
    return online_targets(chosen)


def _task(settings: DistillSettings, model: SingleViewModel, identities: int, targets: Targets) -> DistillTask:
    model = model.to(memory_format=torch.channels_last)
    size, branches = model.settings.embedding, settings.branches
    classifier = Classifier(size, identities)
    if settings.classifier == "student":
        load_classifier(settings.student, classifier)
    factorization = Factorization(
        model.backbone.channels,
        size,
        targets.widths,
        branches.features,
        branches.kernel,
        _own_view(model, targets),
        branches.from_map,
        branches.from_representation,
    )
    task = DistillTask(model, classifier, factorization, targets.widths, settings, targets.online)
    task.final_student()  # Refuses what cannot be folded before anything is trained.
    return task


def _own_view(model: SingleViewModel, targets: Targets) -> str:
    """Return what the student's own view is called among the targets; its own name where none of them is that view."""
    own = view_of(model)
    same = [view.name for view in targets.views if view.mask is None and box_of(view) == box_of(own)]
    return own.name if own.name in same or not same else same[0]


def _heads(task: DistillTask) -> torch.nn.Module:
    """Return everything that is trained beside the backbone."""
    heads = torch.nn.ModuleList([*task.model.new_parts(), task.classifier, task.factorization])
    if task.log_variances is not None:
        heads.register_parameter("log_variances", task.log_variances)
    return heads


def _save(
    folder: Path,
    task: DistillTask,
    table: ImageTable,
    figures: Mapping[str, Any],
    settings: DistillSettings,
    inputs: Mapping[str, str],
) -> list[Path]:
    # The classifier belongs to the student's own representation.
    kind = "linear" if settings.embedding_space == "student" else ""
    card = replace(_card(table, task, figures, settings, inputs), classifier=kind)
    beside = save_branches(folder, task.factorization)
    if kind:
        beside.append(save_classifier(folder, task.classifier))
    return save_model(folder, task.final_student(), card, beside)


def _card(
    table: ImageTable,
    task: DistillTask,
    figures: Mapping[str, Any],
    settings: DistillSettings,
    inputs: Mapping[str, str],
) -> ModelCard:
    trained_on = {"name": table.name, "rows_sha256": table.digest(), "images": len(training_part(table))}
    provenance = {
        "weights_began_as": "an initial student",
        "distilled_from": {name: value for name, value in inputs.items() if name != "data"},
        "views": list(task.widths),
        "embedding_space": settings.embedding_space,
        "epochs": settings.epochs,
        "seed": settings.seed,
    }
    return ModelCard(trained_on, metrics={table.name: dict(figures)}, provenance=provenance)


def _leave(
    stage: Stage, task: DistillTask, table: ImageTable, state: State, settings: DistillSettings, seconds: float
) -> None:
    """Write the model folder and, last, the manifest."""
    files = _save(stage.folder, task, table, state.figures, settings, stage.inputs)
    counts = {
        "steps": state.step,
        "training_images": len(training_part(table)),
        "parameters": parameter_count(task.final_student()),
        "parameters_of_branches": parameter_count(task.factorization),
        "best_mAP": state.best[0],
        "best_epoch": state.best[1],
        "figures": state.figures,
    }
    stage.finish([*files, stage.folder / LOG], counts, seconds)
    say(f"model: {stage.folder}")
