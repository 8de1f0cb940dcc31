"""The only training loop: steps, checks, log, evaluation, checkpoints, and an exact resume.

Everything that decides the next step is in `State` or is a pure function of the step's number (sampler, augmentation,
learning rate, torch's generators), so that a run cut anywhere ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import statistics
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
from rewho.training.checkpoint import explain_mismatch, load_checkpoint, save_checkpoint
from rewho.training.engine import Engine
from rewho.training.log import RunLog
from rewho.training.optim import (
    gradient_norm,
    learning_rate,
    restore_optimizer,
    schedule_warnings,
    set_learning_rate,
)

SPIKE_WINDOW = 50  # losses that a new one is compared with
SPIKE_NEEDS = 5  # losses that must be known before one can stand out
SPIKE_FLOOR = 2.0  # a loss below this is never called a spike: late in training single hard batches stand out
SPIKE_OVER_LARGEST = 1.5  # a spike also exceeds the largest loss of the window by this factor


@dataclass
class State:
    """What changes from step to step, beside weights and optimizer.

    Attributes:
        step: Optimizer steps taken.
        closed_epochs: Epochs whose evaluation and log line are done.
        recent: The last losses, for finding spikes.
        sums: Sum of each loss term since the epoch began.
        best: Best mAP so far, and the epoch it was measured after.
        figures: Figures of the last evaluation.
        log_bytes: Length of the log.
    """

    step: int = 0
    closed_epochs: int = 0
    recent: list[float] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    best: list[float] = field(default_factory=lambda: [-1.0, 0.0])
    figures: dict[str, float] = field(default_factory=dict)
    log_bytes: int = 0


@dataclass(frozen=True)
class Training:
    """What the loop is given: model and losses, batches, and what to do at the end of an epoch.

    Args:
        task: Module that is called with a batch and returns its loss terms by name; `total` is minimised.
        optimizer: Optimizer over the task's parameters.
        epoch_length: Batches in an epoch.
        batches: Called with the number of batches to skip; returns the rest.
        settings: Lengths, schedule, checkpoints, seed.
        folder: Folder of the run.
        evaluate: Called with the stop request; says and returns figures, `mAP` among them, or None without a test part.
        keep_best: Called when `mAP` is higher than ever before.
        names: Names the images of a batch, for messages.
        watch: Called with the steps taken and the mean loss terms of the epoch, in the process that speaks.
        prepare: Called before each step with the share of all steps that were taken.
        pretrained: Parts of the task that `optimizer.freeze_epochs` freezes: no gradients, layers as in evaluation.
        description: What the network is, as JSON can hold it; saved in every checkpoint.
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
    """Run a training to its end, from its newest checkpoint if there is one.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; the state is saved at the end of the current step.
        UserError: The loss or a gradient is not finite, or jumps; nothing was changed by that step. Or a worker died.
    """
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
            if state.step // length > state.closed_epochs:  # cut between the last step and the end of an epoch
                self._close_epoch(log, progress)
            for batch in self._batches():
                rate = self._prepare_step(batch)
                values = self._forward_backward(batch)
                self._refuse_divergence(values, batch)
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
                    raise Interrupted(f"step {state.step:,} of {self.total:,} is saved in {self.training.folder}")
        finally:
            if log is not None and progress is not None:
                log.__exit__(None, None, None)
                progress.close()
        return state

    def _batches(self) -> Iterator[Any]:
        """Yield this process's batches; what keeps one process from making its part stops all of them with it."""
        batches = iter(self.training.batches(self.state.step))
        while True:
            batch, error = None, None
            try:
                batch = next(batches, None)
            except UserError as found:
                error = found
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
        """Whether to stop now. Several processes go by their last exchange: a request may reach one before another."""
        return self.stop.wanted if self.fabric.world_size == 1 else self.agreed

    @property
    def _frozen_now(self) -> bool:
        return self.state.step < self.settings.optimizer.freeze_epochs * self.training.epoch_length

    def _freeze(self) -> None:
        """Freeze or thaw what was pre-trained, as the step's number says; `_wrap` comes next.

        Raises:
            UserError: Nothing is left to train.
        """
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

        Processes agree on the gradients that they exchange when they wrap, so that they wrap again after a thaw. The
        optimizer meets the thawed weights for the first time then, as if the training had begun there. A parameter
        that the loss does not depend on would never be exchanged, which is an error to them: a trial finds these, and
        they stay as they are, as on one device.
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
        """Return the parts of a batch that one forward pass takes each, on the device."""
        parts, batch = self.settings.sampler.accumulate, self.fabric.to_device(batch)
        columns = [column.chunk(parts) for column in batch]
        return [batch] if parts == 1 else [type(batch)(*piece) for piece in zip(*columns, strict=True)]

    def _prepare_step(self, batch: Any) -> float:  # noqa: ANN401
        """Set learning rate, what is frozen, the task's own course and torch's generators, from the step's number."""
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
        """Add up the gradients of a batch in its parts; return mean loss terms and gradient norm over all processes."""
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
        """Average over processes and bring to the CPU, all at once; a stop that one process saw, all see."""
        values = torch.stack([*sums.values(), torch.tensor(float(self.stop.wanted), device=self.fabric.device)])
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(values)
            values = values / self.fabric.world_size
        *numbers, stopped = values.tolist()
        self.agreed = stopped > 0
        return dict(zip(sums, numbers, strict=True))

    def _refuse_divergence(self, values: Mapping[str, float], batch: Any) -> None:  # noqa: ANN401
        """Stop before the optimizer uses a loss or gradient that is not finite, or a loss that jumps."""
        recent, factor = self.state.recent, self.settings.checkpoint.spike_factor
        scaled = self.engine.scaler is not None  # fp16 overflows now and then; the scaler leaves such steps out itself
        wrong = [
            name
            for name, value in values.items()
            if not math.isfinite(value) and not (scaled and name == "gradient_norm")
        ]
        limit = math.inf
        waited = self.state.step >= self.settings.checkpoint.spike_after
        if factor and waited and len(recent) >= SPIKE_NEEDS:
            limit = max(factor * statistics.median(recent), SPIKE_OVER_LARGEST * max(recent), SPIKE_FLOOR)
        if wrong or values["total"] > limit:
            what = f"{', '.join(wrong)} = NaN or infinity" if wrong else f"loss {values['total']:.4g} > {limit:.4g}"
            raise UserError(
                f"step {self.state.step + 1}",
                expected="a finite loss and gradient, and no jump",
                got=f"{what}; the batch holds {', '.join(self.training.names(batch))}",
                fix="Look at these images; lower --optimizer.learning_rate or add --optimizer.warmup_epochs; run the "
                "same command to go on from the last checkpoint, which is untouched. "
                "--checkpoint.spike_factor 0 lets jumps pass.",
            )
        self.state.recent = [*recent, values["total"]][-SPIKE_WINDOW:]
        for name, value in values.items():
            self.state.sums[name] = self.state.sums.get(name, 0.0) + value

    def _close_epoch(self, log: RunLog | None, progress: Progress | None) -> None:
        """Evaluate if it is time, log the epoch, and remember that both are done."""
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
            text = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            say(f"epoch {epoch}/{settings.epochs}: {text}")
            if means:
                self.training.watch(state.step, means)

    def _evaluate(self, progress: Progress | None) -> tuple[Mapping[str, float], bool]:
        """Evaluate in the main process, for all; return the figures and whether a request to stop cut it short.

        Raises:
            UserError: The main process could not, as where an image cannot be read.
        """

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

    def _restore(self) -> State:
        found = load_checkpoint(self.training.folder / "checkpoints")
        state = State()
        if found is not None:
            with explain_mismatch(self.training.folder):
                refuse_misfit(found[1], self.module, self.optimizer, self.training.folder)
                refuse_other_precision(found[1], self.engine)
                self._refuse_changes_without_a_step(found[0])
                say(f"resuming after step {found[0]:,}")
                state = restore_parts(found[1], self.module, self.optimizer, self.engine)
        if self.fabric.is_global_zero:
            accept_changes(self.training.folder)
        return state

    def _refuse_changes_without_a_step(self, step: int) -> None:
        """Check that steps are left for changed settings, which the model would be said to be trained with."""
        changed = (self.training.folder / CHANGED).is_file()
        if step > self.total or (changed and step == self.total):
            raise UserError(
                f"--out {self.training.folder}",
                expected="a run that has steps left to take",
                got=f"{step // self.training.epoch_length} epochs that are done, of --epochs {self.settings.epochs}",
                fix="Pass more --epochs, or undo the change, or choose another --out.",
            )


