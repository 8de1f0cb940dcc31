"""The DET curve: probit scales, and curves that reach rates of 0 and 1."""

import pytest

from rewho.report.figures import det_plot


def test_a_curve_is_drawn_between_0_and_1():
    curve = {"false_match": [0.0, 0.001, 0.1, 1.0], "false_non_match": [0.9, 0.4, 0.1, 0.0]}
    drawn = det_plot({"cosine": curve, "another": curve})
    assert drawn.svg == det_plot({"cosine": curve, "another": curve}).svg
    axes = drawn.figure.axes[0]
    assert len(axes.lines[0].get_xdata()) == 2, "rates of 0 and 1 have no place on a probit scale"
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0.01 %", "0.1 %", "1 %"]


def test_without_curves_it_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        det_plot({})
