"""Named random generators and requests to stop: what makes two runs the same run, whole or cut.

Random numbers are drawn from counters, not from hidden state: a generator is made from (seed, name, counters), so
that the draw of batch 1,234 is the same whether the run started at batch 0 or was resumed at batch 1,233.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from rewho.core.check import UserError

if TYPE_CHECKING:
    import numpy as np


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
def explaining_dead_workers() -> Iterator[None]:
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
            "(pretrain: --pictures.workers).",
        ) from error


class Interrupted(Exception):  # noqa: N818 - not an error: the work was put away safely
    """The user or the machine asked to stop; the state is saved and the same command goes on from it.

    Args:
        saved: What was saved and where, in one line.
    """


class GivenUp(Exception):  # noqa: N818 - the work is finished, except for what could not be done
    """The work is finished and in its place, except for items that were given up after several tries.

    Args:
        made: What was made.
        items: What was given up, in one line.
    """

    def __init__(self, made: Path, items: str) -> None:
        self.made, self.items = made, items
        super().__init__(items)


EXIT_GIVEN_UP = 3
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
        """Stop here if somebody asked for it.

        Args:
            saved: What was saved and where, in one line.

        Raises:
            Interrupted: Somebody did.
        """
        if self.wanted:
            raise Interrupted(saved)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        again = self.wanted and time.monotonic() - self._noted > SAME_PRESS
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.wanted:
            self.wanted, self._noted = True, time.monotonic()
