"""Image encoders by name, with a total stride of 16 or, on request, a ResNet's own 32.

"Last stride 1" is not what timm's `output_stride=16` or torchvision's dilation flags do (both dilate the convolutions
that follow). Here the strides of one block are set by hand and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rewho.core.check import UserError, describe_error, nearest
from rewho.models.ibn import SUFFIX, add_instance_norm
from rewho.models.osnet import OSNETS, OSNet
from rewho.models.squeezenet import STEMS, build_squeezenet
from rewho.models.style import normalise_style

SQUEEZENETS = tuple(STEMS)
STYLED = {f"{name}_in": name for name in SQUEEZENETS}
"""Networks with `models.style.CommonStyle`, and the plain ones whose weights they take."""
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BACKBONES: dict[str, Callable[[tuple[int, int]], nn.Module]] = {}
"""Networks that a user's script registers by name. A file holds the name only, so loading a model imports nothing."""


class Backbone(nn.Module):
    """A network that turns images [N, 3, H, W] into a feature map, usually [N, C, H/16, W/16].

    Args:
        body: The network; called with images, returns the map.
        channels: Number C of channels of the map.
    """

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, C, h, w] of normalised images [N, 3, H, W]."""
        feature_map: Tensor = self.body(images)
        return feature_map


class TimmBody(nn.Module):
    """Any timm model as a function from images to its last feature map; tokens become a map again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, C, h, w] of normalised images [N, 3, H, W]."""
        options = {"indices": 1, "norm": True, "output_fmt": "NCHW", "intermediates_only": True}
        feature_map: Tensor = self.network.forward_intermediates(images, **options)[-1]  # type: ignore[operator]
        return feature_map


def build_backbone(name: str, stride_one_at: str = "layer4", input_size: tuple[int, int] = (256, 128)) -> Backbone:
    """Build an untrained backbone.

    Args:
        name: squeezenet1_0, squeezenet1_1, these with `_in` (for cameras that they never saw, see `models.style`),
            resnet18 … resnet152, these with `_ibn_a` (instance normalisation), osnet_x1_0 … osnet_x0_25, any model name
            of timm, or a name of `BACKBONES`.
        stride_one_at: ResNets: the stage whose first block keeps stride 1 ("conv4_1", FD section 4.1): layer4 is the
            usual reading, layer3 the literal one; none leaves torchvision's strides, 32 in total. The weights have the
            same shapes with each.
        input_size: Height and width of the images in pixels; only transformers need to know.

    Example:
        >>> build_backbone("squeezenet1_1")(torch.zeros(1, 3, 256, 128)).shape
        torch.Size([1, 512, 15, 7])
    """
    if name in SQUEEZENETS:
        return Backbone(build_squeezenet(name), 512)
    if name in STYLED:
        return Backbone(normalise_style(build_squeezenet(STYLED[name])), 512)
    if name in OSNETS:
        return Backbone(OSNet(OSNETS[name]), OSNETS[name][-1])
    if name in BACKBONES:
        return _build_own(name, input_size)
    return _build_timm(name, stride_one_at, input_size)


def _build_own(name: str, input_size: tuple[int, int]) -> Backbone:
    """Build a registered network and find its channels; it maps images to a feature map."""
    try:
        body = BACKBONES[name](input_size)
        return Backbone(body, _count_channels(body, input_size))
    except Exception as error:  # code of others fails in its own ways; the cause is kept
        raise UserError(
            f"--model.backbone {name}",
            expected=f"a function that takes {input_size} and returns a torch module from images [N, 3, H, W] to a "
            "feature map [N, C, h, w]",
            got=f"{type(error).__name__}: {describe_error(error)[:200]}",
            fix="Call the function by hand.",
        ) from error


def _count_channels(body: nn.Module, input_size: tuple[int, int]) -> int:
    """Return the channels C of the feature map [N, C, h, w] that a network makes, by running it once."""
    training = body.training
    with torch.no_grad():
        _, channels, _, _ = body.eval()(torch.zeros(2, 3, *input_size)).shape
    body.train(training)
    return int(channels)


def _build_timm(name: str, stride_one_at: str, input_size: tuple[int, int]) -> Backbone:
    import timm

    network: Any
    if name in RESNETS or name.removesuffix(SUFFIX) in RESNETS:
        network = timm.create_model(name.removesuffix(SUFFIX), num_classes=0, global_pool="")
        if name.endswith(SUFFIX):
            add_instance_norm(network)
        if stride_one_at != "none":
            for module in getattr(network, stride_one_at)[0].modules():
                if isinstance(module, nn.Conv2d):
                    module.stride = (1, 1)
        return Backbone(network, network.num_features)
    if not timm.is_model(name):
        near = nearest(name, [*SQUEEZENETS, *STYLED, *RESNETS, *OSNETS, *timm.list_models()])
        raise UserError(
            "--model.backbone",
            expected=f"one of {', '.join((*SQUEEZENETS, *STYLED, *RESNETS, *OSNETS))}, a ResNet's with {SUFFIX}, a "
            "model name that timm knows, or one in BACKBONES",
            got=repr(name),
            fix=f"Did you mean {near!r}?"
            if near
            else "`python -c 'import timm; print(timm.list_models())'` lists all.",
        )
    try:
        network = timm.create_model(name, num_classes=0, img_size=input_size)
    except TypeError:  # convolutional networks take images of any size and no such argument
        network = timm.create_model(name, num_classes=0)
    if not hasattr(network, "forward_intermediates"):
        raise UserError(
            "--model.backbone", expected="a timm model that gives feature maps", got=name, fix="Choose another model."
        )
    body = TimmBody(network)
    # `num_features` also counts a convolution after the feature map, as in EfficientNets and MobileNets.
    return Backbone(body, _count_channels(body, input_size))
