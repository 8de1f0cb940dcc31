"""Ray in place of a pool of processes: the same tasks and the same outcomes, on many machines and their GPUs.

What is unusual: Ray only decides where workers run. Each worker is an actor, so that models are loaded once and a GPU,
or a share of one, is its own as long as it lives; which task comes next, and what becomes of one that ended its worker,
is decided here as for processes. Tasks write their own results into a folder that all machines see, so a cluster has
nothing to bring together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic

from rewho.core.check import UserError
from rewho.crops.workers import LOOK, Outcome, Result, Task


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
    """Yield the outcome of every task, as they are done.

    Args:
        tasks: See `rewho.crops.workers.work_through`.
        function: See there; sent to every worker.
        workers: Workers, and tasks at a time; 0 takes as many as the cluster has room for.
        address: Address of the cluster; empty starts one on this machine, unless one was started already.
        gpus: What each worker has of GPUs: 0, a share of one such as 0.25, or a whole number.
        tries: See there.
        stop: See there.

    Raises:
        UserError: Ray is not installed, the cluster has no such worker to offer, or the function raised it.
    """
    try:
        import ray
    except ImportError as error:
        fix = "pip install rewho[scale], or --engine processes."
        raise UserError(
            "--engine ray", expected="the library ray", got="an installation without it", fix=fix
        ) from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address or None, log_to_driver=False)
    team = None
    try:
        room = count_workers(ray.nodes(), gpus)
        if not room:
            wanted = f"a machine with a processor and {gpus:g} GPUs" if gpus else "a machine with a processor"
            raise UserError("the Ray cluster", expected=wanted, got="none", fix="Pass --gpus 0, or add machines.")
        team = _Team(ray, iter(tasks), function, min(workers or room, room), gpus, tries)
        while not stop() and team.hire():
            yield from team.outcomes()
    finally:
        if team is not None:
            team.end()
        if ours:
            ray.shutdown()


def count_workers(nodes: Sequence[Mapping[str, Any]], gpus: float) -> int:
    """Return how many workers of one processor and so many GPUs fit on the machines of a cluster.

    Args:
        nodes: As `ray.nodes()` gives them.
        gpus: What each worker has.

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
    """What lives in an actor: the function with its models.

    Args:
        function: Does one task.
    """

    def __init__(self, function: Callable[[Task], Result]) -> None:
        self._function = function

    def act(self, task: Task) -> tuple[str, Any]:
        """Return ("done", result), or a user's mistake as plain values, which survive the journey."""
        try:
            return "done", self._function(task)
        except UserError as error:
            return "mistake", (error.what, error.expected, error.got, error.fix)


class _Team(Generic[Task, Result]):
    """The actors, the tasks that wait, and how often each task has ended an actor."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a library that need not be installed
        waiting: Iterator[Task],
        function: Callable[[Task], Result],
        most: int,
        gpus: float,
        tries: int,
    ) -> None:
        self._ray, self._waiting, self._most, self._tries = ray, waiting, most, tries
        self._actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Worker)
        self._function = ray.put(function)
        self._again: deque[tuple[Task, int]] = deque()
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Task, int]] = {}

    def hire(self) -> bool:
        """Give tasks to actors while there is room and work; return whether anybody works."""
        while len(self._busy) < self._most and (found := self._next()):
            actor = self._idle.pop() if self._idle else self._actor.remote(self._function)
            self._busy[actor.act.remote(found[0])] = (actor, *found)
        return bool(self._busy)

    def _next(self) -> tuple[Task, int] | None:
        """Return the next task and how often it has failed."""
        return self._again.popleft() if self._again else next(((task, 0) for task in self._waiting), None)

    def outcomes(self) -> Iterator[Outcome[Task, Result]]:
        """Wait a moment and yield what came of it."""
        ready, _ = self._ray.wait(list(self._busy), timeout=LOOK)
        for reference in ready:
            actor, task, failed = self._busy.pop(reference)
            try:
                kind, value = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._ray.kill(actor)  # whether it has died or not: what it knows is not trusted
                if failed + 1 < self._tries:
                    self._again.append((task, failed + 1))
                else:
                    yield Outcome(task, None, f"{str(error).strip().splitlines()[-1]} ({self._tries} tries)")
                continue
            self._idle.append(actor)
            if kind == "mistake":
                raise UserError(value[0], expected=value[1], got=value[2], fix=value[3])
            yield Outcome(task, value)

    def end(self) -> None:
        """End all actors."""
        for actor in [*self._idle, *(actor for actor, _, _ in self._busy.values())]:
            self._ray.kill(actor)
