"""Views against golden pixel rows and erased shares, and against plain fractions."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewho.core.check import UserError
from rewho.data.view_file import read_view
from rewho.data.views import VIEWS, View, erased_share, ignored


def box(name: str, top, bottom, left=0, right=1) -> View:
    return View(name, Fraction(top), Fraction(bottom), Fraction(left), Fraction(right), (224, 224))


def exact_share(view: View, rectangle, flipped: bool, height: int, width: int) -> Fraction:
    """The definition, one rectangle and one view at a time, in fractions of the image."""
    top, left, rows, columns = (int(value) for value in rectangle)
    if flipped:
        left = width - left - columns
    overlap_y = min(Fraction(top + rows, height), view.bottom) - max(Fraction(top, height), view.top)
    overlap_x = min(Fraction(left + columns, width), view.right) - max(Fraction(left, width), view.left)
    area = (view.bottom - view.top) * (view.right - view.left)
    return max(overlap_y, Fraction(0)) * max(overlap_x, Fraction(0)) / area


@pytest.fixture(scope="module")
def erasing(shared):
    return json.loads((shared / "golden/pooling_views/erasing.json").read_text())


def test_pixel_rows_are_the_golden_nearest_rows(shared):
    golden = json.loads((shared / "golden/pooling_views/views.json").read_text())["views"]
    assert [entry["name"] for entry in golden] == list(VIEWS)
    swept = 0
    for entry in golden:
        view = VIEWS[entry["name"]]
        assert (view.top, view.bottom) == (Fraction(*entry["top"]), Fraction(*entry["bottom"]))
        assert list(view.size) == entry["input_size_hw"]
        for image, rows in entry["pixel_rows"].items():
            height, width = map(int, image.split("x"))
            assert view.pixel_box(height, width) == (*rows["nearest"], *rows["columns"])
            swept += 1
    assert swept == 28


def test_erased_shares_and_verdicts_are_the_golden_ones(erasing):
    views = [box(name, *edges["y"], *edges["x"]) for name, edges in erasing["boxes"].items()]
    seen = {True: 0, False: 0, "depends on rounding": 0, "exactly 40 %": 0}
    for case in erasing["cases"]:
        erased = np.array([case["erased_top_left_height_width"] or [0, 0, 0, 0]])
        flipped = np.array([case["flipped"]])
        share = erased_share(erased, flipped, views, tuple(case["image_hw"]))
        verdict = ignored(erased, flipped, views, tuple(case["image_hw"]))
        for column, view in enumerate(views):
            expected = case["views"][view.name]
            fraction = Fraction(*expected["fraction"])
            assert share[0, column] == float(fraction), (case["id"], view.name)
            assert verdict[0, column] == (fraction > Fraction(2, 5)), (case["id"], view.name)
            seen[expected["ignore_losses"]] += 1
            if expected["ignore_losses"] in (True, False):
                assert verdict[0, column] == expected["ignore_losses"], (case["id"], view.name)
            seen["exactly 40 %"] += expected["exactly_40_percent"]
    assert len(erasing["cases"]) == 41
    assert len(views) == 9
    assert min(seen.values()) > 0
    assert seen[True] + seen[False] + seen["depends on rounding"] == 41 * 9


def test_many_samples_at_once_equal_one_at_a_time(erasing):
    views = [box(name, *edges["y"], *edges["x"]) for name, edges in erasing["boxes"].items()]
    cases = [case for case in erasing["cases"] if case["image_hw"] == [256, 128]]
    erased = np.array([case["erased_top_left_height_width"] or [0, 0, 0, 0] for case in cases], np.int32)
    flipped = np.array([case["flipped"] for case in cases])
    together = erased_share(erased, flipped, views, (256, 128))
    assert together.shape == (len(cases), 9)
    assert flipped.any()
    for row in range(len(cases)):
        alone = erased_share(erased[row : row + 1], flipped[row : row + 1], views, (256, 128))
        np.testing.assert_array_equal(together[row], alone[0])


@st.composite
def _boxes(draw):
    edges = []
    for _ in range(2):
        denominator = draw(st.integers(1, 9999))
        low = draw(st.integers(0, denominator - 1))
        high = draw(st.integers(low + 1, denominator))
        edges += [Fraction(low, denominator), Fraction(high, denominator)]
    return View("any", *edges, (224, 224))


@st.composite
def _rectangles(draw):
    height, width = draw(st.integers(1, 10_000)), draw(st.integers(1, 10_000))
    rows, columns = draw(st.integers(0, height)), draw(st.integers(0, width))
    return (height, width), (draw(st.integers(0, height - rows)), draw(st.integers(0, width - columns)), rows, columns)


@given(_boxes(), _rectangles(), st.booleans(), st.fractions(0, 1, max_denominator=100))
def test_whole_number_arithmetic_equals_fractions_up_to_the_largest_box_and_image(view, image, flipped, threshold):
    size, rectangle = image
    exact = exact_share(view, rectangle, flipped, *size)
    erased, flips = np.array([rectangle]), np.array([flipped])
    assert erased_share(erased, flips, [view], size)[0, 0] == pytest.approx(float(exact), rel=1e-15)
    assert ignored(erased, flips, [view], size, threshold)[0, 0] == (exact > threshold)
    if exact.denominator <= 100:
        assert not ignored(erased, flips, [view], size, exact)[0, 0]


@given(_boxes(), _rectangles())
def test_mirroring_the_rectangle_and_saying_so_changes_nothing(view, image):
    (height, width), (top, left, rows, columns) = image
    straight = erased_share(np.array([[top, left, rows, columns]]), np.array([False]), [view], (height, width))
    mirrored = np.array([[top, width - left - columns, rows, columns]])
    np.testing.assert_array_equal(straight, erased_share(mirrored, np.array([True]), [view], (height, width)))


def test_a_threshold_given_as_float_means_the_fraction():
    erased, kept = np.array([[70, 0, 28, 140]]), np.array([False])  # 28 of up1's 70 rows: exactly 2/5
    assert not ignored(erased, kept, [VIEWS["up1"]], (280, 140), 0.4)[0, 0]
    assert ignored(erased, kept, [VIEWS["up1"]], (280, 140), 0.39)[0, 0]


@pytest.mark.parametrize(
    ("erased", "flipped", "size"),
    [
        ([[0, 0, 257, 1]], [False], (256, 128)),
        ([[0, 100, 10, 29]], [False], (256, 128)),
        ([[-1, 0, 10, 10]], [False], (256, 128)),
        ([[0, 0, 1]], [False], (256, 128)),
        ([[0, 0, 1, 1]], [False, True], (256, 128)),
        ([[0, 0, 1, 1]], [False], (10_001, 128)),
    ],
)
def test_rectangles_outside_the_image_or_of_other_shapes_are_refused(erased, flipped, size):
    with pytest.raises(UserError, match="erased rectangles"):
        erased_share(np.array(erased), np.array(flipped), [VIEWS["up1"]], size)


def test_half_pixels_round_up_on_both_sides_of_a_border():
    assert VIEWS["up1"].pixel_box(130, 1)[:2] == (33, 65)  # 32.5, 65
    assert VIEWS["mid1"].pixel_box(130, 1)[:2] == (65, 98)  # 65, 97.5
    assert VIEWS["dn1"].pixel_box(130, 1)[:2] == (98, 130)
    assert box("left", 0, 1, 0, "1/2").pixel_box(2, 5)[2:] == (0, 3)
    assert box("right", 0, 1, "1/2", 1).pixel_box(2, 5)[2:] == (3, 5)


@given(st.integers(7, 2000), st.integers(1, 2000))
def test_neighbouring_views_meet_and_rows_are_nearest(height, width):
    for group in (("up1", "mid1", "dn1"), ("up2", "mid2", "dn2")):
        boxes = [VIEWS[name].pixel_box(height, width) for name in group]
        assert [first[1] for first in boxes[:-1]] == [second[0] for second in boxes[1:]]
        assert boxes[-1][1] == height
        for name, (first, end, left, right) in zip(group, boxes, strict=True):
            assert abs(first - VIEWS[name].top * height) <= Fraction(1, 2)
            assert abs(end - VIEWS[name].bottom * height) <= Fraction(1, 2)
            assert (left, right) == (0, width)


@pytest.mark.parametrize("height", range(1, 7))
def test_the_smallest_images_still_give_a_row(height):
    for view in VIEWS.values():
        first, end, _, _ = view.pixel_box(height, 1)
        assert 0 <= first < end <= height


def test_crop_is_a_window_on_the_image():
    image = np.arange(128 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(128, 64, 3)
    cropped = box("corner", "3/4", 1, "1/2", 1).crop(image)
    np.testing.assert_array_equal(cropped, image[96:128, 32:64])
    assert np.shares_memory(cropped, image)


def test_masked_out_pixels_take_the_mean_colour_and_the_image_stays():
    image = np.full((4, 2, 3), 7, np.uint8)
    mask = np.array([[0, 1], [255, 0], [1, 1], [1, 1]], np.uint8)
    asked = []
    view = replace(VIEWS["holistic"], mask=lambda *asking: asked.append(asking) or mask)
    masked = view.masked(image, "a.jpg", (1.4, 2.5, 254.6))
    expected = np.full((4, 2, 3), 7)
    expected[0, 0] = expected[1, 1] = (1, 2, 255)
    np.testing.assert_array_equal(masked, expected)
    assert asked == [("a.jpg", (4, 2))]
    assert (image == 7).all()
    assert VIEWS["holistic"].masked(image, "a.jpg", (0, 0, 0)) is image


@pytest.mark.parametrize("mask", [np.ones((2, 4), np.uint8), np.ones((4, 2), np.float32)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(UserError, match=r"mask of a\.jpg"):
        replace(VIEWS["up1"], mask=lambda *_: mask).masked(np.zeros((4, 2, 3), np.uint8), "a.jpg", (0, 0, 0))


def test_views_are_read_by_name_and_from_a_file(tmp_path):
    assert read_view("dn2") is VIEWS["dn2"]
    file = tmp_path / "torso.yaml"
    file.write_text("name: left_torso\nbox: {top: 1/4, bottom: 0.75, left: 0, right: 1 / 2}\nsize: [224, 112]\n")
    view = read_view(file)
    assert view == View("left_torso", Fraction(1, 4), Fraction(3, 4), Fraction(0), Fraction(1, 2), (224, 112))
    file.write_text("name: legs\nbox: {top: 0.1, bottom: 1}\nsize: [224, 112]\n")
    assert read_view(str(file)) == View("legs", Fraction(1, 10), Fraction(1), Fraction(0), Fraction(1), (224, 112))


RIGHT = {"name": "name: legs", "box": "box: {top: 1/2, bottom: 1}", "size": "size: [224, 224]"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "sise: [1, 1]"}, "Did you mean 'size'"),
        ({"box": "box: {top: 0, botom: 1}"}, "Did you mean 'bottom'"),
        ({"box": "box: {top: 0}"}, "the fields top, bottom, left, right"),
        ({"box": "box: [0, 1]"}, "got list"),
        ({"box": "box: {top: 1/2, bottom: 1/4}"}, "0 <= first < second <= 1"),
        ({"box": "box: {top: 0, bottom: 3/2}"}, "0 <= first < second <= 1"),
        ({"box": "box: {top: 1/9999, bottom: 3/7}"}, "common denominator"),
        ({"box": "box: {top: 1/0, bottom: 1}"}, "a fraction such as 1/4"),
        ({"box": "box: {top: 1/00, bottom: 1}"}, "a fraction such as 1/4"),
        ({"box": "box: {top: 0, bottom: 1e-999999999}"}, "a fraction such as 1/4"),
        ({"box": "box: {top: -1/2, bottom: 1}"}, "a fraction such as 1/4"),
        ({"box": "box: {top: 0, bottom: true}"}, "a fraction such as 1/4"),
        ({"size": "size: 224"}, "whole numbers"),
        ({"size": "size: [224, 0]"}, "whole numbers"),
        ({"size": "size: [224, 224.5]"}, "whole numbers"),
        ({"name": "name: ../legs"}, "letters, digits"),
        ({"name": "name: up1"}, "a name of its own"),
        ({"name": "name: [" * 3}, "a readable YAML file"),
        ({"name": "name: !!python/object/apply:os.getcwd []"}, "a readable YAML file"),
        ({"name": "", "box": "", "size": ""}, "got NoneType"),
    ],
)
def test_mistakes_in_a_view_file_are_named(tmp_path, change, message):
    file = tmp_path / "view.yaml"
    file.write_text("\n".join((RIGHT | change).values()))
    with pytest.raises(UserError) as error:
        read_view(file)
    assert message in str(error.value)


@pytest.mark.parametrize("content", ["[" * 600, "\0", "a: b: c"])
def test_files_that_are_not_yaml_are_user_errors(tmp_path, content):
    file = tmp_path / "view.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"view file|view\.yaml"):
        read_view(file)


def test_unknown_names_and_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'holistic'"):
        read_view("holistc")
    with pytest.raises(UserError, match="No such file"):
        read_view(tmp_path / "absent.yml")


def test_common_denominators_are_bounded_so_that_products_fit_64_bits():
    largest = 10_000 * 10_000
    assert 100 * largest * largest < 2**63
    assert math.lcm(9999, 9999) <= 10_000
    with pytest.raises(UserError, match="common denominator"):
        box("fine", "1/9999", "1/9998")
