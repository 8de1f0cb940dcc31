"""A loss or gradient that is not finite, or jumps, stops the run before the optimizer uses it."""

import math

import pytest
import torch
from toy_training import ToyTask, run, settings

from checkpoints import same
from rewho.core.check import UserError
from rewho.settings import CheckpointSettings, DataSettings
from rewho.training.checkpoint import load_checkpoint


class Spoiled(ToyTask):
    """A task whose loss or gradient goes wrong at one step."""

    def __init__(self, at: int, kind: str) -> None:
        super().__init__()
        self.at, self.kind, self.calls = at, kind, 0

    def forward(self, batch):
        terms = super().forward(batch)
        if self.calls == self.at:
            terms["total"] = {
                "nan": terms["total"] * math.nan,
                "infinite": terms["total"] * math.inf,
                "spike": terms["total"] * 10,
                "nan gradient": terms["total"] + (self.classifier.weight * 0).sum().sqrt(),
            }[self.kind]
        self.calls += 1
        return terms


@pytest.mark.parametrize("kind", ["nan", "infinite", "spike", "nan gradient"])
@pytest.mark.parametrize("at", [6, 7, 10, 13, 18, 19, 23, 27, 31, 38])
def test_stops_before_the_optimizer_steps(tmp_path, kind, at):
    task = Spoiled(at, kind)
    before = {}

    def remember(number, batch):
        if number == at:
            before.update({name: tensor.clone() for name, tensor in task.named_parameters()})
        return batch

    quiet = settings(tmp_path, data=DataSettings(workers=0), evaluate_every=-1)
    with pytest.raises(UserError, match=rf"step {at + 1}") as stopped:
        run(quiet, task=task, spoil=remember)
    assert "image-" in str(stopped.value), "the message names the images of the batch"
    assert same(dict(task.named_parameters()), before), "the step changed nothing"
    step, state = load_checkpoint(tmp_path / "checkpoints")
    assert step == at
    assert all(torch.isfinite(tensor).all() for tensor in state["parameters"].values())


def test_no_false_alarm_in_a_thousand_clean_steps(tmp_path):
    clean = settings(
        tmp_path,
        data=DataSettings(workers=0),
        epochs=100,
        evaluate_every=-1,
        checkpoint=CheckpointSettings(every_epochs=50),
    )
    assert run(clean).step == 1000


def test_jumps_may_be_let_through(tmp_path):
    lenient = settings(
        tmp_path, data=DataSettings(workers=0), evaluate_every=-1, checkpoint=CheckpointSettings(spike_factor=0)
    )
    assert run(lenient, task=Spoiled(20, "spike")).step == 40


def test_jumps_before_a_given_step_are_let_through_and_later_ones_are_not(tmp_path):
    patient = CheckpointSettings(spike_after=25)
    quiet = {"data": DataSettings(workers=0), "evaluate_every": -1, "checkpoint": patient}
    assert run(settings(tmp_path / "early", **quiet), task=Spoiled(20, "spike")).step == 40
    with pytest.raises(UserError, match="step 31"):
        run(settings(tmp_path / "late", **quiet), task=Spoiled(30, "spike"))
    with pytest.raises(UserError, match="step 21"):
        run(settings(tmp_path / "nan", **quiet), task=Spoiled(20, "nan"))
