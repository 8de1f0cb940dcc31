"""Global pooling: from a feature map [N, C, h, w] to one vector [N, C]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class StabilizedMaxPool(nn.Module):
    """Maximum over a smoothed feature map: GMP(AvgPool(f, kernel, stride 1)) (FD equation 5).

    A 16 x 8 map becomes 13 x 5 before the maximum. A kernel larger than the map shrinks to it, so that small inputs
    work.

    Args:
        kernel: Side of the averaging window; 4 in the paper, 1 is the plain maximum.
    """

    def __init__(self, kernel: int = 4) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]."""
        height, width = feature_map.shape[-2:]
        window = (min(self.kernel, height), min(self.kernel, width))
        return F.avg_pool2d(feature_map, window, stride=1).amax(dim=(2, 3))


class _GeneralizedMean(torch.autograd.Function):
    """The generalised mean, which saves no second map for the backward pass: that computes the powers again.

    With r = f / mean, the mean's derivative by a value f is r^(p - 1) / count, and by p it is mean / p times the
    average of r^p log r. There is no second derivative.
    """

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, exponent: Tensor, smallest: float) -> Tensor:  # noqa: ANN401
        wide = feature_map.to(torch.promote_types(feature_map.dtype, torch.float32))
        pooled = wide.clamp(min=smallest).pow_(exponent).mean(dim=(2, 3)).pow_(1.0 / exponent)
        ctx.save_for_backward(feature_map, pooled, exponent)
        ctx.smallest = smallest
        return pooled.to(feature_map.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        feature_map, pooled, exponent = ctx.saved_tensors
        wide = feature_map.to(pooled.dtype)
        ratio = wide.clamp(min=ctx.smallest).div_(pooled[:, :, None, None])
        logarithm = ratio.log()
        power = logarithm.mul(exponent - 1).exp_()
        of_pooled = gradient.to(pooled.dtype)
        average = ratio.mul_(power).mul_(logarithm).mean(dim=(2, 3))
        of_exponent = (of_pooled * pooled * average).sum() / exponent
        share = of_pooled[:, :, None, None] / feature_map[0, 0].numel()
        of_map = power.mul_(share).mul_(wide >= ctx.smallest)
        return of_map.to(feature_map.dtype), of_exponent.to(exponent.dtype), None


class GeneralizedMeanPool(nn.Module):
    """Generalised mean with a learnable exponent: (mean of f^p)^(1/p); p = 1 is the mean, large p the maximum.

    Args:
        exponent: Initial p.
        smallest: Values are clamped to at least this, because roots of negative numbers do not exist.
    """

    def __init__(self, exponent: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))
        self.smallest = smallest

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]; powers are taken in float32 or more."""
        pooled: Tensor = _GeneralizedMean.apply(feature_map, self.exponent, self.smallest)
        return pooled


class MeanPool(nn.Module):
    """Global average pooling."""

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool [N, C, h, w] to [N, C]."""
        return feature_map.mean(dim=(2, 3))


def build_pooling(name: str, kernel: int = 4) -> nn.Module:
    """Build the pooling called stabilized_gmp (with this averaging window), gem, gap or gmp."""
    pools: dict[str, Callable[[], nn.Module]] = {
        "stabilized_gmp": lambda: StabilizedMaxPool(kernel),
        "gem": GeneralizedMeanPool,
        "gap": MeanPool,
        "gmp": lambda: StabilizedMaxPool(1),
    }
    return pools[name]()
