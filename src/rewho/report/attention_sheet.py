"""Draw attention images: the model's view of an image, under the colours of its attention map or multiplied with it.

Letters: H and W height and width of an image, h and w those of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.report.drawing import shorten
from rewho.report.rank_sheet import (
    CELL_HEIGHT,
    CELL_WIDTH,
    FRAME,
    GAP,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    LETTER_WIDTH,
    MARGIN,
    TITLE_HEIGHT,
    Image,
    fit_image,
)
from rewho.report.sheet_text import SheetText, write_texts

HEADER_HEIGHT = 26  # pixels, for the columns' names
ATTENTION_ROW_HEIGHT = TITLE_HEIGHT + CELL_HEIGHT + GAP
PLAIN = "image"  # name of the column that shows the image itself
COVER = 0.75  # opacity of the colours where the attention is greatest
LONGEST_NAME = 10  # letters that fit above an image


@dataclass(frozen=True, eq=False)
class AttentionRow:
    """A network's input, uint8 RGB [H, W, 3], and its attention maps [h, w], 0 to 1, by view; `f` is its own."""

    image: Image
    name: str
    maps: Mapping[str, NDArray[np.floating[Any]]]


def shade(image: Image, attention: NDArray[np.floating[Any]]) -> Image:
    """Return an image, uint8 RGB [H, W, 3], multiplied with a bilinearly resized attention map (FD figure 4).

    Example:
        >>> shade(np.full((2, 2, 3), 200, np.uint8), np.array([[0.0, 0.5]]))[:, :, 0]
        array([[  0, 100],
               [  0, 100]], dtype=uint8)
    """
    shaded: Image = np.rint(image * _resize(image, attention)).astype(np.uint8)
    return shaded


def overlay(image: Image, attention: NDArray[np.floating[Any]]) -> Image:
    """Return an image, uint8 RGB [H, W, 3], under the colours of an attention map, the more opaque the more attention.

    Where the map is 0 the image is as it was; where it is 1 it is nearly covered by yellow.

    Example:
        >>> overlay(np.full((1, 2, 3), 200, np.uint8), np.array([[0.0, 1.0]]))[0].tolist()
        [[200, 200, 200], [239, 241, 173]]
    """
    weight = _resize(image, attention)
    levels = np.rint(255 * weight[:, :, 0]).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    covered: Image = np.rint(image * (1 - COVER * weight) + COVER * weight * colours).astype(np.uint8)
    return covered


def _resize(image: Image, attention: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return an attention map [h, w] resized to an image's size, [H, W, 1]."""
    if attention.ndim != 2 or not (np.min(attention) >= 0 and np.max(attention) <= 1):
        raise ValueError(f"an attention map of shape {attention.shape}; expected [h, w] with values from 0 to 1")
    height, width = image.shape[:2]
    resized = cv2.resize(attention.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)[:, :, None]


def attention_sheet(
    rows: Sequence[AttentionRow], draw: Callable[[Image, NDArray[np.floating[Any]]], Image] = overlay
) -> Image:
    """Return a sheet, uint8 RGB [H, W, 3]: one row per image, the image at the left, then its attention images.

    `draw` is `overlay`, or `shade` for the paper's look.
    """
    names = [PLAIN, *(rows[0].maps if rows else ())]
    if not rows or any([PLAIN, *row.maps] != names for row in rows):
        raise ValueError("attention_sheet takes at least one row, and rows with maps of the same names")
    width = max(320, 2 * MARGIN + len(names) * (CELL_WIDTH + GAP) - GAP)
    height = HEADER_HEIGHT + len(rows) * ATTENTION_ROW_HEIGHT + GAP
    sheet: Image = np.full((height, width, 3), 255, np.uint8)
    columns = [MARGIN + number * (CELL_WIDTH + GAP) for number in range(len(names))]
    texts = [
        SheetText(shorten(name, LONGEST_NAME), x + CELL_WIDTH / 2, HEADER_HEIGHT / 2, "center", weight="bold")
        for name, x in zip(names, columns, strict=True)
    ]
    for number, row in enumerate(rows):
        top = HEADER_HEIGHT + number * ATTENTION_ROW_HEIGHT
        title = shorten(row.name, (width - 2 * MARGIN) // LETTER_WIDTH)
        texts.append(SheetText(title, MARGIN, top + TITLE_HEIGHT / 2 + 1, pixels=11))
        images = [row.image, *(draw(row.image, found) for found in row.maps.values())]
        for image, x in zip(images, columns, strict=True):
            y = top + TITLE_HEIGHT
            inside = np.s_[y + FRAME : y + FRAME + IMAGE_HEIGHT, x + FRAME : x + FRAME + IMAGE_WIDTH]
            sheet[inside] = fit_image(image)
    return write_texts(sheet, texts)
