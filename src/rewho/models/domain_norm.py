"""Batch normalisation with statistics and weights for each of two domains (Chang et al., CVPR 2019; SpCL's UDA).

While training, groups of the source's and of the target's images take turns in a batch, the source's first. The network
keeps the target's layers under their usual names; the source's are beside it, so that what is saved is a plain network.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from rewho.models.split_norm import SplitBatchNorm


class DomainBatchNorm(SplitBatchNorm):
    """Normalises alternating groups of source and target images by layers of their own; as the target's in evaluation.

    Args:
        layer: The target's layer.
        source: The source's; a module of the task, not of this one.
    """

    def __init__(self, layer: SplitBatchNorm, source: SplitBatchNorm) -> None:
        super().__init__(layer, layer.group)
        self._source = [source]  # in a list, so that it is no part of the network's tensors

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C] or [N, C, h, w]; N must be a multiple of two groups while training."""
        if not self.training:
            return super().forward(features)
        shape = features.shape[1:]
        by_group = features.reshape(-1, 2, self.group, *shape)
        source, target = (by_group[:, number].flatten(0, 1) for number in range(2))
        parts = self._source[0](source), super().forward(target)
        joined = torch.stack([part.reshape(-1, self.group, *shape) for part in parts], dim=1)
        return joined.flatten(0, 2)


def split_domains(network: nn.Module) -> nn.ModuleList:
    """Give every grouped batch normalisation of a network a second one for the source; returns those, in order.

    The network is changed in place, after `split_norm.split_batch_norm`; the new layers begin as copies of the old.
    """
    sources = nn.ModuleList()
    for parent in network.modules():
        for name, layer in parent.named_children():
            if type(layer) is SplitBatchNorm:
                sources.append(copy.deepcopy(layer))
                setattr(parent, name, DomainBatchNorm(layer, sources[-1]))  # type: ignore[arg-type]
    return sources
