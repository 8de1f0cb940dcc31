"""The task of pre-training by contrast: what stands still in it, and what takes its course."""

import pytest
import torch

from rewho.core.check import UserError
from rewho.core.settings import ContrastSettings, ModelSettings, OptimizerSettings
from rewho.models.single_view import SingleViewModel
from rewho.pipeline.contrasting import ContrastBatch, ContrastTask
from rewho.train.optim import build_optimizer

SMALL = {"queue": 16, "projection": 8, "norm_group": 2}


def encoder(backbone: str) -> SingleViewModel:
    torch.manual_seed(1)
    settings = ModelSettings(backbone=backbone, pooling="gap", head="none", pretrained="none", extra_bn="no")
    return SingleViewModel(settings, (64, 32))


def batch(count: int = 4) -> ContrastBatch:
    draws = torch.Generator().manual_seed(2)
    first, second = torch.randint(0, 256, (2, count, 3, 64, 32), dtype=torch.uint8, generator=draws)
    return ContrastBatch(first, second, torch.rand(count, generator=draws), torch.arange(count))


def test_frozen_patches_of_a_transformer_stay_while_the_rest_moves():
    task = ContrastTask(encoder("vit_tiny_patch16_224"), ContrastSettings(freeze_patches=True, head_norm=True, **SMALL))
    settings = OptimizerSettings(kind="adamw", learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(task.encoder.backbone, [task.contrast.projection], settings)
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    task.train()(batch())["total"].backward()
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
    with pytest.raises(UserError, match="constant, cosine"):
        ContrastTask(encoder("test_resnet"), ContrastSettings(momentum_schedule="linear", **SMALL))
