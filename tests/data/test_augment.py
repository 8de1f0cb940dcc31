"""Augmented images: exact where the change is exact, and the same bytes however the batch is cut."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.data.augment import apply, colour_maps, recolour, resize
from rewho.data.draws import POLICIES, draw
from rewho.data.views import VIEWS, View, erased_share
from rewho.settings import AugmentSettings

MEAN = (124, 116, 104)
HOLISTIC = VIEWS["holistic"]
NOTHING = AugmentSettings(flip=0, crop_padding=0, erase=0)


@pytest.fixture(scope="module")
def images():
    """Smooth images of several sizes, larger and smaller than the network's input."""
    rng = generator(1, "pictures")
    sizes = [(128, 64), (128, 64), (130, 51), (61, 40), (300, 140), (128, 64), (700, 300), (128, 64)]
    noise = [rng.integers(0, 256, (8, 4, 3), dtype=np.uint8) for _ in sizes]
    return [cv2.resize(small, (width, height)) for small, (height, width) in zip(noise, sizes, strict=True)]


def draws_of(settings, images, view=HOLISTIC, seed=1):
    return draw(settings, len(images), view.size, generator(seed, "augment"))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_policy_that_does_nothing_is_a_plain_resize(images, view):
    batch = apply(images, view, draws_of(NOTHING, images, view), NOTHING, MEAN)
    np.testing.assert_array_equal(batch.images, resize(images, view))
    assert batch.images.shape == (8, *view.size, 3)
    assert (batch.images.dtype, batch.erased.dtype, batch.flipped.dtype) == (np.uint8, np.int32, np.bool_)
    assert not batch.erased.any()
    assert not batch.flipped.any()


def test_draws_in_the_middle_of_every_range_change_nothing(images):
    settings = AugmentSettings(flip=0, crop_padding=7, colour=0.3, rotation=20, erase=0)
    draws = draws_of(settings, images)
    neutral = replace(
        draws, shift=np.full_like(draws.shift, 7), colour=np.ones_like(draws.colour), angle=np.zeros_like(draws.angle)
    )
    np.testing.assert_array_equal(apply(images, HOLISTIC, neutral, settings, MEAN).images, resize(images, HOLISTIC))
    assert (apply(images, HOLISTIC, draws, settings, MEAN).images != resize(images, HOLISTIC)).any(axis=(1, 2, 3)).all()


def test_resizing_is_bilinear_and_averages_where_it_shrinks_by_more_than_two():
    ramp = np.array([[[0, 0, 0], [100, 40, 200]]], np.uint8)
    wide = View("wide", Fraction(0), Fraction(1), Fraction(0), Fraction(1), (1, 4))
    np.testing.assert_array_equal(resize([ramp], wide)[0, 0, :, 0], [0, 25, 75, 100])
    np.testing.assert_array_equal(resize([ramp], wide)[0, 0, :, 2], [0, 50, 150, 200])
    stripes = np.zeros((1024, 256, 3), np.uint8)
    stripes[::4] = 200  # bilinear interpolation at every fourth row would see all or nothing of it
    assert (resize([stripes], HOLISTIC) == 50).all()
    stripes = np.zeros((256, 512, 3), np.uint8)
    stripes[:, ::4] = 200
    assert (resize([stripes], HOLISTIC) == 50).all()


def test_a_view_is_cropped_before_it_is_resized():
    image = np.zeros((128, 64, 3), np.uint8)
    image[96:] = 90
    assert (resize([image], VIEWS["dn1"]) == 90).all()
    assert not resize([image], VIEWS["mid1"]).any()


def test_a_flip_mirrors_the_image_and_is_reported(images):
    settings = replace(NOTHING, flip=0.5)
    draws = draws_of(settings, images)
    batch = apply(images, HOLISTIC, draws, settings, MEAN)
    assert 0 < batch.flipped.sum() < len(images)
    mirrored = [image[:, ::-1].copy() if flip else image for image, flip in zip(images, batch.flipped, strict=True)]
    np.testing.assert_array_equal(batch.images, resize(mirrored, HOLISTIC))


