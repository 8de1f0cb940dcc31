"""Layers behind the pooling: the embedding and the identity classifiers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Features(NamedTuple):
    """Inputs of the losses; one entry per head.

    Attributes:
        classified: Features [N, D_i] for identity classifiers.
        compared: Features [N, D_j] for triplet losses.
    """

    classified: tuple[Tensor, ...]
    compared: tuple[Tensor, ...]


class Embedding(nn.Module):
    """Fully connected layer and batch normalisation (FD section 3.1): its output is the representation r.

    The layer has no bias, because the normalisation behind it would remove it; the paper's parameter counts agree.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, size, bias=False)
        self.normalise = nn.BatchNorm1d(size)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C] to [N, D]."""
        embedding: Tensor = self.normalise(self.project(feature))
        return embedding


class Classifier(nn.Linear):
    """Identity logits of an embedding; used while training only.

    Initial weights are small, so that the first loss is the logarithm of the number of identities.
    """

    def __init__(self, size: int, identities: int) -> None:
        super().__init__(size, identities, bias=False)
        nn.init.normal_(self.weight, std=0.01)


class CosineClassifier(Classifier):
    """Cosines between an embedding and one vector per identity, for circle-softmax; used while training only."""

    def forward(self, embedding: Tensor) -> Tensor:
        """Map [N, D] to one cosine per identity."""
        return F.linear(F.normalize(embedding), F.normalize(self.weight))


def build_classifier(kind: str, size: int, identities: int) -> nn.Module:
    """Build the identity classifier called linear or circle, for embeddings of length `size`."""
    return CosineClassifier(size, identities) if kind == "circle" else Classifier(size, identities)


def build_head(kind: str, channels: int, size: int) -> tuple[nn.Module, int]:
    """Build the layers behind the pooling; returns them and the length of their output.

    Args:
        kind: fc_bn; bn, a batch normalisation whose bias stays zero (BNNeck: Luo et al., 2019), so that the features
            of a person stay on one side of the origin; or none.
        channels: Length C of the pooled feature.
        size: Length D of the embedding of fc_bn; the others have C.
    """
    if kind == "fc_bn":
        return Embedding(channels, size), size
    if kind == "none":
        return nn.Identity(), channels
    neck = nn.BatchNorm1d(channels)
    neck.bias.requires_grad_(False)
    return neck, channels
