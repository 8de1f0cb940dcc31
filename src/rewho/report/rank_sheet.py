"""Draw rank sheets: queries with their nearest gallery images, each framed by whether it shows the same person.

A badge repeats the frame's colour as a shape: tick, cross or dash. Images that the protocol leaves out stay at their
place in the list, greyed: without them a reader could not see why the ranks are as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.report.drawing import shorten
from rewho.report.sheet_text import SheetText, write_texts
from rewho.report.style import BLUE, GREEN, GREY, RED, Colour

Image = NDArray[np.uint8]
Verdict = Literal["hit", "miss", "same camera", "junk"]

IMAGE_HEIGHT, IMAGE_WIDTH = 128, 64
COLOURS: dict[str, Colour] = {"hit": GREEN, "miss": RED, "same camera": GREY, "junk": GREY}
MEANINGS = {"hit": "same person", "miss": "another person", "same camera": "not ranked: same camera, or junk"}
BACKGROUND = (232, 234, 237)  # behind an image that does not fill its cell
FRAME, GAP, MARGIN, BADGE = 4, 8, 16, 17  # pixels
LEGEND_WIDTH, LEGEND_HEIGHT, TITLE_HEIGHT, CAPTION_HEIGHT = 500, 30, 24, 22
CELL_WIDTH, CELL_HEIGHT = IMAGE_WIDTH + 2 * FRAME, IMAGE_HEIGHT + 2 * FRAME
ROW_HEIGHT = TITLE_HEIGHT + CELL_HEIGHT + CAPTION_HEIGHT + GAP
QUERY_GAP = 20  # between the query and its candidates
JPEG_QUALITY = 85
LETTER_WIDTH = 8  # mean width in pixels of a letter of the title line


@dataclass(frozen=True, eq=False)
class SheetCell:
    """A gallery image, uint8 RGB [H, W, 3], in a query's list.

    `verdict` is hit, miss, or why it is not ranked: same camera (and same person), or junk.
    """

    image: Image
    verdict: Verdict
    distance: float
    name: str = ""

    @property
    def ranked(self) -> bool:
        """Whether the protocol ranks this image."""
        return self.verdict in ("hit", "miss")


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A query, uint8 RGB [H, W, 3], and its nearest gallery images, those that are not ranked included."""

    image: Image
    name: str
    person: str
    camera: str = ""
    cells: Sequence[SheetCell] = field(default_factory=tuple)
    note: str = ""

    def ranks(self) -> list[int | None]:
        """Return each cell's rank, counted from 1 over the ranked cells; None for the others."""
        counted = np.cumsum([cell.ranked for cell in self.cells])
        return [int(rank) if cell.ranked else None for cell, rank in zip(self.cells, counted, strict=True)]

    def title(self) -> str:
        """Return the line above the row: identity, camera and note."""
        return " · ".join(
            filter(None, [f"person {self.person}", f"camera {self.camera}" if self.camera else "", self.note])
        )


