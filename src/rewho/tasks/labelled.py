"""What every stage that trains on labelled images shares: claiming the folder, batches, scores, the saved model.

A stage brings its task (networks and losses) and, where it needs more than images and labels, its own preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from rewho.core.artifact import ASIDE, MANIFEST, compute_hashes, write_json
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import Progress, say
from rewho.core.runtime import StopRequest, generator, on_main_process
from rewho.core.stage import Stage
from rewho.data.augment import apply, draw
from rewho.data.batches import Batch, Part, Plan, PlanStream, Prepare, load_batches
from rewho.data.images import Images
from rewho.data.scored_part import scored_part
from rewho.data.splits import has_test_part, training_rows
from rewho.data.table import ImageTable
from rewho.data.views import View
from rewho.embedding.embedder import Embedder
from rewho.embedding.scoring import rank_table
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import CARD
from rewho.rank.metrics import evaluate
from rewho.settings import AugmentSettings, LabelledTrainingSettings, TrainingSettings
from rewho.training.engine import Engine
from rewho.training.loop import Training, train
from rewho.training.state import State

# May differ between a run and its continuation: they change where and how fast, not what comes out; what the data and a
# list hold is in the digest of the data. Of the engine, each checkpoint holds the precision and refuses another.
FREE_SETTINGS = (
    "out",
    "resume",
    "allow_config_change",
    "data.root",
    "data.share_list",
    "data.workers",
    "data.memory_gb",
    "engine",
    "checkpoint",
)
EPOCH = "length of an epoch"
FIXED = (f"inputs.{EPOCH}",)
"""May not change on resume even where changes are allowed: steps that were taken cannot be counted in other epochs."""
FIXED_BY_ORIGIN = ("inputs.model.pretrained", "model.pretrained_labels", "model.pixel_mean", "model.pixel_std")
"""Likewise, where first weights have an origin: they are settled when a run begins, so that a change had no effect."""


CHOSEN = "chosen on the test part, so that its figures there are too high"


def training_part(table: ImageTable) -> ImageTable:
    """Return the rows that are trained on, of `training_rows`.

    Raises:
        UserError: They show fewer than two people.
    """
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


def plans_of(settings: LabelledTrainingSettings, part: ImageTable) -> PlanStream:
    """Return the batches of a training on labelled images.

    Raises:
        UserError: The batch does not fit the data, or cannot be shared out to devices and passes.
    """
    check_shares(settings, settings.engine.devices)
    return PlanStream(settings.sampler, part.labels(), settings.seed, settings.epochs, settings.steps_per_epoch)


def inputs_of(table: ImageTable, plans: PlanStream) -> dict[str, str]:
    """Return what a training's folder is held to of its data: rows, images, and the steps that they give an epoch."""
    return {"data": table.digest(), "images": table.hash_contents(), EPOCH: f"{plans.epoch_length()} steps"}


class Summarised(Protocol):
    """Data that can say in a few lines what it is."""

    def summary(self) -> str: ...  # noqa: D102


def claim(stage: Stage, settings: TrainingSettings, table: Summarised) -> bool:
    """Claim the output folder, in the main process for all; say what is there and what is read.

    Returns:
        Whether the folder is finished already.

    Raises:
        UserError: It holds a run with other settings or data, or an interrupted one that may not be resumed.
    """
    found = on_main_process(lambda: stage.begin(allow_change=settings.allow_config_change))
    if found == "finished":
        return True
    if found == "unfinished" and not settings.resume:
        raise UserError(
            f"--out {settings.out}",
            expected="a new folder, because of --resume false",
            got="an interrupted run",
            fix="Leave out --resume false to go on with it, or choose another --out.",
        )
    say(table.summary())
    if isinstance(table, ImageTable) and has_test_part(table):
        for note in scored_part(table).notes:
            say(f"  note: {note}")
    return False


class Preparation:
    """Makes batches from plans; lives in the workers, so it holds no tensors and no open files.

    Args:
        images: The decoded training images.
        labels: int64 [N], class label of each.
        view: What the model sees of each.
        augment: The random changes.
        seed: The run's seed.
        mean_colour: Colour of padding and of erased rectangles, RGB 0 to 255.
    """

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
    """Decode the training images into memory, as far as they fit, and show how far that is."""
    progress = Progress("read images", len(part), unit="images")
    images = Images(part, memory_gb, progress=lambda done, _all: progress.advance(done - progress.done))
    progress.close()
    return images


