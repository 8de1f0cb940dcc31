"""The single-view model: backbone, pooling, embedding (FD section 3.1, figure 2). Teachers and students are this.

It takes uint8 images and normalises them on the device: mean and standard deviation cannot be forgotten, and a quarter
of the bytes travels to the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from rewho.models.backbone import Backbone, build_backbone
from rewho.models.heads import Features, build_head
from rewho.models.normalise import normalise_images
from rewho.models.pooling import build_pooling
from rewho.settings import ModelSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SingleViewModel(nn.Module):
    """One image of one view in, one embedding out; models with several branches are special cases of it.

    Its `settings.embedding` is the length of the output. `box` is the part of the image that it was trained on: top,
    bottom, left and right as fractions; empty where that is not known.

    Args:
        settings: Architecture; its weights stay random, see `models.initial.load_initial_weights`.
        input_size: Height and width of the input in pixels.
        mean: Channel means of the images, RGB in 0 to 1.
        std: Channel standard deviations of the images.

    Example:
        >>> model = SingleViewModel(ModelSettings(backbone="squeezenet1_1"), (256, 128)).eval()
        >>> model(torch.zeros(2, 3, 256, 128, dtype=torch.uint8)).shape
        torch.Size([2, 512])
    """

    mean: Tensor
    variance: Tensor
    box: tuple[str, ...] = ()

    def __init__(
        self,
        settings: ModelSettings,
        input_size: tuple[int, int],
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.input_size = input_size
        self.build(settings, build_backbone(settings.backbone, settings.stride_one_at, input_size))
        self.register_buffer("mean", torch.from_numpy(255 * np.asarray(mean, np.float32)), persistent=False)
        self.register_buffer("variance", torch.from_numpy((255 * np.asarray(std, np.float32)) ** 2), persistent=False)

    def build(self, settings: ModelSettings, backbone: Backbone) -> None:
        """Create all layers; called once, by the constructor."""
        self.backbone = backbone
        self.recalibration = extra_normalisation(settings, backbone.channels)
        self.pooling = build_pooling(settings.pooling, settings.pooling_kernel)
        self.embedding, size = build_head(settings.head, backbone.channels, settings.embedding)
        self.settings = replace(settings, embedding=size)

    def pretrained_parts(self) -> Mapping[str, nn.Module]:
        """Return the parts with pre-trained weights, by the prefix of their tensors' names."""
        return {"backbone": self.backbone}

    def new_parts(self) -> list[nn.Module]:
        """Return all other parts: those that every training begins from random weights."""
        pretrained = {id(part) for part in self.pretrained_parts().values()}
        return [part for part in self.children() if id(part) not in pretrained]

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the weights of a plain backbone of the same name."""
        self.backbone.load_state_dict(backbone.state_dict())

    def classified_sizes(self) -> tuple[int, ...]:
        """Return the length of each feature that an identity classifier sees."""
        return (self.settings.embedding,)

    def features(self, images: Tensor) -> Features:
        """Return the features that the losses take, of images [N, 3, H, W]."""
        pooled = self.pooling(self.recalibration(self.feature_map(images)))
        embedding = self.embedding(pooled)
        return Features((embedding,), (pooled if self.settings.head == "bn" else embedding,))

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the map f [N, C, h, w] of RGB images [N, 3, H, W] with values from 0 to 255."""
        feature_map: Tensor = self.backbone(normalise_images(images, self.mean, self.variance))
        return feature_map

    def represent(self, feature_map: Tensor) -> Tensor:
        """Return the representation r [N, D] of a feature map [N, C, h, w]."""
        embedding: Tensor = self.embedding(self.pooling(self.recalibration(feature_map)))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings [N, D] of RGB images [N, 3, H, W] with values from 0 to 255, uint8 or float."""
        return self.represent(self.feature_map(images))


def extra_normalisation(settings: ModelSettings, channels: int) -> nn.Module:
    """Build the extra batch normalisation of an unsupervised backbone's map (LUPerson section 4.3), if wanted."""
    return nn.BatchNorm2d(channels) if settings.extra_bn == "yes" else nn.Identity()


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters of a model: backbone and embedding, no classifier (FD table 1)."""
    return sum(parameter.numel() for parameter in model.parameters())
