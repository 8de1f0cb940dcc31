"""Several processes act together: on requests to stop, on errors of one of them, on parameters without a gradient."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from test_two_processes import _join
from torch import nn
from toy_training import ToyTask, make, run, settings

from rewho.core import runtime
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted, on_main_process, run_in_processes
from rewho.settings import DataSettings, OptimizerSettings, TrainSettings
from rewho.training import loop
from rewho.training.checkpoint import load_checkpoint
from rewho.training.loop import train
from two_ranks import free_port, run_ranks, start_method


class WithUnused(ToyTask):
    """A task with weights that its loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _work_on_main(rank: int) -> dict[str, object]:
    """Return what each rank gets of work that only the main one does."""
    found: dict[str, object] = {}
    found["who worked"] = on_main_process(lambda: rank)
    found["stage"] = run_in_processes(lambda given: (rank, given.seed))(TrainSettings(seed=3))
    found["nested"] = on_main_process(lambda: on_main_process(os.getpid))
    for name, error in (("refused", UserError("a", expected="b", got="c", fix="d")), ("failed", KeyError("k"))):
        try:
            on_main_process(lambda error=error: (_ for _ in ()).throw(error))
        except Exception as raised:  # noqa: BLE001 - that both have one is what is tested
            found[name] = f"{type(raised).__name__}: {raised}"
    return found


def _agree(rank: int, port: int, folder: str) -> None:
    """Run every case in both ranks, one after the other; a rank that waits for the other in vain is a deadlock."""
    engine = _join(rank, port)

    def outcome(name: str, evaluate=None, at: int | None = None, who: int = 0, task=None, **changes) -> object:
        """Train; `who` is asked to stop after the exchange of step `at`, when the other has not heard of it."""
        calls = []

        def due(self) -> bool:
            calls.append(1)
            if len(calls) == at and rank == who:
                ask()
            return False

        loop._Run._checkpoint_due, kept = due, loop._Run._checkpoint_due
        try:
            start = settings(Path(folder, name), data=DataSettings(workers=0), epochs=2, **changes)
            training = make(start, engine, evaluate=evaluate, task=task)
            return train(training, engine).step
        except (Interrupted, UserError) as ended:
            return str(ended)
        finally:
            loop._Run._checkpoint_due = kept
            engine.fabric.barrier()

    def asked_within(stop) -> dict:
        time.sleep(0.3)  # the other rank waits meanwhile
        return {"mAP": 1.0}

    def unreadable(stop) -> dict:
        raise UserError("7.jpg", expected="an image", got="a broken file", fix="Remove it.")

    found = {
        "main asked late": outcome("first", at=3),
        "other asked late": outcome("second", at=3, who=1),
        "evaluation fails": outcome("third", unreadable, evaluate_every=1),
    }
    wanted = []

    class Seen(runtime.StopRequest):
        def __exit__(self, *error) -> None:
            wanted.append(self.wanted)
            super().__exit__(*error)

    loop.StopRequest, kept = Seen, runtime.StopRequest
    # One that is asked behind the last exchange finishes, and the request is still its own.
    found["at the end"] = outcome("fourth", asked_within, at=20, who=1, evaluate_every=2)
    found["request"] = wanted
    loop.StopRequest = kept
    torch.manual_seed(7)
    task = WithUnused()
    before = [parameter.detach().clone() for parameter in task.unused.parameters()]
    decays = OptimizerSettings(learning_rate=0.05, weight_decay=0.1)
    found["unused"] = outcome("fifth", task=task, optimizer=decays)
    assert all(torch.equal(*pair) for pair in zip(before, task.unused.parameters(), strict=True))
    plain = ToyTask()
    outcome("sixth", task=plain, optimizer=decays)
    found["weights"] = float(sum(parameter.detach().double().sum() for parameter in task.backbone.parameters()))
    torch.save(found | _work_on_main(rank), Path(folder, f"{rank}.pt"))


def test_both_act_on_what_they_exchanged_and_share_every_outcome(tmp_path):
    run_ranks(_agree, str(tmp_path))
    main, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for found in (main, other):
        assert found["main asked late"].startswith("step 4 of 20")
        assert found["other asked late"].startswith("step 4 of 20")
        assert found["evaluation fails"].startswith("7.jpg: expected an image")
        assert found["at the end"] == found["unused"] == 20
        assert (found["who worked"], found["stage"]) == (0, (0, 3))
        assert found["refused"].startswith("UserError: a: expected b, got c")
    assert (main["request"], other["request"]) == ([False], [True])
    assert main["nested"] == other["nested"] and main["weights"] == other["weights"]
    assert main["failed"] == "KeyError: 'k'" and "the main process failed: KeyError" in other["failed"]


def _lose(rank: int, port: int, folder: str, who: int) -> None:
    engine = _join(rank, port)

    def spoil(number, batch):
        if number == 4 and rank == who:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    start = settings(Path(folder), data=DataSettings(workers=0), epochs=1, evaluate_every=-1)
    try:
        train(make(start, engine, spoil=spoil), engine)
    except UserError as error:
        Path(folder, "said.txt").write_text(str(error))
        sys.exit(2)


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_one_that_is_killed_ends_the_other_at_once_and_the_run_resumes(tmp_path, killed):
    context, port = multiprocessing.get_context(start_method()), free_port()
    ranks = [context.Process(target=_lose, args=(rank, port, str(tmp_path), killed)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    ranks[killed].join()
    lost = time.monotonic()
    ranks[1 - killed].join(timeout=30)
    assert time.monotonic() - lost < 30 and ranks[killed].exitcode == -signal.SIGKILL
    assert ranks[1 - killed].exitcode == 2
    said = (tmp_path / "said.txt").read_text()
    assert said.startswith("several processes: expected all of them to run to the end, got one that ended (")
    assert "Run the same command again" in said
    assert load_checkpoint(tmp_path / "checkpoints")[0] == 4
    assert run(settings(tmp_path, data=DataSettings(workers=0), epochs=1, evaluate_every=-1)).step == 10
