"""Draw curves, histograms and heat maps as PNG bytes, without matplotlib's global state.

The same input gives the same bytes. The colours are those of Okabe and Ito ("Color Universal Design", 2008), which
people with colour-blindness can distinguish; line styles and a label at each curve's end repeat the distinction.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]

BLUE, VERMILLION = "#0072B2", "#D55E00"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
INK, FAINT, DARK = "#33383F", "#D5D9DE", "#0F1317"
STYLE: Any = {  # Any: matplotlib types the keys as a Literal of all its settings
    "font.family": ["DejaVu Sans"],  # matplotlib ships it: the same letters on every machine
    "font.size": 10.0,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "text.usetex": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "savefig.facecolor": "white",
}
DOTS_PER_INCH = 144
LONGEST_LABEL = 36
MOST_NUMBERED_CELLS = 24 * 24  # numbers in a larger heat map are too small to read
HISTOGRAM_BINS = 80


def shorten(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return text on one line of at most `longest` letters: unprintable ones replaced, the middle cut out."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[: longest - 1 - half]}…{line[-half:]}"


def cmc_plot(curves: Mapping[str, Floats]) -> bytes:
    """Return a PNG of match rates [R], 0 to 1, for ranks 1 to R, each curve labelled with its name and Rank-1."""
    if not curves or any(len(curve) == 0 for curve in curves.values()):
        raise ValueError("cmc_plot takes at least one curve, each with at least one rank")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4 if len(curves) == 1 else 4.9, _height(curves)))  # several have labels beside it
        axes = figure.add_subplot()
        longest = max(len(curve) for curve in curves.values())
        lowest = np.floor(10 * min(float(np.min(curve)) for curve in curves.values()) - 0.3) / 10
        for index, curve in enumerate(curves.values()):
            ranks = np.arange(1, len(curve) + 1)
            axes.plot(ranks, curve, clip_on=False, zorder=3, **_line(index), marker="o" if longest <= 10 else None)
        axes.set(
            xlim=(1, max(longest, 2)), ylim=(np.clip(lowest, 0, 0.9), 1), xlabel="Rank", ylabel="Queries with a match"
        )
        axes.set_xticks([rank for rank in _ticks(longest) if rank <= longest])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(color=FAINT, linewidth=0.8)
        axes.tick_params(length=0)
        if len(curves) == 1:
            _mark_ranks(axes, *next(iter(curves.items())))
        else:
            _label_curves(axes, curves, longest)
        return _png(figure)


def _height(curves: Mapping[str, Floats]) -> float:
    return max(4.0, 0.7 * len(curves))  # inches: a label of three lines for each curve


def _line(index: int) -> dict[str, Any]:
    style = LINE_STYLES[(index // len(PALETTE) + index) % len(LINE_STYLES)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": style, "linewidth": 2.0}


def _ticks(longest: int) -> list[int]:
    if longest <= 12:
        return list(range(1, longest + 1))
    step = next(step for step in (5, 10, 25, 50, 100, 250, 1000, longest) if longest / step <= 11)
    return [1, *range(step, longest + 1, step)]


def _label_curves(axes: Axes, curves: Mapping[str, Floats], longest: int) -> None:
    """Label each curve right of the plot, with a thin line to the curve's end; labels never overlap."""
    low, high = axes.get_ylim()
    labels = [f"{fill(shorten(name, 44), 24)}\nRank-1 {100 * float(curve[0]):.1f} %" for name, curve in curves.items()]
    lines = max(label.count("\n") for label in labels) + 1
    gap = (0.2 * lines + 0.07) * (high - low) / _height(curves)
    ends = [float(curve[-1]) for curve in curves.values()]
    heights = _spread(ends, gap, low)
    span = max(longest, 2) - 1
    for index, curve in enumerate(curves.values()):
        place = (max(longest, 2) + 0.07 * span, heights[index])
        line = _line(index) | {"linewidth": 1.4}
        axes.plot((len(curve), place[0]), (ends[index], place[1]), clip_on=False, **line)
        axes.text(place[0] + 0.01 * span, place[1], labels[index], va="center", fontweight="bold", fontsize=9)


