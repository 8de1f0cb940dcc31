"""Draws: their statistics, and that they depend on nothing but the generator and their own setting."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewho.core.runtime import generator
from rewho.data.draws import POLICIES, draw, draw_rectangles
from rewho.settings import AugmentSettings

ARRAYS = ("flipped", "shift", "colour", "angle", "erased", "fill_offset")
N = 20_000


def same(first, second, names=ARRAYS) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.fixture(scope="module")
def many():
    return draw(POLICIES["partial_teacher"], N, (256, 128), generator(1, "test"))


def test_policies_are_the_ticks_of_table_2():
    ticks = {
        name: (p.flip > 0, p.erase > 0, p.crop_padding > 0, p.colour > 0, p.rotation > 0)
        for name, p in POLICIES.items()
    }
    assert ticks == {
        "partial_teacher": (True, True, True, True, True),
        "holistic": (True, True, True, False, False),
        "final_student": (True, True, False, False, False),
    }


def test_half_of_the_images_are_flipped_and_half_erased(many):
    four_sigma = 4 * 0.5 / np.sqrt(N)
    assert abs(many.flipped.mean() - 0.5) < four_sigma
    assert abs((many.erased[:, 2] > 0).mean() - 0.5) < four_sigma
    assert abs((many.flipped == (many.erased[:, 2] > 0)).mean() - 0.5) < four_sigma  # independent of each other


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_the_probabilities_are_the_settings(probability):
    draws = draw(AugmentSettings(flip=probability, erase=probability), N, (224, 224), generator(2, "test"))
    allowed = 4 * np.sqrt(probability * (1 - probability) / N)
    assert abs(draws.flipped.mean() - probability) <= allowed
    assert abs((draws.erased[:, 2] > 0).mean() - probability) <= allowed


def test_erased_areas_and_aspects_keep_their_bounds(many):
    _, _, height, width = many.erased[many.erased[:, 2] > 0].T.astype(float)
    rounding = (height + width) / 2 + 1  # each side is off by at most half a pixel
    assert (height * width >= 0.02 * 256 * 128 - rounding).all()
    assert (height * width <= 0.4 * 256 * 128 + rounding).all()
    assert ((height + 0.5) / (width - 0.5) >= 0.3).all()
    assert ((height - 0.5) / (width + 0.5) <= 1 / 0.3).all()


def test_area_and_height_over_width_are_uniform():
    settings = AugmentSettings(erase=1, erase_area_low=0.1, erase_area_high=0.2)  # all of these fit into a square
    top, left, height, width = draw(settings, N, (500, 500), generator(3, "test")).erased.T.astype(float)
    quartiles = np.quantile(height * width / 500**2, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [0.125, 0.15, 0.175], atol=0.002)
    quartiles = 0.3 + (1 / 0.3 - 0.3) * np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(np.quantile(height / width, [0.25, 0.5, 0.75]), quartiles, atol=0.05)
    for position, room in ((top, 500 - height), (left, 500 - width)):
        assert abs((position / room).mean() - 0.5) < 4 / np.sqrt(12 * N)
        assert position.min() == 0
        assert (position == room).any()


def test_shifts_colours_angles_and_offsets_fill_their_ranges(many):
    for column in range(2):
        counts = np.bincount(many.shift[:, column], minlength=21)
        assert len(counts) == 21
        assert counts.min() > 0.8 * N / 21
    assert np.abs(many.colour - 1).max() <= 0.2
    np.testing.assert_allclose(np.quantile(many.colour, [0.25, 0.75], axis=0), [[0.9] * 3, [1.1] * 3], atol=0.005)
    assert np.abs(many.angle).max() <= 10
    np.testing.assert_allclose(np.quantile(many.angle, [0.25, 0.5, 0.75]), [-5, 0, 5], atol=0.3)
    assert many.fill_offset.min() == 0
    assert many.fill_offset.max(axis=0).tolist() == [256, 128]


def test_the_same_generator_gives_the_same_draws_and_another_step_others():
    first, again, next_step = (
        draw(POLICIES["holistic"], 16, (256, 128), generator(1, "augment", 0, step)) for step in (7, 7, 8)
    )
    assert same(first, again)
    assert not any(same(first, next_step, [name]) for name in ("flipped", "shift", "erased", "fill_offset"))


def test_switching_one_change_does_not_move_the_draws_of_another():
    before = draw(POLICIES["partial_teacher"], 64, (224, 224), generator(1, "augment"))
    for change, own in (
        ({"flip": 1.0}, "flipped"),
        ({"crop_padding": 0}, "shift"),
        ({"colour": 0.0}, "colour"),
        ({"rotation": 0.0}, "angle"),
        ({"erase": 1.0, "erase_area_high": 0.1}, "erased"),
    ):
        after = draw(replace(POLICIES["partial_teacher"], **change), 64, (224, 224), generator(1, "augment"))
        assert same(before, after, [name for name in ARRAYS if name != own])
        assert not same(before, after, [own])


def test_a_larger_batch_begins_like_a_smaller_one():
    small, large = (draw(POLICIES["holistic"], n, (256, 128), generator(1, "augment")) for n in (24, 64))
    assert same(small, large[:24])
    assert same(large[:24][10:20], large[10:20])
    assert len(large[60:]) == 4
    assert [field.name for field in fields(large)] == ["size", *ARRAYS]


def test_a_rectangle_that_cannot_fit_leaves_the_image_whole():
    nearly_all = AugmentSettings(erase=1, erase_area_low=0.9, erase_area_high=0.9, erase_aspect=1)  # a square
    assert not draw(nearly_all, 50, (256, 128), generator(1, "test")).erased.any()


@pytest.mark.parametrize(("largest", "mean"), [(0.2, 0.110), (0.4, 0.204), (0.6, 0.291), (0.8, 0.353)])
def test_erased_areas_are_those_of_public_code(largest, mean):
    """The means come from trying uniform shapes up to a hundred times, which favours small areas."""
    settings = AugmentSettings(erase=1, erase_area_low=0.02, erase_area_high=largest)
    erased = draw(settings, 20_000, (256, 128), generator(1, "test")).erased
    assert (erased[:, 2] * erased[:, 3]).mean() / (256 * 128) == pytest.approx(mean, rel=0.02)


def test_the_first_fitting_rectangle_is_taken():
    settings = AugmentSettings(erase=0.5, erase_area_low=0.1, erase_area_high=0.9, erase_aspect=1)
    uniform = np.array(
        [
            [0.49, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0],  # 90 % as a square does not fit into 20 x 40, 10 % does
            [0.50, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0],  # the coin says no
        ]
    )
    np.testing.assert_array_equal(draw_rectangles(settings, uniform, (20, 40)), [[0, 0, 9, 9], [0, 0, 0, 0]])


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    st.floats(0.001, 1),
    st.integers(0, 2**32),
)
def test_rectangles_lie_inside_the_image(height, width, areas, aspect, seed):
    settings = AugmentSettings(erase=1, erase_area_low=areas[0], erase_area_high=areas[1], erase_aspect=aspect)
    top, left, rows, columns = draw(settings, 20, (height, width), generator(seed, "test")).erased.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + rows <= height).all()
    assert (left + columns <= width).all()
    np.testing.assert_array_equal(rows > 0, columns > 0)
