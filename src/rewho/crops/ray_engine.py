"""Runs tasks on a Ray cluster instead of local processes: same tasks, same outcomes, many machines and GPUs.

Ray only places the workers. Each worker is an actor: it loads its models once and keeps its GPU, or its share of one.
The queue of tasks is the one of local processes. Tasks write their results into a folder that all machines share, so
nothing has to be collected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic

from rewho.core.check import UserError, describe_error, install
from rewho.crops.workers import POLL, Outcome, Result, Task, TaskQueue

UV = ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
"""Under `uv run` Ray would otherwise pack the working folder, videos in it too, and send it to every worker."""


def run_tasks_on_ray(
    tasks: Iterable[Task],
    function: Callable[[Task], Result],
    workers: int,
    address: str = "",
    *,
    gpus: float = 0.0,
    tries: int = 2,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Outcome[Task, Result]]:
    """Run a function on every task in Ray workers and yield the outcomes as they are ready; see `workers.run_tasks`.

    With 0 workers it starts as many as the cluster has room for. An empty address uses a running cluster, or starts one
    on this machine. `gpus` is per worker: 0, a share such as 0.25, or a whole number.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, address)
    team: _Team[Task, Result] | None = None
    try:
        room = count_workers(ray.nodes(), gpus)
        if not room:
            expected = f"a machine with a processor and {gpus:g} GPUs" if gpus else "a machine with a processor"
            raise UserError("the Ray cluster", expected=expected, got="none", fix="Pass --gpus 0, or add machines.")
        team = _Team(ray, TaskQueue(tasks, tries), function, min(workers or room, room), gpus)
        while not stop() and team.assign():
            yield from team.outcomes()
    finally:
        if team is not None:
            team.stop()
        if started:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:  # noqa: ANN401 - the module
    try:
        ray.init(address=address or None, log_to_driver=False)
    except Exception as error:  # what Ray raises where it does not start has no class of its own
        expected = f"a cluster that answers at {address}" if address else "Ray to start on this machine"
        fix = "Check the address, and that Ray and Python there are of the versions here."
        if not address:
            fix = "Try again when the machine is less busy, or pass --engine processes."
        raise UserError("the Ray cluster", expected=expected, got=describe_error(error)[:200], fix=fix) from error


def _import_ray() -> Any:  # noqa: ANN401 - a module
    os.environ.setdefault(*UV)
    try:
        import ray
    except ImportError as error:
        got, fix = "an installation without it", f"{install('scale')}; or pass --engine processes."
        raise UserError("--engine ray", expected="the library ray", got=got, fix=fix) from error
    return ray


def count_workers(nodes: Sequence[Mapping[str, Any]], gpus: float) -> int:
    """Return how many workers with one processor and `gpus` GPUs fit on the machines of `ray.nodes()`.

    Example:
        >>> machine = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
        >>> count_workers([machine, machine], 0.25), count_workers([machine], 2), count_workers([machine], 0)
        (8, 0, 8)
    """
    room = 0
    for node in nodes:
        if node["Alive"]:
            there = node["Resources"]
            by_processor = int(there.get("CPU", 0))
            room += min(by_processor, int(there.get("GPU", 0) / gpus + 1e-6)) if gpus else by_processor
    return room


class Worker(Generic[Task, Result]):
    """The class of the actors: the function with its models."""

    def __init__(self, function: Callable[[Task], Result]) -> None:
        self._function = function

    def act(self, task: Task) -> tuple[str, Any]:
        """Return ("done", result), or a UserError as plain values: raised, it would arrive wrapped by Ray."""
        try:
            return "done", self._function(task)
        except UserError as error:
            return "user error", (error.what, error.expected, error.got, error.fix)


class _Team(Generic[Task, Result]):
    """The actors and the queue of tasks."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a module
        queue: TaskQueue[Task, Result],
        function: Callable[[Task], Result],
        workers: int,
        gpus: float,
    ) -> None:
        self._ray, self._queue, self._most = ray, queue, workers
        self._actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Worker)
        self._function = ray.put(function)
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Task, int]] = {}

    def assign(self) -> bool:
        """Give tasks to actors while there are both; return whether any actor is busy."""
        while len(self._busy) < self._most and (found := self._queue.next()):
            actor = self._idle.pop() if self._idle else self._actor.remote(self._function)
            self._busy[actor.act.remote(found[0])] = (actor, *found)
        return bool(self._busy)

    def outcomes(self) -> Iterator[Outcome[Task, Result]]:
        """Wait up to `POLL` seconds and yield the outcomes that are ready."""
        ready, _ = self._ray.wait(list(self._busy), timeout=POLL)
        for reference in ready:
            actor, task, failed = self._busy.pop(reference)
            try:
                kind, value = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._ray.kill(actor)  # even if it is alive: its state cannot be trusted after an exception
                yield from self._queue.fail(task, failed, str(error).strip().splitlines()[-1])
                continue
            self._idle.append(actor)
            if kind == "user error":
                raise UserError(value[0], expected=value[1], got=value[2], fix=value[3])
            yield Outcome(task, value)

    def stop(self) -> None:
        for actor in [*self._idle, *(actor for actor, _, _ in self._busy.values())]:
            self._ray.kill(actor)
