"""Two processes: the same guarantees, and the same global batches as one process."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from toy_training import LABELS, STEPS, Prepare, make, settings

from checkpoints import same
from rewho.core import runtime
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted, on_main_process
from rewho.data.batches import PlanStream, load_batches
from rewho.settings import DataSettings, EngineSettings, SamplerSettings
from rewho.training.checkpoint import STATE, load_checkpoint
from rewho.training.engine import Engine, _end_others, _take_over, launch
from rewho.training.log import LOG
from rewho.training.loop import train
from two_ranks import be_rank, free_port, run_ranks, start_method

STOPS = sorted(np.random.default_rng(4).permutation(STEPS - 1)[:20].tolist())


def two_processes(folder: Path, cuts: list[int], stops: list[int], **optimizer) -> None:
    """Start two ranks: an uninterrupted run, one run for every cut, and one that is told to stop again and again."""
    run_ranks(_work, str(folder), cuts, stops, optimizer)


def _join(rank: int, port: int) -> Engine:
    be_rank(rank, port)
    return launch(EngineSettings(device="cpu", devices=2, precision="32"))


def _work(rank: int, port: int, folder: str, cuts: list[int], stops: list[int], optimizer: dict) -> None:
    engine = _join(rank, port)

    def go(name: str, spoil=None) -> None:
        run = settings(Path(folder, name), data=DataSettings(workers=0))
        training = make(replace(run, optimizer=replace(run.optimizer, **optimizer)), engine, spoil=spoil)
        train(training, engine)
        torch.save(list(training.task.parameters()), Path(folder, f"{name}-{rank}.pt"))
        engine.fabric.barrier()

    go("whole")
    for step in cuts:
        if rank == 0:
            cut = Path(folder, f"cut-{step}")
            shutil.copytree(
                Path(folder, "whole", "checkpoints", f"step-{step:08d}"), cut / "checkpoints" / f"step-{step:08d}"
            )
            shutil.copy(Path(folder, "whole", LOG), cut / LOG)
        engine.fabric.barrier()
        go(f"cut-{step}")
    for number, at in enumerate(stops):
        told = number % 2

        def one_rank_is_told(step, batch, at=at, told=told):
            if step == at and rank == told:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
            return batch

        try:
            go("told", one_rank_is_told)
        except Interrupted as saved:
            Path(folder, f"told-{at}-{rank}.txt").write_text(str(saved))
        engine.fabric.barrier()
    if stops:
        go("told")


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").iterdir())


def final(folder: Path) -> dict:
    step, state = load_checkpoint(folder / "checkpoints")
    assert step == STEPS
    return state


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    two_processes(folder, cuts=[1, 10, 25, 39], stops=STOPS)
    return folder


def test_cuts_end_with_the_same_bits(both):
    for step in (1, 10, 25, 39):
        assert same(final(both / f"cut-{step}"), final(both / "whole")), f"cut after step {step}"
        assert (both / f"cut-{step}" / LOG).read_bytes() == (both / "whole" / LOG).read_bytes()


def test_a_stop_that_one_rank_sees_stops_both_at_twenty_points(both):
    for at in STOPS:
        said = [(both / f"told-{at}-{rank}.txt").read_text().split(" of ")[0] for rank in (0, 1)]
        assert said == [f"step {at + 1}"] * 2
    assert same(final(both / "told"), final(both / "whole"))


def test_a_backbone_thaws_in_both_processes_at_once(tmp_path):
    two_processes(tmp_path, cuts=[7, 15, 16], stops=[], kind="adam", freeze_epochs=1.5)
    left, right = (torch.load(tmp_path / f"whole-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(left, right), "gradients of thawed weights are exchanged too"
    states = [torch.load(checkpoint / STATE, weights_only=True) for checkpoint in checkpoints(tmp_path / "whole")]
    weights = [state["parameters"]["backbone.0.weight"] for state in states]
    assert [torch.equal(weight, weights[0]) for weight in weights] == [step < 15 for step in range(STEPS)]
    for step in (7, 15, 16):
        assert same(final(tmp_path / f"cut-{step}"), final(tmp_path / "whole")), f"cut after step {step}"


@pytest.mark.slow
def test_cut_after_every_step(tmp_path):
    two_processes(tmp_path, cuts=list(range(1, STEPS)), stops=[])
    for step in range(1, STEPS):
        assert same(final(tmp_path / f"cut-{step}"), final(tmp_path / "whole")), f"cut after step {step}"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["shuffle", "identities"])
def test_global_batches_do_not_depend_on_the_number_of_processes(workers, kind):
    sampler = SamplerSettings(kind, batch=16, images_per_identity=4)
    labels = np.arange(160) % 8
    reference = None
    for world in (1, 2, 4, 8, 16):
        if workers and world not in (1, 4):
            continue  # worker processes start slowly; two world sizes are enough to compare
        ranks = []
        for rank in range(world):
            plans = PlanStream(sampler, labels, seed=1, epochs=2)
            loaded = load_batches(plans, _rows_only, workers=workers, rank=rank, world=world)
            ranks.append(torch.stack(list(loaded)).numpy())
        batches = np.concatenate(ranks, axis=1)
        reference = batches if reference is None else reference
        assert np.array_equal(batches, reference), f"world {world}"
    epochs = reference.reshape(2, -1)
    if kind == "shuffle":
        assert all(len(np.unique(epoch)) == 160 for epoch in epochs), "every sample once per epoch"
    assert not np.array_equal(epochs[0], epochs[1])


def _meet_a_broken_image(rank: int, port: int, folder: str) -> None:
    engine = _join(rank, port)

    def spoil(number, batch):
        if rank == 1 and number == 3:
            raise UserError("3.jpg", expected="an image", got="a broken file", fix="Remove it.")
        return batch

    run = settings(Path(folder), data=DataSettings(workers=0))
    with pytest.raises(UserError, match="expected an image"):
        train(make(run, engine, spoil=spoil), engine)
    Path(folder, f"told-{rank}").touch()


def test_what_one_process_cannot_read_stops_all_of_them_with_its_name(tmp_path):
    run_ranks(_meet_a_broken_image, str(tmp_path))
    assert {path.name for path in tmp_path.glob("told-*")} == {"told-0", "told-1"}


def _hang(rank: int, port: int, folder: str) -> None:
    runtime.ANSWER = timedelta(seconds=2)
    engine = _join(rank, port)
    assert (
        on_main_process(lambda: time.sleep(3) or "evaluated") == "evaluated"
    )  # the main process's work may take longer

    def spoil(number, batch):
        while rank == 1 and number == 3:
            time.sleep(0.1)  # until the other has ended, and this test then ends it
        return batch

    run = settings(Path(folder), data=DataSettings(workers=0))
    with pytest.raises(UserError, match="got one that did not answer for 0:00:02"):
        train(make(run, engine, spoil=spoil), engine)
    Path(folder, f"told-{rank}").touch()
    os._exit(0)  # without an exchange with the other process


def test_a_process_that_hangs_ends_the_run_in_stated_time(tmp_path):
    context, port = multiprocessing.get_context(start_method()), free_port()
    ranks = [context.Process(target=_hang, args=(rank, port, str(tmp_path))) for rank in (0, 1)]
    for process in ranks:
        process.start()
    ranks[0].join(120)
    assert [process.exitcode for process in ranks] == [0, None]
    assert {path.name for path in tmp_path.glob("told-*")} == {"told-0"}
    ranks[1].kill()
    ranks[1].join()


def test_processes_that_outlive_the_one_that_started_them_are_ended(monkeypatch):
    monkeypatch.setattr("rewho.training.engine.LINGER", 0.1)
    stopped = subprocess.Popen(["sleep", "60"])
    os.kill(stopped.pid, signal.SIGSTOP)
    _end_others([stopped])
    assert stopped.wait(10) == -signal.SIGKILL


def test_lightning_does_not_kill_the_main_process_where_another_one_ended():
    """Its thread would, before the message with the command that resumes."""
    main = subprocess.Popen(["sleep", "60"])
    ended = subprocess.Popen(["sleep", "60"])
    ended.kill()
    ended.wait()
    started, ours = [ended], []
    observer = _ChildProcessObserver(main_pid=main.pid, child_processes=started)
    _take_over(SimpleNamespace(launcher=SimpleNamespace(procs=started)), ours)
    assert ours == [ended] and observer._run(), "nothing is left to look at"
    assert main.poll() is None
    main.kill()


def _rows_only(plan, part):
    return torch.from_numpy(plan.rows[part])


def test_resume_at_another_world_size_keeps_the_order():
    plans = PlanStream(SamplerSettings(batch=4), LABELS, seed=1, epochs=3)
    whole = [json.dumps(plan.rows.tolist()) for plan in plans]
    for start in (1, 9, 10, 11, 29):
        rest = PlanStream(SamplerSettings(batch=4), LABELS, seed=1, epochs=3, start=start)
        parts = [list(load_batches(rest, _rows_only, rank=rank, world=2)) for rank in (0, 1)]
        joined = [json.dumps(torch.cat(pair).tolist()) for pair in zip(*parts, strict=True)]
        assert joined == whole[start:]


def test_all_randomness_is_drawn_for_the_whole_batch():
    plan = next(iter(PlanStream(SamplerSettings(batch=4), LABELS, seed=1, epochs=1)))
    whole = Prepare()(plan, slice(0, 4))
    halves = [Prepare()(plan, slice(start, start + 2)) for start in (0, 2)]
    assert torch.equal(whole.images, torch.cat([half.images for half in halves]))