def test_the_erased_rectangle_speaks_of_the_flipped_image():
    left_half = View("left_half", Fraction(0), Fraction(1), Fraction(0), Fraction(1, 2), (256, 128))
    image = np.full((128, 64, 3), 200, np.uint8)
    image[:, :32] = 10  # the image's left half is dark
    settings = AugmentSettings(flip=1, crop_padding=0, erase=1, erase_area_low=0.5, erase_area_high=0.5)
    draws = draws_of(settings, [image])
    draws.erased[:] = (0, 64, 256, 64)  # of the flipped image: there the dark half is on the right
    batch = apply([image], HOLISTIC, draws, settings, (0, 0, 0))
    assert batch.flipped[0]
    assert not batch.images[0, :, 66:].any()
    assert (batch.images[0, :, :62] == 200).all()
    assert erased_share(batch.erased, batch.flipped, [left_half, HOLISTIC], (256, 128)).tolist() == [[1.0, 0.5]]


def test_a_mask_turns_with_its_image(images):
    mask = np.zeros((128, 64), np.uint8)
    mask[30:90, 5:30] = 1
    view = replace(HOLISTIC, mask=lambda _name, _size: mask)
    masked = view.masked(images[0], "a.jpg", MEAN)
    settings = replace(NOTHING, flip=1.0)
    flipped = apply([masked], view, draws_of(settings, [masked]), settings, MEAN).images[0]
    np.testing.assert_array_equal(flipped, resize([masked[:, ::-1].copy()], view)[0])
    assert (flipped[:, :60] == MEAN).all()  # what was kept lies right of the middle now
    assert (flipped[70:170, 75:110] != MEAN).any(axis=2).all()


def test_the_random_crop_moves_the_image_and_pads_with_the_mean_colour(images):
    settings = replace(NOTHING, crop_padding=10)
    draws = draws_of(settings, images)
    batch = apply(images, HOLISTIC, draws, settings, MEAN)
    for image, plain, (top, left) in zip(batch.images, resize(images, HOLISTIC), draws.shift, strict=True):
        padded = np.full((276, 148, 3), MEAN, np.uint8)
        padded[10:266, 10:138] = plain
        np.testing.assert_array_equal(image, padded[top : top + 256, left : left + 128])


def test_rotation_is_anticlockwise_about_the_middle_and_fills_with_the_mean_colour(images):
    square = replace(HOLISTIC, size=(64, 64))
    settings = replace(NOTHING, rotation=180.0)
    draws = draws_of(settings, images, square)
    plain = resize(images, square)
    for angle, turns in ((90.0, 1), (180.0, 2), (-90.0, 3)):
        turned = apply(images, square, replace(draws, angle=np.full(8, angle)), settings, MEAN).images
        np.testing.assert_array_equal(turned, np.rot90(plain, turns, axes=(1, 2)))
    corner = apply(images, square, replace(draws, angle=np.full(8, 45.0)), settings, MEAN).images[:, :8, :8]
    assert (corner == MEAN).all()


def test_rotation_and_crop_shift_add_up(images):
    square = replace(HOLISTIC, size=(64, 64))
    settings = replace(NOTHING, rotation=180.0, crop_padding=5)
    draws = replace(draws_of(settings, images, square), angle=np.full(8, 90.0))
    turned = np.rot90(resize(images, square), 1, axes=(1, 2))
    batch = apply(images, square, draws, settings, MEAN)
    for image, plain, (top, left) in zip(batch.images, turned, draws.shift, strict=True):
        padded = np.full((74, 74, 3), MEAN, np.uint8)
        padded[5:69, 5:69] = plain
        np.testing.assert_array_equal(image, padded[top : top + 64, left : left + 64])


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_pixels_differ_only_inside_the_reported_rectangle(images, fill):
    settings = AugmentSettings(crop_padding=10, erase=0.5, erase_fill=fill)
    draws = draws_of(settings, images, seed=3)
    whole = apply(images, HOLISTIC, replace(draws, erased=np.zeros_like(draws.erased)), settings, MEAN).images
    batch = apply(images, HOLISTIC, draws, settings, MEAN)
    assert 0 < (batch.erased[:, 2] > 0).sum() < len(images)
    for image, plain, (top, left, height, width) in zip(batch.images, whole, batch.erased, strict=True):
        inside = np.zeros((256, 128), bool)
        inside[top : top + height, left : left + width] = True
        np.testing.assert_array_equal(image[~inside], plain[~inside])
        if fill == "mean":
            assert (image[inside] == MEAN).all()
        elif height:
            assert (image[inside] != plain[inside]).any(axis=1).mean() > 0.99
            assert 100 < image[inside].mean() < 155
            assert image[inside].std() > 60


