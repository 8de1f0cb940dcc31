"""HTML of a report's image lists: queries with their nearest gallery images, and attention maps."""

from __future__ import annotations

from collections.abc import Sequence

from rewho.core.text import html_text as text
from rewho.report.attention_sheet import PLAIN, AttentionRow, overlay
from rewho.report.content import ChangedQuery
from rewho.report.html_page import card, image, paragraph
from rewho.report.rank_sheet import MEANINGS, Image, SheetRow, encode_jpeg, fit_image, thumbnail

SYMBOLS = {"hit": "✓", "miss": "✗", "same camera": "–", "junk": "–"}
CLASSES = {"hit": "hit", "miss": "miss", "same camera": "aside", "junk": "aside"}  # of the style sheet
SPOKEN = MEANINGS | {"hit": "the same person", "same camera": "same person and same camera", "junk": "junk"}
ATTENTION = (
    "Each query, and the same image with attention maps laid over it: from no colour, where the network is not active, "
    "over purple and red to yellow, where it is most active. f is the network's own feature map; the others are what a "
    "distillation branch selects from it for a view. Each map is scaled to its own maximum, so colours do not compare "
    "between images."
)
ATTENTION_KEY = '<p class="soft heat"><span>little</span><span class="scale"></span><span>much</span></p>\n'


def sheet_card(title: str, words: str, rows: Sequence[SheetRow]) -> str:
    """Return a card with queries and their gallery images; nothing where there is no row."""
    if not rows:
        return ""
    lead = paragraph(words) if words else ""
    return card(title, lead + _key() + "".join(map(_sheet_row, rows)))


def _key() -> str:
    """Return what the frames of gallery images mean."""
    key = "".join(
        f'<li class="{CLASSES[verdict]}">{_badge(verdict)}{meaning}</li>' for verdict, meaning in MEANINGS.items()
    )
    return f'<ul class="key">{key}</ul>\n'


def _badge(verdict: str) -> str:
    return f'<span class="badge" aria-hidden="true">{SYMBOLS[verdict]}</span>'


def changed_card(before: str, after: str, changed: Sequence[ChangedQuery]) -> str:
    """Return a card with queries by two models, side by side; nothing where there is none."""
    if not changed:
        return ""
    words = "First the queries whose average precision rose most, then those where it fell most."
    rows = "".join(_changed_row(before, after, one) for one in changed)
    return card(f"Queries that changed most, from {before} to {after}", paragraph(words) + _key() + rows)


def _changed_row(before: str, after: str, changed: ChangedQuery) -> str:
    sides = "".join(
        f'<div><p class="who">{text(name)} · {text(row.note)}</p>{image_list(_cells(row))}</div>'
        for name, row in ((before, changed.before), (after, changed.after))
    )
    title = f"{changed.after.name} · person {changed.after.person} · {100 * changed.gain:+.1f} points"
    return f'<div class="row"><h4>{text(title)}</h4><div class="sides">{sides}</div></div>\n'


def _sheet_row(row: SheetRow) -> str:
    return _row(row.name, f'<p class="who">{text(row.title())}</p>', _cells(row))


def _cells(row: SheetRow) -> list[str]:
    """Return the query and its gallery images as items of a list."""
    cells = [f'<li class="query">{small_image(fit_image(row.image), f"Query {row.name}, {row.title()}")}query</li>']
    for cell, rank in zip(row.cells, row.ranks(), strict=True):
        place = f"Rank {rank}" if rank else "Not ranked"
        words = f"{place}: {SPOKEN[cell.verdict]}, distance {cell.distance:.3f}, {cell.name}"
        cells.append(
            f'<li class="{CLASSES[cell.verdict]}" title="{text(cell.name)}">{small_image(thumbnail(cell), words)}'
            f"{_badge(cell.verdict)}{rank or '–'} · {cell.distance:.3f}</li>"
        )
    return cells


def _row(name: str, below: str, cells: Sequence[str]) -> str:
    return f'<div class="row"><h4>{text(name)}</h4>{below}{image_list(cells)}</div>\n'


def image_list(cells: Sequence[str]) -> str:
    """Return a list of images, which wraps where the page is narrow; `cells` are its items."""
    return f'<ol class="list">{"".join(cells)}</ol>'


def small_image(pixels: Image, alternative: str) -> str:
    """Return an image of one person at the size that all lists of images have."""
    return image("jpeg", encode_jpeg(pixels), alternative, 'width="72" height="136"')


def attention_card(rows: Sequence[AttentionRow]) -> str:
    """Return a card with images and their attention maps; nothing where there is no row."""
    if not rows:
        return ""
    return card("Where the model looks", paragraph(ATTENTION) + ATTENTION_KEY + "".join(map(_attention_row, rows)))


def _attention_row(row: AttentionRow) -> str:
    images = {PLAIN: row.image, **{name: overlay(row.image, found) for name, found in row.maps.items()}}
    cells = [
        f'<li class="aside">{small_image(fit_image(shown), f"{row.name}: {name}")}{text(name)}</li>'
        for name, shown in images.items()
    ]
    return _row(row.name, "", cells)
