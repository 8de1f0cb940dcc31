"""Distil the representations of all views into one student (FD sections 3.3 to 3.6).

The model contains the student only; the branches' weights are saved beside it, for `rewho explain`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rewho.core.artifact import hash_file, plain
from rewho.core.check import UserError, check_choice
from rewho.core.lock import release_locks
from rewho.core.runtime import run_in_processes
from rewho.core.shipped import TENSORS, find_model, open_model
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
from rewho.models.weights import CLASSIFIER, ModelCard, load_classifier, load_model, save_classifier, save_model
from rewho.settings import DistillSettings
from rewho.settings.fields import check
from rewho.tasks.distillation import DistillPreparation, DistillTask, Targets, online_targets, stored_targets
from rewho.tasks.labelled import (
    Preparation,
    build_plans,
    decode_part,
    describe_inputs,
    describe_part,
    select_training_part,
)
from rewho.tasks.representations import open_representations
from rewho.tasks.run import (
    FIXED,
    FREE_SETTINGS,
    build_training,
    claim_folder,
    finish_training,
    score_test_part,
    seed_weights,
    train_marking_best,
)
from rewho.tasks.teachers import check_one_per_view, find_teachers
from rewho.training.checkpoint import WHOLE
from rewho.training.engine import launch
from rewho.training.optim import build_optimizer

FREE_HERE = (*FREE_SETTINGS, "student", "representations", "teachers")
FIXED_HERE = (*FIXED, "classifier", "inputs.student")


@run_in_processes
@release_locks
def run(settings: DistillSettings) -> Path:
    """Train the final student; return its model folder, with branches.safetensors beside the model."""
    check(settings)
    began = time.monotonic()

    # Data, student and targets
    table = read_settings(settings.data)
    part = select_training_part(table)
    student, card = load_model(began_from := open_model(settings.student))
    _check_student(settings, table, student, card)
    targets = _open_targets(settings, part)
    plans = build_plans(settings, part)
    inputs = {**describe_inputs(table, plans), "student": hash_file(began_from / TENSORS), **targets.inputs}
    stage = Stage(settings.out, "distill", plain(settings), inputs, FREE_HERE, WHOLE, FIXED_HERE)
    engine = launch(settings.engine)
    if claim_folder(stage, settings, table):
        return settings.out
    if targets.online is not None:
        targets.online.to(engine.fabric.device)

    # Model and loss
    seed_weights(settings)
    task = _build_task(settings, student, int((labels := part.labels()).max()) + 1, targets)
    folded = settings.embedding_space == "teacher"
    kind = "" if folded else "linear"  # the classifier belongs to the student's own representation
    origin = _describe_origin(settings, inputs, list(task.widths))
    described = ModelCard(describe_part(table, settings.data), provenance=origin)

    def save(folder: Path, figures: Mapping[str, float]) -> list[Path]:
        measured = replace(described, metrics={table.name: dict(figures)}, classifier=kind)
        beside = save_branches(folder, task.factorization)
        beside += [save_classifier(folder, task.classifier)] if kind else []
        return save_model(folder, task.final_student(), measured, beside)

    # Batches
    images, colour = decode_part(part, settings.data.memory_gb), tuple(student.mean.tolist())
    prepare = Preparation(images, labels, view_of(student), settings.augment, settings.seed, colour)

    # Loop
    training = build_training(
        task,
        lambda: build_optimizer(student.backbone, [_new_parts(task)], settings.optimizer),
        DistillPreparation(prepare, targets.views, targets.stored, settings),
        plans,
        settings,
        engine,
        workers=settings.data.workers,
        name=part.paths.__getitem__,
        score=lambda stop: score_test_part(task.final_student(), table, engine.fabric.device, stop),
        save=save,
        description=describe(student, described, "model", task.factorization, folded=folded),
        pretrained=[student.backbone],
    )
    state = train_marking_best(training, engine, table.name)
    counts = {
        "training_images": len(part),
        "parameters": parameter_count(task.final_student()),
        "parameters_of_branches": parameter_count(task.factorization),
    }
    finish_training(stage, save, state, counts, began, score_on=settings.data.root)
    return settings.out


def _describe_origin(settings: DistillSettings, inputs: Mapping[str, str], views: list[str]) -> dict[str, Any]:
    return {
        "weights_began_as": "an initial student",
        "distilled_from": {name: value for name, value in inputs.items() if name != "data"},
        "views": views,
        "embedding_space": settings.embedding_space,
        "epochs": settings.epochs,
        "seed": settings.seed,
    }


def _check_student(
    settings: DistillSettings, table: ImageTable, model: SingleViewModel, card: Mapping[str, Any]
) -> None:
    kind, view = card["architecture"].get("kind", "single_view"), view_of(model)
    keeps_classifier, trained_on = settings.classifier == "student", card.get("trained_on", {})
    mistakes = {
        "a single-view model: one feature map, one embedding": (
            kind != "single_view",
            f"a model of the kind {kind}",
            "Train the student with --model.kind single_view; models of other kinds may be teachers.",
        ),
        "a student that sees the whole image, of which the views of its teachers are parts": (
            box_of(view) != ("0", "1", "0", "1") or view.mask is not None,
            f"one for the view {view.name}",
            "Train the student with --model.view holistic.",
        ),
        f"a student with its classifier, {CLASSIFIER}": (
            keeps_classifier and not (find_model(settings.student) / CLASSIFIER).is_file(),
            "one without; students distilled into their teacher's space have none",
            "Pass --classifier new, or the student that it was distilled from.",
        ),
        "a student with a linear classifier": (
            keeps_classifier and card.get("classifier") == "circle",
            "one trained with --loss.classifier circle, whose weights are used for cosines",
            "Pass --classifier new.",
        ),
        "a student trained on these images, because its classifier is of their identities": (
            keeps_classifier and trained_on.get("rows_sha256") != table.digest(),
            f"one trained on {trained_on.get('name', 'unknown images')} (other rows)",
            "Pass the same --data options as for the student, or --classifier new.",
        ),
    }
    for expected, (wrong, got, fix) in mistakes.items():
        if wrong:
            raise UserError(f"--student {settings.student}", expected=expected, got=got, fix=fix)


def _open_targets(settings: DistillSettings, part: ImageTable) -> Targets:
    """Return the targets of the chosen views: stored, or computed by teachers at every step."""
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


def _build_task(settings: DistillSettings, model: SingleViewModel, identities: int, targets: Targets) -> DistillTask:
    model = model.to(memory_format=torch.channels_last)
    size, branches = model.settings.embedding, settings.branches
    classifier = Classifier(size, identities)
    if settings.classifier == "student":
        load_classifier(find_model(settings.student), classifier)
    factorization = Factorization(
        model.backbone.channels,
        size,
        targets.widths,
        branches.features,
        branches.kernel,
        _target_of_own_view(model, targets),
        branches.from_map,
        branches.from_representation,
    )
    task = DistillTask(model, classifier, factorization, targets.widths, settings, targets.online)
    task.final_student()  # raises now, not after the training, if the student cannot be folded
    return task


def _target_of_own_view(model: SingleViewModel, targets: Targets) -> str:
    """Return the name of the target whose view shows the same box as the student's, preferably of the same name.

    Without such a target, this is the name of the student's view.
    """
    own = view_of(model)
    same = [view.name for view in targets.views if view.mask is None and box_of(view) == box_of(own)]
    if not same or own.name in same:
        return own.name
    return same[0]


def _new_parts(task: DistillTask) -> torch.nn.Module:
    """Return everything that is trained besides the backbone."""
    heads = torch.nn.ModuleList([*task.model.new_parts(), task.classifier, task.factorization])
    if task.log_variances is not None:
        heads.register_parameter("log_variances", task.log_variances)
    return heads
