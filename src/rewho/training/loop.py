"""The only training loop: steps, checks, log, evaluation, checkpoints, and an exact resume.

Everything that determines the next step is in `State` or is a pure function of the step's number (sampler,
augmentation, learning rate, torch's seed), so that a resumed run ends with the same bits as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rewho.core.check import UserError
from rewho.core.progress import Progress, say
from rewho.core.record import CHANGED
from rewho.core.runtime import (
    Interrupted,
    StopRequest,
    explain_dead_workers,
    explain_lost_process,
    generator,
    on_main_process,
)
from rewho.core.stage import accept_changes
from rewho.settings import TrainingSettings
from rewho.settings.schedule import learning_rate, schedule_warnings
from rewho.training.checkpoint import explain_mismatch, load_checkpoint, save_checkpoint
from rewho.training.engine import Engine
from rewho.training.log import RunLog
from rewho.training.optim import gradient_norm, set_learning_rate
from rewho.training.state import (
    SPIKE_WINDOW,
    State,
    check_fits,
    check_precision,
    find_divergence,
    restore_parts,
    state_parts,
)


@dataclass(frozen=True)
class Training:
    """Model and losses, batches, and callbacks of a training.

    Args:
        task: Module that maps a batch to its loss terms by name; `total` is minimised.
        optimizer: Optimizer over the task's parameters.
        epoch_length: Batches in an epoch.
        batches: Called with the number of batches to skip; returns the others.
        settings: Lengths, schedule, checkpoints, seed.
        folder: Folder of the run.
        evaluate: Called with the stop request; prints and returns figures with `mAP`, or None without a test part.
        keep_best: Called when `mAP` reaches a new maximum.
        names: Maps a batch to the names of its images, for messages.
        watch: Called after each epoch with the steps taken and the mean loss terms, in the main process.
        prepare: Called before each step with the finished fraction of all steps, 0 to 1.
        pretrained: Parts of the task that `optimizer.freeze_epochs` freezes: no gradients, evaluation mode.
        description: Description of the network as JSON, saved in every checkpoint.
    """

    task: nn.Module
    optimizer: Optimizer
    epoch_length: int
    batches: Callable[[int], Iterable[Any]]
    settings: TrainingSettings
    folder: Path
    evaluate: Callable[[StopRequest], Mapping[str, float] | None]
    keep_best: Callable[[], object]
    names: Callable[[Any], list[str]]
    watch: Callable[[int, Mapping[str, float]], object] = lambda _step, _means: None
    prepare: Callable[[float], object] = lambda _done: None
    pretrained: Sequence[nn.Module] = ()
    description: Mapping[str, Any] = field(default_factory=dict)


def train(training: Training, engine: Engine) -> State:
    """Run a training to its end, from its newest checkpoint if there is one; return its last state."""
    with StopRequest() as stop, engine.applied(), explain_lost_process(), explain_dead_workers():
        return _Run(training, engine, stop).run()


class _Run:
    """One process's run of a training."""

    def __init__(self, training: Training, engine: Engine, stop: StopRequest) -> None:
        self.training, self.engine, self.stop = training, engine, stop
        self.fabric, self.settings = engine.fabric, training.settings
        self.module, self.optimizer = training.task, training.optimizer
        self.total = self.settings.epochs * training.epoch_length
        self.state = self._restore()
        if self.settings.engine.compile:
            self.module.compile()
        self.freezable = [p for part in training.pretrained for p in part.parameters() if p.requires_grad]
        self.saved = self.state.step
        self.agreed = False  # whether any process was asked to stop, as of the last exchange
        self._freeze()

    def run(self) -> State:
        """Take the steps that are left."""
        state, length = self.state, self.training.epoch_length
        main = self.fabric.is_global_zero
        log = RunLog(self.training.folder, state.log_bytes, state.step) if main else None
        for warning in schedule_warnings(self.settings.optimizer, self.settings.epochs, bool(self.freezable)):
            say(warning)
        progress = Progress("train", self.total, state.step, "steps") if main else None
        try:
            if state.step // length > state.closed_epochs:  # interrupted between the last step and the end of an epoch
                self._close_epoch(log, progress)
            for batch in self._batches(log):
                rate = self._prepare_step(batch)
                values = self._forward_backward(batch)
                self._check_divergence(values, batch)
                self.wrapped_optimizer.step()
                self.wrapped_optimizer.zero_grad(set_to_none=True)
                state.step += 1
                if log is not None and progress is not None:
                    log.write(state.step, {**values, "learning_rate": rate})
                    progress.advance(1, f"loss {values['total']:.4g}")
                if state.step % length == 0:
                    self._close_epoch(log, progress)
                stopping = self._stopping
                if stopping or self._checkpoint_due():
                    self._save(log)
                if stopping or self._stopping:
                    raise self._interrupted()
        finally:
            if log is not None and progress is not None:
                log.__exit__(None, None, None)
                progress.close()
        return state

    def _batches(self, log: RunLog | None) -> Iterator[Any]:
        """Yield this process's batches; an error of one process is raised in all.

        Preparing an epoch may take long, as embedding all images does. Where it stops on request, in every process at
        once, the steps before it are saved.
        """
        batches = iter(self.training.batches(self.state.step))
        while True:
            batch, error = None, None
            try:
                batch = next(batches, None)
            except UserError as found:
                error = found
            except Interrupted:
                if self.state.step != self.saved:
                    self._save(log)
                raise self._interrupted() from None
            error = self._of_any_process(error)
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch

    def _of_any_process(self, error: UserError | None) -> UserError | None:
        if self.fabric.world_size == 1:
            return error
        wrong = torch.tensor(float(error is not None), device=self.fabric.device)
        torch.distributed.all_reduce(wrong)
        if not wrong:
            return None
        errors: list[UserError | None] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(errors, error)
        return next(found for found in errors if found is not None)

    @property
    def _stopping(self) -> bool:
        """Whether to stop now; several processes use their last exchange, because a request may reach one earlier."""
        return self.stop.wanted if self.fabric.world_size == 1 else self.agreed

    @property
    def _frozen_now(self) -> bool:
        return self.state.step < self.settings.optimizer.freeze_epochs * self.training.epoch_length

    def _freeze(self) -> None:
        """Freeze or unfreeze the pre-trained parts for the current step; `_wrap` must follow."""
        self.frozen, self.is_wrapped = self._frozen_now, False
        for parameter in self.freezable:
            parameter.requires_grad_(not self.frozen)
        if not any(parameter.requires_grad for parameter in self.module.parameters()):
            raise UserError(
                "--optimizer.freeze_epochs",
                expected="a head to train while the pre-trained part is frozen",
                got="a model without one",
                fix="Pass --optimizer.freeze_epochs 0, or a --model.head.",
            )

    def _wrap(self, batch: Any) -> None:  # noqa: ANN401 - batches are the stage's own
        """Wrap the task for several processes, with the parameters that get a gradient.

        DDP fixes the exchanged gradients when it wraps, so it wraps again after unfreezing. It fails on parameters
        without a gradient: a trial forward pass finds them and excludes them, as on one device.
        """
        if self.fabric.world_size > 1:
            before = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
            with self.fabric.autocast():
                total = self.module.train()(self._pieces(batch)[0])["total"]
            total.backward()
            for parameter in self.module.parameters():
                parameter.requires_grad_(parameter.grad is not None)
                parameter.grad = None
            self.module.load_state_dict(before)
        self.wrapped, self.wrapped_optimizer = self.fabric.setup(self.module, self.optimizer)
        self.is_wrapped = True

    def _pieces(self, batch: Any) -> list[Any]:  # noqa: ANN401
        """Return the parts of a batch, one per forward pass, on the device."""
        parts, batch = self.settings.sampler.accumulate, self.fabric.to_device(batch)
        columns = [column.chunk(parts) for column in batch]
        return [batch] if parts == 1 else [type(batch)(*piece) for piece in zip(*columns, strict=True)]

    def _prepare_step(self, batch: Any) -> float:  # noqa: ANN401
        """Set learning rate, frozen parts, the task's schedule and torch's seed; return the learning rate."""
        step, settings = self.state.step, self.settings
        rate = learning_rate(settings.optimizer, step, self.training.epoch_length, settings.epochs)
        set_learning_rate(self.optimizer, rate)
        self.training.prepare(step / self.total)
        if self.frozen != self._frozen_now:
            self._freeze()
        if not self.is_wrapped:
            self._wrap(batch)
        torch.manual_seed(int(generator(settings.seed, "torch", step, self.fabric.global_rank).integers(2**62)))
        return rate

    def _forward_backward(self, batch: Any) -> dict[str, float]:  # noqa: ANN401 - batches are the stage's own
        """Accumulate a batch's gradients; return mean loss terms and gradient norm over all processes."""
        self.wrapped.train()
        for frozen in self.training.pretrained if self.frozen else ():
            frozen.eval()
        pieces = self._pieces(batch)
        parts = len(pieces)
        sums: dict[str, Tensor] = {}
        for part, piece in enumerate(pieces):
            with self.fabric.no_backward_sync(self.wrapped, enabled=part < parts - 1):
                terms = self.wrapped(piece)
                self.fabric.backward(terms["total"] / parts)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach().float() / parts
        sums["gradient_norm"] = gradient_norm(self.module).float()
        if self.engine.scaler is not None:
            sums["gradient_norm"] = sums["gradient_norm"] / self.engine.scaler.get_scale()
        return self._gather(sums)

    def _gather(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return values averaged over processes, in one exchange that also spreads a request to stop."""
        values = torch.stack([*sums.values(), torch.tensor(float(self.stop.wanted), device=self.fabric.device)])
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(values)
            values = values / self.fabric.world_size
        *numbers, stopped = values.tolist()
        self.agreed = stopped > 0
        return dict(zip(sums, numbers, strict=True))

    def _check_divergence(self, values: Mapping[str, float], batch: Any) -> None:  # noqa: ANN401
        """Fail before the optimizer uses a diverging loss or gradient; else record the losses."""
        wrong = find_divergence(values, self.state, self.settings.checkpoint, scaled=self.engine.scaler is not None)
        if wrong:
            raise UserError(
                f"step {self.state.step + 1}",
                expected="a finite loss and gradient, and no jump",
                got=f"{wrong}; the batch holds {', '.join(self.training.names(batch))}",
                fix="Check these images; lower --optimizer.learning_rate or add --optimizer.warmup_epochs; run the "
                "same command to resume from the last checkpoint, which is untouched. "
                "--checkpoint.spike_factor 0 allows jumps.",
            )
        self.state.recent = [*self.state.recent, values["total"]][-SPIKE_WINDOW:]
        for name, value in values.items():
            self.state.sums[name] = self.state.sums.get(name, 0.0) + value

    def _close_epoch(self, log: RunLog | None, progress: Progress | None) -> None:
        """Evaluate if due, and log the epoch."""
        state, settings = self.state, self.settings
        epoch = state.step // self.training.epoch_length
        last = epoch == settings.epochs
        every = settings.evaluate_every
        due = every >= 0 and (last or (every > 0 and epoch % every == 0))
        figures, cut = self._evaluate(progress) if due else ({}, False)
        if cut:
            self.agreed = True
            return  # the resumed run does the evaluation again
        if figures or last:  # a last epoch that was not evaluated has no figures, rather than those of another
            state.figures = dict(figures)
        if figures and figures["mAP"] > state.best[0]:
            state.best = [float(figures["mAP"]), float(epoch)]
            on_main_process(self.training.keep_best)
        means = {name: value / self.training.epoch_length for name, value in state.sums.items()}
        state.sums, state.closed_epochs = {}, epoch
        if log is not None:
            log.write(state.step, {"epoch": epoch, **{f"epoch_{k}": v for k, v in means.items()}, **figures})
            say(f"epoch {epoch}/{settings.epochs}: {self._epoch_text(means)}")
            if means:
                self.training.watch(state.step, means)

    def _epoch_text(self, means: Mapping[str, float]) -> str:
        """Return an epoch's mean terms, training accuracy and last learning rate, for its line."""
        settings, length = self.settings, self.training.epoch_length
        rate = learning_rate(settings.optimizer, self.state.step - 1, length, settings.epochs)
        parts = [f"{name} {value:.4g}" for name, value in means.items() if name != "accuracy"]
        if "accuracy" in means:
            parts.insert(1, f"training accuracy {100 * means['accuracy']:.1f} %")
        return ", ".join([*parts[:2], f"learning rate {rate:.4g}", *parts[2:]])

    def _evaluate(self, progress: Progress | None) -> tuple[Mapping[str, float], bool]:
        """Evaluate in the main process; return the figures and whether a request to stop interrupted it."""

        def evaluate() -> tuple[Mapping[str, float], bool]:
            assert progress is not None  # it belongs to the main process
            try:
                with progress.paused():
                    return dict(self.training.evaluate(self.stop) or {}), False
            except Interrupted:
                return {}, True

        return on_main_process(evaluate)

    def _checkpoint_due(self) -> bool:
        step, checkpoint = self.state.step, self.settings.checkpoint
        epoch, within = divmod(step, self.training.epoch_length)
        at_epoch = within == 0 and (epoch % max(checkpoint.every_epochs, 1) == 0 or step == self.total)
        return at_epoch or bool(checkpoint.every_steps and step % checkpoint.every_steps == 0)

    def _save(self, log: RunLog | None) -> None:
        def save() -> None:
            assert log is not None  # it belongs to the main process
            self.state.log_bytes = log.offset()
            parts = state_parts(self.module, self.optimizer, self.engine, self.state)
            folder, keep = self.training.folder / "checkpoints", self.settings.checkpoint.keep
            save_checkpoint(folder, self.state.step, parts, keep, self.training.description)

        on_main_process(save)
        self.saved = self.state.step

    def _interrupted(self) -> Interrupted:
        return Interrupted(f"step {self.state.step:,} of {self.total:,} is saved in {self.training.folder}")

    def _restore(self) -> State:
        found = load_checkpoint(self.training.folder / "checkpoints")
        state = State()
        if found is not None:
            with explain_mismatch(self.training.folder):
                check_fits(found[1], self.module, self.optimizer, self.training.folder)
                check_precision(found[1], self.engine)
                self._check_steps_left(found[0])
                say(f"resuming after step {found[0]:,}")
                state = restore_parts(found[1], self.module, self.optimizer, self.engine)
        if self.fabric.is_global_zero:
            accept_changes(self.training.folder)
        return state

    def _check_steps_left(self, step: int) -> None:
        """Check that steps are left to train with changed settings, which model.json would name otherwise."""
        changed = (self.training.folder / CHANGED).is_file()
        if step > self.total or (changed and step == self.total):
            raise UserError(
                f"--out {self.training.folder}",
                expected="a run with steps left",
                got=f"{step // self.training.epoch_length} finished epochs of --epochs {self.settings.epochs}",
                fix="Pass more --epochs, or undo the change, or choose another --out.",
            )
