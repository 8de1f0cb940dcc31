"""What all trainings share: folder, arguments of the loop, scores, best epoch, end of the run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rewho.core.artifact import ASIDE, MANIFEST, compute_hashes, write_folder, write_json
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import Progress, note_once, say, say_once
from rewho.core.record import EPOCH
from rewho.core.runtime import StopRequest, generator, on_main_process
from rewho.core.shipped import CARD
from rewho.core.stage import Stage
from rewho.data.batches import PlanStream, Prepare, load_batches
from rewho.data.scored_part import scored_part
from rewho.data.splits import has_test_part
from rewho.data.table import ImageTable
from rewho.embedding.embedder import Embedder
from rewho.embedding.runtime import Runner
from rewho.embedding.scoring import rank_table
from rewho.models.single_view import SingleViewModel
from rewho.rank.metrics import evaluate
from rewho.settings import TrainingSettings
from rewho.tasks.longer import reopen_for_more_epochs
from rewho.tasks.unlabelled import JoinedImages
from rewho.training.engine import Engine
from rewho.training.log import LOG
from rewho.training.loop import Training, train
from rewho.training.state import State

Save = Callable[[Path, Mapping[str, float]], list[Path]]
"""Writes the model as it is now into a folder, with the figures of its evaluation; returns the files."""

# Settings that may change on resume: they affect where and how fast a run executes, not its result. The digest of the
# data covers the contents of data and lists; a checkpoint refuses another precision.
FREE_SETTINGS = (
    *("out", "resume", "allow_config_change", "engine", "checkpoint"),
    *("data.root", "data.share_list", "data.workers", "data.memory_gb"),
)
PAGE = "index.html"
FIXED = (f"inputs.{EPOCH}",)
"""Inputs that may never change on resume: finished steps cannot be counted in epochs of another length."""
FIXED_BY_ORIGIN = ("inputs.model.pretrained", "model.pretrained_labels", "model.pixel_mean", "model.pixel_std")
"""Settings that may never change on resume: they take effect only when a run begins."""


CHOSEN = "chosen on the test part, so that its scores there are too high"


def claim_folder(stage: Stage, settings: TrainingSettings, data: ImageTable | JoinedImages) -> bool:
    """Claim the output folder in the main process, print what is read, and return whether the run is finished."""

    def begin() -> str:
        reopen_for_more_epochs(stage, settings)
        return stage.begin(allow_change=settings.allow_config_change)

    found = on_main_process(begin)
    if found == "finished":
        return True
    if found == "unfinished" and not settings.resume:
        expected = "a new folder, because of --resume false"
        fix = "Leave out --resume false to resume it, or choose another --out."
        raise UserError(f"--out {settings.out}", expected=expected, got="an interrupted run", fix=fix)
    say_once(data.summary())
    if isinstance(data, ImageTable) and has_test_part(data):
        for note in scored_part(data).notes:
            say(f"  note: {note}")
    return False


def seed_weights(settings: TrainingSettings) -> None:
    """Seed torch's generator for the random first weights."""
    torch.manual_seed(int(generator(settings.seed, "initial weights").integers(2**62)))


def build_training(
    task: nn.Module,
    optimizer: Callable[[], Optimizer],
    prepare: Prepare,
    plans: PlanStream,
    settings: TrainingSettings,
    engine: Engine,
    *,
    workers: int,
    name: Callable[[int], str],
    score: Callable[[StopRequest], Mapping[str, float] | None],
    save: Save,
    description: Mapping[str, Any],
    pretrained: Iterable[nn.Module] = (),
) -> Training:
    """Return the arguments of the training loop.

    Args:
        task: Called with a batch, returns its loss terms; moved to the device.
        optimizer: Builds the optimizer once the task is on its device.
        prepare: Makes the batch of a plan.
        plans: The batches.
        settings: Schedule, checkpoints, output folder.
        engine: Device and processes.
        workers: Processes that prepare batches.
        name: Returns the name of an image by its row, for messages.
        score: Scores the model at the end of epochs; returns None where there is no test part.
        save: Called with the folder `best` after an evaluation that is better than all before.
        description: What the network is, for its checkpoints; see `embedding.saved.describe`.
        pretrained: The parts of the task that `--optimizer.freeze_epochs` freezes.
    """
    fabric = engine.fabric
    figures: dict[str, float] = {}

    def batches(start: int) -> Iterable[tuple[Tensor, ...]]:
        return load_batches(
            replace(plans, start=start),
            prepare,
            workers=workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
            pin=fabric.device.type == "cuda",
        )

    def evaluate_now(stop: StopRequest) -> Mapping[str, float]:
        figures.clear()
        figures.update(score(stop) or {})
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
        keep_best=lambda: write_folder(settings.out / "best", lambda best: save(best, figures)),
        names=lambda batch: [name(int(row)) for row in batch.rows],
        pretrained=tuple(pretrained),
        description=description,
    )


def train_marking_best(training: Training, engine: Engine, data: str) -> State:
    """Run a training; write into `best/model.json` how its epoch was chosen, and the last epoch's scores."""

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


def score_test_part(
    model: SingleViewModel,
    table: ImageTable,
    device: torch.device,
    stop: StopRequest,
    what: str = "evaluate",
    *,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, float] | None:
    """Return the scores of the test part, 0 to 1, by their names in the log; None without a test part.

    `tell` is called with the scores and the interval over people as one line.
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
        runner = Runner(model, device, wanted="auto", note=note_once)
        scores = evaluate(rank_table(Embedder(model, {}, device, runner=runner), table, done=done))
    finally:
        progress.close()
    say(f"{what} {table.name}: {scores.line()}, {len(part.gallery):,} in the gallery")
    tell(scores.line())
    figures = {metric.name: scores.values[metric.name] for metric in scores.metrics}
    return {"rank_1": figures["rank_1"], "mAP": figures.pop("mAP_rectangular"), **figures}


def finish_training(
    stage: Stage,
    save: Save,
    state: State,
    counts: Mapping[str, Any],
    began: float,
    more: Sequence[Path] = (),
    *,
    score_on: Path | str = "",
) -> None:
    """Write the model folder and, last, the manifest, in the main process; `score_on` is data for the next command."""

    def finish() -> None:
        files = [*save(stage.folder, state.figures), *more, stage.folder / LOG]
        best = {"best_mAP": state.best[0], "best_epoch": state.best[1], "figures": state.figures}
        stage.finish(files, {"steps": state.step, **counts, **best}, time.monotonic() - began)
        if (stage.folder / CARD).is_file():
            say(f"model: {stage.folder}")
            if (page := stage.folder / PAGE).is_file():
                say(f"page: {page}")
            if score_on:
                say(f"to score it: rewho evaluate {shlex.quote(str(stage.folder))} --data {shlex.quote(str(score_on))}")

    on_main_process(finish)
