"""Global pooling: from a feature map [N, C, h, w] to one vector [N, C]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.check import check_choice

POOLINGS = ("stabilized_gmp", "gem", "gap", "gmp")


class StabilizedMaxPool(nn.Module):
    """Maximum over a feature map that was smoothed first: GMP(AvgPool(f, kernel, stride 1)) (FD equation 5).

    A 16 x 8 map becomes 13 x 5 before the maximum. Where a map is smaller than the kernel, the kernel shrinks to the
    map in that direction, so that small inputs work.

    Args:
        kernel: Side of the averaging window; 4 in the paper, 1 is the plain maximum.

    Example:
        >>> StabilizedMaxPool()(torch.ones(2, 512, 16, 8)).shape
        torch.Size([2, 512])
    """

    def __init__(self, kernel: int = 4) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]."""
        height, width = feature_map.shape[-2:]
        window = (min(self.kernel, height), min(self.kernel, width))
        return F.avg_pool2d(feature_map, window, stride=1).amax(dim=(2, 3))


class GeneralizedMeanPool(nn.Module):
    """Generalised mean with a learnable exponent: (mean of f^p)^(1/p); p = 1 is the mean, large p the maximum.

    Args:
        exponent: Initial p.
        smallest: Values are clamped to at least this, because roots of negative numbers do not exist.

    Example:
        >>> round(GeneralizedMeanPool(3.0)(torch.full((1, 1, 2, 2), 2.0)).item(), 4)
        2.0
    """

    def __init__(self, exponent: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))
        self.smallest = smallest

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]; powers are taken in float32."""
        powered = feature_map.float().clamp(min=self.smallest).pow(self.exponent)
        return powered.mean(dim=(2, 3)).pow(1.0 / self.exponent).to(feature_map.dtype)


class MeanPool(nn.Module):
    """Global average pooling.

    Example:
        >>> MeanPool()(torch.ones(2, 8, 3, 3)).shape
        torch.Size([2, 8])
    """

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]."""
        return feature_map.mean(dim=(2, 3))


def build_pooling(name: str, kernel: int = 4) -> nn.Module:
    """Return the pooling called `name`.

    Args:
        name: stabilized_gmp, gem, gap or gmp.
        kernel: Averaging window of stabilized_gmp.

    Raises:
        UserError: No pooling has that name.
    """
    check_choice("--model.pooling", name, POOLINGS)
    if name == "gem":
        return GeneralizedMeanPool()
    if name == "gap":
        return MeanPool()
    return StabilizedMaxPool(kernel if name == "stabilized_gmp" else 1)
