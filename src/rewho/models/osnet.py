"""OSNet (Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019), of total stride 16.

Its blocks look at four scales: streams of one to four light 3 × 3 convolutions, added with weights that one gate shared
by all four computes for each image and channel. The tensors have the names of torchreid's files, so that these load.

Letters: N images, C channels, H and W height and width.
"""

from __future__ import annotations

from torch import Tensor, nn

OSNETS = {
    "osnet_x1_0": (64, 256, 384, 512),
    "osnet_x0_75": (48, 192, 288, 384),
    "osnet_x0_5": (32, 128, 192, 256),
    "osnet_x0_25": (16, 64, 96, 128),
}
"""Channels of the first convolution and of the three stages, by name."""
STREAMS = 4
NARROWER = 4  # a block's inner channels are this much fewer than its outer ones
SQUEEZED = 16  # and the gate's than those


class _Normalised(nn.Module):
    """A convolution with batch normalisation, followed by ReLU unless `linear`."""

    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1, *, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.relu = nn.Identity() if linear else nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.relu(self.bn(self.conv(images)))
        return found


class _Light(nn.Module):
    """A light 3 × 3 convolution: 1 × 1 over the channels, then 3 × 3 in each channel alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.relu(self.bn(self.conv2(self.conv1(images))))
        return found


class _Gate(nn.Module):
    """Weighs the channels of each image by a number from 0 to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZED, 1)
        self.fc2 = nn.Conv2d(channels // SQUEEZED, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        weights: Tensor = self.fc2(self.fc1(images.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return images * weights


class OmniScaleBlock(nn.Module):
    """A residual block of four streams with one gate (section 3.2, equation 3).

    Args:
        before: Channels of its input.
        after: Channels of its output.

    Example:
        >>> import torch
        >>> OmniScaleBlock(64, 256)(torch.zeros(1, 64, 8, 4)).shape
        torch.Size([1, 256, 8, 4])
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        inner = after // NARROWER
        self.conv1 = _Normalised(before, inner)
        self.conv2a = _Light(inner)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(_Light(inner) for _ in range(length))) for length in range(2, STREAMS + 1)
        )
        self.gate = _Gate(inner)
        self.conv3 = _Normalised(inner, after, linear=True)
        self.downsample = None if before == after else _Normalised(before, after, linear=True)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to as many pixels."""
        inside = self.conv1(images)
        streams = (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        joined: Tensor = self.conv3(sum(self.gate(stream(inside)) for stream in streams))
        shortcut = images if self.downsample is None else self.downsample(images)
        return (joined + shortcut).relu()


class OSNet(nn.Module):
    """OSNet up to its last feature map; torchreid's `fc` and `classifier` behind it are left out.

    Args:
        channels: Channels of the first convolution and of the three stages.

    Example:
        >>> import torch
        >>> OSNet(OSNETS["osnet_x0_25"])(torch.zeros(1, 3, 256, 128)).shape
        torch.Size([1, 128, 16, 8])
    """

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, *stages = channels
        self.conv1 = _Normalised(3, first, size=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = self._stage(first, stages[0], shrink=True)
        self.conv3 = self._stage(stages[0], stages[1], shrink=True)
        self.conv4 = self._stage(stages[1], stages[2], shrink=False)
        self.conv5 = _Normalised(stages[2], stages[2])

    @staticmethod
    def _stage(before: int, after: int, *, shrink: bool) -> nn.Sequential:
        blocks = [OmniScaleBlock(before, after), OmniScaleBlock(after, after)]
        return nn.Sequential(*blocks, *([nn.Sequential(_Normalised(after, after), nn.AvgPool2d(2))] if shrink else []))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [N, 3, H, W] to a feature map [N, C, H/16, W/16]."""
        feature_map: Tensor = self.conv5(self.conv4(self.conv3(self.conv2(self.maxpool(self.conv1(images))))))
        return feature_map
