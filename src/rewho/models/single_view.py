"""The single-view model: backbone, pooling, embedding (FD section 3.1, figure 2). Teachers and students are this.

It takes the picture's bytes, not prepared floats: uint8 in, normalised on the device. Nobody who loads a model can
forget its mean and standard deviation, and a quarter of the bytes travels to the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.settings import ModelSettings
from rewho.models.backbone import build_backbone
from rewho.models.heads import Embedding
from rewho.models.pooling import build_pooling

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SingleViewModel(nn.Module):
    """One picture of one view in, one embedding out.

    Args:
        settings: Architecture; `pretrained` is not acted on here, see `models.backbone.load_pretrained`.
        input_size: Height and width of the input in pixels.
        mean: Channel means of the pictures, RGB in 0 to 1.
        std: Channel standard deviations of the pictures.

    Example:
        >>> model = SingleViewModel(ModelSettings(backbone="squeezenet1_1"), (256, 128)).eval()
        >>> model(torch.zeros(2, 3, 256, 128, dtype=torch.uint8)).shape
        torch.Size([2, 512])
    """

    mean: Tensor
    variance: Tensor

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
        self.backbone = build_backbone(settings.backbone, settings.stride_one_at, input_size)
        self.pooling = build_pooling(settings.pooling, settings.pooling_kernel)
        self.embedding = Embedding(self.backbone.channels, settings.embedding)
        self.register_buffer("mean", 255 * torch.tensor(mean), persistent=False)
        self.register_buffer("variance", (255 * torch.tensor(std)) ** 2, persistent=False)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the map f [N, C, h, w] of RGB pictures [N, 3, H, W] with values from 0 to 255."""
        # One fused pass; subtracting and dividing in two takes a third longer on the CPU.
        normalised = F.batch_norm(images.float(), self.mean, self.variance, eps=0.0)
        feature_map: Tensor = self.backbone(normalised)
        return feature_map

    def represent(self, feature_map: Tensor) -> Tensor:
        """Return the representation r [N, D] of a feature map [N, C, h, w]."""
        embedding: Tensor = self.embedding(self.pooling(feature_map))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings [N, D] of RGB pictures [N, 3, H, W] with values from 0 to 255, uint8 or float."""
        return self.represent(self.feature_map(images))


def parameter_count(model: nn.Module) -> int:
    """Return the number of trained numbers in a model: backbone and embedding, no classifier (FD table 1).

    Example:
        >>> round(parameter_count(SingleViewModel(ModelSettings(), (256, 128))) / 1e6, 1)
        1.0
    """
    return sum(parameter.numel() for parameter in model.parameters())
