"""Attention images: multiplied as in the paper, and sheets that say what they show."""

import numpy as np
import pytest

from rewho.report.attention_sheet import AttentionRow, attention_sheet, overlay, shade
from rewho.report.rank_sheet import FRAME, MARGIN
from rewho.report.sheets import attention_card


def white(height=128, width=64):
    return np.full((height, width, 3), 255, np.uint8)


def test_shading_is_a_product_with_the_resized_map():
    lower_half = np.repeat([[0.0], [1.0]], 8, axis=0) * np.ones((1, 8))
    shaded = shade(white(), lower_half)
    assert shaded[0].max() == 0 and shaded[-1].min() == 255
    assert (np.diff(shaded[:, 32, 0].astype(int)) >= 0).all()
    assert np.array_equal(shade(white(), np.ones((4, 2))), white())


@pytest.mark.parametrize("wrong", [np.ones((2, 2, 2)), np.full((2, 2), 1.5), np.full((2, 2), np.nan)])
def test_what_is_no_attention_is_refused(wrong):
    with pytest.raises(ValueError, match="attention map"):
        shade(white(), wrong)


def test_a_sheet_has_a_column_for_the_image_and_one_for_each_map():
    maps = {"f": np.ones((4, 2)), "up1": np.zeros((4, 2))}
    one, two = (attention_sheet([AttentionRow(white(), "a.jpg", maps)] * rows, shade) for rows in (1, 2))
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]
    wider = attention_sheet([AttentionRow(white(), "a.jpg", maps | {f"{n}": np.ones((4, 2)) for n in range(9)})])
    assert wider.shape[1] > one.shape[1]
    x = MARGIN + FRAME + 32 + 2 * 80  # the middle of the third column
    assert one[120, x].max() == 0, "a map of zeros shows nothing"


def test_rows_that_differ_in_what_they_show_are_refused():
    rows = [AttentionRow(white(), "a.jpg", {"f": np.ones((4, 2))}), AttentionRow(white(), "b.jpg", {})]
    with pytest.raises(ValueError, match="same names"):
        attention_sheet(rows)
    with pytest.raises(ValueError, match="at least one"):
        attention_sheet([])


def test_names_are_escaped_on_the_page():
    card = attention_card([AttentionRow(white(), "<b>", {"f": np.ones((4, 2))})])
    assert "&lt;b&gt;" in card and "<b>" not in card and card.count("<img") == 2


def test_colours_lie_over_the_image_where_there_is_attention():
    lower_half = np.array([[0.0], [1.0]])
    covered = overlay(white() // 2, lower_half)
    assert np.array_equal(covered[0], (white() // 2)[0]), "without attention the image is as it was"
    red, green, blue = covered[-1, 0].astype(int)
    assert red > 180 and green > 180 and blue < red - 20, "yellow"
    with pytest.raises(ValueError, match="from 0 to 1"):
        overlay(white(), np.array([[2.0]]))
