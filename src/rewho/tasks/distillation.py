"""Distillation: student, classifier, branches and their losses; targets read from disk or computed by teachers.

Letters: B images of a batch, K views, D_k width of view k's representation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.data.batches import Part, Plan
from rewho.data.views import View, ignored
from rewho.embedding.foreign_networks import Teacher
from rewho.losses.classify import classify_accuracy, cross_entropy
from rewho.losses.mimic import factorized_total, mimic_loss
from rewho.models.factorization import Factorization, folded_student
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel
from rewho.settings import DistillSettings
from rewho.tasks.labelled import Preparation
from rewho.tasks.representations import Representations


class DistillBatch(NamedTuple):
    """One process's part of a batch.

    Attributes:
        images: uint8 [B, 3, H, W] RGB, channels last in memory.
        labels: int64 [B], class labels from 0.
        rows: int64 [B], rows of the training table.
        flipped: bool [B].
        targets: float32 [B, sum of D_k], stored representations of all views side by side; [B, 0] with online teachers.
        keep: bool [B, K]: False where both regression losses of a sample and view are ignored.
        warming: bool [B]: whether the branches warm up, so that their gradient must not reach the student.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    flipped: Tensor
    targets: Tensor
    keep: Tensor
    warming: Tensor


class DistillPreparation:
    """Makes batches with their targets from plans, in worker processes; `stored` is None with online teachers."""

    def __init__(
        self, images: Preparation, views: Sequence[View], stored: Representations | None, settings: DistillSettings
    ) -> None:
        self.images, self.views, self.stored, self.settings = images, views, stored, settings

    def __call__(self, plan: Plan, part: Part) -> DistillBatch:
        """Return one process's part of a planned batch."""
        batch = self.images(plan, part)
        mimic, rows = self.settings.mimic, batch.rows.numpy()
        size = batch.images.shape[2], batch.images.shape[3]
        keep = ~ignored(batch.erased.numpy(), batch.flipped.numpy(), self.views, size, mimic.ignore_above)
        if mimic.dropout:
            random = generator(self.settings.seed, "representation dropout", plan.epoch, plan.step)
            keep &= random.random((len(plan.rows), len(self.views)))[part] >= mimic.dropout
        targets = np.empty((len(rows), 0), np.float32) if self.stored is None else self.stored.gather(rows)
        warming = plan.epoch < self.settings.branches.warmup_epochs
        return DistillBatch(
            batch.images,
            batch.labels,
            batch.rows,
            batch.flipped,
            torch.from_numpy(targets),
            torch.from_numpy(keep),
            torch.full((len(rows),), warming),
        )


