"""Split batch normalisation does on one device what several devices would do."""

import copy

import pytest
import torch
from torch import nn

from rewho.core.check import UserError
from rewho.models.split_norm import split_batch_norm


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5)
    )


def test_groups_are_what_devices_would_compute():
    whole, images = network(), torch.randn(12, 3, 6, 6)
    devices = [copy.deepcopy(whole) for _ in range(3)]
    assert split_batch_norm(whole, 4) == 2
    outputs = torch.cat([device(part) for device, part in zip(devices, images.split(4), strict=True)])
    torch.testing.assert_close(whole(images), outputs)
    outputs.square().sum().backward()
    whole(images).square().sum().backward()
    for name, parameter in whole.named_parameters():
        summed = sum(dict(device.named_parameters())[name].grad for device in devices)
        torch.testing.assert_close(parameter.grad, summed)


def test_one_group_is_plain_batch_normalisation():
    plain = network()
    split, images = copy.deepcopy(plain), torch.randn(8, 3, 6, 6)
    split_batch_norm(split, 8)
    assert torch.equal(split(images), plain(images))
    assert plain.state_dict().keys() == split.state_dict().keys()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(split.state_dict()[name], tensor), name


def test_running_statistics_move_once_per_batch_towards_the_mean_over_groups():
    grouped, images = network(), torch.randn(8, 3, 6, 6)
    images *= torch.arange(1, 9)[:, None, None, None]  # groups that differ: one that weighs more would show
    maps = grouped[0](images).detach()
    split_batch_norm(grouped, 2)
    grouped(images)
    means, variances = ([statistic(part, (0, 2, 3)) for part in maps.split(2)] for statistic in (torch.mean, torch.var))
    layer = grouped[1]
    torch.testing.assert_close(layer.running_mean, 0.1 * torch.stack(means).mean(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * torch.stack(variances).mean(0), atol=1e-6, rtol=1e-5)
    assert int(layer.num_batches_tracked) == 1


def test_evaluation_does_not_look_at_the_batch():
    split = network()
    split_batch_norm(split, 4)
    split.eval()
    images = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(split(images)[:1], split(images[:1]))


def test_channels_last_stays_channels_last():
    split = network()[:2].to(memory_format=torch.channels_last)
    split_batch_norm(split, 2)
    output = split(torch.randn(4, 3, 6, 6).contiguous(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_mistakes():
    split = network()
    with pytest.raises(UserError, match="2 or more"):
        split_batch_norm(split, 1)
    split_batch_norm(split, 4)
    with pytest.raises(UserError, match="a divisor of the 6 images"):
        split(torch.randn(6, 3, 6, 6))

    class Fused(nn.BatchNorm2d):
        """Such as timm's layers with an activation inside."""

    with pytest.raises(UserError, match="Fused"):
        split_batch_norm(nn.Sequential(Fused(3)), 2)
    assert split_batch_norm(nn.Sequential(Fused(3), nn.BatchNorm2d(3)), 2, leave_others=True) == 1
