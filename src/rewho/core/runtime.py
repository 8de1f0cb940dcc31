"""Random generators, requests to stop, and work of several processes.

A generator is made from (seed, name, counters), without hidden state, so that batch 1,234 draws the same whether the
run started at batch 0 or resumed at batch 1,233.
"""

from __future__ import annotations

import atexit
import ctypes
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
from rewho.core.text import quantity

if TYPE_CHECKING:
    import numpy as np

Given = ParamSpec("Given")
Result = TypeVar("Result")
ANSWER = timedelta(minutes=30)  # in which every process takes part in an exchange, such as that of a step's gradients
PATIENCE = timedelta(days=1)  # in which the main process does what the others wait for: it may evaluate for hours


def generator(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the random generator of a seed, a name and counters.

    Args:
        seed: The run's seed, >= 0.
        name: What is drawn, such as "augment"; each name has its own random numbers.
        *counters: Position, such as epoch and step, each >= 0.

    Example:
        >>> first, again = generator(1, "augment", 3, 7), generator(1, "augment", 3, 7)
        >>> bool(first.random() == again.random())
        True
    """
    import numpy as np  # late, because the command line imports this module

    # SeedSequence treats [1] and [1, 0] alike, so the number of counters is part of the key.
    key = [seed, zlib.crc32(name.encode()), len(counters), *counters]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def set_allocator(*, trim: int, mapped: int, arenas: int = 0) -> None:
    """Tell glibc's allocator how it returns memory to the system; on other systems nothing happens.

    Args:
        trim: Free bytes at the end of the heap from which they are returned.
        mapped: Size of a block in bytes from which it has pages of its own, which are returned as soon as it is free.
        arenas: Most heaps, which threads share; 0 leaves eight for each processor.

    Example:
        >>> set_allocator(trim=2**17, mapped=2**17)
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-1, trim)  # M_TRIM_THRESHOLD
        mallopt(-3, mapped)  # M_MMAP_THRESHOLD
        if arenas:
            mallopt(-8, arenas)  # M_ARENA_MAX


def is_main_process() -> bool:
    """Return whether this process prints and writes: rank 0, or the only one, by the launcher's variables."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


FILES_OF_OWN, FILES_PER_WORKER = 48, 12
"""Open files of a process with its libraries, and of each worker: pipes and batches in shared memory."""


def check_open_files(workers: int) -> None:
    """Raise the process's limit on open files as far as workers need; without their pipes, processes hang."""
    import resource

    needed = FILES_OF_OWN + FILES_PER_WORKER * workers if workers else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < needed:
        expected = f"room for {needed} open files"
        fix = f"Run `ulimit -n {max(1024, needed)}` first, or pass 0 for workers."
        raise UserError(quantity(workers, "workers"), expected=expected, got=f"a limit of {hard}", fix=fix)
    if soft != unlimited and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == unlimited else min(hard, 2 * needed), hard))


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Turn PyTorch's error about a killed DataLoader worker, which can appear anywhere, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            "data loading",
            expected="workers that run to the end",
            got=str(error).strip().splitlines()[0].split(". ")[0].rstrip("."),
            fix="Run the same command again, which resumes; if memory was short, with fewer --workers.",
        ) from error


def on_main_process(work: Callable[[], Result]) -> Result:
    """Run `work` in the main process; return its result, or raise its error, in every process."""
    group = _process_group()
    if group is None:
        return work()
    _waiting_group(group)  # before the work, because every process takes part in making it
    if not is_main_process():
        result, failure = _broadcast(group, None, None)
        if failure is not None:
            raise failure
        received: Result = result
        return received
    _alone.append(work)
    try:
        done = work()
    except Exception as error:
        known = isinstance(error, (UserError, OSError, Interrupted, PartlyFailed))
        text = f"the main process failed: {type(error).__name__}: {error}"
        _broadcast(group, None, error if known else RuntimeError(text))
        raise
    finally:
        _alone.pop()
    _broadcast(group, done, None)
    return done


_alone: list[Any] = []  # work of the main process that the others wait for


def _broadcast(group: Any, result: Any, failure: Exception | None) -> list[Any]:  # noqa: ANN401 - torch.distributed
    """Send the main process's result and failure to all; return what was sent."""
    outcome = [result, failure]
    with explain_lost_process():
        group.broadcast_object_list(outcome, src=0, group=_waiting_group(group))
    return outcome


_waiting: list[Any] = []  # the connected processes, and their group for waiting


def _waiting_group(distributed: Any) -> Any:  # noqa: ANN401 - torch.distributed
    """Return the group of all processes whose exchanges wait for the main one's work."""
    if not _waiting or _waiting[0] is not distributed.group.WORLD:
        _waiting[:] = [distributed.group.WORLD, distributed.new_group(backend="gloo", timeout=PATIENCE)]
        atexit.register(_leave, distributed)
    return _waiting[1]


def _leave(distributed: Any) -> None:  # noqa: ANN401 - torch.distributed
    """Close the group for waiting: its threads abort a process that ends while they run."""
    if _waiting and distributed.is_initialized() and _waiting[0] is distributed.group.WORLD:
        distributed.destroy_process_group(_waiting[1])
    _waiting.clear()


