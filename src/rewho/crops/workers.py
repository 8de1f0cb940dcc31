"""Processes that work through tasks and may die: a task that ends its process twice is given up, and the rest goes on.

What is unusual: each worker has a pipe of its own, so that the death of one is the end of its pipe and nobody else's
business; a pool of `concurrent.futures` breaks as a whole. Workers end with their parent, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from rewho.core.check import UserError
from rewho.core.runtime import check_open_files

Task = TypeVar("Task")
Result = TypeVar("Result")
LOOK = 0.2  # seconds between two looks at whether to stop


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What became of a task.

    Args:
        task: The task.
        result: What the function returned; None where the task was given up.
        lost: Why it was given up; empty where it was not.
    """

    task: Task
    result: Result | None
    lost: str = ""


class _Worker:
    """A process, its pipe, and the task that it has."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # forking would copy the locks of threads that are not there
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function))
        self.process.start()
        theirs.close()
        self.task: Any = None
        self.failed = 0
        self.complaint = ""

    def give(self, task: Any, failed: int) -> None:  # noqa: ANN401 - whatever the function takes
        """Send a task, which has failed so often before."""
        self.task, self.failed = task, failed
        try:
            self.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self.complaint = "the process had ended"  # the end of the pipe is noticed where results are awaited

    def end(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def run_tasks(
    tasks: Iterable[Task],
    function: Callable[[Task], Result],
    workers: int,
    *,
    tries: int = 2,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Outcome[Task, Result]]:
    """Yield the outcome of every task, as they are done.

    Tasks are taken from `tasks` one by one as workers become free.

    Args:
        tasks: What to do.
        function: Does one task; a function or object that can be sent to another process.
        workers: Processes; 0 works in this one.
        tries: How often a task may end its process before it is given up.
        stop: Asked now and then; once true, all workers are ended and nothing more is yielded.

    Raises:
        UserError: The function raised it: a full disk, a wrong setting. All workers are ended first. Or the system
            allows too few open files.
    """
    if workers == 0:
        for task in tasks:
            if stop():
                return
            yield Outcome(task, function(task))
        return
    check_open_files(workers)
    team = _Team(iter(tasks), function, workers, tries)
    try:
        while not stop() and team.hire():
            yield from team.outcomes()
    finally:
        team.end()


class _Team(Generic[Task, Result]):
    """The workers, the tasks that wait, and how often each task has ended a process."""

    def __init__(self, waiting: Iterator[Task], function: Callable[[Task], Result], workers: int, tries: int) -> None:
        self._waiting, self._function, self._most, self._tries = waiting, function, workers, tries
        self._again: deque[tuple[Task, int]] = deque()
        self._members: list[_Worker] = []

    def hire(self) -> bool:
        """Start workers while there is room and work for them; return whether anybody works."""
        while len(self._members) < self._most and (found := self._next()):
            self._members.append(_Worker(self._function))
            self._members[-1].give(*found)
        return bool(self._members)

    def _next(self) -> tuple[Task, int] | None:
        """Return the next task and how often it has failed."""
        return self._again.popleft() if self._again else next(((task, 0) for task in self._waiting), None)

    def outcomes(self) -> Iterator[Outcome[Task, Result]]:
        """Wait a moment and yield what came of it."""
        ready = wait([worker.pipe for worker in self._members], LOOK)
        for worker in [one for one in self._members if one.pipe in ready]:
            answer = _receive(worker)
            if answer is None:
                continue
            kind, value = answer
            task = worker.task
            if kind == "done":
                found = self._next()
                worker.give(*found) if found else self._dismiss(worker)
                yield Outcome(task, value)
                continue
            self._dismiss(worker)
            if worker.failed + 1 < self._tries:
                self._again.append((task, worker.failed + 1))
            else:
                yield Outcome(task, None, f"{value} ({self._tries} tries)")

    def _dismiss(self, worker: _Worker) -> None:
        self._members.remove(worker)
        worker.end()

    def end(self) -> None:
        for worker in self._members:
            worker.end()


def _receive(worker: _Worker) -> tuple[str, Any] | None:
    """Return ("done", result) or ("died", why), or None after a complaint that comes before a death.

    Raises:
        UserError: The worker's function raised it.
    """
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(5)
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return "died", worker.complaint or f"the process was ended by {how}"
    if kind == "mistake":
        raise UserError(value[0], expected=value[1], got=value[2], fix=value[3])
    if kind == "complaint":
        worker.complaint = str(value)
        return None
    return kind, value


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Work on what comes through the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everybody; the parent says what happens
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            result = function(task)
        except UserError as error:
            pipe.send(("mistake", (error.what, error.expected, error.got, error.fix)))
            return
        except Exception as error:
            pipe.send(("complaint", f"{type(error).__name__}: {error}"))
            raise
        pipe.send(("done", result))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(0.05)
    os._exit(1)
