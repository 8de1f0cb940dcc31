"""Removes what differs between cameras early in a network: contrast, brightness and cast of each image's feature maps.

Instance normalisation in shallow layers helps a network on cameras that it never saw (IBN-Net: Pan et al., ECCV 2018,
section 3). With learned scales, pre-trained weights behind it would have to be learned again. Here every image gets the
mean and the standard deviation that images have on average, so that these weights fit from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewho.models.squeezenet import Fire

MEAN, DEVIATION = "common_mean", "common_deviation"
"""Names of the buffers, which files of weights of the plain backbone lack."""
SMALLEST_VARIANCE = 1e-5


class CommonStyle(nn.Module):
    """Gives each channel of each image the mean and the standard deviation of the average training image.

    The averages are running ones, as in batch normalisation; the first batch of a training sets them.

    Args:
        channels: Number C of channels.
        momentum: Weight of a new batch in the averages.

    Example:
        >>> layer = CommonStyle(2)
        >>> dark = torch.rand(4, 2, 8, 8)
        >>> bool(torch.allclose(layer(dark), layer.eval()(3 * dark + 5), atol=1e-3))
        True
    """

    common_mean: Tensor
    common_deviation: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer(MEAN, torch.zeros(channels))
        self.register_buffer(DEVIATION, torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the map [N, C, h, w] in the common style."""
        variance, mean = torch.var_mean(feature_map, dim=(2, 3), correction=0)
        deviation = (variance + SMALLEST_VARIANCE).sqrt()
        if self.training:
            self._update_common(mean.detach(), deviation.detach())
        scale = self.common_deviation / deviation
        offset = self.common_mean - mean * scale
        return feature_map * scale[:, :, None, None] + offset[:, :, None, None]

    @torch.no_grad()
    def _update_common(self, mean: Tensor, deviation: Tensor) -> None:
        share = torch.where(self.num_batches_tracked == 0, 1.0, self.momentum).to(mean.dtype)
        self.common_mean.lerp_(mean.mean(dim=0).to(self.common_mean.dtype), share)
        self.common_deviation.lerp_(deviation.mean(dim=0).to(self.common_deviation.dtype), share)
        self.num_batches_tracked += 1


class NormalisedConv(nn.Conv2d):
    """A convolution whose output gets the common style."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
        )
        self.style = CommonStyle(convolution.out_channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Return the normalised output [N, C, h, w]."""
        normalised: Tensor = self.style(super().forward(input))
        return normalised


class NormalisedPool(nn.MaxPool2d):
    """A maximum pooling whose input gets the common style."""

    def __init__(self, pool: nn.MaxPool2d, channels: int) -> None:
        super().__init__(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode)
        self.style = CommonStyle(channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Return the pooled map [N, C, h, w]."""
        pooled: Tensor = super().forward(self.style(input))
        return pooled


def normalise_style(features: nn.Sequential) -> nn.Sequential:
    """Give a SqueezeNet the common style after its first convolution and before its second pooling.

    The names of its tensors stay as they are, so that its published weights fit.
    """
    second = [place for place, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)][1]
    first, fire, pool = features[0], features[second - 1], features[second]
    assert isinstance(first, nn.Conv2d) and isinstance(fire, Fire) and isinstance(pool, nn.MaxPool2d)
    features[0], features[second] = NormalisedConv(first), NormalisedPool(pool, 2 * fire.expand1x1.out_channels)
    return features
