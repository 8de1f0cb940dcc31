"""Contrastive views: presets against the published code's, geometry by hand, colours against torchvision."""

import colorsys
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from rewho.core.check import UserError
from rewho.data.augment import colour_maps, recolour
from rewho.data.contrast_augment import CONTRAST_PRESETS, apply_view, crop_boxes, draw_view, turned
from rewho.data.draws import ERASE_ATTEMPTS
from rewho.settings import ContrastAugmentSettings

OFF = ContrastAugmentSettings(grayscale=0, blur=0, flip=0, erase=0)
WHOLE = replace(OFF, crop_area_low=1, crop_area_high=1, crop_ratio_low=0.5, crop_ratio_high=0.5)
SIZE = (64, 32)
GREY = (90, 80, 80)
PUBLISHED = {
    "default": "ori",
    "+RE": "ori+sre",
    "-GS": "ori-gs",
    "-GB": "ori-gb",
    "-CJ": "ori-cj",
    "-CJ+RE": "ori-cj+sre",
    "area 0": "ori-cj",
    "area 0.2": "ori-cj+wre",
    "area 0.4": "ori-cj+re",
    "area 0.6": "ori-cj+sre",
    "area 0.8": "ori-cj+ssre",
}


def people(count: int, height=128, width=64) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [cv2.resize(rng.integers(0, 256, (12, 6, 3), np.uint8), (width, height)) for _ in range(count)]


def views(settings: ContrastAugmentSettings, images, seed=1, size=SIZE) -> np.ndarray:
    return apply_view(images, draw_view(settings, len(images), size, np.random.default_rng(seed)), settings, GREY)


@pytest.mark.parametrize(("ours", "theirs"), PUBLISHED.items())
def test_presets_equal_the_published_ones(shared, ours, theirs):
    golden = json.loads((shared / "golden" / "moco_aug" / "luperson_presets.json").read_text())
    settings, preset = CONTRAST_PRESETS[ours], golden["presets"][theirs]
    flags = {"cj": settings.jitter, "gs": settings.grayscale, "gb": settings.blur, "re": settings.erase}
    flags |= {"cj-s": settings.jitter_strength} if settings.jitter else {}
    flags |= {"re-s": settings.erase_area_high} if settings.erase else {}
    assert {name: value for name, value in flags.items() if value} == preset["flags"]
    steps = {}
    for step in preset["pipeline"]:
        for inner in step.get("of", [step]):
            steps[inner["op"]] = inner
    crop = steps["RandomResizedCrop"]
    assert [settings.crop_area_low, settings.crop_area_high] == crop["scale"]
    assert [settings.crop_ratio_low, settings.crop_ratio_high] == pytest.approx(crop["ratio"])
    assert settings.flip == steps["RandomHorizontalFlip"]["p"]
    if settings.blur:
        assert [settings.blur_sigma_low, settings.blur_sigma_high] == steps["GaussianBlur"]["sigma"]
    if settings.jitter:
        assert steps["ColorJitter"]["hue"] == [-settings.jitter_hue, settings.jitter_hue]
    if settings.erase:
        erasing = steps["RandomErasing"]
        assert [settings.erase_area_low, settings.erase_area_high] == erasing["area"]
        assert settings.erase_aspect == erasing["height_over_width"][0]
        assert erasing["height_over_width_sampling"] == "uniform"  # tests/data/test_draws.py sees that ours are
        assert erasing["attempts"] == ERASE_ATTEMPTS


def test_table_two_has_six_presets_and_table_three_five():
    assert [name for name in CONTRAST_PRESETS if "area" not in name] == [
        "default", "+RE", "-GS", "-GB", "-CJ", "-CJ+RE", "person",
    ]  # fmt: skip
    assert sum(name.startswith("area") for name in CONTRAST_PRESETS) == 5
    assert ContrastAugmentSettings() == CONTRAST_PRESETS["-CJ+RE"]


def test_crops_keep_to_area_and_shape():
    settings, sizes = ContrastAugmentSettings(), np.tile([[256, 512], [300, 300]], (500, 1))
    boxes = crop_boxes(settings, draw_view(settings, 1000, SIZE, np.random.default_rng(1)), sizes)
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= sizes[:, 0]).all() and (left + width <= sizes[:, 1]).all()
    ratio, share = width / height, height * width / sizes.prod(axis=1)
    assert ratio.min() > 0.73 and ratio.max() < 1.36
    assert share.min() > 0.19 and share.max() <= 1
    assert 0.48 < share[1::2].mean() < 0.56  # squares: large areas fit only if they are nearly square


def test_the_papers_ratio_shows_44_percent_of_a_persons_height():
    sizes = np.tile([[256, 128]], (4000, 1))
    for settings, low, high in ((ContrastAugmentSettings(), 0.43, 0.46), (CONTRAST_PRESETS["person"], 0.7, 0.8)):
        boxes = crop_boxes(settings, draw_view(settings, 4000, SIZE, np.random.default_rng(1)), sizes)
        assert low < (boxes[:, 2] / 256).mean() < high
    boxes = crop_boxes(OFF, draw_view(OFF, 4000, SIZE, np.random.default_rng(1)), sizes)
    assert (boxes[:, 2] * boxes[:, 3]).max() <= 0.67 * 256 * 128


def test_where_nothing_fits_the_largest_allowed_middle_is_taken():
    boxes = crop_boxes(
        replace(OFF, crop_area_low=1.0),
        draw_view(OFF, 2, SIZE, np.random.default_rng(1)),
        np.array([[400, 40], [40, 400]]),
    )
    assert boxes.tolist() == [[173, 0, 53, 40], [0, 173, 40, 53]]


