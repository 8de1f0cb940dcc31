"""Train a single-view model: a teacher, a student, or a plain baseline (FD section 3.1, step 1 of section 3.6)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewho.core.artifact import MANIFEST, Stage, plain
from rewho.core.check import UserError
from rewho.core.progress import Progress, say
from rewho.core.runtime import Interrupted, StopRequest, generator, is_main_process
from rewho.core.settings import LossSettings, TrainSettings
from rewho.data.augment import apply, draw
from rewho.data.batches import Batch, Plan, PlanStream, load_batches
from rewho.data.benchmarks import read_settings
from rewho.data.pictures import Pictures
from rewho.data.table import ImageTable
from rewho.data.views import View, read_view
from rewho.losses.classify import cross_entropy
from rewho.models.backbone import load_pretrained
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import CARD, TENSORS, ModelCard, save_model
from rewho.pipeline.embedding import Embedder
from rewho.pipeline.scoring import rank_table
from rewho.rank.metrics import evaluate
from rewho.train.engine import Engine, launch
from rewho.train.log import LOG
from rewho.train.loop import State, Training, train
from rewho.train.optim import build_optimizer

# May differ between a run and its continuation: they change where and how fast, not what comes out.
FREE_SETTINGS = (
    "out",
    "resume",
    "allow_config_change",
    "data.root",
    "data.workers",
    "data.memory_gb",
    "engine",
    "model.pretrained",
    "checkpoint",
)


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
        The folder, with model.safetensors, model.json, log.jsonl, checkpoints and, last, manifest.json.

    Raises:
        UserError: Anything wrong with data or settings, or a diverged training.
        Interrupted: Stopped by SIGTERM or Ctrl-C; the same command goes on.
    """
    began = time.monotonic()
    table = read_settings(settings.data)
    training_part = _training_part(table)
    stage = Stage(settings.out, "train", plain(settings), {"data": table.digest()}, FREE_SETTINGS, "checkpoints")
    if _finished(stage, settings, table):
        return settings.out
    engine = launch(settings.engine)
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))
    view = _view(settings)
    model = _model(settings, view, resumed=(settings.out / "checkpoints").is_dir())
    task = IdentityTask(model, len(np.unique(training_part.person_ids)), settings.loss)
    state = train(_training(task, view, table, training_part, settings, engine), engine)
    if engine.fabric.is_global_zero:
        _leave(stage, task.model, table, state, settings, time.monotonic() - began)
    engine.fabric.barrier()
    return settings.out


def _training_part(table: ImageTable) -> ImageTable:
    part = table.select("pool" if table.in_split("pool").any() else "train")
    identities = len(np.unique(part.person_ids))
    if identities < 2:
        raise UserError(
            "--data.root",
            expected="pictures of at least two people to train on",
            got=f"{identities}",
            fix="Put each person's pictures into a folder of their own, or pass --data.person_pattern.",
        )
    return part


def _finished(stage: Stage, settings: TrainSettings, table: ImageTable) -> bool:
    """Claim the output folder before other processes start; say what is there and what is read."""
    if not is_main_process():
        return (settings.out / MANIFEST).is_file()
    found = stage.begin(allow_change=settings.allow_config_change)
    if found == "finished":
        say(f"{settings.out} is finished; nothing to do")
        return True
    if found == "unfinished" and not settings.resume:
        raise UserError(
            f"--out {settings.out}",
            expected="a new folder, because of --resume false",
            got="an interrupted run",
            fix="Leave out --resume false to go on with it, or choose another --out.",
        )
    say(table.summary())
    return False


def _view(settings: TrainSettings) -> View:
    view = read_view(settings.model.view)
    size = settings.model.input_size
    if not size:
        return view
    if len(size) != 2 or min(size) < 32:
        raise UserError(
            "--model.input_size", expected="height and width, 32 or more", got=f"{size}", fix="Pass 256 128."
        )
    return replace(view, size=(size[0], size[1]))


def _model(settings: TrainSettings, view: View, *, resumed: bool) -> SingleViewModel:
    model = SingleViewModel(settings.model, view.size)
    if not resumed:  # the checkpoint holds every weight; the file it began with may be gone by now
        say(load_pretrained(model.backbone, settings.model.backbone, settings.model.pretrained))
    return model.to(memory_format=torch.channels_last)


class Preparation:
    """Makes batches from plans; lives in the workers, so it holds no tensors and no open files.

    Args:
        pictures: The decoded training pictures.
        labels: int64 [N], class label of each.
        view: What the model sees of each.
        settings: Augmentation and seed.
        mean_colour: Colour of padding and of erased rectangles, RGB 0 to 255.
    """

    def __init__(
        self,
        pictures: Pictures,
        labels: NDArray[np.int64],
        view: View,
        settings: TrainSettings,
        mean_colour: tuple[float, ...],
    ) -> None:
        self.pictures, self.labels, self.view = pictures, labels, view
        self.settings, self.mean_colour = settings, mean_colour

    def __call__(self, plan: Plan, part: slice) -> Batch:
        """Return one process's part of a planned batch; the random changes are drawn for all of it."""
        random = generator(self.settings.seed, "augment", plan.epoch, plan.step)
        draws = draw(self.settings.augment, len(plan.rows), self.view.size, random)[part]
        rows = plan.rows[part]
        images = [self.pictures[int(row)] for row in rows]
        done = apply(images, self.view, draws, self.settings.augment, self.mean_colour)
        return Batch(
            torch.from_numpy(done.images).permute(0, 3, 1, 2),
            torch.from_numpy(self.labels[rows]),
            torch.from_numpy(rows),
            torch.from_numpy(np.ascontiguousarray(done.erased)),
            torch.from_numpy(np.ascontiguousarray(done.flipped)),
        )


