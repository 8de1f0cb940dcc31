"""Draw curves, dots with intervals, histograms and heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from rewho.report.drawing import BLUE, DARK, FAINT, INK, STYLE, VERMILLION, WIDTH, Drawing, line_of, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]

LINE = 0.19  # inches: a label below a plot
MOST_NUMBERED_CELLS = 24 * 24  # numbers in a larger heat map are too small to read
HISTOGRAM_BINS = 80
DET_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


class Dot(NamedTuple):
    """One score, 0 to 1, in a plot of dots; the ends of its interval are None where there is none."""

    name: str
    group: str
    value: float
    low: float | None
    high: float | None


def cmc_plot(curves: Mapping[str, Floats]) -> Drawing:
    """Draw match rates [R], 0 to 1, for ranks 1 to R; below stands each curve's name with its Rank-1."""
    if not curves or any(len(curve) == 0 for curve in curves.values()):
        raise ValueError("cmc_plot takes at least one curve, each with at least one rank")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.5))
        axes = figure.add_subplot()
        longest = max(len(curve) for curve in curves.values())
        lowest = np.floor(10 * min(float(np.min(curve)) for curve in curves.values()) - 0.3) / 10
        for index, curve in enumerate(curves.values()):
            ranks = np.arange(1, len(curve) + 1)
            marker: dict[str, Any] = {"marker": "o", "markersize": 3} if longest <= 10 else {}
            axes.plot(ranks, curve, clip_on=False, zorder=3, **line_of(index), **marker)
        axes.set(
            xlim=(1, max(longest, 2)), ylim=(np.clip(lowest, 0, 0.9), 1), xlabel="Rank", ylabel="Queries with a match"
        )
        axes.set_xticks([rank for rank in _ticks(longest) if rank <= longest])
        _clean(axes, "both")
        if len(curves) == 1:
            _mark_ranks(axes, *curves.values())
        names = [f"{shorten(name, 34)}: Rank-1 {100 * float(curve[0]):.1f} %" for name, curve in curves.items()]
        _write_labels(axes, figure, names)
        return Drawing(figure)


class _Percents(PercentFormatter):
    """Shares as percents, all with as many decimals as the ticks need."""

    def __init__(self) -> None:
        super().__init__(1, decimals=0, symbol=" %")

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the texts of the ticks."""
        percents = 100 * np.array(values)
        needed = (decimals for decimals in range(3) if np.allclose(percents, percents.round(decimals), atol=1e-6))
        self.decimals = next(needed, 3)
        return [self.format_pct(value, 1) for value in values]


def _clean(axes: Axes, grid: str, *, percent: bool = True) -> None:
    """Give axes a grid behind what is drawn, no tick marks, and percents at the left."""
    if percent:
        axes.yaxis.set_major_formatter(_Percents())
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)  # type: ignore[arg-type] # one of x, y, both
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)


def _ticks(longest: int) -> list[int]:
    if longest <= 12:
        return list(range(1, longest + 1))
    step = next(step for step in (5, 10, 25, 50, 100, 250, 1000, longest) if longest / step <= 11)
    return [1, *range(step, longest + 1, step)]


def _write_labels(axes: Axes, figure: Figure, names: Sequence[str], below: float = 0.5) -> None:
    """Write the curves' names so many inches below a plot, each behind a piece of its line."""
    inches = axes.get_position().height * figure.get_figheight()
    for index, name in enumerate(names):
        height = -(below + LINE * index) / inches
        axes.plot((-0.18, -0.08), (height, height), transform=axes.transAxes, clip_on=False, **line_of(index))
        axes.text(-0.05, height, name, transform=axes.transAxes, va="center", fontsize=8)


def _mark_ranks(axes: Axes, curve: Floats) -> None:
    """Write a single curve's values at ranks 1, 5, 10 and 20, which papers' tables give."""
    for rank in (rank for rank in (1, 5, 10, 20) if rank < len(curve)):
        height = float(curve[rank - 1])
        axes.plot(rank, height, "o", color=BLUE, markersize=4, clip_on=False, zorder=4)
        axes.annotate(f"{100 * height:.1f}", (rank, height), (4, -10), textcoords="offset points", fontsize=7.5)


