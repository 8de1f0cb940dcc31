"""The task of pre-training by contrast: what stands still in it, what takes its course, and a failure that is told."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rewho.models.single_view import SingleViewModel
from rewho.settings import ContrastSettings, ModelSettings, OptimizerSettings
from rewho.tasks.contrast import ContrastBatch, ContrastTask, find_failure
from rewho.training.optim import build_optimizer

SIZE = (64, 32)
SMALL = {"queue": 16, "projection": 8, "norm_group": 2}


def encoder(backbone: str) -> SingleViewModel:
    torch.manual_seed(1)
    settings = ModelSettings(backbone=backbone, pooling="gap", head="none", pretrained="none", extra_bn="no")
    return SingleViewModel(settings, SIZE)


class Shrunk(nn.Module):
    """An encoder whose features differ from their mean by a thousandth of what they did."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        features = self.encoder(images)
        return features.mean(dim=0) + 1e-3 * (features - features.mean(dim=0))


def batch(count: int = 16) -> ContrastBatch:
    """Two views of images of a few coloured patches."""
    draws = torch.Generator().manual_seed(1)
    patches = torch.randint(0, 256, (count, 3, 4, 2), generator=draws)
    noise = torch.randint(-20, 21, (2, count, 3, *SIZE), generator=draws)
    first, second = (F.interpolate(patches.float(), SIZE) + noise).clamp(0, 255).byte()
    return ContrastBatch(first, second, torch.rand(count, generator=draws), *torch.arange(count).repeat(2, 1))


def test_frozen_patches_of_a_transformer_stay_while_the_rest_moves():
    task = ContrastTask(encoder("vit_tiny_patch16_224"), ContrastSettings(freeze_patches=True, head_norm=True, **SMALL))
    settings = OptimizerSettings(kind="adamw", learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(task.encoder.backbone, [task.contrast.projection], settings)
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    task.train()(batch(4))["total"].backward()
    optimizer.step()
    queries = {name: weight for name, weight in task.named_parameters() if ".key_" not in name}
    patches = {name for name in queries if "patch_embed" in name}
    assert patches
    assert {name for name, weight in queries.items() if torch.equal(weight, before[name])} == patches


def test_the_momentum_takes_its_course_in_however_many_passes():
    for passes in (1, 4):
        settings = ContrastSettings(momentum=0.9, momentum_schedule="cosine", **SMALL)
        task = ContrastTask(encoder("test_resnet"), settings, passes)
        seen = []
        for done in (0.0, 0.5, 1.0):
            task.set_progress(done)
            seen.append(task.contrast.momentum**passes)
        assert seen == pytest.approx([0.9, 0.95, 1.0])


@pytest.mark.parametrize("head_norm", [False, True])
@pytest.mark.parametrize("backbone", ["test_resnet", "squeezenet1_1"])
def test_features_that_are_nearly_the_same_are_said_whatever_the_projection_makes_of_them(backbone, head_norm):
    network = encoder(backbone)
    task = ContrastTask(network, ContrastSettings(queue=64, norm_group=8, head_norm=head_norm)).train()
    sound = {name: float(value.detach()) for name, value in task(batch()).items()}
    task.contrast.encoder = Shrunk(network)
    collapsed = {name: float(value.detach()) for name, value in task(batch()).items()}
    assert 1e-6 < collapsed["spread"] < 2e-3 * sound["spread"]
    assert find_failure(collapsed, filled=False).startswith("collapsed")
    assert find_failure(sound, filled=False) is None
    assert sound["spread"] < 1
    assert (collapsed["query_spread"] > 0.5) == head_norm, "with a normalised head the queries do not tell"