class OnlineTeachers:
    """Representations computed from the student's own augmented image, at every step (FD section 5).

    They have full precision, also beside a student in mixed precision, so that stored and online ones differ by the
    image alone. This is not a module, because teachers are neither trained nor saved with the student.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self.teachers = teachers
        masked = [teacher.view.name for teacher in teachers if teacher.view.mask is not None]
        if masked:
            fix = "Use --sr stored: masks belong to the images on disk, not to augmented ones."
            raise UserError("--sr online", expected="views without masks", got=f"masks in {', '.join(masked)}", fix=fix)

    def to(self, device: torch.device) -> None:
        """Move the teachers to the device of the images."""
        for teacher in self.teachers:
            teacher.network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, flipped: Tensor) -> list[Tensor]:
        """Return the flip-averaged representations [B, D_k] of each view of augmented images uint8 [B, 3, H, W]."""
        upright = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        with torch.autocast(images.device.type, enabled=False):
            return [self._embed(teacher, upright) for teacher in self.teachers]

    @staticmethod
    def _embed(teacher: Teacher, upright: Tensor) -> Tensor:
        top, bottom, left, right = teacher.view.pixel_box(upright.shape[2], upright.shape[3])
        part = upright[:, :, top:bottom, left:right].float()
        part = F.interpolate(part, teacher.view.size, mode="bilinear", antialias=True)
        vectors: Tensor = (teacher.network(part) + teacher.network(part.flip(-1))) / 2
        return vectors


@dataclass(frozen=True)
class Targets:
    """What the student learns to mimic for K views of the given widths D_k: `stored` or computed `online`.

    `inputs` holds the sha256 of the stored arrays or of the teachers, by name.
    """

    views: tuple[View, ...]
    widths: Mapping[str, int]
    inputs: Mapping[str, str]
    stored: Representations | None = None
    online: OnlineTeachers | None = None


def stored_targets(representations: Representations) -> Targets:
    """Return the targets that a folder of representations holds."""
    views = tuple(record.as_view() for record in representations.teachers)
    return Targets(views, representations.widths, representations.inputs(), stored=representations)


def online_targets(teachers: Sequence[Teacher]) -> Targets:
    """Return the targets that teachers compute at every step."""
    return Targets(
        tuple(teacher.view for teacher in teachers),
        {teacher.view.name: teacher.width for teacher in teachers},
        {f"teacher {teacher.view.name}": teacher.digest for teacher in teachers},
        online=OnlineTeachers(teachers),
    )


class DistillTask(nn.Module):
    """Student, classifier and branches with their total loss (FD equation 6), called by the training loop.

    `widths` holds D_k by view, in the order of the targets; `online` is None if the targets are in the batch.
    """

    def __init__(
        self,
        model: SingleViewModel,
        classifier: Classifier,
        factorization: Factorization,
        widths: Mapping[str, int],
        settings: DistillSettings,
        online: OnlineTeachers | None = None,
    ) -> None:
        super().__init__()
        self.model, self.classifier, self.factorization = model, classifier, factorization
        self.widths, self.settings, self.online = dict(widths), settings, online
        learned = settings.mimic.balance == "uncertainty"
        self.log_variances = nn.Parameter(torch.zeros(2)) if learned else None

    def final_student(self) -> SingleViewModel:
        """Return the student as it is saved and scored: in its own embedding space or in its teacher's."""
        if self.settings.embedding_space == "student":
            return self.model
        return folded_student(self.model, self.factorization)

    def forward(self, batch: DistillBatch) -> dict[str, Tensor]:
        """Return the terms of a batch: total, accuracy, cross_entropy, both kinds of each view, and learned weights."""
        feature_map = self.model.feature_map(batch.images)
        representation = self.model.represent(feature_map)
        logits = self.classifier(representation)
        identity = self._identity(logits, batch.labels)
        if self.settings.branches.warmup_epochs and bool(batch.warming.any()):
            feature_map, representation = feature_map.detach(), representation.detach()
        attribute, metric = self._mimic(feature_map, representation, batch)
        mimic, learned = self.settings.mimic, self.log_variances
        total = factorized_total(
            identity, [*attribute.values()], [*metric.values()], mimic.alpha, mimic.beta, mimic.balance, learned
        )
        terms = {"total": total, "accuracy": classify_accuracy(logits, batch.labels), "cross_entropy": identity}
        terms |= {f"attribute_{view}": loss for view, loss in attribute.items()}
        terms |= {f"metric_{view}": loss for view, loss in metric.items()}
        if learned is not None:
            terms |= dict(zip(("log_variance_attribute", "log_variance_metric"), learned.detach(), strict=True))
        return terms

    def _identity(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.settings.loss
        return cross_entropy(logits, labels, loss.label_smoothing, loss.smoothing_over)

    def _mimic(
        self, feature_map: Tensor, representation: Tensor, batch: DistillBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return L_attr and L_metric by view; empty without branches of that kind."""
        if self.online is None:
            targets = list(torch.split(batch.targets, list(self.widths.values()), dim=1))
        else:
            targets = self.online(batch.images, batch.flipped)
        mimic = self.settings.mimic
        attribute: dict[str, Tensor] = {}
        metric: dict[str, Tensor] = {}
        predictions = self.factorization(feature_map, representation)
        for place, (view, prediction) in enumerate(predictions.items()):
            for losses, predicted in ((attribute, prediction.from_map), (metric, prediction.from_representation)):
                if predicted is not None:
                    keep = batch.keep[:, place]
                    losses[view] = mimic_loss(targets[place], predicted, keep, mimic.divide_by, mimic.distance)
        return attribute, metric