def dot_plot(dots: Sequence[Dot]) -> Drawing:
    """Draw each score as a dot on its interval, the groups below one another, the best of each group in bold."""
    if not dots:
        raise ValueError("dot_plot takes at least one score")
    groups = list(dict.fromkeys(dot.group for dot in dots))
    names = list(dict.fromkeys(dot.name for dot in dots))
    ends = [end for dot in dots for end in (dot.value, dot.low, dot.high) if end is not None and np.isfinite(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = max(0.02, 0.12 * (high - low))
    rows = len(dots) + (0.7 * len(groups) if any(groups) else 0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.36 * rows + 0.35))
        axes = figure.add_axes((0.0, 0.3 / (0.36 * rows + 0.35), 1.0, 1 - 0.3 / (0.36 * rows + 0.35)))
        axes.set(xlim=(max(0.0, low - room), min(1.0, high + room)), ylim=(rows, -0.2))
        height = 0.0
        for group in groups:
            inside = [dot for dot in dots if dot.group == group]
            if any(groups):
                axes.text(0, height + 0.2, shorten(group, 48), transform=axes.get_yaxis_transform(), va="center")
                height += 0.7
            best = max((dot.value for dot in inside if np.isfinite(dot.value)), default=np.nan)
            for dot in inside:
                _draw_dot(axes, dot, height, line_of(names.index(dot.name))["color"], bold=dot.value == best)
                height += 1
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(_Percents())
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        _clean(axes, "x", percent=False)
        return Drawing(figure)


def _draw_dot(axes: Axes, dot: Dot, height: float, colour: str, *, bold: bool) -> None:
    """Draw a dot on its interval, under its name and value."""
    style: dict[str, Any] = {"fontweight": "bold" if bold else "normal", "fontsize": 8, "va": "center"}
    style["transform"] = axes.get_yaxis_transform()
    axes.text(0, height + 0.12, shorten(dot.name, 30), color=INK, **style)
    shown = f"{100 * dot.value:.1f} %" if np.isfinite(dot.value) else "–"
    axes.text(1, height + 0.12, shown, color=INK, ha="right", **style)
    if np.isfinite(dot.value):
        if dot.low is not None and dot.high is not None:
            axes.plot((dot.low, dot.high), (height + 0.5,) * 2, color=colour, linewidth=3, alpha=0.45, clip_on=False)
        axes.plot(dot.value, height + 0.5, "o", color=colour, markersize=6, clip_on=False)


def det_plot(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Drawing:
    """Draw DET curves: false non-match rate over false match rate, both on probit scales (Martin et al., 1997).

    Args:
        curves: By name; each with `false_match` and `false_non_match`, as `rewho.rank.calibration.Det` has them.
    """
    if not curves:
        raise ValueError("det_plot takes at least one curve")
    normal = NormalDist()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, WIDTH))
        axes = figure.add_subplot()
        for index, curve in enumerate(curves.values()):
            both = np.array([curve["false_match"], curve["false_non_match"]], np.float64)
            both = both[:, ((both > 0) & (both < 1)).all(axis=0)]  # a probit scale has neither 0 nor 1
            places = np.array([[normal.inv_cdf(float(share)) for share in side] for side in both]).reshape(2, -1)
            axes.plot(*places, zorder=3, **line_of(index))
        ticks = [normal.inv_cdf(share) for share in DET_TICKS]
        labels = [f"{100 * share:g} %" for share in DET_TICKS]
        axes.set_xticks(ticks, labels, rotation=45)
        axes.set_yticks(ticks, labels)
        axes.set(xlim=(ticks[0], ticks[-1]), ylim=(ticks[0], ticks[-1]))
        axes.set(xlabel="False matches", ylabel="True matches missed")
        _clean(axes, "both", percent=False)
        _write_labels(axes, figure, [shorten(name, 40) for name in curves], 0.85)
        return Drawing(figure)


def distance_histogram(same: Floats, different: Floats) -> Drawing:
    """Draw the histograms of the distances of pairs of one person and of pairs of two people.

    Each is scaled to its own number of pairs, because pairs of two people are nearly all of them.
    """
    sides = {"same person": np.ravel(same), "different people": np.ravel(different)}
    everything = np.concatenate(list(sides.values()))
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4))
        axes = figure.add_subplot()
        for index, (name, distances) in enumerate(sides.items()):
            colour, dashes = (BLUE, "-") if index == 0 else (VERMILLION, "--")
            shares = np.histogram(distances, edges)[0] / max(1, distances.size)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
            axes.stairs(shares, edges, color=colour, linewidth=1.4, linestyle=dashes)
            median = f"\nmedian {float(np.median(distances)):.3f}" if distances.size else ""
            text = f"{name}\n{distances.size:,} pairs{median}"
            style: dict[str, Any] = {"color": colour, "fontweight": "bold", "fontsize": 8, "va": "bottom"}
            axes.text(index, 1.03, text, ha="right" if index else "left", transform=axes.transAxes, **style)
        axes.set(xlabel="Distance", ylabel="Share of the pairs", xlim=(edges[0], edges[-1]), ylim=(0, None))
        _clean(axes, "y")
        return Drawing(figure)


def heat_map(
    values: Floats, rows: Sequence[str], columns: Sequence[str], *, row_axis: str, column_axis: str
) -> Drawing:
    """Draw a matrix of scores [rows, columns] from 0 to 1, in percent; NaN is drawn as a dash."""
    if values.shape != (len(rows), len(columns)) or values.size == 0:
        raise ValueError(f"a matrix of shape {values.shape} for {len(rows)} rows and {len(columns)} columns")
    width, height = max(len(columns), 4) * 0.46, max(len(rows), 2) * 0.34  # inches
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(min(width, 14.0) + 0.6, min(height, 12.0) + 0.6))
        axes = figure.add_subplot()
        axes.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        longest = max(len(name) for name in columns)
        axes.set_xticks(range(len(columns)), [shorten(name) for name in columns], rotation=35 if longest > 6 else 0,
                        ha="right" if longest > 6 else "center")  # fmt: skip
        axes.set_yticks(range(len(rows)), [shorten(name) for name in rows])
        axes.set(xlabel=column_axis, ylabel=row_axis)
        axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        for row, column in np.ndindex(values.shape) if values.size <= MOST_NUMBERED_CELLS else ():
            value = float(values[row, column])
            text, colour = ("–", INK) if np.isnan(value) else (f"{100 * value:.1f}", "white" if value > 0.6 else DARK)
            axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=8)
        return Drawing(figure)
