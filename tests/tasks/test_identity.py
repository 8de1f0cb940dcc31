"""The task of `rewho train`: its total is the weighted sum of its losses, and losses of one's own join them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rewho.core.check import UserError
from rewho.data.batches import Batch
from rewho.models.single_view import SingleViewModel
from rewho.settings import LossSettings, ModelSettings, SamplerSettings, TrainSettings
from rewho.tasks.identity import IdentityTask, check_losses


class CentreLoss(nn.Module):
    """Mean squared distance to a learned centre per identity: a loss with parameters."""

    def __init__(self, _settings, model, identities):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(identities, model.settings.embedding))

    def forward(self, features, labels):
        return (features.compared[0] - self.centres[labels]).square().mean()


def made(loss, more=None):
    torch.manual_seed(3)
    settings = ModelSettings(backbone="test_resnet", embedding=8, input_size=(64, 32), pretrained="none")
    images = torch.randint(0, 256, (8, 3, 64, 32), dtype=torch.uint8)
    labels, none = torch.arange(8) // 2, torch.zeros(8)
    return IdentityTask(SingleViewModel(settings, (64, 32)), 4, loss, more), Batch(images, labels, labels, none, none)


def test_the_total_is_the_weighted_sum_and_one_loss_alone_is_the_total():
    task, batch = made(LossSettings(identity=0.5, triplet=2.0))
    terms = task(batch)
    assert torch.allclose(terms["total"], 0.5 * terms["identity"] + 2 * terms["triplet"])
    task, batch = made(LossSettings(identity=0.0, triplet=2.0))
    assert task(batch).keys() == {"total"} and task.classifiers == []


def test_a_loss_of_ones_own_is_added_trained_and_saved():
    task, batch = made(LossSettings(), {"centre": (0.1, CentreLoss)})
    terms = task(batch)
    assert torch.allclose(terms["total"], terms["identity"] + 0.1 * terms["centre"])
    centres = task.losses["centre"].centres
    assert "losses.centre.centres" in task.state_dict()
    assert any(parameter is centres for part in task.new_parts() for parameter in part.parameters())


def test_names_and_positives_are_checked():
    settings = TrainSettings(sampler=SamplerSettings(kind="identities", batch=8, images_per_identity=2))
    for name in ("identity", "triplet", "my loss"):
        with pytest.raises(UserError, match="a new name"):
            check_losses(settings, np.arange(4), {name: (1, CentreLoss)})
    pairs = replace(settings, loss=LossSettings(triplet=1.0))
    check_losses(pairs, np.array([0, 0, 1]), {})
    with pytest.raises(UserError, match="two training images or more"):
        check_losses(pairs, np.arange(4), {})


NO_LOSSES = {
    "a list": [1],
    "no pair": {"spread": 1},
    "text for a weight": {"spread": ("0.1", nn.Identity)},
    "NaN": {"spread": (float("nan"), nn.Identity)},
    "no builder": {"spread": (0.1, 3)},
    "a number for a name": {3: (0.1, nn.Identity)},
    "the name of a column of the log": {"total": (0.1, nn.Identity)},
    "a name that torch uses": {"keys": (0.1, nn.Identity)},
}


@pytest.mark.parametrize("kind", NO_LOSSES)
def test_what_is_no_loss_is_refused(kind):
    with pytest.raises(UserError, match="losses"):
        check_losses(TrainSettings(), np.arange(4), NO_LOSSES[kind])


class _Wrong(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, features, labels):
        return self.value


@pytest.mark.parametrize("value", [torch.zeros(4), 3.0, None])
def test_a_loss_of_several_numbers_is_refused(value):
    task, batch = made(LossSettings(), {"spread": (1.0, lambda *_: _Wrong(value))})
    with pytest.raises(UserError, match="losses, spread: expected one number for a batch"):
        task(batch)
    with pytest.raises(UserError, match=r"a torch\.nn\.Module from its builder"):
        made(LossSettings(), {"spread": (1.0, lambda *_: 3)})
