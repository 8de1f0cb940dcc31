"""HTML of a report's image lists: queries with their nearest gallery images, and attention maps."""

from __future__ import annotations

from collections.abc import Sequence

from rewho.core.text import html_text as text
from rewho.report.attention_sheet import PLAIN, AttentionRow, shade
from rewho.report.html_page import card, image, paragraph
from rewho.report.rank_sheet import MEANINGS, Image, SheetRow, encode_jpeg, fit_image, thumbnail

SYMBOLS = {"hit": "✓", "miss": "✗", "same camera": "–", "junk": "–"}
CLASSES = {"hit": "hit", "miss": "miss", "same camera": "aside", "junk": "aside"}  # of the style sheet
SPOKEN = MEANINGS | {"hit": "the same person", "same camera": "same person and same camera", "junk": "junk"}
ATTENTION = (
    "Each query, and the same image multiplied with attention maps: bright where the network is active, black where it "
    "is not. f is the network's own feature map; the others are what a distillation branch selects from it for a view. "
    "Each map is scaled to its own maximum, so brightness does not compare between images."
)


def sheet_card(title: str, words: str, rows: Sequence[SheetRow]) -> str:
    """Return a card with queries and their gallery images; nothing where there is no row."""
    if not rows:
        return ""
    key = "".join(
        f'<li class="{CLASSES[verdict]}">{_badge(verdict)}{meaning}</li>' for verdict, meaning in MEANINGS.items()
    )
    lead = paragraph(words) if words else ""
    return card(title, f'{lead}<ul class="key">{key}</ul>\n' + "".join(map(_sheet_row, rows)))


def _badge(verdict: str) -> str:
    return f'<span class="badge" aria-hidden="true">{SYMBOLS[verdict]}</span>'


def _sheet_row(row: SheetRow) -> str:
    cells = [f'<li class="query">{_thumbnail(fit_image(row.image), f"Query {row.name}, {row.title()}")}query</li>']
    for cell, rank in zip(row.cells, row.ranks(), strict=True):
        place = f"Rank {rank}" if rank else "Not ranked"
        words = f"{place}: {SPOKEN[cell.verdict]}, distance {cell.distance:.3f}, {cell.name}"
        cells.append(
            f'<li class="{CLASSES[cell.verdict]}" title="{text(cell.name)}">{_thumbnail(thumbnail(cell), words)}'
            f"{_badge(cell.verdict)}{rank or '–'} · {cell.distance:.3f}</li>"
        )
    return _row(row.name, f'<p class="who">{text(row.title())}</p>', cells)


def _row(name: str, below: str, cells: Sequence[str]) -> str:
    return f'<div class="row"><h4>{text(name)}</h4>{below}<ol class="list">{"".join(cells)}</ol></div>\n'


def _thumbnail(pixels: Image, alternative: str) -> str:
    return image("jpeg", encode_jpeg(pixels), alternative, 'width="72" height="136"')


def attention_card(rows: Sequence[AttentionRow]) -> str:
    """Return a card with images and their attention maps; nothing where there is no row."""
    if not rows:
        return ""
    return card("Where the model looks", paragraph(ATTENTION) + "".join(map(_attention_row, rows)))


def _attention_row(row: AttentionRow) -> str:
    images = {PLAIN: row.image, **{name: shade(row.image, found) for name, found in row.maps.items()}}
    cells = [
        f'<li class="aside">{_thumbnail(fit_image(shown), f"{row.name}: {name}")}{text(name)}</li>'
        for name, shown in images.items()
    ]
    return _row(row.name, "", cells)
