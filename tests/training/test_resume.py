"""A run that is cut anywhere ends with the same bits as one that is not, and every part of the state is needed."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch.amp.grad_scaler import GradScaler
from toy_training import STEPS, make, run, settings

from checkpoints import DAMAGES, damage_checkpoint, same
from rewho.core.artifact import write_folder
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.settings import DataSettings, EngineSettings
from rewho.training.checkpoint import load_checkpoint, save_checkpoint
from rewho.training.engine import launch
from rewho.training.log import LOG, read_log
from rewho.training.loop import train
from two_ranks import start_method


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run that kept the checkpoint of every step."""
    folder = tmp_path_factory.mktemp("whole")
    run(settings(folder, data=DataSettings(workers=0)))
    return folder


def cut(whole: Path, step: int, folder: Path) -> Path:
    """Copy a run as it was on disk after `step`, with a log that runs on beyond the checkpoint."""
    shutil.copytree(whole / "checkpoints" / f"step-{step:08d}", folder / "checkpoints" / f"step-{step:08d}")
    shutil.copy(whole / LOG, folder / LOG)
    return folder


def final_state(folder: Path) -> dict:
    step, state = load_checkpoint(folder / "checkpoints")
    assert step == STEPS
    return state


@pytest.mark.parametrize("workers", [0, 2])
def test_cut_after_any_step_ends_with_the_same_bits(whole, tmp_path, workers):
    every = (
        range(1, STEPS) if workers == 0 else (1, 9, 10, 25, 39)
    )  # worker processes start slowly; their cuts are a sample
    for step in every:
        folder = cut(whole, step, tmp_path / f"cut-{step}")
        run(settings(folder, data=DataSettings(workers=workers)))
        assert same(final_state(folder), final_state(whole)), f"cut after step {step}"
        assert (folder / LOG).read_bytes() == (whole / LOG).read_bytes(), f"log after a cut at step {step}"


def test_every_part_of_the_state_is_needed(whole, tmp_path):
    within = 25  # within an epoch, after an evaluation, so that every part holds something
    blank = {
        "parameters": lambda value: {name: torch.zeros_like(tensor) for name, tensor in value.items()},
        "buffers": lambda value: {name: torch.zeros_like(tensor) for name, tensor in value.items()},
        "optimizer": lambda value: {**value, "state": {}},
        "state.step": lambda value: value - 1,
        "state.closed_epochs": lambda value: 0,
        "state.recent": lambda value: [],
        "state.sums": lambda value: {},
        "state.best": lambda value: [-1.0, 0.0],
        "state.figures": lambda value: {},
        "state.log_bytes": lambda value: 0,
    }
    _, state = load_checkpoint(cut(whole, within, tmp_path / "source") / "checkpoints")
    untested = state.keys() - blank.keys()
    # The scaler holds nothing in float32; tests below cut a run in which it does, and go on in another precision.
    assert untested == {"scaler", "precision"}
    for part, spoil in blank.items():
        # The figures of the last evaluation matter to a run that was cut behind it, before the model was written.
        at, epochs = (STEPS, 4) if part == "state.figures" else (within, 3)
        outcomes = []
        for lose, folder in ((True, tmp_path / part), (False, tmp_path / f"{part}-reference")):
            cut(whole, at, folder)
            if lose:
                _, state = load_checkpoint(folder / "checkpoints")
                save_checkpoint(folder / "checkpoints", at, {**state, part: spoil(state[part])})
            end = run(settings(folder, epochs=epochs, data=DataSettings(workers=0)))
            outcomes.append([vars(end), load_checkpoint(folder / "checkpoints")[1], (folder / LOG).read_bytes()])
        assert not same(*outcomes), f"nothing noticed that {part} was lost"


def half_precision(folder: Path) -> None:
    """Run an epoch in fp16, whose loss scale changes every few steps."""
    quiet = settings(folder, data=DataSettings(workers=0), epochs=1, evaluate_every=-1)
    engine = launch(EngineSettings(device="cpu", precision="fp16"))
    engine.scaler.set_growth_interval(3)
    train(make(quiet, engine), engine)


def test_the_scale_of_the_loss_goes_on_as_it_was_and_is_needed(tmp_path):
    half_precision(tmp_path / "whole")
    for step in (1, 4, 7):
        folder = cut(tmp_path / "whole", step, tmp_path / f"cut-{step}")
        half_precision(folder)
        assert same(load_checkpoint(folder / "checkpoints"), load_checkpoint(tmp_path / "whole" / "checkpoints"))
    folder = cut(tmp_path / "whole", 9, tmp_path / "lost")
    _, state = load_checkpoint(folder / "checkpoints")
    fresh = GradScaler("cpu", growth_interval=3).state_dict()
    assert state["scaler"].keys() == fresh.keys()
    assert state["scaler"]["scale"] != fresh["scale"]
    save_checkpoint(folder / "checkpoints", 9, {**state, "scaler": fresh})
    half_precision(folder)
    assert not same(load_checkpoint(folder / "checkpoints"), load_checkpoint(tmp_path / "whole" / "checkpoints"))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_another_precision_is_refused(whole, tmp_path, precision):
    folder = cut(whole, 9, tmp_path)
    engine = launch(EngineSettings(device="cpu", precision=precision))
    with pytest.raises(UserError, match=r"Pass --engine\.precision 32"):
        train(make(settings(folder, data=DataSettings(workers=0)), engine), engine)