@pytest.mark.parametrize(
    "settings",
    [*POLICIES.values(), replace(POLICIES["partial_teacher"], erase_fill="noise")],
    ids=[*POLICIES, "noise"],
)
@pytest.mark.parametrize("view", [HOLISTIC, VIEWS["mid2"]], ids=["holistic", "mid2"])
def test_the_bytes_do_not_depend_on_how_the_batch_is_cut(images, settings, view):
    before = [image.copy() for image in images]
    draws = draws_of(settings, images, view)
    whole = apply(images, view, draws, settings, MEAN)
    for cuts in ([0, 8], [0, 3, 8], list(range(9))):
        parts = [apply(images[a:b], view, draws[a:b], settings, MEAN) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
        np.testing.assert_array_equal(np.concatenate([part.erased for part in parts]), whole.erased)
        np.testing.assert_array_equal(np.concatenate([part.flipped for part in parts]), whole.flipped)
    for image, copy in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_an_array_of_images_is_as_good_as_a_list(images):
    several = np.stack([images[0], images[1], images[5]])
    draws = draws_of(POLICIES["holistic"], several)
    batch = apply(several, HOLISTIC, draws, POLICIES["holistic"], MEAN)
    listed = apply(list(several), HOLISTIC, draws, POLICIES["holistic"], MEAN)
    np.testing.assert_array_equal(batch.images, listed.images)


def test_a_batch_may_be_empty():
    assert apply([], HOLISTIC, draws_of(NOTHING, []), NOTHING, MEAN).images.shape == (0, 256, 128, 3)


def test_colours_equal_the_three_changes_one_after_the_other(images):
    image, factors = images[0] // 2 + 50, np.array([[1.1, 0.8, 1.3]])  # far from 0 and 255: nothing is cut off between
    brightness, contrast, saturation = factors[0]
    expected = image.astype(float)
    grey = expected @ [0.299, 0.587, 0.114]
    expected = grey[..., None] + saturation * (expected - grey[..., None])
    expected = grey.mean() + contrast * (expected - grey.mean())
    assert np.abs(recolour(image, colour_maps(factors)[0]) - brightness * expected).max() <= 1


def test_colours_are_cut_off_and_never_wrap_around():
    image = np.array([[[0, 0, 0], [255, 255, 255], [200, 10, 120]]], np.uint8)
    bright, dark = (recolour(image, colour_maps(np.array([[factor, 1.0, 1.0]]))[0]) for factor in (2.0, 0.0))
    np.testing.assert_array_equal(bright, [[[0, 0, 0], [255, 255, 255], [255, 20, 240]]])
    assert not dark.any()
    vivid = recolour(image, colour_maps(np.array([[1.0, 1.0, 3.0]]))[0])
    np.testing.assert_array_equal(vivid, [[[0, 0, 0], [255, 255, 255], [255, 0, 201]]])  # grey 79.35
    stronger = colour_maps(np.array([[1.0, 5.0, 1.0]]))[0]
    harsh, again = recolour(image, stronger), recolour(image, stronger)
    np.testing.assert_array_equal(harsh, again)
    np.testing.assert_array_equal(harsh[0, :2], [[0, 0, 0], [255, 255, 255]])


def test_colour_does_not_touch_the_padding(images):
    settings = AugmentSettings(flip=0, crop_padding=10, colour=0.5, erase=0)
    draws = replace(draws_of(settings, images), shift=np.zeros((8, 2), np.int32))
    batch = apply(images, HOLISTIC, draws, settings, MEAN)
    assert (batch.images[:, :10] == MEAN).all()
    assert (batch.images[:, :, :10] == MEAN).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((128, 64, 3), np.float32),
        np.zeros((128, 64), np.uint8),
        np.zeros((128, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(UserError, match="image"):
        resize([image], HOLISTIC)
    with pytest.raises(UserError, match="image"):
        apply([image], HOLISTIC, draws_of(NOTHING, [image]), NOTHING, MEAN)


def test_draws_that_do_not_belong_to_the_batch_are_refused(images):
    with pytest.raises(UserError, match="8 rows"):
        apply(images, HOLISTIC, draws_of(NOTHING, images[:7]), NOTHING, MEAN)
    with pytest.raises(UserError, match="256 x 128"):
        apply(images, HOLISTIC, draws_of(NOTHING, images, VIEWS["up1"]), NOTHING, MEAN)


@pytest.mark.parametrize("colour", [(0.485, 0.456, 0.406), (1, 2), (256, 0, 0), (-1, 0, 0), (float("nan"), 0, 0)])
def test_a_mean_colour_of_another_scale_is_refused(images, colour):
    with pytest.raises(UserError, match="mean colour"):
        apply(images, HOLISTIC, draws_of(NOTHING, images), NOTHING, colour)
