"""Plots: they decode, show what was given, do not depend on anything global, and survive any name."""

import re
import subprocess
import sys
import warnings

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from rewho.report.drawing import BLUE, PALETTE, Drawing, shorten
from rewho.report.figures import (
    Dot,
    _Percents,
    _ticks,
    cmc_plot,
    distance_histogram,
    dot_plot,
    heat_map,
)

HOSTILE = ["$\\frac{", "名前 \x07\udc80", "<script>", "a\nb", "", "x" * 300, "100 % & _{"]


def drawn(values, rows, columns):
    return heat_map(np.asarray(values), rows, columns, row_axis="Model", column_axis="Data set")


def decode(drawing: Drawing) -> np.ndarray:
    """Return a drawing's pixels in RGB."""
    image = cv2.imdecode(np.frombuffer(drawing.png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[:, :, ::-1].astype(int)


def pixels_of(image: np.ndarray, colour: str) -> np.ndarray:
    """Return y and x of the pixels of a colour, [P, 2]."""
    wanted = [int(part, 16) for part in re.findall("..", colour[1:])]
    return np.argwhere(np.abs(image - wanted).max(axis=2) <= 3)


def test_a_higher_curve_is_drawn_higher():
    heights = []
    for start in (0.55, 0.75):
        image = decode(cmc_plot({"a": np.full(20, start), "b": np.linspace(0.5, 1, 20)}))
        level = pixels_of(image, BLUE)
        heights.append(np.median(level[:, 0]) / len(image))
    assert heights[1] < heights[0] - 0.2


def test_every_curve_has_a_colour_or_line_style_of_its_own():
    image = decode(cmc_plot({f"ranking {n}": np.full(5, 0.5 + 0.05 * n) for n in range(5)}))
    assert all(len(pixels_of(image, colour)) > 50 for colour in PALETTE[:5])


def test_many_curves_are_all_labelled():
    few = decode(cmc_plot({f"ranking {n}": np.full(5, 0.9) for n in range(2)}))
    many = decode(cmc_plot({f"ranking {n}": np.full(5, 0.9) for n in range(30)}))
    assert len(many) > 2 * len(few)


@pytest.mark.parametrize("curve", [[0.0], [1.0], [0.3, 0.4], np.linspace(0, 1, 1000)])
def test_curves_of_any_length_and_height_are_drawn(curve):
    assert decode(cmc_plot({"cosine": np.asarray(curve)})).shape[0] > 300
    assert decode(cmc_plot({"cosine": np.asarray(curve), "other": np.array([0.5])})).shape[0] > 300


@pytest.mark.parametrize("curves", [{}, {"cosine": np.empty(0)}])
def test_no_curve_is_an_error(curves):
    with pytest.raises(ValueError, match="at least one"):
        cmc_plot(curves)


def test_a_dot_stands_at_its_score_on_its_interval():
    places = []
    for value in (0.3, 0.7):
        dots = [Dot("a", "", value, value - 0.1, value + 0.1), Dot("b", "", 0.5, 0.2, 0.8)]
        image = decode(dot_plot(dots))
        places.append(np.median(pixels_of(image, BLUE)[:, 1]) / image.shape[1])
    assert places[0] < 0.4 < 0.6 < places[1]


def test_dots_of_any_number_and_group_are_drawn():
    many = [Dot(f"model {n % 3}", f"data {n // 3}", n / 10, None, None) for n in range(9)]
    assert len(decode(dot_plot(many))) > 2 * len(decode(dot_plot(many[:3])))
    assert decode(dot_plot([Dot("a", "", float("nan"), None, None)])).shape[0] > 50
    with pytest.raises(ValueError, match="at least one"):
        dot_plot([])


def test_rank_axis_begins_with_one_and_stays_readable():
    for longest in (1, 2, 7, 12, 13, 20, 50, 100, 999, 12345):
        ticks = _ticks(longest)
        assert ticks[0] == 1
        assert max(ticks) <= longest
        assert len(ticks) <= 12


def test_histograms_are_drawn_on_their_own_sides():
    random = np.random.default_rng(1)
    image = decode(distance_histogram(random.normal(0.2, 0.02, 500), random.normal(0.8, 0.02, 90000)))
    below_title = image[len(image) // 4 :]
    same, different = pixels_of(below_title, BLUE), pixels_of(below_title, PALETTE[1])
    assert np.median(same[:, 1]) < 0.4 * image.shape[1] < 0.6 * image.shape[1] < np.median(different[:, 1])
    tops = same[:, 0].min(), different[:, 0].min()
    assert abs(tops[0] - tops[1]) < 0.3 * len(below_title), "each is scaled to its own number of pairs"


@pytest.mark.parametrize("same", [[], [0.5], [0.5, 0.5]])
@pytest.mark.parametrize("different", [[], [0.5]])
def test_histograms_of_hardly_any_pairs(same, different):
    assert decode(distance_histogram(np.array(same), np.array(different))).shape[0] > 300


def test_heat_maps_are_darker_where_the_score_is_higher_and_white_where_there_is_none():
    image = decode(drawn(np.array([[np.nan, 0.1], [0.5, 0.95]]), ["1", "2"], ["1", "2"]))
    coloured = np.argwhere(image[:, :, 2] - image[:, :, 0] > 12)
    (top, left), (bottom, right) = coloured.min(axis=0), coloured.max(axis=0)
    cells = image[top : bottom + 1, left : right + 1].mean(axis=2)
    rows, columns = np.array_split(cells, 2), 2
    means = [[np.median(part) for part in np.array_split(row, columns, axis=1)] for row in rows]
    assert means[0][0] > 250 > means[0][1] > means[1][0] > means[1][1]


def test_a_matrix_must_fit_its_names():
    with pytest.raises(ValueError, match="2 rows and 1 columns"):
        drawn(np.zeros((1, 2)), ["a", "b"], ["c"])
    with pytest.raises(ValueError, match="0 rows"):
        drawn(np.zeros((0, 0)), [], [])


def test_large_matrices_stay_bounded():
    names = [f"camera {n}" for n in range(40)]
    data = drawn(np.random.default_rng(1).random((40, 40)), names, names)
    assert max(decode(data).shape) < 3000
    assert len(data.svg) < 1_000_000


def test_any_name_is_drawn_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cmc_plot({name: np.array([0.5, 0.6]) for name in HOSTILE}).svg
        assert cmc_plot({"".join(HOSTILE): np.array([0.5, 0.6])}).pdf
        assert dot_plot([Dot(name, name, 0.5, 0.4, 0.6) for name in HOSTILE]).svg
        for title in HOSTILE[:2]:
            assert drawn(np.full((len(HOSTILE), 1), 0.5), HOSTILE, [title]).svg


def test_nothing_global_is_read_or_left():
    def draw():
        return [
            cmc_plot({"a": np.array([0.5, 0.6]), "b": np.array([0.7])}).png,
            distance_histogram(np.array([0.1, 0.2]), np.array([0.5])).svg,
            drawn(np.array([[0.5]]), ["model"], ["data"]).pdf,
            dot_plot([Dot("a", "", 0.5, None, None)]).svg,
        ]

    before, first = dict(mpl.rcParams), draw()
    assert b"Software" not in first[0], "another matplotlib, other bytes"
    with mpl.rc_context({"font.size": 30, "text.color": "red", "text.usetex": True}):
        assert draw() == first
    assert dict(mpl.rcParams) == before
    code = "import sys, rewho.report.folder; print('matplotlib.pyplot' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


@pytest.mark.parametrize("longest", [3, 4, 10, 35])
def test_shortened_names_have_at_most_that_many_letters(longest):
    for length in range(2 * longest):
        name = "abcdefghijklmnopqrstuvwxyz0123456789"[:length]
        short = shorten(name, longest)
        assert len(short) == min(len(name), longest)
        assert short == name or (short[0], short[-1]) == (name[0], name[-1])


@pytest.mark.parametrize(
    ("shares", "texts"),
    [((0.8, 0.9), ["80 %", "90 %"]), ((0.825, 0.85, 0.875), ["82.5 %", "85.0 %", "87.5 %"])],
)
def test_ticks_have_as_many_decimals_as_their_steps_need(shares, texts):
    assert _Percents().format_ticks(shares) == texts
