"""Draw text on sheets of images with matplotlib, whose font has more letters than OpenCV's ASCII."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rewho.report.drawing import INK, STYLE

DOTS_PER_INCH = 128  # a power of two: pixels turn into inches and back without rounding


@dataclass(frozen=True)
class SheetText:
    """One line of text on a sheet; lengths are in pixels."""

    words: str
    x: float  # of the anchor
    y: float  # of the middle of the line
    anchor: Literal["left", "center"] = "left"
    pixels: float = 10.5  # height of the letters
    weight: str = "normal"


def write_texts(sheet: NDArray[np.uint8], texts: Sequence[SheetText]) -> NDArray[np.uint8]:
    """Return a sheet, uint8 RGB [H, W, 3], with texts drawn on it; they must stand on white."""
    height, width = sheet.shape[:2]
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure((width / DOTS_PER_INCH, height / DOTS_PER_INCH), DOTS_PER_INCH, facecolor="white")
        for text in texts:
            figure.text(
                text.x / width, 1 - text.y / height, text.words, ha=text.anchor, va="center_baseline", color=INK,
                fontsize=text.pixels * 72 / DOTS_PER_INCH, fontweight=text.weight,
            )  # fmt: skip
        file = io.BytesIO()
        figure.savefig(file, format="raw", dpi=DOTS_PER_INCH)
    drawn = np.frombuffer(file.getvalue(), np.uint8).reshape(height, width, 4)
    return np.minimum(sheet, drawn[:, :, :3])  # dark text on white: the darker of both at each pixel
