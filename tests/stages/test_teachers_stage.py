"""A training of teachers that is killed within one or between two goes on, exact; other settings are refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from cut_runs import cut, differing_files, last

from checkpoints import same
from quick_settings import teacher_settings
from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import find_damage
from rewho.core.runtime import Interrupted
from rewho.settings import CheckpointSettings
from rewho.stages import teachers

VIEWS = ("up1", "dn1")
STEPS = 4


@pytest.fixture(scope="module")
def start(people, tmp_path_factory):
    """Settings of two small teachers whose backbones have batch normalisation."""
    settings = teacher_settings(people, tmp_path_factory.mktemp("taught") / "whole")
    small = {"backbone": "test_resnet", "partial_size": (32, 32), "epochs": 2, "steps_per_epoch": STEPS // 2}
    return replace(settings, views=VIEWS, **small, checkpoint=CheckpointSettings(every_steps=1, keep=STEPS))


@pytest.fixture(scope="module")
def whole(start):
    return teachers.run(start)


def check_goes_on(settings, whole, capsys, *said):
    capsys.readouterr()
    teachers.run(settings)
    lines = capsys.readouterr().err
    assert all(line in lines for line in said)
    for view in VIEWS:
        assert differing_files(settings.out / view, whole / view) == []
        assert same(last(settings.out / view), last(whole / view))
        assert find_damage(settings.out / view) is None


@pytest.mark.parametrize("step", range(1, STEPS))
def test_killed_within_the_first_teacher(start, whole, tmp_path, capsys, step):
    cut(whole / "up1", tmp_path / "up1", *range(1, step + 1))
    check_goes_on(replace(start, out=tmp_path), whole, capsys, f"resuming after step {step}\n")


@pytest.mark.parametrize("step", [1, STEPS - 1])
def test_killed_within_the_second_teacher_the_first_is_left_alone(start, whole, tmp_path, capsys, step):
    shutil.copytree(whole / "up1", tmp_path / "up1")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "up1").rglob("*")}
    cut(whole / "dn1", tmp_path / "dn1", *range(1, step + 1))
    check_goes_on(replace(start, out=tmp_path), whole, capsys, "is finished", f"resuming after step {step}\n")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "up1").rglob("*")} == before


def test_killed_between_two_teachers(start, whole, tmp_path, capsys):
    shutil.copytree(whole / "up1", tmp_path / "up1")
    check_goes_on(replace(start, out=tmp_path), whole, capsys, "is finished", "teacher 2 of 2: dn1")


def test_asked_to_stop_between_two_teachers(start, whole, tmp_path, capsys, monkeypatch):
    def train_and_ask(settings):
        shutil.copytree(whole / settings.out.name, settings.out)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(teachers.train, "run", train_and_ask)
    with pytest.raises(Interrupted, match="1 of 2 teachers"):
        teachers.run(replace(start, out=tmp_path))
    monkeypatch.undo()
    check_goes_on(replace(start, out=tmp_path), whole, capsys, "is finished", "teacher 2 of 2: dn1")


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"epochs": 1}, "epochs: 2 -> 1|epochs 1: expected no fewer epochs than the run has done"),
        ({"partial_embedding": 4}, r"model\.embedding: 8 -> 4"),
        ({"partial_size": (48, 48)}, r"model\.input_size: \[32, 32\] -> \[48, 48\]"),
        ({"seed": 9}, "seed: 1 -> 9"),
    ],
)
def test_a_changed_recipe_is_refused_with_the_difference(start, whole, tmp_path, change, difference, finished):
    folder = whole
    if not finished:
        folder = tmp_path
        cut(whole / "up1", tmp_path / "up1", 1)
    with pytest.raises(UserError, match=difference):
        teachers.run(replace(start, out=folder, **change))
    assert (folder / "up1" / MANIFEST).is_file() == finished
    assert (folder / "dn1").exists() == finished


def test_more_epochs_continue_to_what_one_run_with_all_gives(start, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "longer")
    teachers.run(replace(start, out=tmp_path / "longer", epochs=3))
    teachers.run(replace(start, out=tmp_path / "at_once", epochs=3))
    for view in VIEWS:
        assert differing_files(tmp_path / "longer" / view, tmp_path / "at_once" / view) == []


def test_a_real_kill_within_a_teacher_costs_its_last_steps_only(start, whole, people, tmp_path, capsys):
    words = ["--views", *VIEWS, "--data.root", people, "--out", tmp_path, "--backbone", "test_resnet"]
    words += ["--partial_size", 32, 32, "--partial_embedding", 8, "--pretrained", "none", "--epochs", 2]
    words += ["--holistic_size", 64, 32, "--holistic_embedding", 12, "--checkpoint.every_steps", 1]
    words += ["--checkpoint.keep", STEPS, "--steps_per_epoch", STEPS // 2, "--evaluate_every", -1]
    words += ["--sampler.batch", 8, "--optimizer.learning_rate", 0.01, "--engine.device", "cpu"]
    words += ["--engine.precision", 32, "--data.workers", 0]
    process = subprocess.Popen([sys.executable, "-m", "rewho", "teachers", *map(str, words)], env={**os.environ})
    began = time.monotonic()
    while not [*tmp_path.glob("*/checkpoints/step-*")] and process.poll() is None and time.monotonic() - began < 500:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "dn1" / MANIFEST).exists()
    check_goes_on(replace(start, out=tmp_path), whole, capsys, "teacher 1 of 2: up1")