def _training(
    task: IdentityTask,
    view: View,
    table: ImageTable,
    part: ImageTable,
    settings: TrainSettings,
    engine: Engine,
) -> Training:
    fabric = engine.fabric
    pictures = _pictures(part, settings.data.memory_gb)
    mean_colour = tuple(task.model.mean.tolist())
    prepare = Preparation(pictures, part.labels(), view, settings, mean_colour)
    plans = PlanStream(settings.sampler, part.labels(), settings.seed, settings.epochs, settings.steps_per_epoch)
    _check_split(settings, fabric.world_size)

    def batches(start: int) -> Iterable[Batch]:
        return load_batches(
            replace(plans, start=start),
            prepare,
            workers=settings.data.workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
            pin=fabric.device.type == "cuda",
        )

    figures: dict[str, float] = {}

    def evaluate_now(stop: StopRequest) -> Mapping[str, float] | None:
        figures.clear()
        figures.update(_evaluate(task.model, table, fabric.device, stop) or {})
        return figures

    return Training(
        task=task.to(fabric.device),
        optimizer=build_optimizer(
            task.model.backbone, [task.model.pooling, task.model.embedding, task.classifier], settings.optimizer
        ),
        epoch_length=plans.epoch_length(),
        batches=batches,
        settings=settings,
        folder=settings.out,
        evaluate=evaluate_now,
        keep_best=lambda: _save(settings.out / "best", task.model, table, figures, settings),
        names=lambda batch: [part.paths[int(row)] for row in batch.rows],
    )


def _check_split(settings: TrainSettings, world: int) -> None:
    parts = settings.sampler.accumulate * world
    if settings.sampler.batch % parts or settings.sampler.batch // parts < 2:
        raise UserError(
            "--sampler.accumulate",
            expected=f"a divisor of the batch of {settings.sampler.batch}, and 2 or more images a pass and device",
            got=f"{settings.sampler.accumulate} passes on {world} device(s)",
            fix="Choose a batch that is a multiple of devices x accumulate.",
        )


def _pictures(part: ImageTable, memory_gb: float) -> Pictures:
    progress = Progress("read pictures", len(part), unit="images")
    pictures = Pictures(part, memory_gb, progress=lambda done, _all: progress.advance(done - progress.done))
    progress.close()
    return pictures


def _evaluate(
    model: SingleViewModel, table: ImageTable, device: torch.device, stop: StopRequest
) -> dict[str, float] | None:
    """Score the test part; None where there is none (a pool is trained on, so its own score would mislead)."""
    if not table.in_split("query").any():
        return None
    count = int(table.in_split("query").sum() + table.in_split("gallery").sum())
    progress = Progress("evaluate", count, unit="images")

    def done(images: int) -> None:
        progress.advance(images)
        if stop.wanted:
            raise Interrupted("evaluation")

    model.eval()
    try:
        scores = evaluate(rank_table(Embedder(model, {}, device), table, done=done), resamples=0)
    finally:
        progress.close()
    return {
        "rank_1": scores.rank(1),
        "mAP": scores.mAP_rectangular,
        "mAP_trapezoid": scores.mAP_trapezoid,
        "mINP": scores.mINP,
    }


def _save(
    folder: Path, model: SingleViewModel, table: ImageTable, figures: Mapping[str, Any], settings: TrainSettings
) -> list[Path]:
    trained_on = {"name": table.name, "rows_sha256": table.digest(), "images": len(_training_part(table))}
    provenance = {"weights_began_as": settings.model.pretrained, "epochs": settings.epochs, "seed": settings.seed}
    card = ModelCard(trained_on=trained_on, metrics={table.name: dict(figures)}, provenance=provenance)
    return save_model(folder, model, card)


def _leave(
    stage: Stage, model: SingleViewModel, table: ImageTable, state: State, settings: TrainSettings, seconds: float
) -> None:
    """Write the model folder and, last, the manifest."""
    figures = state.figures
    files = _save(stage.folder, model, table, figures, settings)
    counts = {
        "steps": state.step,
        "training_images": len(_training_part(table)),
        "parameters": parameter_count(model),
        "best_mAP": state.best[0],
        "best_epoch": state.best[1],
        "figures": figures,
    }
    stage.finish([*files, stage.folder / LOG], counts, seconds)
    say(f"model: {stage.folder / CARD}, {stage.folder / TENSORS}")
