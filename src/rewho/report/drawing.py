"""Finished figures as SVG, PDF and PNG, without matplotlib's global state: the same figure gives the same bytes.

Figures are about 340 CSS pixels wide, so that their letters stay legible on a telephone; larger screens enlarge them.
The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with colour-blindness can
distinguish; line styles and labels repeat the distinction.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, VERMILLION = "#0072B2", "#D55E00"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
INK, FAINT, DARK = "#33383F", "#D5D9DE", "#0F1317"
WIDTH = 3.55  # inches
STYLE: Any = {  # Any: matplotlib types the keys as a Literal of all its settings
    "font.family": ["DejaVu Sans"],  # matplotlib ships it: the same letters on every machine
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "text.usetex": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # letters as shapes: a page may not load fonts
    "svg.hashsalt": "rewho",
}
DOTS_PER_INCH = 200
METADATA = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
LONGEST_LABEL = 36


def shorten(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return text on one line of at most `longest` letters: unprintable ones replaced, the middle cut out."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[: longest - 1 - half]}…{line[-half:]}"


def line_of(index: int) -> dict[str, Any]:
    """Return colour and line style of the curve with this number; the first 28 all differ."""
    style = LINE_STYLES[(index // len(PALETTE) + index) % len(LINE_STYLES)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": style, "linewidth": 1.6}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure that is drawn, for pages and papers."""

    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG, which pages show."""
        return self._save("svg")

    @cached_property
    def pdf(self) -> bytes:
        """The figure as PDF, for LaTeX."""
        return self._save("pdf")

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG."""
        return self._save("png")

    def _save(self, kind: str) -> bytes:
        file = io.BytesIO()
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # such letters become boxes
            self.figure.savefig(
                file, format=kind, dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.05, metadata=METADATA[kind]
            )
        return file.getvalue()
