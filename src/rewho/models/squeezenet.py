"""SqueezeNet's feature maps (Iandola et al. 2016, arXiv 1602.07360), with the tensors' names of its published weights.

The starter model and the paper's student are SqueezeNets. torchvision has the same network, but importing torchvision
takes as long as importing torch, so it is built here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEMS = {"squeezenet1_0": (96, 7), "squeezenet1_1": (64, 3)}
"""By name: channels and kernel of the first convolution."""
POOLS = {"squeezenet1_0": (2, 6, 11), "squeezenet1_1": (2, 5, 8)}
"""By name: the places of the three poolings among the layers."""
SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)
"""Channels to which each Fire module squeezes its input; it returns eight times as many."""
CLASSES = 1000


class Fire(nn.Module):
    """A convolution of 1 × 1 to few channels, then one of 1 × 1 and one of 3 × 3 to four times as many each.

    Args:
        channels: Channels C of the input.
        squeezed: Channels S in between; the output has 8 S.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, h, w] to [N, 8 S, h, w]."""
        few = self.squeeze_activation(self.squeeze(maps))
        near, wide = self.expand1x1(few), self.expand3x3(few)
        return torch.cat([self.expand1x1_activation(near), self.expand3x3_activation(wide)], 1)


def build_squeezenet(name: str) -> nn.Sequential:
    """Return the layers of squeezenet1_0 or squeezenet1_1 up to the classifier, from images to [N, 512, h, w].

    The weights are random, and for one state of torch's generator the same as torchvision's.

    Example:
        >>> build_squeezenet("squeezenet1_0")(torch.zeros(1, 3, 128, 64)).shape
        torch.Size([1, 512, 7, 3])
    """
    channels, kernel = STEMS[name]
    layers: list[nn.Module] = [nn.Conv2d(3, channels, kernel, stride=2), nn.ReLU(inplace=True)]
    for squeezed in SQUEEZED:
        if len(layers) in POOLS[name]:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        layers.append(Fire(channels, squeezed))
        channels = 8 * squeezed
    features = nn.Sequential(*layers)
    classifier = nn.Conv2d(channels, CLASSES, 1)  # drawn and dropped: what is drawn after it stays the same
    for layer in features.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    nn.init.normal_(classifier.weight, std=0.01)
    return features
