"""The page of an adaptation: curves over the epochs, the k-distance curve, and clusters to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rewho.report import html_page as html
from rewho.report.drawing import BLUE, FAINT, PALETTE, STYLE, VERMILLION, WIDTH, Drawing, line_of

CURVES: Mapping[str, Sequence[str]] = {
    "Clusters": ("clusters",),
    "Share of the images": ("outliers", "trained_on"),
    "Clusters and cameras": ("silhouette", "camera_nmi"),
    "Clusters and labels, which were not trained on": ("nmi", "purity"),
    "Scores on the test part, which chose nothing": ("mAP", "rank_1"),
}
"""Title of each plot, with the figures in it."""
LABELS = {
    **{"trained_on": "trained on", "camera_nmi": "camera NMI", "nmi": "NMI", "rank_1": "Rank-1"},
    **{"total": "loss", "gradient_norm": "gradient norm"},
}
"""Figures whose name in the log is not the one to show."""
PERCENT = ("outliers", "trained_on", "purity", "mAP", "rank_1")
EXPLANATIONS = {
    "clusters": "clusters of DBSCAN",
    "outliers": "images in no cluster",
    "trained_on": "images trained on as members of a cluster",
    "silhouette": "silhouette, -1 to 1: higher is better separated",
    "camera_nmi": "mutual information of clusters and cameras: if it rises, cameras are clustered",
    "nmi": "mutual information of clusters and people",
    "purity": "images of a cluster's most frequent person",
    "mAP": "",
    "rank_1": "",
}


@dataclass(frozen=True)
class AdaptationReport:
    """What the page shows.

    Args:
        title: Its title.
        epochs: Figures of every epoch by name, with `epoch`; the first may be 0, before the training.
        curve: The k-distance curve of the last clustering, ascending.
        bend: Its bend; NaN without.
        eps: That of the clustering.
        usual_eps: The paper's.
        clusters: Clusters to look at: title, and a JPEG of some of its images.
        made_with: What is needed to repeat the run.
        scores: The scores on the test part as text, with the interval over people, by when they were measured.
    """

    title: str
    epochs: Sequence[Mapping[str, Any]]
    curve: NDArray[np.floating[Any]]
    bend: float
    eps: float
    usual_eps: float = 0.6
    clusters: Sequence[tuple[str, bytes]] = ()
    made_with: Mapping[str, object] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


def adaptation_page(report: AdaptationReport) -> str:
    """Return the page as HTML."""
    last = report.epochs[-1] if report.epochs else {}
    shown = [name for name in EXPLANATIONS if isinstance(last.get(name), int | float)]
    tiles = html.tiles(
        "".join(html.tile(_label(name), _number(name, last[name]), explanation=EXPLANATIONS[name]) for name in shown)
    )
    plots = []
    for title, names in CURVES.items():
        series = {name: _points(report.epochs, name) for name in names}
        series = {name: points for name, points in series.items() if points}
        if series:
            caption = "; ".join(f"{_label(name)}: {EXPLANATIONS[name]}" for name in series if EXPLANATIONS[name])
            curves = html.plot(line_plot(series).svg, f"{title} by epoch")
            plots.append(html.figure(title, curves, caption))
    distances = html.plot(distance_plot(report.curve, report.bend, report.eps, report.usual_eps).svg, "k-distances")
    caption = "Images below the line of eps are the cores of clusters; where the curve bends up, outliers begin."
    plots.append(html.figure("Distance to the nearest images", distances, caption))
    names = ["epoch", *dict.fromkeys(name for row in report.epochs for name in row if name != "epoch")]
    rows = [[row.get("epoch", ""), *(_number(name, row.get(name)) for name in names[1:])] for row in report.epochs]
    sheets = "".join(
        html.figure(title, html.image("jpeg", data, title, 'class="plot"')) for title, data in report.clusters
    )
    body = (
        tiles
        + (html.card("Scores on the test part", html.definitions(report.scores)) if report.scores else "")
        + html.heading("Over the epochs")
        + html.pair("".join(plots))
        + html.card("Every epoch", html.table(rows, list(map(_label, names))))
        + (html.heading("Clusters of the last epoch") + html.pair(sheets) if sheets else "")
        + html.card("Made with", html.definitions(report.made_with))
    )
    lead = "All figures are of the last epoch. No label chose an epoch, a cluster or a setting."
    return html.build_page(report.title, body, lead=lead)


def _points(epochs: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(row["epoch"], float(row[name])) for row in epochs if isinstance(row.get(name), int | float)]


def _label(name: str) -> str:
    return LABELS.get(name, name)


def _number(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return "–"
    if name in PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if name == "clusters" else f"{value:.3g}"


def line_plot(series: Mapping[str, Sequence[tuple[float, float]]]) -> Drawing:
    """Draw curves by epoch, each labelled with its name."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4))
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(series.items()):
            epochs, values = zip(*points, strict=True)
            marker = "o" if len(points) < 25 else None
            axes.plot(epochs, values, label=_label(name), marker=marker, markersize=3, **line_of(number))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = min(0, axes.get_ylim()[0]), axes.get_ylim()[1]
        axes.set(xlabel="Epoch", ylim=(low, high + 0.05 * (high - low)))  # from 0, with room for the highest marker
        axes.legend(frameon=False)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.tick_params(length=0)
        return Drawing(figure)


def distance_plot(curve: NDArray[np.floating[Any]], bend: float, eps: float, usual: float = 0.6) -> Drawing:
    """Draw the k-distance curve with its bend, the eps that was used and the paper's."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4))
        axes = figure.add_subplot()
        axes.plot(np.linspace(0, 1, len(curve)), curve, color=BLUE, linewidth=1.6)
        lines = {f"eps {eps:.3g}": (eps, VERMILLION, "-")}
        if abs(usual - eps) > 1e-9:
            lines[f"the paper's {usual:g}"] = (usual, PALETTE[2], "--")
        if np.isfinite(bend):
            lines[f"bend {bend:.3g}"] = (bend, PALETTE[6], ":")
        for name, (height, colour, style) in lines.items():
            axes.axhline(height, color=colour, linestyle=style, label=name)
        axes.set(xlabel="Share of the images", ylabel="Jaccard distance", xlim=(0, 1), ylim=(0, None))
        axes.legend(edgecolor="none", framealpha=0.9)  # the lines cross it
        axes.grid(color=FAINT, linewidth=0.6)
        axes.tick_params(length=0)
        return Drawing(figure)