def _process_group() -> Any:  # noqa: ANN401 - torch.distributed, which is imported late
    """Return torch.distributed if this is one of several connected processes, else None.

    The processes that a training starts run the whole program from its beginning. Earlier stages were finished before
    they were started, so they need no exchange.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _alone:
        return None
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            return None
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if not _join_restarted(distributed, backend):
            distributed.init_process_group(backend, timeout=ANSWER)
    return distributed


RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""Variable in which torchrun tells the processes how often it has started them again."""


def is_restarted() -> bool:
    """Return whether torchrun has started this process again, after one of a run had ended."""
    return os.environ.get(RESTARTS, "0") != "0"


def _join_restarted(distributed: Any, backend: str) -> bool:  # noqa: ANN401 - torch.distributed
    """Connect processes that torchrun has started again, by names of their own; return whether they are such.

    torchrun keeps its store, in which they would find the addresses of the processes that have ended.
    """
    if not is_restarted():
        return False
    store, rank, world = next(distributed.rendezvous("env://", timeout=ANSWER))
    own = distributed.PrefixStore(f"restart {os.environ[RESTARTS]}", store)
    distributed.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=ANSWER)
    return True


def connect_restarted() -> None:
    """Connect processes that torchrun has started again, before a library does it in its own way."""
    if is_restarted():
        _process_group()


def run_in_processes(run: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate a stage: run it in all processes if its settings have several devices, else in the main one."""

    @functools.wraps(run)
    def shared(*args: Given.args, **options: Given.kwargs) -> Result:
        settings = [*args, *options.values()][0]
        if getattr(getattr(settings, "engine", None), "devices", 1) > 1:
            return run(*args, **options)
        return on_main_process(lambda: run(*args, **options))

    return shared


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn the error of an exchange with a process that ended into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not re.search("gloo|nccl|peer|connection", str(error), re.I):
            raise
        late = re.search("timed out|timeout", str(error), re.I)
        how = f"one that did not answer for {ANSWER}" if late else "one that ended"
        lost = UserError(
            "several processes",
            expected="all of them to run to the end",
            got=f"{how} ({str(error).splitlines()[0][:100]})",
            fix="See its own message, if any. Run the same command again, which resumes from the newest checkpoint.",
        )
        if not is_main_process():
            print(f"error: {lost}", file=sys.stderr, flush=True)  # noqa: T201 - the main process may be the one that ended
        raise lost from error


class Interrupted(Exception):  # noqa: N818 - not an error: the work is saved
    """The run was asked to stop; its state is saved, and the same command resumes it.

    Args:
        saved: What was saved and where, in one line.
    """


class PartlyFailed(Exception):  # noqa: N818 - not an error: the rest of the work is finished
    """The work is finished, except for items that failed repeatedly.

    Args:
        made: Path of the result.
        items: The failed items, in one line.
    """

    def __init__(self, made: Path, items: str) -> None:
        self.made, self.items = made, items
        super().__init__(made, items)


EXIT_PARTLY_FAILED = 3
SAME_PRESS = 1.0  # seconds; launchers repeat a Ctrl-C that the terminal has sent to all processes already
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: try again; schedulers restart a job that ends with it


class Terminated(KeyboardInterrupt):
    """SIGTERM outside of any `StopRequest`: the work ends as after Ctrl-C, and finished parts are kept."""


@contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` at the first SIGTERM within a block, unless the caller has a handler of its own.

    The system would end the process without a word, and without closing what is open.
    """
    owner = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        mine = os.getpid() == owner
        signal.signal(number, signal.SIG_IGN if mine else signal.SIG_DFL)  # launchers repeat it
        if mine:
            raise Terminated
        os.kill(os.getpid(), number)  # a forked worker

    # Of several processes the main one alone: it watches how the others end.
    here = threading.current_thread() is threading.main_thread() and is_main_process()
    ours = here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StopRequest:
    """Turns SIGTERM and the first Ctrl-C into a flag that work checks where it can stop safely.

    A second Ctrl-C stops at once. Requests nest: an outer stage and the stages it runs share one stop flag.
    """

    def __init__(self) -> None:
        self.wanted, self._noted = False, 0.0
        self._before: dict[int, Any] = {}
        self._outer: StopRequest | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
            owner = getattr(self._before[signal.SIGTERM], "__self__", None)
            self._outer = owner if isinstance(owner, StopRequest) else None
            self.wanted = self._outer is not None and self._outer.wanted
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._outer is not None:
            self._outer.wanted |= self.wanted  # a stop in an inner stage also stops the outer one

    def end_if_wanted(self, saved: str) -> None:
        """Raise `Interrupted` if the main process was asked to stop; `saved` says in one line what was saved."""
        if on_main_process(lambda: self.wanted):
            raise Interrupted(saved)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        again = self.wanted and time.monotonic() - self._noted > SAME_PRESS
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.wanted:
            self.wanted, self._noted = True, time.monotonic()
