"""MGN, the multiple granularity network (Wang et al., ACM MM 2018), as fast-reid and LUPerson train it.

A ResNet is shared up to the first block of its third stage; what follows exists three times (`split_network`). The
branches' maps are pooled whole and in 1, 2 and 3 stripes: 8 heads of generalised-mean pooling, FC and batch
normalisation.

Letters: N images, C channels, D embedding of all heads together.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from rewho.core.check import UserError
from rewho.models.backbone import SQUEEZENETS, Backbone
from rewho.models.heads import Embedding, Features
from rewho.models.pooling import GeneralizedMeanPool
from rewho.models.single_view import SingleViewModel, extra_normalisation
from rewho.models.squeezenet import Fire
from rewho.settings import ModelSettings

STRIPES = (1, 2, 3)
"""Number of stripes of each branch's map; 1 is the whole map alone."""
HEADS = sum(1 if count == 1 else 1 + count for count in STRIPES)


def split_network(network: nn.Module, name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a network into the shared trunk and the part that every branch has a copy of.

    A ResNet is split behind the first block of its third stage, as in the paper; a SqueezeNet, which the paper does not
    have, before its last three Fire modules.
    """
    layers = dict(network.named_children())
    if {"layer1", "layer2", "layer3", "layer4"} <= layers.keys():
        before = list(layers.items())[: list(layers).index("layer3")]
        third = [(f"layer3_{number}", block) for number, block in enumerate(layers["layer3"].children())]
        return _chain([*before, third[0]]), _chain([*third[1:], ("layer4", layers["layer4"])])
    if name in SQUEEZENETS:
        modules = list(layers.items())
        fires = [number for number, (_, layer) in enumerate(modules) if isinstance(layer, Fire)]
        return _chain(modules[: fires[-3]]), _chain(modules[fires[-3] :])
    raise UserError(
        "--model.kind mgn",
        expected="a ResNet or a SqueezeNet, such as --model.backbone resnet50",
        got=name,
        fix="Choose one of them, or another --model.kind.",
    )


def _chain(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


class StripeHead(nn.Module):
    """Generalised mean over a stripe of a map, then FC and batch normalisation."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.pooling = GeneralizedMeanPool()
        self.embedding = Embedding(channels, size)

    def forward(self, stripe: Tensor) -> Tensor:
        """Map [N, C, h, w] to [N, D]."""
        embedding: Tensor = self.embedding(self.pooling(stripe))
        return embedding


class MultipleGranularityModel(SingleViewModel):
    """Three branches, eight heads; the model's embedding is the concatenation of theirs.

    `settings.embedding` is the length of all heads together, a multiple of 8; 8 x 256 = 2048 in the paper, with images
    of 384 x 128. Pooling and head of the settings are replaced by MGN's.

    Example:
        >>> settings = ModelSettings(kind="mgn", backbone="resnet18", embedding=64, pretrained="none")
        >>> model = MultipleGranularityModel(settings, (96, 32)).eval()
        >>> model(torch.zeros(2, 3, 96, 32, dtype=torch.uint8)).shape
        torch.Size([2, 64])
    """

    def build(self, settings: ModelSettings, backbone: Backbone) -> None:
        """Create trunk, branches and heads."""
        trunk, own = split_network(backbone.body, settings.backbone)
        channels, size = backbone.channels, settings.embedding // HEADS
        self.settings = replace(settings, pooling="gem", head="fc_bn")
        self.backbone = Backbone(trunk, channels)
        self.branches = nn.ModuleList(copy.deepcopy(own) for _ in STRIPES)
        self.recalibrations = nn.ModuleList(extra_normalisation(settings, channels) for _ in STRIPES)
        self.heads = nn.ModuleList(StripeHead(channels, size) for _ in range(HEADS))

    def pretrained_parts(self) -> Mapping[str, nn.Module]:
        """Return trunk and branches."""
        return {"backbone": self.backbone, "branches": self.branches}

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the weights of a plain network; all branches begin with the same ones."""
        trunk, own = split_network(backbone.body, self.settings.backbone)
        self.backbone.body.load_state_dict(trunk.state_dict())
        for branch in self.branches:
            branch.load_state_dict(own.state_dict())

    def classified_sizes(self) -> tuple[int, ...]:
        """Return the length of each head's embedding."""
        return (self.settings.embedding // HEADS,) * HEADS

    def _embeddings(self, shared: Tensor) -> list[list[Tensor]]:
        """Return, for each branch, the embeddings of the whole map and of its stripes."""
        heads, found = iter(self.heads), []
        for count, branch, recalibration in zip(STRIPES, self.branches, self.recalibrations, strict=True):
            branch_map = recalibration(branch(shared))
            stripes = torch.tensor_split(branch_map, count, dim=2) if count > 1 else ()
            found.append([next(heads)(stripe) for stripe in (branch_map, *stripes)])
        return found

    def represent(self, feature_map: Tensor) -> Tensor:
        """Return the concatenated embeddings of all heads, [N, D], from the trunk's map."""
        return torch.cat([embedding for branch in self._embeddings(feature_map) for embedding in branch], dim=1)

    def features(self, images: Tensor) -> Features:
        """Return 8 features for classifiers and 5 for triplets: 3 whole maps, 2 stripes joined, 3 stripes joined."""
        branches = self._embeddings(self.feature_map(images))
        whole = [embeddings[0] for embeddings in branches]
        stripes = [torch.cat(embeddings[1:], dim=1) for embeddings in branches if len(embeddings) > 1]
        return Features(tuple(feature for branch in branches for feature in branch), (*whole, *stripes))
