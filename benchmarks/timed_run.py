"""Times the steps of a command while it really runs, and bare steps beside it in turns; for the other scripts here.

Only the iterable of the command's batches is wrapped, to read the clocks between two steps. On a CPU they are read at
each step, and the process's own CPU time stands beside wall time, because it says the same on a busy machine. A GPU is
waited for where a measurement begins and ends, never between its steps, so that work goes on queueing up as it does
without a clock.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

Times = dict[str, float]
"""Milliseconds per step: by the clock on the wall, and of this process's CPU time."""


@dataclass(frozen=True)
class Plan:
    """How a measurement goes.

    Args:
        device: Where it is computed.
        rounds: How often everything is measured, in turns.
        warm: Steps of a command that come before those that are timed, in every round.
        steps: Steps that are timed, in every round.
    """

    device: torch.device
    rounds: int
    warm: int
    steps: int

    def between_clocks(self) -> int:
        """Return the steps from one look at the clocks to the next."""
        return self.steps if self.device.type == "cuda" else 1

    def batches(self) -> int:
        """Return the batches that a command takes; the last one's step, which saves a checkpoint too, is left out."""
        return self.warm + self.steps + 1


class Clocks:
    """Wall time and this process's CPU time since it was made, or since the last look."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began = self._read()

    def _read(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return 1000 * time.perf_counter(), 1000 * time.process_time()

    def per(self, steps: int) -> Times:
        """Return the milliseconds per step, and begin anew."""
        now = self._read()
        wall, cpu = ((after - before) / steps for after, before in zip(now, self.began, strict=True))
        self.began = now
        return {"wall": wall, "cpu": cpu}


class TimedBatches:
    """The batches of a command; what passes from one request for a batch to the next is a step."""

    def __init__(self, batches: Iterable[Any], plan: Plan) -> None:
        self.batches, self.plan = batches, plan
        self.found: list[Times] = []

    def __iter__(self) -> Iterator[Any]:
        every, clocks, waited = self.plan.between_clocks(), Clocks(self.plan.device), 0.0
        given, self.batches = iter(self.batches), ()  # held by nobody else, so that its workers end with it
        for number in range(self.plan.batches()):
            timed = number - self.plan.warm
            if timed > 0 and timed % every == 0:
                self.found.append({**clocks.per(every), "waited": waited / every})
            if timed >= 0 and timed % every == 0:
                clocks, waited = Clocks(self.plan.device), 0.0
            asked = time.perf_counter()
            batch = next(given)
            waited += 1000 * (time.perf_counter() - asked)
            yield batch


def time_command(run: Callable[[Any], Path], settings: Any, loader: ModuleType, plan: Plan) -> list[Times]:  # noqa: ANN401
    """Run a stage in a folder that is thrown away.

    Args:
        run: The stage.
        settings: Its settings, with as many steps as the plan says.
        loader: The module that calls `load_batches`.
        plan: How it is timed.

    Returns:
        The times of the steps, of them those `waited` for batches, and the CPU time of the `workers` per batch.
    """
    load, seen = loader.load_batches, []

    def timed(*given: Any, **named: Any) -> TimedBatches:  # noqa: ANN401 - whatever the stage passes
        seen.append(TimedBatches(load(*given, **named), plan))
        return seen[-1]

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder, patch.object(loader, "load_batches", timed):
        run(replace(settings, out=Path(folder, "run")))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [{**times, "workers": 1000 * spent / plan.batches()} for times in seen[0].found]


def time_steps(step: Callable[[], object], plan: Plan) -> list[Times]:
    """Take the plan's steps; return their times."""
    every, clocks, found = plan.between_clocks(), Clocks(plan.device), []
    for _ in range(plan.steps // every):
        for _ in range(every):
            step()
        found.append(clocks.per(every))
    return found


def in_turns(
    command: Callable[[], list[Times]], steps: dict[str, Callable[[], object]], plan: Plan
) -> dict[str, Times]:
    """Time a command and bare steps in turns; return the medians, those of the command under the name `command`."""
    for step in steps.values():
        step()  # fills caches, compiles, lets cuDNN choose
        step()
    found: dict[str, list[Times]] = {name: [] for name in ("command", *steps)}
    for _ in range(plan.rounds):
        found["command"] += command()
        for name, step in steps.items():
            found[name] += time_steps(step, plan)
    return {
        name: {clock: statistics.median(one[clock] for one in times) for clock in times[0]}
        for name, times in found.items()
    }