def test_the_whole_image_is_plainly_resized():
    images = people(3)
    expected = np.stack([cv2.resize(image, (32, 64)) for image in images])
    np.testing.assert_array_equal(views(WHOLE, images), expected)
    np.testing.assert_array_equal(views(replace(WHOLE, flip=1), images), expected[:, :, ::-1])


def test_grayscale_is_torchvisions():
    images = people(4)
    grey = views(replace(WHOLE, grayscale=1), images).astype(int)
    assert (grey[..., :1] == grey).all()
    expected = TF.rgb_to_grayscale(torch.from_numpy(views(WHOLE, images)).permute(0, 3, 1, 2))[:, 0]
    assert np.abs(grey[..., 0] - expected.numpy()).max() <= 2


def test_blur_is_a_gaussian():
    dot = np.zeros((64, 32, 3), np.uint8)
    dot[32, 16] = 255
    for sigma in (1.0, 2.0):
        settings = replace(WHOLE, blur=1, blur_sigma_low=sigma, blur_sigma_high=sigma)
        blurred = views(settings, [dot])[0, :, :, 0].astype(float)
        rows = np.arange(64) - 32
        assert blurred.sum() == pytest.approx(255, abs=40)
        assert np.sqrt((blurred.sum(axis=1) * rows**2).sum() / blurred.sum()) == pytest.approx(sigma, rel=0.25)


def test_sigmas_are_uniform_and_half_of_the_views_are_blurred():
    draws = draw_view(ContrastAugmentSettings(), 8000, SIZE, np.random.default_rng(1))
    blurred = draws.sigma[draws.sigma > 0]
    assert 0.48 < len(blurred) / 8000 < 0.52
    assert blurred.min() >= 0.1 and blurred.max() <= 2.0
    assert np.histogram(blurred, 4, (0.1, 2.0))[0] / len(blurred) == pytest.approx(np.full(4, 0.25), abs=0.03)


@pytest.mark.parametrize("turn", [-0.1, 0.05, 0.1])
def test_a_turn_of_the_hue_is_torchvisions_but_for_the_brightness(turn):
    """HSV keeps the largest of red, green, blue, YIQ the luma; so the hues are compared, of colours that have one."""
    colours = np.array([[[150, 100, 100], [100, 140, 90], [90, 110, 150], [140, 130, 80], [130, 90, 140]]], np.uint8)
    ours = recolour(colours, turned(colour_maps(np.ones((1, 3))), np.array([turn]))[0])
    theirs = TF.adjust_hue(torch.from_numpy(colours).permute(2, 0, 1), turn).permute(1, 2, 0).numpy()
    away = (hues(ours) - hues(theirs) + 0.5) % 1 - 0.5
    assert np.abs(away).max() < 0.05
    grey = np.full((2, 2, 3), 100, np.uint8)
    np.testing.assert_array_equal(recolour(grey, turned(colour_maps(np.ones((1, 3))), np.array([turn]))[0]), grey)


def hues(image):
    return np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in image.reshape(-1, 3) / 255])


def test_erasing_leaves_the_mean_colour_or_noise():
    settings = replace(WHOLE, erase=1, erase_area_low=0.3, erase_area_high=0.3)
    draws = draw_view(settings, 50, SIZE, np.random.default_rng(2))
    white = [np.full((64, 32, 3), 255, np.uint8)] * 50
    erased = apply_view(white, draws, settings, GREY)
    shares = (erased == GREY).all(axis=3).mean(axis=(1, 2))
    assert shares[shares > 0] == pytest.approx(np.full((shares > 0).sum(), 0.3), abs=0.03)
    assert (shares > 0).mean() > 0.9
    noisy = replace(settings, erase_fill="noise")
    assert len(np.unique(apply_view(white, draws, noisy, GREY))) > 200


def test_parts_of_a_batch_are_made_as_the_whole():
    settings, images = CONTRAST_PRESETS["+RE"], people(9)
    draws = draw_view(settings, 9, SIZE, np.random.default_rng(5))
    whole = apply_view(images, draws, settings, GREY)
    np.testing.assert_array_equal(whole[3:7], apply_view(images[3:7], draws[3:7], settings, GREY))


def test_two_views_differ_and_the_same_draw_does_not():
    images = people(6)
    assert (views(ContrastAugmentSettings(), images, 1) == views(ContrastAugmentSettings(), images, 1)).all()
    assert (views(ContrastAugmentSettings(), images, 1) != views(ContrastAugmentSettings(), images, 2)).any()


def test_switching_one_change_off_leaves_the_other_draws():
    one, other_draws = (
        draw_view(settings, 20, SIZE, np.random.default_rng(1)) for settings in (OFF, CONTRAST_PRESETS["+RE"])
    )
    np.testing.assert_array_equal(one.corner, other_draws.corner)


def test_images_are_not_changed_and_may_be_tiny_or_read_only():
    images = [*people(3), np.full((1, 1, 3), 7, np.uint8), np.zeros((3, 200, 3), np.uint8)]
    before = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    assert views(CONTRAST_PRESETS["+RE"], images).shape == (5, *SIZE, 3)
    assert all((image == old).all() for image, old in zip(images, before, strict=True))


def test_mistakes():
    draws = draw_view(OFF, 2, SIZE, np.random.default_rng(1))
    with pytest.raises(UserError, match="1 rows"):
        apply_view(people(1), draws, OFF, GREY)
    with pytest.raises(UserError, match="8 bits"):
        apply_view([np.zeros((4, 4), np.uint8)] * 2, draws, OFF, GREY)
