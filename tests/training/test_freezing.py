"""What was pre-trained stands still in the beginning, costs nothing but a forward pass, and thaws without a jump."""

from dataclasses import replace

import pytest
import torch
from test_resume import cut
from toy_training import STEPS, ToyTask, run, settings

from checkpoints import same
from rewho.core.check import UserError
from rewho.settings import DataSettings
from rewho.training.checkpoint import STATE, load_checkpoint

THAW = 15
"""The first step, counted from 0, that moves the backbone: 1.5 epochs of 10."""


class WatchedTask(ToyTask):
    """Writes down, at every step, whether the backbone's map has a graph, and how its layers work."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.backbone.register_forward_hook(lambda layer, _, out: self.seen.append((out.requires_grad, layer.training)))


def frozen(folder, kind="adam"):
    start = settings(folder, data=DataSettings(workers=0))
    optimizer = replace(start.optimizer, kind=kind, schedule="constant", warmup_epochs=0, freeze_epochs=1.5)
    return replace(start, optimizer=optimizer)


def state_after(folder, step):
    return torch.load(folder / "checkpoints" / f"step-{step:08d}" / STATE, weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that thaws on its way, with the checkpoint of every step."""
    folder = tmp_path_factory.mktemp("frozen")
    torch.manual_seed(7)
    task = WatchedTask()
    run(frozen(folder), task=task)
    return folder, task


def test_frozen_steps_cost_a_forward_pass_only(whole):
    _, task = whole
    assert task.seen == [(False, False)] * THAW + [(True, True)] * (STEPS - THAW)


def test_frozen_weights_and_statistics_stay_to_the_bit(whole):
    folder, _ = whole
    first, last, thawed = (state_after(folder, step) for step in (1, THAW, THAW + 1))
    for group in ("parameters", "buffers"):
        for name, tensor in first[group].items():
            assert torch.equal(last[group][name], tensor) == name.startswith("backbone"), name
            assert not torch.equal(thawed[group][name], tensor), name
    assert set(last["optimizer"]["state"]) == {4, 5}, "the head's weight and bias; nothing of the backbone yet"
    assert set(thawed["optimizer"]["state"]) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_thawed_weights_do_not_jump(whole, tmp_path, kind):
    """The first step of a thawed weight is that of an optimizer which just began, whatever the head did before."""
    folder = cut(whole[0], THAW, tmp_path / "cut") if kind == "adam" else tmp_path
    run(frozen(folder, kind))
    last, thawed = (state_after(folder, step) for step in (THAW, THAW + 1))
    rate = settings(folder).optimizer.learning_rate
    for name, tensor in last["parameters"].items():
        if name.startswith("backbone"):
            number = list(last["parameters"]).index(name)
            step = (thawed["parameters"][name] - tensor).abs()
            state = thawed["optimizer"]["state"][number]
            if kind == "adam":
                assert int(state["step"]) == 1
                assert float(step.max()) <= rate * 1.0001
            else:
                torch.testing.assert_close(step, rate * state["momentum_buffer"].abs(), atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("step", [1, THAW - 1, THAW, THAW + 1, 30])
def test_a_cut_beside_the_thaw_ends_with_the_same_bits(whole, tmp_path, step):
    run(frozen(cut(whole[0], step, tmp_path / "cut")))
    assert same(load_checkpoint(tmp_path / "cut" / "checkpoints")[1], load_checkpoint(whole[0] / "checkpoints")[1])


def test_parameters_that_never_learn_do_not_thaw(tmp_path):
    task = ToyTask()
    task.backbone[0].bias.requires_grad_(False)
    run(frozen(tmp_path), task=task)
    assert [parameter.requires_grad for parameter in task.backbone.parameters()] == [True, False, True, True]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freeze_epochs": 3.5, "warmup_epochs": 3.5}, ""),
        ({"freeze_epochs": 4}, "the pre-trained weights are frozen (4 epochs) during the whole training (4)"),
        ({"warmup_epochs": 10}, "the warm-up (10 epochs) is as long as the training (4)"),
        ({"schedule": "cosine", "flat_epochs": 4}, "the learning rate falls from epoch 4 on, and the training has 4"),
    ],
)
def test_schedules_longer_than_the_training_are_said(tmp_path, capsys, changes, says):
    start = frozen(tmp_path)
    run(replace(start, optimizer=replace(start.optimizer, **changes)))
    errors = capsys.readouterr().err
    assert says in errors
    assert ("warning" in errors) == bool(says)


def test_freezing_where_nothing_was_pre_trained_is_said(tmp_path, capsys):
    task = ToyTask()
    task.backbone.requires_grad_(False)
    run(frozen(tmp_path), task=task)
    assert "--optimizer.freeze_epochs 1.5 has no effect: no weights are pre-trained" in capsys.readouterr().err


def test_nothing_but_frozen_parts_cannot_be_trained(tmp_path):
    task = ToyTask()
    task.classifier.requires_grad_(False)
    with pytest.raises(UserError, match="a head to train"):
        run(frozen(tmp_path), task=task)
