"""Trainings as torchrun starts them: two processes learn what one does; killed ranks change nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cut_runs import last
from test_adapt_stage import crowd  # noqa: F401 - a fixture

from checkpoints import same
from quick_settings import quick
from rewho.core.artifact import hash_file
from rewho.settings import ModelSettings
from rewho.stages import train
from rewho.training.log import LOG, read_log

COMMON = "--device cpu --precision 32 --workers 0 --evaluate_every -1 --batch 8 "
NEW = "--input_size 64 32 --init none "
COMMANDS = {
    "train": NEW + "--pooling gap --head none --epochs 2 --steps_per_epoch 3 --optimizer.learning_rate 0.01",
    "pretrain": NEW + "--backbone test_resnet --pooling gap --head none --epochs 2 --steps_per_epoch 3 "
    "--contrast.queue 30 --contrast.norm_group 4 --contrast.reference_batch 0 --contrast.projection 16 "
    "--optimizer.learning_rate 0.01",
    "adapt": NEW + "--backbone resnet18 --pooling gap --head bn --extra_bn no --cluster.k1 6 --cluster.k2 2 "
    "--cluster.min_samples 2 --sampler.kind identities --images_per_identity 2 --group_identities 2 "
    "--optimizer.kind sgd --optimizer.learning_rate 0.003 --epochs 2 --steps_per_epoch 2",
}
BOUNDS = {"train": 2e-5, "pretrain": 2e-5, "adapt": 1e-3}
"""Largest difference of a weight or statistic, beside as much of its size; docs/guide/scale.md names them."""


def start(*words: str, processes: int, restarts: int = 0) -> subprocess.Popen[str]:
    """Start a command in this many processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = ["-m", "rewho", *words, "--devices", str(processes)]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [*launcher, "--max_restarts", str(restarts), *command]
    return subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=1500)
    assert process.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def student(people, tmp_path_factory) -> Path:
    """A student without batch normalisation, after one step."""
    plain = ModelSettings(embedding=16, input_size=(64, 32), pretrained="none", pooling="gap", head="none")
    out = tmp_path_factory.mktemp("plain") / "student"
    return train.run(quick(people, out, model=plain, epochs=1, steps_per_epoch=1, evaluate_every=-1))


@pytest.fixture
def taught(student, representations) -> list[str]:
    """What `rewho distill` needs besides data."""
    return ["--student", str(student), "--representations", str(representations)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_learn_what_one_does(people, crowd, tmp_path, command):  # noqa: F811
    data = str(crowd if command == "adapt" else people)
    words = [command, data, *COMMON.split(), *COMMANDS[command].split()]
    one, two = tmp_path / "one", tmp_path / "two"
    for out, processes in ((one, 1), (two, 2)):
        finish(start(*words, "--out", str(out), processes=processes))
    losses = [[line["total"] for line in read_log(out) if "total" in line] for out in (one, two)]
    assert losses[0] and losses[1] == pytest.approx(losses[0], rel=0.02)
    states, bound = [last(out) for out in (one, two)], BOUNDS[command]
    for group in ("parameters", "buffers"):
        assert states[0][group].keys() == states[1][group].keys()
        for name, tensor in states[0][group].items():
            if tensor.dtype.is_floating_point:
                torch.testing.assert_close(states[1][group][name], tensor, atol=bound, rtol=10 * bound, msg=name)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_processes_distil_alike_but_for_the_statistics_of_the_branches(people, taught, tmp_path):
    words = ["distill", str(people), *COMMON.split(), *taught, "--epochs", "2", "--steps_per_epoch", "3"]
    words += ["--optimizer.learning_rate", "0.0001"]
    logs = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        finish(start(*words, "--out", str(out), processes=processes))
        logs.append([line for line in read_log(out) if "total" in line and "step" in line])
    assert logs[1][0]["cross_entropy"] == pytest.approx(logs[0][0]["cross_entropy"], rel=1e-6), "the student's own"
    assert [line["total"] for line in logs[1]] == pytest.approx([line["total"] for line in logs[0]], rel=0.05)


def rank_of(launcher: int, rank: int) -> int | None:
    """Return the process of a rank that torchrun has started, or None while there is none."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        try:
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if f"RANK={rank}".encode() in variables:
            return int(child)
    return None


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_run_whose_rank_is_killed_three_times_ends_with_the_same_bits(people, taught, tmp_path, command):
    more = taught if command == "distill" else [*NEW.split(), "--embedding", "16"]
    words = [command, str(people), *COMMON.split(), *more, "--epochs", "40", "--checkpoint.every_steps", "5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(*words, "--out", str(whole), processes=2))
    process = start(*words, "--out", str(killed), processes=2, restarts=3)
    deaths = []
    for at, rank in ((20, 1), (90, 0), (160, 1)):
        while process.poll() is None:
            lines = (killed / LOG).read_bytes().count(b"\n") if (killed / LOG).is_file() else 0
            victim = rank_of(process.pid, rank) if lines >= at else None
            if victim is not None and victim not in deaths:
                os.kill(victim, signal.SIGKILL)
                deaths.append(victim)
                break
            time.sleep(0.02)
    finish(process)
    assert len(set(deaths)) == 3
    assert same(last(killed), last(whole))
    for name in ("model.safetensors", LOG):
        assert hash_file(killed / name) == hash_file(whole / name), name