def test_two_runs_are_identical(whole, tmp_path):
    run(settings(tmp_path, data=DataSettings(workers=2)))
    assert same(final_state(tmp_path), final_state(whole))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_checkpoint_falls_back(whole, tmp_path, capsys, damage):
    for step in (20, 21):
        cut(whole, step, tmp_path)
    newest = tmp_path / "checkpoints" / "step-00000021"
    damage_checkpoint(newest, damage)
    step, _ = load_checkpoint(tmp_path / "checkpoints")
    assert step == 20
    assert "step-00000021 is damaged" in capsys.readouterr().err
    run(settings(tmp_path, data=DataSettings(workers=0)))
    assert same(final_state(tmp_path), final_state(whole))


@pytest.mark.parametrize("at", [3, 10, 33])
def test_stop_request_saves_at_the_end_of_the_step(whole, tmp_path, at):
    def stop_at(number, batch):
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        return batch

    with pytest.raises(Interrupted, match=rf"step {at + 1} of {STEPS}"):
        run(settings(tmp_path, data=DataSettings(workers=0)), spoil=stop_at)
    assert load_checkpoint(tmp_path / "checkpoints")[0] == at + 1
    run(settings(tmp_path, data=DataSettings(workers=0)))
    assert same(final_state(tmp_path), final_state(whole))
    assert (tmp_path / LOG).read_bytes() == (whole / LOG).read_bytes()


def test_stop_request_within_an_evaluation(whole, tmp_path):
    calls = []

    def evaluate(stop):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wanted
            raise Interrupted("evaluation")
        return {"mAP": 1.0}

    quiet = settings(tmp_path, data=DataSettings(workers=0))
    with pytest.raises(Interrupted, match="step 20"):
        run(quiet, evaluate=evaluate)
    run(quiet, evaluate=evaluate)
    epochs = [line["epoch"] for line in read_log(tmp_path) if "epoch" in line]
    assert epochs == [1, 2, 3, 4], "the evaluation that was cut is done by the resumed run, once"
    assert [line["mAP"] for line in read_log(tmp_path) if "mAP" in line] == [1.0, 1.0]


def test_stop_request_while_saving(whole, tmp_path, monkeypatch):
    from rewho.training import loop

    def stop_and_save(folder, step, *others):
        if step == 15:
            os.kill(os.getpid(), signal.SIGTERM)
        return save_checkpoint(folder, step, *others)

    monkeypatch.setattr(loop, "save_checkpoint", stop_and_save)
    with pytest.raises(Interrupted, match="step 15"):
        run(settings(tmp_path, data=DataSettings(workers=0)))
    monkeypatch.undo()
    run(settings(tmp_path, data=DataSettings(workers=0)))
    assert same(final_state(tmp_path), final_state(whole))


def test_old_checkpoints_are_removed(tmp_path):
    quick = settings(tmp_path, data=DataSettings(workers=0), epochs=1)
    run(replace(quick, checkpoint=replace(quick.checkpoint, keep=2)))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000009", "step-00000010"]


def save_in_a_loop(folder: Path, numbers: int, first: int, announce: Connection) -> None:
    state = {"parameters": {"weight": torch.zeros(numbers)}}
    for step in range(first, 1_000_000):
        state["parameters"]["weight"].fill_(step)
        save_checkpoint(folder, step, state)
        announce.send(step)


def kill_while_saving(folder: Path, numbers: int, kills: int) -> None:
    """SIGKILL a process that saves in a loop, at times spread over a save, and load in this one."""
    announced, longest = 0, 0.5
    for kill in range(kills):
        context = multiprocessing.get_context(start_method())
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=save_in_a_loop, args=(folder, numbers, announced + 1, theirs))
        process.start()
        theirs.close()
        announced = ours.recv()
        time.sleep(longest * (kill + 1) / kills)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with contextlib.suppress(EOFError):
            while True:
                announced = ours.recv()
        step, state = load_checkpoint(folder)
        assert step >= announced, "older than the last save that was announced"
        assert bool((state["parameters"]["weight"] == step).all())
        assert len(list(folder.iterdir())) <= 3, "unfinished folders pile up"
        announced = step


def test_killed_while_saving(tmp_path):
    kill_while_saving(tmp_path, numbers=2_000_000, kills=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_fifty_times_while_saving_300_megabytes(tmp_path):
    kill_while_saving(tmp_path, numbers=75_000_000, kills=50)


def test_full_disk_leaves_the_last_checkpoint(tmp_path):
    script = """
import resource, sys, torch
from pathlib import Path
from rewho.core.check import UserError
from rewho.training.checkpoint import save_checkpoint
folder = Path(sys.argv[1])
save_checkpoint(folder, 1, {"weight": torch.zeros(1000)})
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    save_checkpoint(folder, 2, {"weight": torch.zeros(10_000_000)})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "bytes free" in done.stdout and "step-00000002" in done.stdout, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path)[0] == 1


def test_a_folder_is_whole_or_absent(tmp_path):
    def fail(aside):
        (aside / "half").write_text("half")
        raise KeyError("failed on the way")

    with pytest.raises(KeyError):
        write_folder(tmp_path / "thing", fail)
    write_folder(tmp_path / "other", lambda aside: (aside / "a").write_text("whole"))
    assert not (tmp_path / "thing").exists()
