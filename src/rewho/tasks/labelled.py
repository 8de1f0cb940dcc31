"""Labelled images for training: which of them, in which batches, and how a batch is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.progress import Progress
from rewho.core.record import EPOCH
from rewho.core.runtime import generator
from rewho.data.augment import apply
from rewho.data.batch_size import fit_batch
from rewho.data.batches import Batch, Part, Plan, PlanStream
from rewho.data.draws import draw
from rewho.data.images import Images
from rewho.data.splits import training_rows
from rewho.data.table import ImageTable
from rewho.data.views import View
from rewho.embedding.own_split import describe_split
from rewho.settings import AugmentSettings, DataSettings, LabelledTrainingSettings


def select_training_part(table: ImageTable) -> ImageTable:
    """Return the rows that are trained on; see `training_rows`."""
    part = table.rows(training_rows(table))
    identities = len(np.unique(part.person_ids))
    if identities < 2:
        raise UserError(
            "--data.root",
            expected="images of at least two people to train on",
            got=f"{identities}",
            fix="Put each person's images into a folder of their own, or pass --data.person_pattern; a "
            "--data.share or --data.hold_out has to leave two people.",
        )
    return part


def build_plans(settings: LabelledTrainingSettings, part: ImageTable) -> PlanStream:
    """Return the batches of a training on labelled images, which are no larger than the data."""
    labels = part.labels()
    people = int(labels.max()) + 1 if settings.sampler.kind == "identities" else None
    sampler = fit_batch(settings.sampler, len(labels), devices=settings.engine.devices, identities=people)
    return PlanStream(sampler, labels, settings.seed, settings.epochs, settings.steps_per_epoch)


def describe_inputs(table: ImageTable, plans: PlanStream) -> dict[str, str]:
    """Return the digests of the data that a run may not change on resume: rows, images and steps of an epoch."""
    return {"data": table.digest(), "images": table.hash_contents(), EPOCH: f"{plans.epoch_length()} steps"}


def describe_part(table: ImageTable, settings: DataSettings) -> dict[str, Any]:
    """Return what a model's description says about the images it was trained on."""
    about = {"name": table.name, "rows_sha256": table.digest(), "images": len(training_rows(table))}
    return {**about, "split": describe_split(settings)}


class Preparation:
    """Makes batches from plans in worker processes; holds no tensors and no open files. `mean_colour` is 0 to 255."""

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        view: View,
        augment: AugmentSettings,
        seed: int,
        mean_colour: tuple[float, ...],
    ) -> None:
        self.images, self.labels, self.view = images, labels, view
        self.augment, self.seed, self.mean_colour = augment, seed, mean_colour

    def __call__(self, plan: Plan, part: Part) -> Batch:
        """Return one process's part of a planned batch; the random changes are drawn for all of it."""
        random = generator(self.seed, "augment", plan.epoch, plan.step)
        draws = draw(self.augment, len(plan.rows), self.view.size, random)[part]
        rows = plan.rows[part]
        files, colour = self.images.files, self.mean_colour
        images = [self.view.masked(self.images[row], str(files[row]), colour) for row in rows.tolist()]
        done = apply(images, self.view, draws, self.augment, self.mean_colour)
        return Batch(
            torch.from_numpy(done.images).permute(0, 3, 1, 2),
            torch.from_numpy(self.labels[rows]),
            torch.from_numpy(rows),
            torch.from_numpy(np.ascontiguousarray(done.erased)),
            torch.from_numpy(np.ascontiguousarray(done.flipped)),
        )


def decode_part(part: ImageTable, memory_gb: float) -> Images:
    """Decode the training images into memory if they fit, with a progress bar."""
    progress = Progress("read images", len(part), unit="images")
    images = Images(part, memory_gb, progress=lambda done, _all: progress.advance(done - progress.done))
    progress.close()
    return images
