"""ResNets with instance normalisation."""

import pytest
import torch

from rewho.models.backbone import build_backbone
from rewho.models.ibn import InstanceBatchNorm
from rewho.models.split_norm import split_batch_norm


def test_the_first_half_forgets_contrast_and_the_second_does_not():
    norm = InstanceBatchNorm(4).train()
    images = torch.randn(3, 4, 6, 5)
    moved = images * torch.tensor([1.0, 2.0, 5.0])[:, None, None, None] + 3
    assert torch.allclose(norm(images)[:, :2], norm(moved)[:, :2], atol=1e-3)
    assert not torch.allclose(norm(images)[:, 2:], norm(moved)[:, 2:], atol=0.1)


@pytest.mark.parametrize(("name", "blocks"), [("resnet18_ibn_a", 6), ("resnet50_ibn_a", 13)])
def test_names_and_places_are_those_of_the_published_weights(name, blocks):
    backbone = build_backbone(name)
    names = backbone.body.state_dict().keys()
    assert {"layer1.0.bn1.IN.weight", "layer1.0.bn1.BN.running_mean", "layer4.0.bn1.weight"} <= names
    assert sum(part.endswith("IN.weight") for part in names) == blocks
    assert backbone.body.layer4[0].conv1.stride == (1, 1)
    layers = split_batch_norm(backbone, 2)
    assert layers == sum(part.endswith("running_mean") for part in names)
    assert backbone.train()(torch.zeros(4, 3, 64, 32)).shape == (4, backbone.channels, 4, 2)
