"""Images as a network's first convolution takes them: each channel minus its mean, divided by its deviation.

On a processor the 256 results of each channel are looked up, which takes a third to a tenth of the time of computing
each pixel's, with the same bits: the table is computed by the operation that it replaces.
"""

from __future__ import annotations

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F


def normalise_images(images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return images [N, 3, H, W] with mean 0 and variance 1 per channel.

    Args:
        images: RGB, 0 to 255; uint8 or floating-point.
        mean: Means of the channels [3], 0 to 255.
        variance: Their variances [3].

    Example:
        >>> images = torch.tensor([0, 150, 200], dtype=torch.uint8).reshape(1, 3, 1, 1)
        >>> normalise_images(images, torch.full((3,), 100.0), torch.full((3,), 2500.0)).flatten().round().tolist()
        [-2.0, 1.0, 2.0]
    """
    if _can_look_up(images, mean):
        # All values in one image, of the layout of the others, so that the same code computes them.
        values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3).contiguous()
        table = _compute(values.permute(0, 3, 1, 2), mean, variance).permute(0, 2, 3, 1).reshape(256, 1, 3)
        count, _, height, width = images.shape
        found = torch.empty((count, height, width, 3))
        rows = (count * height, width, 3)
        pixels = images.permute(0, 2, 3, 1).reshape(rows)
        cv2.LUT(pixels.numpy(), table.numpy(), dst=found.view(rows).numpy())
        return found.permute(0, 3, 1, 2)
    return _compute(images, mean, variance)


def _compute(images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    # One fused operation: subtracting and dividing apart takes a third longer on the CPU.
    # PyTorch 2.11 refuses an epsilon of 0; this one is below rounding.
    return F.batch_norm(images.to(mean.dtype), mean, variance, eps=1e-30)


def _can_look_up(images: Tensor, mean: Tensor) -> bool:
    """Return whether images are bytes of a processor's memory, channels last, and nothing traces or compiles this."""
    plain = type(images) is Tensor and images.dtype == torch.uint8 and images.device.type == "cpu"
    return (
        plain
        and mean.dtype == torch.float32
        and mean.device.type == "cpu"
        and images.numel() > 0
        and images.shape[1] == 3
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )
