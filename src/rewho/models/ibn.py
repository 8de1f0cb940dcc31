"""IBN-a: instance normalisation for half of the channels in the first layers (Pan et al., ECCV 2018).

Instance normalisation removes an image's own contrast and colour cast, which differ between cameras. In a ResNet it
stands in the first normalisation of every block but those of the last stage. The tensors are named as in the authors'
published weights, so that those fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ("layer1", "layer2", "layer3")
SUFFIX = "_ibn_a"
"""Ends the name of a ResNet with IBN-a."""


class InstanceBatchNorm(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the others.

    Example:
        >>> InstanceBatchNorm(6)(torch.randn(2, 6, 4, 4)).shape
        torch.Size([2, 6, 4, 4])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instances = channels // 2
        self.IN = nn.InstanceNorm2d(self.instances, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instances)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C, h, w]."""
        first, second = features[:, : self.instances], features[:, self.instances :]
        joined = torch.cat([self.IN(first), self.BN(second)], dim=1)
        if features.is_contiguous(memory_format=torch.channels_last):
            return joined.contiguous(memory_format=torch.channels_last)
        return joined


def add_instance_norm(network: nn.Module) -> int:
    """Replace the first normalisation of each block in the first three stages of a ResNet; return how many."""
    found = 0
    for stage in STAGES:
        for block in getattr(network, stage).children():
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
            found += 1
    return found
