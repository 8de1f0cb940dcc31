"""Batch normalisation of two domains."""

import torch
from torch import nn

from rewho.models.domain_norm import split_domains
from rewho.models.split_norm import split_batch_norm


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def test_each_domain_has_its_own_statistics_and_groups_and_the_target_s_are_kept():
    plain, joint = network(), network()
    names = list(plain.state_dict())
    assert split_batch_norm(joint, 4) == 2
    sources = split_domains(joint)
    assert len(sources) == 2
    assert list(joint.state_dict()) == names
    source, target = torch.randn(8, 3, 5, 5), 5 + 3 * torch.randn(8, 3, 5, 5)
    turns = torch.cat([source[:4], target[:4], source[4:], target[4:]])
    result = joint.train()(turns)
    for images, places in ((source, [0, 1, 2, 3, 8, 9, 10, 11]), (target, [4, 5, 6, 7, 12, 13, 14, 15])):
        alone = network()
        split_batch_norm(alone, 4)
        assert torch.allclose(alone.train()(images), result[places], atol=1e-5)
    assert not torch.allclose(sources[0].running_mean, joint[1].running_mean)
    alone.eval(), joint.eval()
    assert torch.allclose(alone(target), joint(target), atol=1e-6)  # the last one alone was the target's


def test_both_domains_get_gradients():
    joint = network()
    split_batch_norm(joint, 2)
    sources = split_domains(joint)
    joint.train()(torch.randn(8, 3, 5, 5)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in [*joint.parameters(), *sources.parameters()])
