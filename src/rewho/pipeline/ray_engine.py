"""Ray in place of a pool of processes: the same tasks and the same outcomes, on many machines.

What is unusual: there is nothing else in it. Tasks are idempotent and write their own results into a folder that all
machines see, so a cluster has nothing to bring together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any

from rewho.core.check import UserError
from rewho.pipeline.workers import LOOK, Outcome, Result, Task


def work_through_ray(
    tasks: Iterable[Task],
    function: Callable[[Task], Result],
    workers: int,
    address: str = "",
    *,
    tries: int = 2,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Outcome[Task, Result]]:
    """Yield the outcome of every task, as they are done.

    Args:
        tasks: See `rewho.pipeline.workers.work_through`.
        function: See there; sent to every machine.
        workers: Tasks at a time; 0 takes one per processor of the cluster.
        address: Address of the cluster; empty starts one on this machine.
        tries: See there.
        stop: See there.

    Raises:
        UserError: Ray is not installed, or the function raised it.
    """
    try:
        import ray
    except ImportError as error:
        fix = "pip install rewho[scale], or --engine processes."
        raise UserError(
            "--engine ray", expected="the library ray", got="an installation without it", fix=fix
        ) from error
    ray.init(address=address or None, ignore_reinit_error=True, log_to_driver=False)
    # One call per worker process: memory that a decoder or a model has not given back goes with it.
    remote = ray.remote(max_retries=tries - 1, num_cpus=1)(_guarded)
    shared = ray.put(function)
    waiting, running = iter(tasks), dict[Any, Task]()
    most = workers or int(ray.cluster_resources().get("CPU", 1))
    try:
        while not stop():
            running |= {remote.remote(shared, task): task for task in islice(waiting, most - len(running))}
            if not running:
                return
            ready, _ = ray.wait(list(running), timeout=LOOK)
            for reference in ready:
                yield _outcome(ray, reference, running.pop(reference), tries)
    finally:
        ray.shutdown()


def _guarded(function: Callable[[Task], Result], task: Task) -> tuple[str, Any]:
    """Return ("done", result), or a user's mistake as plain values, which survive the journey."""
    try:
        return "done", function(task)
    except UserError as error:
        return "mistake", (error.what, error.expected, error.got, error.fix)


def _outcome(ray: Any, reference: Any, task: Task, tries: int) -> Outcome[Task, Any]:  # noqa: ANN401 - ray's
    try:
        kind, value = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Outcome(task, None, f"{str(error).strip().splitlines()[-1]} ({tries} tries)")
    if kind == "mistake":
        raise UserError(value[0], expected=value[1], got=value[2], fix=value[3])
    return Outcome(task, value)