def build_training(
    task: nn.Module,
    model: Callable[[], SingleViewModel],
    optimizer: Callable[[], Optimizer],
    prepare: Prepare,
    table: ImageTable,
    plans: PlanStream,
    settings: LabelledTrainingSettings,
    engine: Engine,
    keep_best: Callable[[Mapping[str, float]], object],
    pretrained: Iterable[nn.Module],
    description: Mapping[str, Any],
) -> Training:
    """Put together what the training loop needs.

    Args:
        task: Called with a batch, returns its loss terms; moved to the device.
        model: Returns the network that is scored at the end of epochs, as it is then.
        optimizer: Makes the optimizer once the task is on its device.
        prepare: Makes the batch of a plan.
        table: The whole data set: training part and, where there is one, test part.
        plans: The batches.
        settings: Schedule, sampler, data.
        engine: Device and processes.
        keep_best: Called with the figures of an evaluation that is better than all before.
        pretrained: The parts of the task that can be frozen in the beginning.
        description: What the network is, for its checkpoints; see `embedding.saved.describe`.
    """
    fabric, part = engine.fabric, training_part(table)
    figures: dict[str, float] = {}

    def batches(start: int) -> Iterable[tuple[Tensor, ...]]:
        return load_batches(
            replace(plans, start=start),
            prepare,
            workers=settings.data.workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
            pin=fabric.device.type == "cuda",
        )

    def evaluate_now(stop: StopRequest) -> Mapping[str, float]:
        figures.clear()
        figures.update(score(model(), table, fabric.device, stop) or {})
        return figures

    task = task.to(fabric.device)
    return Training(
        task=task,
        optimizer=optimizer(),
        epoch_length=plans.epoch_length(),
        batches=batches,
        settings=settings,
        folder=settings.out,
        evaluate=evaluate_now,
        keep_best=lambda: keep_best(figures),
        names=lambda batch: [part.paths[int(row)] for row in batch.rows],
        pretrained=tuple(pretrained),
        description=description,
    )


def train_marking_best(training: Training, engine: Engine, data: str) -> State:
    """Run a training; write into `best/model.json` how its epoch was chosen, and the last epoch's figures.

    Args:
        training: Leaves the best epoch in `best/`, where there is a test part.
        engine: Device and processes.
        data: Name of the data set that the test part is of.

    Raises:
        Interrupted, UserError: See `train`.
    """

    def keep_best() -> None:
        training.keep_best()
        _mark_best(training.folder, {"data": data})

    state = train(replace(training, keep_best=keep_best), engine)
    if engine.fabric.is_global_zero and state.best[1] and (training.folder / "best" / CARD).is_file():
        epoch = int(state.best[1])
        last, then = {}, "the last epoch was not evaluated"
        if state.figures:
            last = {"last_epoch": state.figures}
            then = f"last epoch: mAP {100 * state.figures['mAP']:.2f}, Rank-1 {100 * state.figures['rank_1']:.2f}"
        _mark_best(training.folder, {"data": data, "epoch": epoch, **last})
        best = f"epoch {epoch} of {training.settings.epochs}, mAP {100 * state.best[0]:.2f} on {data}"
        say(f"best/: {best}, {CHOSEN}; {then}")
    return state


def _mark_best(folder: Path, choice: Mapping[str, object]) -> None:
    best, card = folder / "best", folder / "best" / CARD
    write_json(card, read_json(card) | {"chosen": {"how": f"highest mAP, {CHOSEN}", **choice}})
    others = [file for file in sorted(best.iterdir()) if file.name != MANIFEST and not file.name.startswith(ASIDE)]
    write_json(best / MANIFEST, {"files": compute_hashes(best, others)})


def check_shares(settings: TrainingSettings, world: int) -> None:
    """Check that a batch can be shared out to devices and passes.

    Triplets are mined within what one device holds in one pass, so batches of P x K are cut between people, and two
    people at least stay together: one alone has no negative, and its loss would be 0.

    Raises:
        UserError: It cannot.
    """
    sampler = settings.sampler
    whole = sampler.images_per_identity if sampler.kind == "identities" else 1
    parts = sampler.accumulate * world
    if parts < 1 or sampler.batch % (parts * whole) or sampler.batch // parts < 2 * whole:
        unit = "images" if whole == 1 else f"people with all their {whole} images"
        raise UserError(
            "--sampler.accumulate",
            expected=f"a divisor of the batch of {sampler.batch}, and 2 or more {unit} a pass and device",
            got=f"{sampler.accumulate} passes on {world} device(s)",
            fix=f"Choose a batch that is a multiple of devices x accumulate x {2 * whole}, or fewer passes.",
        )


def score(
    model: SingleViewModel, table: ImageTable, device: torch.device, stop: StopRequest, what: str = "evaluate"
) -> dict[str, float] | None:
    """Score the test part and say so in percent; None where there is none (a pool's own score would mislead).

    Args:
        model: The network, as it is now.
        table: The data set.
        device: Where to compute.
        stop: Asked after each batch.
        what: What this is done for, for what is said.

    Returns:
        Scores from 0 to 1, by the names that they have in the log.

    Raises:
        Interrupted: A stop was asked for on the way.
    """
    if not has_test_part(table):
        return None
    part = scored_part(table)
    progress = Progress(f"{what} {table.name}", part.images, unit="images")

    def done(images: int) -> None:
        progress.advance(images)
        stop.end_if_wanted("evaluation")

    model.eval()
    try:
        scores = evaluate(rank_table(Embedder(model, {}, device), table, done=done))
    finally:
        progress.close()
    say(f"{what} {table.name}: {scores.line()}, {len(part.gallery):,} in the gallery")
    figures = {metric.name: scores.values[metric.name] for metric in scores.metrics}
    return {"rank_1": figures["rank_1"], "mAP": figures.pop("mAP_rectangular"), **figures}
