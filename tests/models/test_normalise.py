"""What the first convolution gets: the same bits, looked up or computed, for every value and layout."""

import pytest
import torch
from torch.nn import functional as F

from rewho.models.normalise import normalise_images
from rewho.models.single_view import IMAGENET_MEAN, IMAGENET_STD

MEAN, VARIANCE = 255 * torch.tensor(IMAGENET_MEAN), (255 * torch.tensor(IMAGENET_STD)) ** 2


def computed(images):
    return F.batch_norm(images.float(), MEAN, VARIANCE, eps=1e-30)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (64, 32), (256, 128), (300, 301)])
def test_looked_up_values_have_the_bits_of_computed_ones(size):
    draw = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (3, *size, 3), dtype=torch.uint8, generator=draw).permute(0, 3, 1, 2)
    found = normalise_images(images, MEAN, VARIANCE)
    assert torch.equal(found, computed(images)) and found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last), "as convolutions are fastest"
    for other in (images.contiguous(), images.flip(-1), images[:, :, ::2], images.float()):
        assert torch.equal(normalise_images(other, MEAN, VARIANCE), computed(other))


def test_all_values_of_all_channels():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 256, 1, 1).expand(1, 256, 1, 3).permute(0, 3, 1, 2)
    assert torch.equal(
        normalise_images(images.contiguous(memory_format=torch.channels_last), MEAN, VARIANCE), computed(images)
    )
