"""A distillation that is cut, damaged, or continued with something else: exact, or refused with the difference."""

import json
import os
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from cut_runs import check_equal, checkpoint_of, cut, last, lose, state_after

from checkpoints import DAMAGES, damage_checkpoint, same
from quick_settings import CPU, distilling, quick
from rewho.core.artifact import MANIFEST, compute_hashes
from rewho.core.check import UserError
from rewho.core.record import SEAL, STARTED
from rewho.settings import (
    BranchSettings,
    CheckpointSettings,
    DataSettings,
    DistillSettings,
    MimicSettings,
    ModelSettings,
    OptimizerSettings,
    RepresentSettings,
)
from rewho.stages import distill, represent, train
from rewho.tasks.representations import array_file
from rewho.training.log import read_log

STEPS, MANY_STEPS = 6, 40
KEEP_ALL = CheckpointSettings(every_steps=1, keep=MANY_STEPS)
SOME_CUTS = (1, 5, 20, 39)


@pytest.fixture(scope="module")
def initial(people, tmp_path_factory):
    """A student whose backbone has batch normalisation too."""
    tiny = ModelSettings(backbone="test_resnet", embedding=16, input_size=(64, 32), pretrained="none")
    out = tmp_path_factory.mktemp("initial") / "student"
    return train.run(quick(people, out, model=tiny, epochs=1, steps_per_epoch=1, evaluate_every=-1))


@pytest.fixture(scope="module")
def start(people, initial, representations, tmp_path_factory):
    """Settings in which every step depends on its place: warm-ups, schedule, learned weights, dropout, erasing."""
    return distilling(
        people,
        initial,
        representations,
        tmp_path_factory.mktemp("distilled") / "whole",
        mimic=MimicSettings(balance="uncertainty", dropout=0.2),
        branches=BranchSettings(features=16, warmup_epochs=1),
        optimizer=OptimizerSettings(learning_rate=0.01, schedule="cosine", warmup_epochs=1),
        evaluate_every=1,
    )


@pytest.fixture(scope="module")
def whole(start):
    """An uninterrupted run that kept the checkpoint of every step."""
    return distill.run(replace(start, checkpoint=KEEP_ALL))


@pytest.fixture(scope="module")
def interrupted(whole, tmp_path_factory):
    """That run, cut before its last step; not to be continued."""
    return cut(whole, tmp_path_factory.mktemp("interrupted") / "run", STEPS - 1)


def test_the_state_holds_everything_that_moves(whole):
    before, after = state_after(whole, 1), state_after(whole, STEPS)
    for group, networks in (
        ("parameters", ("model.backbone.", "model.embedding.", "classifier.", "factorization.", "log_variances")),
        ("buffers", ("model.backbone.", "model.embedding.", "factorization.")),
    ):
        for network in networks:
            tensors = {name: tensor for name, tensor in after[group].items() if name.startswith(network)}
            assert any(not torch.equal(tensor, before[group][name]) for name, tensor in tensors.items()), network
    momenta = [entry["momentum_buffer"] for entry in after["optimizer"]["state"].values()]
    assert len(momenta) == len(after["parameters"])
    assert sum(bool(momentum.any()) for momentum in momenta) == len(momenta)


@pytest.mark.parametrize(("step", "workers"), [*((step, 0) for step in range(1, STEPS)), (4, 2)])
def test_a_run_cut_after_any_step_ends_with_the_same_bits(start, whole, tmp_path, step, workers):
    folder = cut(whole, tmp_path / "cut", step)
    distill.run(replace(start, out=folder, data=replace(start.data, workers=workers)))
    check_equal(folder, whole)


@pytest.mark.parametrize(
    ("group", "lost"),
    [
        ("parameters", "log_variances"),
        pytest.param("parameters", "classifier.weight", marks=pytest.mark.slow),
        pytest.param("parameters", "factorization.map_branches", marks=pytest.mark.slow),
        ("buffers", "factorization.representation_branches"),
        pytest.param("buffers", "model.embedding", marks=pytest.mark.slow),
        ("optimizer", "momentum_buffer"),
    ],
)
def test_a_resume_that_lost_a_part_is_noticed(start, whole, tmp_path, group, lost):
    """The test of the cuts must be able to fail."""
    folder = cut(whole, tmp_path / "cut", STEPS - 1)
    assert lose(folder, STEPS - 1, lost, group) > 0
    distill.run(replace(start, out=folder, evaluate_every=-1, allow_config_change=True))
    names = ("parameters", "buffers", "optimizer")
    found, expected = ({name: last(run)[name] for name in names} for run in (folder, whole))
    assert not same(found, expected)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_longer_run_cut_after_any_step_ends_with_the_same_bits(start, tmp_path, workers):
    cuts = SOME_CUTS if workers else range(1, MANY_STEPS)  # worker processes start slowly; their cuts are a sample
    long = replace(start, epochs=8, steps_per_epoch=5, evaluate_every=4, data=replace(start.data, workers=workers))
    reference = distill.run(replace(long, out=tmp_path / "whole", checkpoint=KEEP_ALL))
    assert len([line for line in read_log(reference) if "learning_rate" in line]) == MANY_STEPS
    for step in cuts:
        folder = cut(reference, tmp_path / "cut", step)
        distill.run(replace(long, out=folder))
        check_equal(folder, reference, f"cut after step {step}")
        shutil.rmtree(folder)


def _as_torchrun(rank: int, port: int, long: DistillSettings, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    reference = distill.run(replace(long, out=folder / "whole", checkpoint=KEEP_ALL))
    for step in SOME_CUTS:
        if rank == 0:
            cut(reference, folder / f"cut-{step}", step)
        torch.distributed.barrier()
        distill.run(replace(long, out=folder / f"cut-{step}"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_on_two_devices_that_is_cut_ends_with_the_same_bits(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    long = replace(start, epochs=8, steps_per_epoch=5, evaluate_every=4, engine=replace(CPU, devices=2))
    processes.spawn(_as_torchrun, args=(port, long, tmp_path), nprocs=2)
    assert len([line for line in read_log(tmp_path / "whole") if "learning_rate" in line]) == MANY_STEPS
    for step in SOME_CUTS:
        check_equal(tmp_path / f"cut-{step}", tmp_path / "whole", f"cut after step {step}")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(start, whole, tmp_path, capsys, kind):
    folder = cut(whole, tmp_path / "damaged", STEPS - 1)
    shutil.copytree(checkpoint_of(whole, STEPS), checkpoint_of(folder, STEPS))
    damage_checkpoint(checkpoint_of(folder, STEPS), kind)
    distill.run(replace(start, out=folder))
    said = capsys.readouterr().err
    assert re.search(rf"warning: checkpoint .*step-{STEPS:08d} is damaged \({DAMAGES[kind]}", said)
    assert f"resuming after step {STEPS - 1}" in said
    check_equal(folder, whole)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("part", "change", "difference"),
    [
        ("mimic", {"alpha": 3.0}, r"mimic\.alpha: 4\.0 -> 3\.0"),
        ("mimic", {"balance": "fixed"}, r"mimic\.balance: 'uncertainty' -> 'fixed'"),
        ("branches", {"features": 8}, r"branches\.features: 16 -> 8"),
        ("augment", {"erase": 0.25}, r"augment\.erase: 0\.5 -> 0\.25"),
        ("", {"views": ("up1",)}, r"views: \[\] -> \['up1'\]"),
        ("", {"epochs": 3}, "epochs: 2 -> 3|--epochs 3: expected a run whose first epochs are the same"),
    ],
)
def test_a_changed_setting_is_refused_with_the_difference(
    start, whole, interrupted, part, change, difference, finished
):
    folder = whole if finished else interrupted
    before = (folder / STARTED).read_bytes()
    changed = replace(start, **({part: replace(getattr(start, part), **change)} if part else change))
    with pytest.raises(UserError, match=difference):
        distill.run(replace(changed, out=folder))
    assert (folder / STARTED).read_bytes() == before


def change_one_view(representations: Path, copy: Path, view: str) -> Path:
    """Copy a folder of representations that is sound, but in which a teacher says something else."""
    shutil.copytree(representations, copy)
    array = np.load(array_file(copy, view))
    np.save(array_file(copy, view), array + 1)
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest[SEAL]
    manifest["files"] = compute_hashes(copy, [copy / name for name in manifest["files"]])
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize("finished", [True, False])
def test_changed_representations_and_another_student_are_refused_with_the_difference(
    start, whole, interrupted, model, representations, tmp_path, finished
):
    folder = whole if finished else interrupted
    before = (folder / STARTED).read_bytes()
    other = change_one_view(representations, tmp_path / "other", "up1")
    with pytest.raises(UserError, match=r"inputs\.representations up1: '\w{12}…' -> '\w{12}…'") as refused:
        distill.run(replace(start, out=folder, representations=other))
    assert "inputs.representations holistic" not in str(refused.value)
    with pytest.raises(UserError, match=r"inputs\.student: '\w{12}…' -> '\w{12}…'"):
        distill.run(replace(start, out=folder, student=model))
    assert (folder / STARTED).read_bytes() == before


@pytest.mark.parametrize("part", ["bounding_box_train", "bounding_box_test"])
def test_changed_data_are_refused_with_the_difference_and_may_be_allowed(
    start, people, experts, representations, interrupted, tmp_path, capsys, part
):
    other = tmp_path / "people"
    shutil.copytree(people, other)
    next((other / part).iterdir()).unlink()
    data = DataSettings(root=other, workers=0)
    with pytest.raises(UserError, match="trained on these images"):  # the student's classifier needs the same ones
        distill.run(replace(start, out=interrupted, data=data))
    new = replace(start, classifier="new", steps_per_epoch=1, evaluate_every=-1)
    reference = distill.run(replace(new, out=tmp_path / "whole", checkpoint=KEEP_ALL))
    changed = replace(new, out=cut(reference, tmp_path / "cut", 1), data=data)
    lines = [r"inputs\.data: '\w{12}…' -> '\w{12}…'"]
    if part == "bounding_box_train":
        with pytest.raises(UserError, match="representations of these training images"):
            distill.run(changed)
        said = represent.run(RepresentSettings((experts,), tmp_path / "said", data, engine=CPU, batch=16))
        changed = replace(changed, representations=said)
        lines.append(r"inputs\.representations of: '\w{12}…' -> '\w{12}…'")
    for line in lines:
        with pytest.raises(UserError, match=line):
            distill.run(changed)
    capsys.readouterr()
    check_allowed(changed, lines, 1, capsys)


def check_allowed(changed: DistillSettings, lines: list[str], step: int, capsys) -> None:
    """Go on with a changed run after a step, to its end; the difference is logged, and then it is the run's own."""
    distill.run(replace(changed, allow_config_change=True))
    said = capsys.readouterr().err
    assert "resuming with these changes" in said
    assert f"resuming after step {step}\n" in said
    for line in lines:
        assert re.search(line, said)
    distill.run(changed)
    assert "is finished" in capsys.readouterr().err


def test_an_allowed_change_is_logged_and_takes_effect(start, whole, representations, tmp_path, capsys):
    folder = cut(whole, tmp_path / "cut", STEPS - 1)
    other = change_one_view(representations, tmp_path / "other", "up1")
    changed = replace(start, out=folder, representations=other, mimic=replace(start.mimic, alpha=3.0))
    check_allowed(changed, [r"mimic\.alpha: 4\.0 -> 3\.0", r"inputs\.representations up1: "], STEPS - 1, capsys)
    steps = [[line for line in read_log(run) if "learning_rate" in line] for run in (folder, whole)]
    assert steps[0][:-1] == steps[1][:-1]
    assert steps[0][-1]["step"] == STEPS
    assert steps[0][-1]["metric_holistic"] == steps[1][-1]["metric_holistic"]
    assert steps[0][-1]["metric_up1"] != steps[1][-1]["metric_up1"]


def test_an_allowed_change_that_does_not_fit_leaves_the_run_as_it_was(start, whole, tmp_path):
    folder = cut(whole, tmp_path / "cut", STEPS - 1)
    before = (folder / STARTED).read_bytes()
    for change, wrong in (
        ({"branches": replace(start.branches, features=8)}, r"project\.weight \[12, 16\] instead of \[12, 8\]"),
        ({"views": ("up1",)}, r"\[12\] instead of \[8\]"),
        ({"mimic": replace(start.mimic, balance="fixed")}, r"log_variances \[2\] instead of none"),
        ({"optimizer": replace(start.optimizer, kind="adam")}, "the state of another optimizer"),
    ):
        with pytest.raises(UserError, match=wrong):
            distill.run(replace(start, out=folder, allow_config_change=True, **change))
        assert (folder / STARTED).read_bytes() == before
    distill.run(replace(start, out=folder))
    check_equal(folder, whole)


def test_the_same_inputs_in_other_places_are_the_same(start, people, experts, initial, whole, tmp_path):
    """Representations that were extracted again are the same too."""
    moved, student = tmp_path / "people", tmp_path / "moved student"
    shutil.copytree(people, moved)
    shutil.copytree(initial, student)
    data = DataSettings(root=moved, workers=0)
    said = represent.run(RepresentSettings((experts,), tmp_path / "said", data, engine=CPU, batch=16))
    folder = cut(whole, tmp_path / "cut", STEPS - 1)
    distill.run(replace(start, out=folder, data=data, student=student, representations=said))
    check_equal(folder, whole)
