"""The result of a search as one image and as a page: each query with the images found, the most similar first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.core.text import html_text as text
from rewho.report.drawing import shorten
from rewho.report.html_page import build_page, card, definitions, heading, paragraph, table
from rewho.report.rank_sheet import (
    CELL_HEIGHT,
    CELL_WIDTH,
    FRAME,
    GAP,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    LETTER_WIDTH,
    MARGIN,
    QUERY_GAP,
    fit_image,
)
from rewho.report.sheet_text import SheetText, write_texts
from rewho.report.sheets import image_list, small_image
from rewho.report.style import BLUE, Colour

PALE: Colour = (214, 219, 226)  # frames of images found: nothing is known about who they show
TITLE, CAPTION = 24, 22  # pixels
ROW = TITLE + CELL_HEIGHT + CAPTION + GAP
FEWEST_COLUMNS = 3
HEADER = ("rank", "similarity", "image", "person", "camera or time")
WORDS = (
    "Similarity is the cosine of two embeddings, -1 to 1. It says how alike two images look to the model, not that "
    "they show the same person: which value is enough depends on the model and the cameras."
)


@dataclass(frozen=True, eq=False)
class FoundCell:
    """An image found, uint8 RGB [H, W, 3]; `person` and `place` (camera or time) are "" where they are not known."""

    image: NDArray[np.uint8]
    name: str
    similarity: float
    person: str = ""
    place: str = ""


@dataclass(frozen=True, eq=False)
class FoundRow:
    """A query, uint8 RGB [H, W, 3], with what was found for it; `note` says what was left out."""

    image: NDArray[np.uint8]
    name: str
    cells: Sequence[FoundCell]
    note: str = ""

    def lines(self) -> list[tuple[str, ...]]:
        """Return rank, similarity, image, person, and camera or time of each image found."""
        return [
            (str(rank), f"{cell.similarity:.4f}", cell.name, cell.person or "–", cell.place or "–")
            for rank, cell in enumerate(self.cells, 1)
        ]


def search_sheet(rows: Sequence[FoundRow]) -> NDArray[np.uint8]:
    """Return the queries in blue frames, each with the images found, as one image uint8 RGB [H, W, 3].

    Example:
        >>> image = np.zeros((128, 64, 3), np.uint8)
        >>> search_sheet([FoundRow(image, "a.jpg", [FoundCell(image, "b.jpg", 0.9)])]).shape
        (198, 196, 3)
    """
    longest = max(len(row.cells) for row in rows)
    width = 2 * MARGIN + CELL_WIDTH + QUERY_GAP + longest * (CELL_WIDTH + GAP) - GAP
    sheet = np.full((len(rows) * ROW + GAP, width + width % 2, 3), 255, np.uint8)
    texts: list[SheetText] = []
    for number, row in enumerate(rows):
        top = number * ROW
        letters = (sheet.shape[1] - 2 * MARGIN) // LETTER_WIDTH
        texts.append(SheetText(shorten(row.name, letters), MARGIN, top + TITLE / 2 + 1, pixels=11, weight="bold"))
        below = top + TITLE + CELL_HEIGHT + CAPTION / 2
        _draw(sheet, row.image, BLUE, MARGIN, top + TITLE)
        texts.append(SheetText("query", MARGIN + CELL_WIDTH / 2, below, "center", weight="bold"))
        for column, cell in enumerate(row.cells):
            x = MARGIN + CELL_WIDTH + QUERY_GAP + column * (CELL_WIDTH + GAP)
            _draw(sheet, cell.image, PALE, x, top + TITLE)
            texts.append(SheetText(f"{column + 1} · {cell.similarity:.3f}", x + CELL_WIDTH / 2, below, "center"))
    return write_texts(sheet, texts)


def _draw(sheet: NDArray[np.uint8], pixels: NDArray[np.uint8], colour: Colour, x: int, y: int) -> None:
    sheet[y : y + CELL_HEIGHT, x : x + CELL_WIDTH] = colour
    sheet[y + FRAME : y + FRAME + IMAGE_HEIGHT, x + FRAME : x + FRAME + IMAGE_WIDTH] = fit_image(pixels)


def search_page(rows: Sequence[FoundRow], made_with: dict[str, str]) -> str:
    """Return the page of a search: for each query its images, and the table of what was found."""
    body = heading("What was found")
    for row in rows:
        note = paragraph(row.note) if row.note else ""
        body += card(row.name, note + image_list(_items(row)) + table(*_known_columns(row.lines()), label=row.name))
    body += card("How this was made", definitions(made_with))
    return build_page("Search", body, lead=WORDS)


def _items(row: FoundRow) -> list[str]:
    """Return the query and the images found as items of a list."""
    items = [f'<li class="query">{small_image(fit_image(row.image), f"Query {row.name}")}query</li>']
    for rank, cell in enumerate(row.cells, 1):
        shown = small_image(fit_image(cell.image), f"Rank {rank}: similarity {cell.similarity:.3f}, {cell.name}")
        items.append(f'<li class="aside" title="{text(cell.name)}">{shown}{rank} · {cell.similarity:.3f}</li>')
    return items


def _known_columns(lines: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """Return the lines and the header without columns of which nothing is known."""
    kept = [at for at in range(len(HEADER)) if at < FEWEST_COLUMNS or any(line[at] != "–" for line in lines)]
    return [[line[at] for at in kept] for line in lines], [HEADER[at] for at in kept]
