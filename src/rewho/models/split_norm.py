"""Batch normalisation over groups of a batch, so that one device does what several would do.

Batch statistics reveal which images share a batch, so that a network can solve the contrastive task without looking at
the images (MoCo, section 3.3). Several devices avoid that, because each normalises its own part of the batch. Here one
device normalises groups of a fixed number of images: groups of 32 give what eight devices with 32 images each give.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from rewho.core.check import UserError


class SplitBatchNorm(nn.Module):
    """Normalises each group of `group` consecutive images by its own statistics while training.

    It has the parameters and buffers of the layer that it replaces, under the same names, so that saved weights fit
    with and without it. Running statistics move once per batch, towards the mean over the groups.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    weight: nn.Parameter
    bias: nn.Parameter
    eps: float
    momentum: float

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d | SplitBatchNorm, group: int) -> None:
        super().__init__()
        self.group, self.eps, self.momentum = group, layer.eps, layer.momentum or 0.1
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.train(layer.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C] or [N, C, h, w]; N must be a multiple of the group while training."""
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        if not self.training:
            return F.batch_norm(features, *tensors, False, 0.0, self.eps)
        if len(features) % self.group:
            raise UserError(
                "--contrast.norm_group",
                expected=f"a divisor of the {len(features)} images of one forward pass on one device",
                got=str(self.group),
                fix="Choose a batch that is a multiple of devices x accumulate x norm_group.",
            )
        with torch.no_grad():
            self.num_batches_tracked += 1
        # A single group is not split: the backward pass of a split copies the whole map.
        split = torch.split(features, self.group) if len(features) > self.group else (features,)
        share = self.momentum / len(split)
        parts = [
            # Each group moves the running statistics left by the one before; this factor gives all the same weight.
            F.batch_norm(part, *tensors, True, share / (1 - later * share), self.eps)
            for later, part in zip(range(len(split) - 1, -1, -1), split, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def split_batch_norm(
    network: nn.Module, group: int, *, leave_others: bool = False, fix: str = "Pass --contrast.norm_group 0, or"
) -> int:
    """Make every batch normalisation of a network use groups of `group` images; returns the number of layers.

    The network is changed in place; its parameters and their names stay.

    Args:
        network: The network.
        group: Images of a group.
        leave_others: Leave kinds of batch normalisation that cannot be split, such as timm's with an activation, as
            they are; right where a group is the whole batch.
        fix: What to do about such kinds; the message ends it with "choose a ResNet".

    Raises:
        UserError: Fewer than 2 images, or a kind that cannot be split.
    """
    if group < 2:
        raise UserError("--contrast.norm_group", expected="2 or more images", got=str(group), fix="Pass 32.")
    found = 0
    for parent in network.modules():
        for name, layer in parent.named_children():
            if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d) and layer.track_running_stats:
                setattr(parent, name, SplitBatchNorm(layer, group))  # type: ignore[arg-type]
                found += 1
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and not leave_others:
                raise UserError(
                    "--contrast.norm_group",
                    expected="a backbone whose batch normalisation is torch's plain one",
                    got=f"{type(layer).__name__} in {type(network).__name__}",
                    fix=f"{fix} choose a ResNet.",
                )
    return found


def average_statistics(network: nn.Module) -> None:
    """Average each running statistic of a network over all processes, in place and with one message.

    A running statistic is a weighted sum of batch statistics, so the mean over the processes is what one process with
    all of their groups has.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    # `.data`, because the backward pass refuses buffers that changed, though it does not use them while training.
    running = [buffer.data for name, buffer in network.named_buffers() if "running_" in name]
    if running:
        joined = torch.cat(running)
        distributed.all_reduce(joined)
        joined /= distributed.get_world_size()
        for buffer, mean in zip(running, torch.split(joined, [len(buffer) for buffer in running]), strict=True):
            buffer.copy_(mean)
