"""A pre-training that was cut, told to stop or damaged goes on exactly, and every part of its state is needed."""

import math
import os
import re
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as processes
from cut_runs import check_equal, checkpoint_of, cut, last, lose, state_after
from test_pretrain_stage import settings

from checkpoints import DAMAGES, damage_checkpoint, same
from quick_settings import CPU
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.settings import PretrainSettings, ProbeSettings
from rewho.stages import pretrain
from rewho.stages.pretrain import QUEUE_FILLS
from rewho.tasks.contrast import ContrastTask
from rewho.training.checkpoint import load_checkpoint, save_checkpoint

STEPS, WITHIN = 6, 4  # steps of the run, and one within its second epoch
NETWORKS = ("encoder.backbone.", "key_encoder.backbone.")
KEPT = [  # what the loop keeps, what is left of it where it is lost, and after which step
    ("sums", {}, WITHIN),
    ("step", WITHIN - 1, WITHIN),
    ("closed_epochs", 0, WITHIN),
    ("recent", [], WITHIN),
    ("log_bytes", 0, WITHIN),
    ("best", [2.0, 0.0], WITHIN),  # no mAP is higher, so that the run's own best is certainly another
    ("figures", {}, STEPS),  # they matter to a run that was cut before the model was written
]


def _some_slow(cases: list, fast: list) -> list:
    """Mark all but some cases as slow."""
    return [pytest.param(*case) if case in fast else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.fixture(scope="module")
def start(people, tmp_path_factory):
    return settings(
        people, tmp_path_factory.mktemp("pretrained") / "whole", probe=ProbeSettings(people), evaluate_every=1
    )


@pytest.fixture(scope="module")
def whole(start):
    """An uninterrupted run that kept the checkpoint of every step."""
    return pretrain.run(start)


@pytest.mark.parametrize(
    ("step", "workers"), _some_slow([*((step, 0) for step in range(1, STEPS)), (WITHIN, 2)], fast=[(2, 0), (WITHIN, 0)])
)
def test_a_run_cut_after_any_step_ends_with_the_same_bits(start, whole, tmp_path, step, workers):
    folder = cut(whole, tmp_path / "cut", step)
    pretrain.run(replace(start, out=folder, data=replace(start.data, workers=workers)))
    check_equal(folder, whole)


TENSORS = [
    *(("parameters", f"contrast.{part}") for part in (*NETWORKS, "projection", "key_projection")),
    *(("buffers", f"contrast.{part}") for part in (*NETWORKS, "queue.keys", "queue.pointer")),
    ("optimizer", "momentum_buffer"),
]


@pytest.mark.parametrize(
    ("group", "lost"), _some_slow(TENSORS, fast=[("buffers", "contrast.queue.keys"), ("optimizer", "momentum_buffer")])
)
def test_a_resume_that_lost_tensors_is_noticed(start, whole, tmp_path, group, lost):
    """The test of the cuts must be able to fail."""
    folder = cut(whole, tmp_path / "cut", STEPS - 1)
    assert lose(folder, STEPS - 1, f".{lost}", group) > 0
    pretrain.run(replace(start, out=folder, evaluate_every=-1, allow_config_change=True))
    names = ("parameters", "buffers", "optimizer")
    found, expected = ({name: last(run)[name] for name in names} for run in (folder, whole))
    assert not same(found, expected)


@pytest.mark.parametrize(("part", "blank", "step"), _some_slow(KEPT, fast=KEPT[:1]))
def test_a_resume_that_lost_what_the_loop_keeps_is_noticed(start, whole, tmp_path, part, blank, step):
    folder = cut(whole, tmp_path / "cut", step)
    state = state_after(folder, step)
    assert state[f"state.{part}"] != blank
    save_checkpoint(folder / "checkpoints", step, {**state, f"state.{part}": blank})
    pretrain.run(replace(start, out=folder))
    with pytest.raises(AssertionError):
        check_equal(folder, whole)


def test_no_part_of_the_state_is_left_out_above(whole):
    others = {f"state.{part}" for part, _, _ in KEPT}
    # The scaler holds nothing in float32; tests/training/test_resume.py cuts a run in which it does.
    assert last(whole).keys() == {"parameters", "buffers", "optimizer", "scaler", "precision"} | others


def _spoil(monkeypatch, number: int, change) -> None:
    """Let the terms of the forward pass of this number go through `change`."""
    forward, calls = ContrastTask.forward, []

    def spoiled(self, batch):
        calls.append(batch)
        terms = forward(self, batch)
        return change(terms) if len(calls) == number else terms

    monkeypatch.setattr(ContrastTask, "forward", spoiled)


def test_a_stop_request_saves_at_the_end_of_the_step(start, whole, tmp_path, monkeypatch):
    def tell(terms):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        return terms

    quiet = replace(start, out=tmp_path / "told")
    _spoil(monkeypatch, WITHIN, tell)
    with pytest.raises(Interrupted, match=f"step {WITHIN} of {STEPS}"):
        pretrain.run(quiet)
    assert load_checkpoint(quiet.out / "checkpoints")[0] == WITHIN
    monkeypatch.undo()
    pretrain.run(quiet)
    check_equal(quiet.out, whole)


def test_a_loss_that_is_not_a_number_stops_before_the_step_and_names_the_images(start, whole, tmp_path, monkeypatch):
    quiet = replace(start, out=tmp_path / "diverged")
    _spoil(monkeypatch, WITHIN, lambda terms: {**terms, "total": terms["total"] * math.nan})
    with pytest.raises(UserError, match=rf"step {WITHIN}: .*total.* = NaN or infinity; the batch holds .*\.jpg"):
        pretrain.run(quiet)
    assert same(last(quiet.out), state_after(whole, WITHIN - 1))


@pytest.mark.slow
@pytest.mark.parametrize("after", [True, False])
def test_a_jump_stops_once_the_queue_holds_real_keys(start, tmp_path, monkeypatch, after):
    patience = QUEUE_FILLS * math.ceil(start.contrast.queue / start.sampler.batch)
    at = patience + 2 if after else patience - 1
    long = replace(start, out=tmp_path / "jump", epochs=4, evaluate_every=-1)
    _spoil(monkeypatch, at, lambda terms: {**terms, "total": terms["total"] * 10})
    if not after:
        pretrain.run(long)
        return
    with pytest.raises(UserError, match=f"step {at}: .*loss"):
        pretrain.run(long)
    assert load_checkpoint(long.out / "checkpoints")[0] == at - 1


@pytest.mark.parametrize("kind", _some_slow([(kind,) for kind in DAMAGES], fast=[("flipped bit",)]))
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(start, whole, tmp_path, capsys, kind):
    folder = cut(whole, tmp_path / "damaged", STEPS - 2, STEPS - 1)
    damage_checkpoint(checkpoint_of(folder, STEPS - 1), kind)
    pretrain.run(replace(start, out=folder))
    said = capsys.readouterr().err
    assert re.search(rf"warning: checkpoint .*step-{STEPS - 1:08d} is damaged \({DAMAGES[kind]}", said)
    assert f"resuming after step {STEPS - 2}" in said
    check_equal(folder, whole)


def _as_torchrun(rank: int, port: int, start: PretrainSettings, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    reference = pretrain.run(replace(start, out=folder / "whole"))
    for step in range(1, STEPS):
        if rank == 0:
            cut(reference, folder / f"cut-{step}", step)
        torch.distributed.barrier()
        pretrain.run(replace(start, out=folder / f"cut-{step}"))


@pytest.mark.slow
def test_a_run_on_two_devices_that_is_cut_ends_with_the_same_bits(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.spawn(_as_torchrun, args=(port, replace(start, engine=replace(CPU, devices=2)), tmp_path), nprocs=2)
    for step in range(1, STEPS):
        check_equal(tmp_path / f"cut-{step}", tmp_path / "whole", f"cut after step {step}")
