"""The common style: contrast and brightness of an image's maps no longer matter; ImageNet's weights still fit."""

import pytest
import torch

from rewho.models.backbone import build_backbone
from rewho.models.loading import load_pretrained
from rewho.models.style import CommonStyle


def test_contrast_and_brightness_of_an_image_do_not_matter():
    layer, maps = CommonStyle(3).train(), torch.rand(8, 3, 6, 5)
    layer(maps)
    layer.eval()
    assert torch.allclose(layer(maps), layer(2.5 * maps - 7), atol=1e-3)
    assert not torch.allclose(layer(maps), layer(maps.flip(2)), atol=1e-3)


def test_the_first_batch_sets_the_averages_and_later_ones_move_them():
    layer = CommonStyle(2, momentum=0.1).train()
    maps = torch.rand(4, 2, 9, 9) * 5 + 3
    first = layer(maps)
    assert torch.allclose(layer.common_mean, maps.mean((2, 3)).mean(0))
    assert torch.allclose(first.mean((2, 3)), layer.common_mean.expand(4, 2), atol=1e-4)
    layer(maps + 10)
    assert torch.allclose(layer.common_mean, maps.mean((2, 3)).mean(0) + 1, atol=1e-4)
    before = layer.common_mean.clone()
    layer.eval()(maps + 10)
    assert torch.equal(layer.common_mean, before), "evaluation changes nothing"


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_weights_of_the_plain_network_fit_and_a_bright_image_looks_like_a_dark_one(tmp_path, name):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    plain, styled = build_backbone(name), build_backbone(f"{name}_in")
    file = tmp_path / "plain.safetensors"
    save_file({f"features.{name}": value for name, value in plain.body.state_dict().items()}, file)
    assert "50 tensors" in load_pretrained(plain, name, str(file))
    load_pretrained(styled, f"{name}_in", str(file))
    assert torch.equal(styled.body.state_dict()["3.squeeze.weight"], plain.body.state_dict()["3.squeeze.weight"])
    images = torch.randn(4, 3, 64, 32)
    styled.train()(images)
    styled.eval()
    with torch.inference_mode():
        dark, bright = styled(images), styled(3 * images)
    assert torch.allclose(dark, bright, rtol=0.02, atol=0.02 * float(dark.abs().max()))