def fit_image(image: Image, height: int = IMAGE_HEIGHT, width: int = IMAGE_WIDTH) -> Image:
    """Return the image at the largest size that fits, its aspect ratio kept, centred on a neutral background."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype}; expected uint8 [H, W, 3]")
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(scale * side)) for side in image.shape[:2])
    resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    fitted: Image = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    fitted[top : top + rows, left : left + columns] = resized
    return fitted


def thumbnail(cell: SheetCell) -> Image:
    """Return a gallery image resized to its cell, faded to grey where it is not ranked."""
    fitted = fit_image(cell.image)
    if cell.ranked:
        return fitted
    grey = cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY).astype(np.float32)
    faded = (0.55 * grey + 0.45 * 262).clip(0, 255).round().astype(np.uint8)
    return np.repeat(faded[:, :, None], 3, axis=2)


def rank_sheet(rows: Sequence[SheetRow]) -> Image:
    """Return a rank sheet, uint8 RGB [H, W, 3]: one row per query, the query at the left in a blue frame.

    Frames are `GREEN` for hits, `RED` for misses and `GREY` for images that are not ranked.

    Example:
        >>> image = np.zeros((128, 64, 3), np.uint8)
        >>> rank_sheet([SheetRow(image, "a.jpg", "7", "2", [SheetCell(image, "hit", 0.25)])]).shape
        (228, 500, 3)
    """
    if not rows:
        raise ValueError("rank_sheet takes at least one row")
    longest = max(len(row.cells) for row in rows)
    width = max(LEGEND_WIDTH, 2 * MARGIN + CELL_WIDTH + QUERY_GAP + longest * (CELL_WIDTH + GAP) - GAP)
    sheet: Image = np.full((LEGEND_HEIGHT + len(rows) * ROW_HEIGHT + GAP, width, 3), 255, np.uint8)
    texts = _draw_legend(sheet)
    for index, row in enumerate(rows):
        texts += _draw_row(sheet, row, LEGEND_HEIGHT + index * ROW_HEIGHT)
    return write_texts(sheet, texts)


def cell_corner(row: int, column: int) -> tuple[int, int]:
    """Return x and y in pixels of the upper left corner of a cell's frame; column -1 is the query."""
    x = MARGIN if column < 0 else MARGIN + CELL_WIDTH + QUERY_GAP + column * (CELL_WIDTH + GAP)
    return x, LEGEND_HEIGHT + row * ROW_HEIGHT + TITLE_HEIGHT


def _draw_legend(sheet: Image) -> list[SheetText]:
    texts, x = [], MARGIN
    for verdict, meaning in MEANINGS.items():
        _draw_badge(sheet, verdict, x, 8)
        texts.append(SheetText(meaning, x + BADGE + 5, 8 + BADGE / 2))
        x += BADGE + 22 + 7 * len(meaning)
    return texts


def _draw_row(sheet: Image, row: SheetRow, top: int) -> list[SheetText]:
    index = (top - LEGEND_HEIGHT) // ROW_HEIGHT
    title = shorten(f"{row.name} · {row.title()}", (sheet.shape[1] - 2 * MARGIN) // LETTER_WIDTH)
    below = top + TITLE_HEIGHT + CELL_HEIGHT + CAPTION_HEIGHT / 2
    texts = [SheetText(title, MARGIN, top + TITLE_HEIGHT / 2 + 1, pixels=11, weight="bold")]
    x, y = cell_corner(index, -1)
    _draw_framed(sheet, fit_image(row.image), BLUE, x, y)
    texts.append(SheetText("query", x + CELL_WIDTH / 2, below, "center", weight="bold"))
    for column, (cell, rank) in enumerate(zip(row.cells, row.ranks(), strict=True)):
        x, y = cell_corner(index, column)
        _draw_framed(sheet, thumbnail(cell), COLOURS[cell.verdict], x, y)
        _draw_badge(sheet, cell.verdict, x, y)
        texts.append(SheetText(f"{rank or '–'} · {cell.distance:.3f}", x + CELL_WIDTH / 2, below, "center"))
    return texts


def _draw_framed(sheet: Image, image: Image, colour: Colour, x: int, y: int) -> None:
    sheet[y : y + CELL_HEIGHT, x : x + CELL_WIDTH] = colour
    sheet[y + FRAME : y + FRAME + IMAGE_HEIGHT, x + FRAME : x + FRAME + IMAGE_WIDTH] = image


def _draw_badge(sheet: Image, verdict: str, x: int, y: int) -> None:
    """Draw a tick, a cross or a dash in white on the verdict's colour."""
    sheet[y : y + BADGE, x : x + BADGE] = COLOURS[verdict]
    strokes = {"hit": [[(4, 9), (7, 12), (13, 4)]], "miss": [[(4, 4), (12, 12)], [(4, 12), (12, 4)]]}
    for stroke in strokes.get(verdict, [[(4, 8), (12, 8)]]):
        points = np.array([(x + right, y + down) for right, down in stroke], np.int32)
        cv2.polylines(sheet, [points], False, (255, 255, 255), 2, cv2.LINE_AA)


def encode_jpeg(image: Image, quality: int = JPEG_QUALITY) -> bytes:
    """Return a uint8 RGB image [H, W, 3] as a JPEG file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV encodes every uint8 RGB image"
    return bytes(data)


assert set(COLOURS) == set(get_args(Verdict))
