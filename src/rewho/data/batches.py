"""Which images are in which batch, and the worker processes that prepare batches.

The plan of an epoch is a pure function of (seed, epoch): a global batch is the same for any number of processes and
workers, and for a resumed run. Each process prepares its part of the global batch; augmentation is drawn for the whole
batch.
"""

from __future__ import annotations

import atexit
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rewho.core.check import UserError
from rewho.core.runtime import check_open_files, explain_dead_workers, generator
from rewho.core.text import quantity
from rewho.settings import SamplerSettings


class Batch(NamedTuple):
    """One process's part of a batch.

    Attributes:
        images: uint8 [N, 3, H, W] RGB, channels last in memory.
        labels: int64 [N], class labels from 0.
        rows: int64 [N], rows of the training table.
        erased: int32 [N, 4], erased rectangle (top, left, height, width) in pixels of `images`; zeros for none.
        flipped: bool [N].
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    erased: Tensor
    flipped: Tensor


class Plan(NamedTuple):
    """A global batch: epoch, step within it, and rows of the training table."""

    epoch: int
    step: int
    rows: NDArray[np.int64]


def plan_epoch(settings: SamplerSettings, labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows of every global batch of an epoch, [steps, batch].

    `shuffle`: every image at most once; the last incomplete batch is dropped, with other images each epoch.
    `identities`: every batch has P distinct identities with K images each (an identity with fewer repeats some). Every
    identity comes at least once, and all its images come before a group of K repeats.

    Args:
        settings: Sampler, batch size, K.
        labels: int64 [N], class label of every training image.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Example:
        >>> labels = np.repeat(np.arange(6), 5)
        >>> plan_epoch(SamplerSettings("identities", batch=8, images_per_identity=4), labels, 1, 0).shape
        (6, 8)
    """
    random = generator(seed, "sampler", epoch)
    if settings.kind == "identities":
        return _plan_identities(settings, labels, random)
    steps = len(labels) // settings.batch
    if settings.batch < 2 or steps == 0:
        got = str(settings.batch)
        less = " --sampler.accumulate 1" if settings.accumulate > 1 else ""
        fix = f"Pass --sampler.batch {max(2, min(32, len(labels)))}{less}."
        raise UserError("--sampler.batch", expected=f"from 2 to the {len(labels)} training images", got=got, fix=fix)
    return random.permutation(len(labels))[: steps * settings.batch].reshape(steps, settings.batch)


