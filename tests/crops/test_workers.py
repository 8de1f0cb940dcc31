"""Worker processes: every task has one outcome, and the death of one process is nobody else's business."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewho.core.check import UserError
from rewho.crops.workers import Outcome, report, run_tasks


def act(task: str) -> str:
    """Do what a task says."""
    kind, _, argument = task.partition(":")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leave":
        os._exit(7)
    if kind == "raise":
        raise RuntimeError(argument)
    if kind == "mistake":
        raise UserError("disk", expected="room", got="none", fix="Make some.")
    if kind == "once" and not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "count":
        for _ in range(int(argument)):
            report(2)
    if kind == "sleep":
        time.sleep(float(argument))
    return f"{kind} done"


def test_every_task_has_one_outcome_and_the_dead_take_nobody_along(tmp_path):
    tasks = ["die", *(f"work:{number}" for number in range(8)), "leave", "raise:made so", f"once:{tmp_path}/mark"]
    outcomes = {outcome.task: outcome for outcome in run_tasks(tasks, act, 2)}
    assert set(outcomes) == set(tasks)
    assert outcomes["die"].lost == "the process was ended by signal 9 (2 tries)"
    assert outcomes["leave"].lost == "the process was ended by exit code 7 (2 tries)"
    assert outcomes["raise:made so"].lost == "RuntimeError: made so (2 tries)"
    assert outcomes[f"once:{tmp_path}/mark"].result == "once done"
    assert all(outcomes[f"work:{number}"].result == "work done" for number in range(8))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_tasks_report_is_heard_while_they_run(workers):
    heard = []
    outcomes = list(run_tasks(["count:3", "count:4", "sleep:0"], act, workers, progress=heard.append))
    assert len(outcomes) == 3
    assert heard == [2] * 7
    report(1)  # nobody listens
    assert heard == [2] * 7


def test_a_users_mistake_ends_the_run_with_its_message():
    with pytest.raises(UserError, match=r"disk: expected room, got none.\n  Fix: Make some."):
        list(run_tasks(["mistake", "sleep:30"], act, 2))


def test_tasks_are_taken_as_they_are_worked_on_and_a_stop_is_heeded():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield f"sleep:0.0{len(taken) % 9}"

    found: list[Outcome[str, str]] = []
    began = time.monotonic()
    found.extend(run_tasks(endless(), act, 1, stop=lambda: len(found) >= 3 or time.monotonic() - began > 5))
    assert len(taken) <= len(found) + 2


def test_no_worker_works_in_this_process():
    assert [outcome.result for outcome in run_tasks(["a", "b"], act, 0)] == ["a done", "b done"]
    assert list(run_tasks([], act, 2)) == []


@pytest.mark.parametrize(("limit", "workers"), [("(24, 24)", 2), ("(24, 4096)", 2)])
def test_too_few_open_files_are_refused_or_raised_before_anything_hangs(limit, workers):
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, {limit})\n"
        "from rewho.core.runtime import check_open_files\n"
        "from rewho.core.check import UserError\n"
        f"try: check_open_files({workers})\n"
        "except UserError as error: print(error)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if limit == "(24, 24)":
        assert "2 workers: expected room for 72 open files, got a limit of 24" in done.stdout
        assert "ulimit -n 1024" in done.stdout
    else:
        assert int(done.stdout) >= 72


def test_a_run_with_workers_checks_open_files_first(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (24, 24))
    with pytest.raises(UserError, match="2 workers: expected room for 72 open files"):
        list(run_tasks(["work:1"], act, 2))
    assert [one.result for one in run_tasks(["work:1"], act, 0)] == ["work done"]


def inherited(_task: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_cannot_end_a_worker_that_still_imports_modules():
    assert [outcome.result for outcome in run_tasks([1], inherited, 1)] == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
