"""Named random generators and requests to stop: what makes two runs the same run, whole or cut.

Random numbers are drawn from counters, not from hidden state: a generator is made from (seed, name, counters), so
that the draw of batch 1,234 is the same whether the run started at batch 0 or was resumed at batch 1,233.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rewho.core.check import UserError

if TYPE_CHECKING:
    import numpy as np

Given = ParamSpec("Given")
Result = TypeVar("Result")
PATIENCE = timedelta(days=1)  # how long processes wait for another one that lives: the main one may evaluate for hours


def generator(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the generator called `name` at the position given by `counters`.

    Args:
        seed: The run's seed, >= 0.
        name: What is drawn, such as "augment"; two names never share a stream.
        *counters: Position in the stream, such as epoch and step, each >= 0.

    Example:
        >>> first, again = generator(1, "augment", 3, 7), generator(1, "augment", 3, 7)
        >>> bool(first.random() == again.random())
        True
    """
    import numpy as np  # here, because the command line imports this module before it knows that it needs numbers

    # A seed sequence takes [1] and [1, 0] for the same, so the number of counters is part of the key.
    key = [seed, zlib.crc32(name.encode()), len(counters), *counters]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def is_main_process() -> bool:
    """Return whether this is the process that speaks and writes: rank 0, or the only one.

    Launchers tell a process its rank by environment variables before anything else is known.
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


FILES_OF_OWN, FILES_PER_WORKER = 48, 12
"""Open files of a process with its libraries, and those that each worker adds: pipes, and batches on their way."""


def check_open_files(workers: int) -> None:
    """Raise the limit on open files as far as workers need it and the system lets us.

    Without room for their pipes, processes wait for each other for ever.

    Raises:
        UserError: The limit is too low for so many workers.

    Example:
        >>> check_open_files(0)
    """
    import resource

    needed = FILES_OF_OWN + FILES_PER_WORKER * workers if workers else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < needed:
        raise UserError(
            f"{workers} workers",
            expected=f"room for {needed} open files",
            got=f"a limit of {hard}",
            fix=f"Run `ulimit -n {max(1024, needed)}` first, or pass 0 for workers.",
        )
    if soft != unlimited and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == unlimited else min(hard, 2 * needed), hard))


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Turn the death of a process that prepares batches into an error for the user.

    Raises:
        UserError: A worker was ended from outside. PyTorch notices it anywhere, by a signal.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            "data loading",
            expected="workers that live as long as the run",
            got=str(error).strip().splitlines()[0].split(". ")[0],
            fix="Run the same command again, which resumes; if memory was short, with fewer --data.workers "
            "(pretrain: --images.workers).",
        ) from error


def on_main_process(work: Callable[[], Result]) -> Result:
    """Do some work in the main process alone; return what it returns, or raise what it raises, in every process.

    Raises:
        UserError: The main process ended before it told.
    """
    group = _process_group()
    if group is None:
        return work()
    outcome: list[Any] = [None, None]
    if is_main_process():
        _alone.append(work)
        try:
            outcome[0] = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            outcome[1] = error
        finally:
            _alone.pop()
    own, known = outcome[1], (UserError, OSError, Interrupted, PartlyFailed)
    if own is not None and not isinstance(own, known):
        outcome[1] = RuntimeError(f"the main process failed: {type(own).__name__}: {own}")
    with explain_lost_process():
        group.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise own or outcome[1]
    result: Result = outcome[0]
    return result


_alone: list[Any] = []  # work that the main process is doing while the others wait for it


def _process_group() -> Any:  # noqa: ANN401 - torch.distributed, which is imported late
    """Return torch.distributed where this process is one of several that can talk to each other, else None.

    The processes that a training starts run the whole program from its beginning. What comes before that training was
    done when they were started, so that they find it finished and need not ask.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _alone:
        return None
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            return None
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
    return distributed


def run_in_processes(run: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a stage run in all processes where its settings ask for several devices, else in the main one alone."""

    @functools.wraps(run)
    def shared(*args: Given.args, **options: Given.kwargs) -> Result:
        settings = [*args, *options.values()][0]
        if getattr(getattr(settings, "engine", None), "devices", 1) > 1:
            return run(*args, **options)
        return on_main_process(lambda: run(*args, **options))

    return shared


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn the error of an exchange with a process that ended into words."""
    try:
        yield
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not re.search("gloo|nccl|peer|connection", str(error), re.I):
            raise
        lost = UserError(
            "several processes",
            expected="all of them to go on",
            got=f"one that ended ({str(error).splitlines()[0][:100]})",
            fix="See its own message, if it left one. Run the same command again: it goes on from the newest "
            "checkpoint.",
        )
        if not is_main_process():
            print(f"error: {lost}", file=sys.stderr, flush=True)  # noqa: T201 - the main process may be the one that ended
        raise lost from error


class Interrupted(Exception):  # noqa: N818 - not an error: the work was put away safely
    """The user or the machine asked to stop; the state is saved and the same command goes on from it.

    Args:
        saved: What was saved and where, in one line.
    """


class PartlyFailed(Exception):  # noqa: N818 - the work is finished, except for what could not be done
    """The work is finished and in its place, except for items that were given up after several tries.

    Args:
        made: What was made.
        items: What was given up, in one line.
    """

    def __init__(self, made: Path, items: str) -> None:
        self.made, self.items = made, items
        super().__init__(made, items)


EXIT_PARTLY_FAILED = 3
SAME_PRESS = 1.0  # seconds; launchers pass a Ctrl-C on that the terminal has sent to everybody already
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: try again; schedulers restart a job that ends with it


class StopRequest:
    """Turns SIGTERM and the first Ctrl-C into a flag that work looks at where it can stop safely.

    A second Ctrl-C stops at once, in the way of any other program. Work of several parts has a request of its own
    around those of its parts: what one was told, the other knows.

    Example:
        >>> with StopRequest() as whole, StopRequest() as part:
        ...     part.wanted
        False
    """

    def __init__(self) -> None:
        self.wanted, self._noted = False, 0.0
        self._before: dict[int, Any] = {}
        self._whole: StopRequest | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
            owner = getattr(self._before[signal.SIGTERM], "__self__", None)
            self._whole = owner if isinstance(owner, StopRequest) else None
            self.wanted = self._whole is not None and self._whole.wanted
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._whole is not None:
            self._whole.wanted |= self.wanted

    def end_if_wanted(self, saved: str) -> None:
        """Stop here if somebody asked for it; several processes go by what the main one was asked for.

        Args:
            saved: What was saved and where, in one line.

        Raises:
            Interrupted: Somebody did.
        """
        if on_main_process(lambda: self.wanted):
            raise Interrupted(saved)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        again = self.wanted and time.monotonic() - self._noted > SAME_PRESS
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.wanted:
            self.wanted, self._noted = True, time.monotonic()
