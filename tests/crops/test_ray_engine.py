"""Workers under Ray: what is asked of the cluster, and the same outcomes as with processes.

What Ray is asked for is tested with a stand-in, so that it needs no Ray; the slow test schedules on the real one, which
pretends to have two GPUs.
"""

import os
import sys
import types
from pathlib import Path

import pytest

from rewho.core.check import UserError
from rewho.crops.ray_engine import run_tasks_on_ray
from rewho.settings import CropSettings, TermsSettings
from rewho.stages import crop


class Died(Exception):
    pass


class StandIn(types.ModuleType):
    """As much of Ray as is used: actors are objects, a reference is what the call gave."""

    def __init__(self, resources: dict[str, float]) -> None:
        super().__init__("ray")
        self.resources, self.options, self.made, self.killed, self.most = resources, {}, 0, 0, 0
        self.exceptions = types.SimpleNamespace(RayError=Died)
        self.started: bool | str | None = False

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str | None, log_to_driver: bool) -> None:
        self.started = address

    def shutdown(self) -> None:
        self.started = "ended"

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "Resources": self.resources}, {"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}]

    def put(self, value: object) -> object:
        return value

    def remote(self, **options: float) -> object:
        self.options = options

        def make(kind: type) -> object:
            def start(*arguments: object) -> object:
                self.made += 1
                actor = kind(*arguments)
                return types.SimpleNamespace(act=types.SimpleNamespace(remote=lambda task: (actor.act, task, object())))

            return types.SimpleNamespace(remote=start)

        return make

    def wait(self, references: list[object], timeout: float) -> tuple[list[object], list[object]]:
        self.most = max(self.most, len(references))
        return references[:1], references[1:]

    def get(self, reference: tuple) -> object:
        act, task, _ = reference
        try:
            return act(task)
        except ZeroDivisionError as error:
            raise Died(f"it was so\n{error}") from error

    def kill(self, actor: object) -> None:
        self.killed += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn({"CPU": 8.0, "GPU": 2.0})
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def halve(task: int) -> float:
    if task == 13:
        raise UserError("disk", expected="room", got="none", fix="Make some.")
    return task / (0 if task == 7 else 2)


@pytest.mark.parametrize(("workers", "gpus", "most"), [(0, 0.0, 8), (0, 0.5, 4), (3, 0.5, 3), (9, 1.0, 2), (0, 2.0, 1)])
def test_each_worker_has_its_share_and_there_are_as_many_as_fit(ray, workers, gpus, most):
    outcomes = list(run_tasks_on_ray(range(1, 7), halve, workers, "auto", gpus=gpus))
    assert sorted(outcome.result for outcome in outcomes) == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert ray.options == {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0}
    assert ray.made == ray.most == ray.killed == min(most, 6), "a worker is used again, and all end"
    assert ray.started == "ended"


def test_the_working_folder_is_sent_nowhere(ray, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "1")
    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV")
    assert len(list(run_tasks_on_ray([1], halve, 1))) == 1
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0", "Ray reads it when it is imported"


def test_a_task_that_ends_its_worker_is_tried_twice_and_the_rest_goes_on(ray):
    outcomes = {outcome.task: outcome for outcome in run_tasks_on_ray(range(5, 10), halve, 2)}
    assert outcomes[7].lost == "division by zero (2 tries)" and outcomes[7].result is None
    assert [outcomes[task].result for task in (5, 6, 8, 9)] == [2.5, 3.0, 4.0, 4.5]
    assert ray.made == ray.killed == 3, "two workers, and one for the first that was ended"


def test_mistakes_end_the_run(ray):
    with pytest.raises(UserError, match="disk: expected room"):
        list(run_tasks_on_ray([13, 1], halve, 1))
    assert ray.started == "ended"
    with pytest.raises(UserError, match="a processor and 3 GPUs, got none"):
        list(run_tasks_on_ray([1], halve, 1, gpus=3))
    terms = TermsSettings(*(["test"] * 7))
    with pytest.raises(UserError, match=r"--gpus.*--engine processes"):
        crop.check_crop(CropSettings(terms=terms, gpus=0.5))
    with pytest.raises(UserError, match="a share of one GPU"):
        crop.check_crop(CropSettings(terms=terms, gpus=1.5, engine="ray"))
    crop.check_crop(CropSettings(terms=terms, gpus=0.5, engine="ray"))


@pytest.mark.parametrize("address", ["", "ray://10.0.0.1:10001"])
def test_a_cluster_that_does_not_start_or_answer_is_told_in_words(ray, monkeypatch, address):
    def fail(address: str | None, log_to_driver: bool) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(UserError, match=r"the Ray cluster: .* timed out during startup") as error:
        list(run_tasks_on_ray([1], halve, 1, address))
    assert ("--engine processes" in error.value.fix) == (not address)


def where(task: str) -> tuple[str, int]:
    """Return which GPUs this process sees; or end it."""
    if task.startswith("die") and not Path(task[4:]).exists():
        Path(task[4:]).touch()
        os._exit(3)
    return os.environ.get("CUDA_VISIBLE_DEVICES", ""), os.getpid()


@pytest.mark.slow
def test_real_ray_gives_each_worker_gpus_of_its_own(tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is an extra (uv sync --extra scale)")
    ray.init(num_cpus=3, num_gpus=2, log_to_driver=False, include_dashboard=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    try:
        tasks = [f"work {number}" for number in range(8)]
        seen = [outcome.result for outcome in run_tasks_on_ray([*tasks, f"die {tmp_path}/mark"], where, 0, gpus=1)]
        assert all(seen) and {gpus for gpus, _ in seen} == {"0", "1"}
        workers = {process: gpus for gpus, process in seen}
        assert len(workers) in (2, 3), "each worker does many tasks; one has died"
        assert {gpus for gpus, _ in (one.result for one in run_tasks_on_ray(tasks, where, 2))} == {""}
        assert ray.is_initialized(), "a cluster that was there before is left alone"
        with pytest.raises(UserError, match="3 GPUs"):
            list(run_tasks_on_ray(tasks, where, 0, gpus=3))
    finally:
        ray.shutdown()