def _plan_identities(
    settings: SamplerSettings, labels: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    size = settings.images_per_identity
    people, rest = divmod(settings.batch, max(size, 1))
    identities = int(labels.max()) + 1
    if size < 1 or rest or not 2 <= people <= identities:
        expected = f"batch = P x images_per_identity with P from 2 to the {identities} training identities"
        got = f"batch {settings.batch}, images_per_identity {size}"
        fix = f"Pass --sampler.batch {min(16, identities) * max(size, 1)}."
        raise UserError("--sampler", expected=expected, got=got, fix=fix)
    of_identity = [np.flatnonzero(labels == label) for label in range(identities)]
    groups = [_groups_of(rows, size, random) for rows in of_identity]
    batches: list[NDArray[np.int64]] = []
    waiting, unseen = list(random.permutation(identities)), set(range(identities))
    while len(waiting) >= people:
        chosen, waiting = waiting[:people], waiting[people:]
        unseen.difference_update(chosen)
        batches.append(np.concatenate([groups[label].pop() for label in chosen]))
        # An identity with groups left goes to the end of the queue, behind those that have not come yet.
        waiting += [label for label in random.permutation(chosen) if groups[label]]
    if unseen:  # fewer than P identities, filled up with others; first in the epoch, so that no cut removes them
        others = [label for label in random.permutation(identities) if label not in unseen]
        chosen = [*sorted(unseen), *others][:people]
        batches.insert(0, np.concatenate([_groups_of(of_identity[label], size, random)[0] for label in chosen]))
    return np.stack(batches)


def _groups_of(rows: NDArray[np.int64], size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return an identity's shuffled images in groups of `size`; no image twice in a group unless there are too few."""
    shuffled = random.permutation(rows)
    if len(rows) < size:
        return [np.resize(shuffled, size)]
    over = len(rows) % size
    earlier = shuffled[: len(rows) - over]
    filler = random.choice(earlier, -len(rows) % size, replace=False)
    return list(np.concatenate([shuffled, filler]).reshape(-1, size))


@dataclass(frozen=True)
class PlanStream(Sampler[Plan]):
    """The global batches of a training, from any step on.

    Args:
        settings: Sampler, batch size, K.
        labels: int64 [N], class label of every training image.
        seed: The run's seed.
        epochs: Number of epochs.
        steps_per_epoch: Batches per epoch; 0 is all.
        start: Batches to skip: those before a resume.
    """

    settings: SamplerSettings
    labels: NDArray[np.int64]
    seed: int
    epochs: int
    steps_per_epoch: int = 0
    start: int = 0

    def epoch_length(self) -> int:
        """Return the batches per epoch, which are those of epoch 0.

        The identities sampler's epochs differ a little in length; a fixed length keeps schedules in steps exact.
        """
        length = len(plan_epoch(self.settings, self.labels, self.seed, 0))
        return min(self.steps_per_epoch, length) if self.steps_per_epoch else length

    def __len__(self) -> int:
        return self.epochs * self.epoch_length() - self.start

    def __iter__(self) -> Iterator[Plan]:
        length = self.epoch_length()
        for epoch in range(self.start // length, self.epochs):
            batches = plan_epoch(self.settings, self.labels, self.seed, epoch)
            first = self.start - epoch * length if epoch == self.start // length else 0
            for step in range(first, length):
                yield Plan(epoch, step, batches[step % len(batches)])


class Plans(Protocol):
    """The global batches of a training, or of a part of it."""

    @property
    def settings(self) -> SamplerSettings:
        """Sampler and size of the batches."""

    @property
    def seed(self) -> int:
        """The run's seed."""

    def __iter__(self) -> Iterator[Plan]: ...

    def __len__(self) -> int: ...


Part = slice | NDArray[np.int64]
"""A process's images within a planned batch."""

Prepare = Callable[[Plan, Part], tuple[Tensor, ...]]
"""Returns one process's part of a planned batch: a `Batch`, or another named tuple."""


def part_of(rank: int, world: int, passes: int, batch: int) -> NDArray[np.int64]:
    """Return the indices of a process's images within a batch, one forward pass after the other.

    A forward pass over all processes has the same images for any number of processes.
    """
    return np.arange(batch).reshape(passes, world, -1)[:, rank].ravel()


class _Batches(Dataset[tuple[Tensor, ...] | UserError]):
    """Plans → batches; one instance per worker.

    UserErrors are returned, not raised: an exception in a DataLoader worker arrives as a formatted traceback string.
    """

    def __init__(self, prepare: Prepare, part: NDArray[np.int64]) -> None:
        self.prepare, self.part = prepare, part

    def __getitem__(self, plan: Plan) -> tuple[Tensor, ...] | UserError:
        try:
            return self.prepare(plan, self.part)
        except UserError as error:
            return error


def _start_worker(_worker: int) -> None:
    """Limit a worker to one thread, and ignore stop signals.

    Terminals and schedulers send stop signals to every process of a job. Only the main process handles them, because a
    run whose workers die cannot save its state.
    """
    import cv2

    for request in (signal.SIGINT, signal.SIGTERM):
        signal.signal(request, signal.SIG_IGN)
    sys.excepthook = _print_unless_lost
    cv2.setNumThreads(0)  # 1 can hang in a process forked from one that used OpenCV's threads
    torch.set_num_threads(1)


def _print_unless_lost(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of a worker's thread, unless the main process has hung up, which reports on its own."""
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def load_batches(
    plans: Plans, prepare: Prepare, *, workers: int = 0, rank: int = 0, world: int = 1, pin: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """Return one process's batches for the rest of a training.

    Args:
        plans: The global batches.
        prepare: Prepares a part of a planned batch; its random numbers are drawn for the whole batch.
        workers: Worker processes; 0 prepares batches in this process.
        rank: Number of this process.
        world: Number of processes.
        pin: Use page-locked memory, for a CUDA device.
    """
    batch, passes = plans.settings.batch, plans.settings.accumulate
    if passes < 1 or batch % (world * passes):
        expected = f"a multiple of {quantity(world, 'devices')} x {passes} forward passes (--sampler.accumulate)"
        fix = f"Pass --sampler.batch {batch // (world * max(passes, 1)) * world * max(passes, 1) or world}."
        raise UserError("--sampler.batch", expected=expected, got=str(batch), fix=fix)
    check_open_files(workers)
    loader: DataLoader[tuple[Tensor, ...] | UserError] = DataLoader(
        _Batches(prepare, part_of(rank, world, passes, batch)),
        sampler=plans,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator().manual_seed(
            plans.seed
        ),  # without it every iterator draws from the global generator
    )
    return _raise_errors(loader)


def _raise_errors(loader: DataLoader[tuple[Tensor, ...] | UserError]) -> Iterator[tuple[Tensor, ...]]:
    waiting: Any = iter(loader)
    if loader.num_workers:
        _read.add(waiting)
    try:
        while True:
            with explain_dead_workers():
                batch = next(waiting, None)
            if batch is None:
                return
            if isinstance(batch, UserError):
                raise batch
            yield batch
    finally:
        # A raised error refers to this frame. PyTorch cannot end the workers of what only a cycle holds.
        del waiting


_read: weakref.WeakSet[Any] = weakref.WeakSet()  # iterators with workers


@atexit.register
def _end_workers() -> None:
    """End the workers of iterators that an error still refers to: multiprocessing's request to end is ignored there."""
    for waiting in list(_read):
        waiting._shutdown_workers()
