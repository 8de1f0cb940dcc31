"""Worker processes that run tasks and may die: a task that ends its process twice is given up, the others continue.

Each worker has a pipe of its own, so that its death ends only that pipe; a pool of `concurrent.futures` would break
as a whole. Workers end with their parent process, however that ends.
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
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from rewho.core.check import UserError
from rewho.core.runtime import check_open_files

Task = TypeVar("Task")
Result = TypeVar("Result")
POLL = 0.2  # seconds between two checks for a request to stop


Count = Callable[[int], None]
"""Called with how many more of what a task counts are done."""
_listeners: list[Count] = []  # of the task that runs in this process


def report(more: int) -> None:
    """Say how many more of what a task counts are done, to who runs it with `run_tasks`; nobody hears it elsewhere."""
    for listener in _listeners:
        listener(more)


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """The outcome of a task: its result, or the reason why it was given up."""

    task: Task
    result: Result | None  # None where the task was given up
    lost: str = ""  # the reason; empty where the task was not given up


class TaskQueue(Generic[Task, Result]):
    """The tasks that wait, first those that have to be repeated.

    Args:
        tasks: All tasks; one is taken when a worker is free.
        tries: How often a task may end its worker before it is given up.
    """

    def __init__(self, tasks: Iterable[Task], tries: int) -> None:
        self._tasks, self._tries = iter(tasks), tries
        self._failed: deque[tuple[Task, int]] = deque()

    def next(self) -> tuple[Task, int] | None:
        """Return the next task and how often it has failed, or None if none is left."""
        return self._failed.popleft() if self._failed else next(((task, 0) for task in self._tasks), None)

    def fail(self, task: Task, failed: int, why: str) -> Iterator[Outcome[Task, Result]]:
        """Queue a task again that ended its worker after `failed` earlier failures, or yield that it is given up."""
        if failed + 1 < self._tries:
            self._failed.append((task, failed + 1))
        else:
            yield Outcome(task, None, f"{why} ({self._tries} tries)")


class _Worker:
    """A process, its pipe and its current task."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # forking would copy locks held by other threads
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function))
        resource_tracker.ensure_running()  # starting it would unblock the signal
        # A new process inherits it: Ctrl-C reaches every process, and would end one that still imports modules.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.task: Any = None
        self.failed = 0
        self.error = ""

    def send(self, task: Any, failed: int) -> None:  # noqa: ANN401 - any argument of the function
        """Send a task that has failed `failed` times."""
        self.task, self.failed = task, failed
        try:
            self.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self.error = "the process had ended"  # `_receive` reports it

    def stop(self) -> None:
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
    progress: Count = lambda more: None,
) -> Generator[Outcome[Task, Result]]:
    """Run a function on every task in worker processes and yield the outcomes as they are ready.

    Args:
        tasks: The tasks; one is taken when a worker is free.
        function: Runs one task; must be picklable.
        workers: Number of processes; 0 runs the tasks in this one.
        tries: How often a task may end its process before it is given up.
        stop: Called repeatedly; once it returns true, all workers are ended and no more outcomes are yielded.
        progress: Called with what the tasks `report`.
    """
    if workers == 0:
        _listeners.append(progress)
        try:
            for task in tasks:
                if stop():
                    return
                yield Outcome(task, function(task))
        finally:
            _listeners.remove(progress)
        return
    check_open_files(workers)
    team: _Team[Task, Result] = _Team(TaskQueue(tasks, tries), function, workers, progress)
    try:
        while not stop() and team.assign():
            yield from team.outcomes()
    finally:
        team.stop()


class _Team(Generic[Task, Result]):
    """The workers and the queue of tasks."""

    def __init__(
        self, queue: TaskQueue[Task, Result], function: Callable[[Task], Result], workers: int, progress: Count
    ) -> None:
        self._queue, self._function, self._most, self._progress = queue, function, workers, progress
        self._workers: list[_Worker] = []

    def assign(self) -> bool:
        """Start workers while there are tasks for them; return whether any is running."""
        while len(self._workers) < self._most and (found := self._queue.next()):
            self._workers.append(_Worker(self._function))
            self._workers[-1].send(*found)
        return bool(self._workers)

    def outcomes(self) -> Iterator[Outcome[Task, Result]]:
        """Wait up to `POLL` seconds and yield the outcomes that are ready."""
        ready = wait([worker.pipe for worker in self._workers], POLL)
        for worker in [one for one in self._workers if one.pipe in ready]:
            answer = _receive(worker)
            if answer is None:
                continue
            kind, value = answer
            task = worker.task
            if kind == "progress":
                self._progress(value)
            elif kind == "done":
                found = self._queue.next()
                worker.send(*found) if found else self._remove(worker)
                yield Outcome(task, value)
            else:
                self._remove(worker)
                yield from self._queue.fail(task, worker.failed, value)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.stop()

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def _receive(worker: _Worker) -> tuple[str, Any] | None:
    """Return ("done", result) or ("died", why); None after the message of an exception, which precedes the death."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(5)
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return "died", worker.error or f"the process was ended by {how}"
    if kind == "user error":
        raise UserError(value[0], expected=value[1], got=value[2], fix=value[3])
    if kind == "exception":
        worker.error = str(value)
        return None
    return kind, value


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Run tasks from the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent alone reacts
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _listeners.append(lambda more: pipe.send(("progress", more)))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            result = function(task)
        except UserError as error:
            pipe.send(("user error", (error.what, error.expected, error.got, error.fix)))
            return
        except Exception as error:
            pipe.send(("exception", f"{type(error).__name__}: {error}"))
            raise
        pipe.send(("done", result))


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(0.05)
    os._exit(1)
