"""Plots of a section: each is drawn where there is something to draw."""

from types import SimpleNamespace

import numpy as np

from rewho.report import plots
from rewho.report.content import Plot
from rewho.report.plots import Evaluation, draw_cameras, draw_curves, draw_plots


def evaluation(curve=(0.5, 0.75), pairs=((10, 2, 0.5, 7), (2, 10, 0.25, 1234)), cameras=True):
    """Return an evaluation with the match rates [R] and (query camera, gallery camera, mAP, queries) given."""
    names = ("query_camera", "gallery_camera", "mAP_rectangular", "valid_queries")
    pairs = tuple(SimpleNamespace(**dict(zip(names, pair, strict=True))) for pair in pairs)
    table = SimpleNamespace(knows_cameras=cameras, camera_name=lambda number: f"c{number}")
    scored = (SimpleNamespace(description="cosine"), SimpleNamespace(cmc=np.array(curve), camera_pairs=pairs))
    return Evaluation(table, [scored], np.random.default_rng(1))


def test_cameras_are_sorted_by_number_and_the_table_holds_the_counts():
    table = draw_cameras(evaluation()).table
    assert table.header == ["Camera of the query", "c2", "c10"]
    assert table.rows == [["c2", "– (0)", "25.0 (1,234)"], ["c10", "50.0 (7)", "– (0)"]]


def test_nothing_is_drawn_without_cameras_or_queries():
    assert draw_cameras(evaluation(pairs=())) is None
    assert draw_cameras(evaluation(cameras=False)) is None
    assert draw_curves(evaluation(curve=[np.nan])) is None
    assert draw_curves(evaluation(curve=[])) is None
    assert draw_curves(evaluation()).alternative.endswith("cosine: 50.0 % at rank 1.")


def test_a_plot_is_added_by_one_function(monkeypatch):
    def draw_mine(given):
        return Plot("Mine", None, f"{len(given.scored)} ranking")

    monkeypatch.setattr(plots, "PLOTS", (draw_mine, lambda given: None))
    assert [plot.alternative for plot in draw_plots(evaluation())] == ["1 ranking"]