def state_parts(module: nn.Module, optimizer: Optimizer, engine: Engine, state: State) -> dict[str, Any]:
    """Return every part of the state by name, as the checkpoint holds it."""
    buffers = dict(module.named_buffers())
    tensors = module.state_dict()
    return {
        "parameters": {name: tensor for name, tensor in tensors.items() if name not in buffers},
        "buffers": {name: tensor for name, tensor in tensors.items() if name in buffers},
        "optimizer": optimizer.state_dict(),
        "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
        "precision": engine.precision,
        **{f"state.{name}": value for name, value in vars(state).items()},
    }


def refuse_misfit(parts: Mapping[str, Any], module: nn.Module, optimizer: Optimizer, folder: Path) -> None:
    """Check that the parts of a checkpoint can be put into a network and an optimizer.

    Raises:
        UserError: A weight is missing, or has another shape, or the optimizer is another.
    """
    shapes = [
        {name: list(tensor.shape) for name, tensor in tensors.items()}
        for tensors in ({**parts["parameters"], **parts["buffers"]}, module.state_dict())
    ]
    saved, here = shapes
    wrong = [
        f"{name} {saved.get(name, 'absent')} instead of {here.get(name, 'none')}"
        for name in sorted(saved.keys() | here.keys())
        if saved.get(name) != here.get(name)
    ]
    groups = [
        [(len(group["params"]), "betas" in group) for group in state["param_groups"]]
        for state in (parts["optimizer"], optimizer.state_dict())
    ]
    if not wrong and groups[0] != groups[1]:
        wrong = ["the state of another optimizer"]
    if wrong:
        raise UserError(
            f"--out {folder}",
            expected="a checkpoint of the network and optimizer that these settings describe",
            got=", ".join(wrong[:3]) + (f", and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""),
            fix="Undo the change, or choose another --out. --allow_config_change is for settings that leave every "
            "weight its shape.",
        )


def refuse_other_precision(parts: Mapping[str, Any], engine: Engine) -> None:
    """Check that a run goes on in the precision that it began with, which another machine may not choose by itself.

    Raises:
        UserError: It would not.
    """
    began = parts.get("precision", engine.precision)
    if began != engine.precision:
        raise UserError(
            "--engine.precision",
            expected=f"{began}, which this run began with",
            got=engine.precision,
            fix=f"Pass --engine.precision {began}, or choose another --out.",
        )


def restore_parts(parts: Mapping[str, Any], module: nn.Module, optimizer: Optimizer, engine: Engine) -> State:
    """Put the parts of a checkpoint back to where they came from; the inverse of `state_parts`."""
    module.load_state_dict({**parts["parameters"], **parts["buffers"]})
    restore_optimizer(optimizer, parts["optimizer"])
    if engine.scaler is not None:
        engine.scaler.load_state_dict(parts["scaler"])
    return State(**{name.removeprefix("state."): value for name, value in parts.items() if name.startswith("state.")})
