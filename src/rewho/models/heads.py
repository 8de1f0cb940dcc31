"""What follows the pooled feature: the embedding and the identity classifier."""

from __future__ import annotations

from torch import Tensor, nn


class Embedding(nn.Module):
    """Fully connected layer and batch normalisation (FD section 3.1): its output is the representation r.

    The layer has no bias, because the normalisation behind it would take it away again; the paper's parameter counts
    hold to the digit that way.

    Args:
        channels: Length C of the pooled feature.
        size: Length D of the embedding.

    Example:
        >>> import torch
        >>> Embedding(512, 256)(torch.randn(4, 512)).shape
        torch.Size([4, 256])
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

    Weights start small, so that the first loss is the logarithm of the number of identities.

    Args:
        size: Length D of the embedding.
        identities: Number of training identities.
    """

    def __init__(self, size: int, identities: int) -> None:
        super().__init__(size, identities, bias=False)
        nn.init.normal_(self.weight, std=0.01)
