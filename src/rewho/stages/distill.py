"""Distil the representations of all views into one student (FD sections 3.3 to 3.6).

The branches and the classifier are there while training only: the model folder holds backbone, pooling and embedding,
and has the size of the student that it began with. The branches' weights are kept in a file of their own, for pictures
of where each of them looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewho.core.artifact import MANIFEST, Stage, hash_file, plain
from rewho.core.check import UserError, check_choice
from rewho.core.progress import say
from rewho.core.runtime import generator
from rewho.core.settings import DistillSettings
from rewho.data.benchmarks import read_settings
from rewho.data.representations import Representations, open_representations
from rewho.data.table import ImageTable
from rewho.data.views import View
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
from rewho.pipeline.distilling import DistillPreparation, DistillTask, OnlineTeachers
from rewho.pipeline.embedding import view_of
from rewho.pipeline.foreign_teachers import Teacher, open_teacher
from rewho.pipeline.teachers import check_one_per_view, find_teachers
from rewho.pipeline.training import FREE_SETTINGS, Preparation, build_training, claim, decode_part, training_part
from rewho.train.engine import launch
from rewho.train.log import LOG
from rewho.train.loop import State, train
from rewho.train.optim import build_optimizer

SOURCES = ("stored", "online")


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
    began = time.monotonic()
    table = read_settings(settings.data)
    part = training_part(table)
    model, card = load_model(settings.student)
    _check_student(settings, table, card)
    targets = _targets(settings, part)
    inputs = {"data": table.digest(), "student": hash_file(settings.student / TENSORS)} | _hashes(settings, targets)
    free = (*FREE_SETTINGS, "student", "representations", "teachers")
    stage = Stage(settings.out, "distill", plain(settings), inputs, free, "checkpoints")
    if claim(stage, settings, table):
        return settings.out
    engine = launch(settings.engine)
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))
    task = _task(settings, model, len(np.unique(part.person_ids)), targets, engine.fabric.device)
    pictures = decode_part(part, settings.data.memory_gb)
    mean_colour = tuple(model.mean.tolist())
    plain_batches = Preparation(pictures, part.labels(), view_of(model), settings.augment, settings.seed, mean_colour)
    stored = targets if isinstance(targets, Representations) else None
    training = build_training(
        task,
        task.final_student,
        lambda: build_optimizer(model.backbone, [_heads(task)], settings.optimizer),
        DistillPreparation(plain_batches, _views(targets), stored, settings),
        table,
        settings,
        engine,
        keep_best=lambda figures: _save(settings.out / "best", task, table, figures, settings, inputs),
    )
    state = train(training, engine)
    if engine.fabric.is_global_zero:
        _leave(stage, task, table, state, settings, time.monotonic() - began)
    engine.fabric.barrier()
    return settings.out


def _check_student(settings: DistillSettings, table: ImageTable, card: Mapping[str, Any]) -> None:
    check_choice("--sr", settings.sr, SOURCES)
    check_choice("--classifier", settings.classifier, ("student", "new"))
    check_choice("--embedding_space", settings.embedding_space, ("student", "teacher"))
    kind = card["architecture"].get("kind", "single_view")
    if kind != "single_view":
        raise UserError(
            f"--student {settings.student}",
            expected="a single-view model: one feature map, one embedding",
            got=f"a model of the kind {kind}",
            fix="Train the student with --model.kind single_view; models of other kinds may be teachers.",
        )
    if settings.classifier == "student" and not (settings.student / CLASSIFIER).is_file():
        raise UserError(
            f"--student {settings.student}",
            expected=f"a student with its classifier, {CLASSIFIER}",
            got="one without; those that were distilled into their teacher's space have none",
            fix="Pass --classifier new, or the student that it was distilled from.",
        )
    learned = card.get("trained_on", {}).get("rows_sha256")
    if settings.classifier == "student" and learned != table.digest():
        raise UserError(
            f"--student {settings.student}",
            expected="a student that was trained on these pictures, so that its classifier knows these people",
            got=f"one trained on {card.get('trained_on', {}).get('name', 'unknown pictures')} (other rows)",
            fix="Pass the same --data options as for the student, or --classifier new.",
        )


def _targets(settings: DistillSettings, part: ImageTable) -> Representations | list[Teacher]:
    """Return the stored representations, or the teachers that compute them, of the views that are used."""
    if settings.sr == "stored":
        return open_representations(settings.representations, part.digest()).select(settings.views)
    teachers = [open_teacher(source, None, settings.engine) for source in find_teachers(settings.teachers)]
    check_one_per_view([teacher.view.name for teacher in teachers])
    by_view = {teacher.view.name: teacher for teacher in teachers}
    names = settings.views or tuple(by_view)
    return [by_view[check_choice("--views", name, list(by_view))] for name in names]


def _hashes(settings: DistillSettings, targets: Representations | list[Teacher]) -> dict[str, str]:
    if isinstance(targets, Representations):
        return {"representations": hash_file(settings.representations / MANIFEST)}
    return {f"teacher {teacher.view.name}": teacher.digest for teacher in targets}


def _views(targets: Representations | list[Teacher]) -> list[View]:
    if isinstance(targets, Representations):
        return [record.as_view() for record in targets.teachers]
    return [teacher.view for teacher in targets]


def _task(
    settings: DistillSettings,
    model: SingleViewModel,
    identities: int,
    targets: Representations | list[Teacher],
    device: torch.device,
) -> DistillTask:
    model = model.to(memory_format=torch.channels_last)
    online = None
    if isinstance(targets, Representations):
        widths = targets.widths
    else:
        widths = {teacher.view.name: teacher.width for teacher in targets}
        for teacher in targets:
            teacher.network.to(device)
        online = OnlineTeachers(targets)
    size, branches = model.settings.embedding, settings.branches
    classifier = Classifier(size, identities)
    if settings.classifier == "student":
        load_classifier(settings.student, classifier)
    factorization = Factorization(
        model.backbone.channels,
        size,
        widths,
        branches.features,
        branches.kernel,
        view_of(model).name,
        branches.from_map,
        branches.from_representation,
    )
    task = DistillTask(model, classifier, factorization, widths, settings, online)
    task.final_student()  # Refuses what cannot be folded before anything is trained.
    return task


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
    trained_on = {"name": table.name, "rows_sha256": table.digest(), "images": len(training_part(table))}
    provenance = {
        "weights_began_as": "an initial student",
        "distilled_from": {name: value for name, value in inputs.items() if name != "data"},
        "views": list(task.widths),
        "embedding_space": settings.embedding_space,
        "epochs": settings.epochs,
        "seed": settings.seed,
    }
    card = ModelCard(trained_on=trained_on, metrics={table.name: dict(figures)}, provenance=provenance)
    files = [
        *save_model(folder, task.final_student(), card),
        *save_branches(folder, task.factorization, settings.branches),
    ]
    # The classifier belongs to the student's own representation.
    return files if settings.embedding_space == "teacher" else [*files, save_classifier(folder, task.classifier)]


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