def _spread(heights: Sequence[float], gap: float, bottom: float) -> list[float]:
    """Return heights moved down until neighbours are `gap` apart, then all lifted if the lowest is below `bottom`."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=lambda index: -placed[index])
    for above, below in pairwise(order):
        placed[below] = min(placed[below], placed[above] - gap)
    lift = max(0.0, bottom - min(placed))
    return [height + lift for height in placed]


def _mark_ranks(axes: Axes, name: str, curve: Floats) -> None:
    """Write a single curve's name, and its values at ranks 1, 5, 10 and 20, which papers' tables give."""
    axes.set_title(shorten(name), color=BLUE, loc="left")
    for rank in (rank for rank in (1, 5, 10, 20) if rank < len(curve)):
        height = float(curve[rank - 1])
        axes.plot(rank, height, "o", color=BLUE, markersize=5, clip_on=False, zorder=4)
        text = f"{100 * height:.1f}"
        axes.annotate(text, (rank, height), (6, -13), textcoords="offset points", color=INK, fontsize=9)


def distance_histogram(same: Floats, different: Floats) -> bytes:
    """Return a PNG with the histograms of the distances of pairs of one person and of pairs of two people.

    Each is scaled to its own number of pairs, because pairs of two people are nearly all of them.
    """
    sides = {"same person": np.ravel(same), "different people": np.ravel(different)}
    everything = np.concatenate(list(sides.values()))
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.add_subplot()
        for index, (name, distances) in enumerate(sides.items()):
            colour, dashes = (BLUE, "-") if index == 0 else (VERMILLION, "--")
            shares = np.histogram(distances, edges)[0] / max(1, distances.size)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
            axes.stairs(shares, edges, color=colour, linewidth=1.8, linestyle=dashes)
            median = f", median {float(np.median(distances)):.3f}" if distances.size else ""
            text = f"{name}\n{distances.size:,} pairs{median}"
            style: dict[str, Any] = {"color": colour, "fontweight": "bold", "fontsize": 9, "va": "bottom"}
            axes.text(index, 1.03, text, ha="right" if index else "left", transform=axes.transAxes, **style)
        axes.set(xlabel="Distance", ylabel="Share of the pairs", xlim=(edges[0], edges[-1]), ylim=(0, None))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.tick_params(length=0)
        axes.set_axisbelow(True)
        return _png(figure)


def heat_map(
    values: Floats, rows: Sequence[str], columns: Sequence[str], *, row_axis: str, column_axis: str, title: str
) -> bytes:
    """Return a PNG file of a matrix of scores [rows, columns] from 0 to 1, in percent; NaN is drawn as a dash."""
    if values.shape != (len(rows), len(columns)) or values.size == 0:
        raise ValueError(f"a matrix of shape {values.shape} for {len(rows)} rows and {len(columns)} columns")
    width, height = max(len(columns), 4) * 0.62, max(len(rows), 2) * 0.42  # inches
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(min(width, 14.0) + 1, min(height, 12.0) + 1))
        axes = figure.add_subplot()
        axes.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        longest = max(len(name) for name in columns)
        axes.set_xticks(range(len(columns)), [shorten(name) for name in columns], rotation=35 if longest > 6 else 0,
                        ha="right" if longest > 6 else "center")  # fmt: skip
        axes.set_yticks(range(len(rows)), [shorten(name) for name in rows])
        axes.set(xlabel=column_axis, ylabel=row_axis)
        axes.set_title(f"{shorten(title)} in percent", loc="left")
        axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        for row, column in np.ndindex(values.shape) if values.size <= MOST_NUMBERED_CELLS else ():
            value = float(values[row, column])
            text, colour = ("–", INK) if np.isnan(value) else (f"{100 * value:.1f}", "white" if value > 0.6 else DARK)
            axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=9)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # such letters become boxes
        figure.savefig(
            file, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None}
        )
    return file.getvalue()
