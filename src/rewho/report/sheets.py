"""Images on a report's page: queries with their lists, and where the model looks; and the markup that pages share."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from rewho.core.text import html_text as text
from rewho.report.attention_sheet import PLAIN, AttentionRow
from rewho.report.rank_sheet import MEANINGS, SheetRow, encode_jpeg, fit_image, thumbnail

SYMBOLS = {"hit": "✓", "miss": "✗", "same camera": "–", "junk": "–"}
CLASSES = {"hit": "hit", "miss": "miss", "same camera": "aside", "junk": "aside"}
SPOKEN = {
    "hit": "the same person",
    "miss": "another person",
    "same camera": "same person and same camera",
    "junk": "junk",
}
ATTENTION = (
    "Each query, and the same image multiplied with where the network is active: bright where it looks, black where "
    "it is silent. f is the network's own feature map; the others are what a branch of the distillation selects from "
    "it for a view. Each is scaled by its own strongest place: brightness does not compare between images."
)


def data_uri(kind: str, data: bytes) -> str:
    """Return an encoded image as an address that holds it.

    Example:
        >>> data_uri("png", b"x")
        'data:image/png;base64,eA=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def sheet_card(title: str, words: str, rows: Sequence[SheetRow]) -> str:
    """Return queries with their lists; nothing where there is no row.

    Example:
        >>> sheet_card("Worst queries", "", [])
        ''
    """
    if not rows:
        return ""
    key = "".join(
        f'<li class="{CLASSES[verdict]}"><span class="badge" aria-hidden="true">{SYMBOLS[verdict]}</span>{meaning}</li>'
        for verdict, meaning in MEANINGS.items()
    )
    lines = "".join(_sheet_row(row) for row in rows)
    lead = f'<p class="soft">{text(words)}</p>' if words else ""
    return f'<div class="card"><h3>{text(title)}</h3>{lead}<ul class="key">{key}</ul>\n{lines}</div>\n'


def _sheet_row(row: SheetRow) -> str:
    query = _thumbnail(encode_jpeg(fit_image(row.image)), f"Query {row.name}, {row.title()}")
    cells = [f'<li class="query">{query}query</li>']
    for cell, rank in zip(row.cells, row.ranks(), strict=True):
        place = f"Rank {rank}" if rank else "Not ranked"
        words = f"{place}: {SPOKEN[cell.verdict]}, distance {cell.distance:.3f}, {cell.name}"
        cells.append(
            f'<li class="{CLASSES[cell.verdict]}" title="{text(cell.name)}">'
            f"{_thumbnail(encode_jpeg(thumbnail(cell)), words)}"
            f'<span class="badge" aria-hidden="true">{SYMBOLS[cell.verdict]}</span>'
            f"{rank or '–'} · {cell.distance:.3f}</li>"
        )
    return (
        f'<div class="row"><h4>{text(row.name)}</h4><p class="who">{text(row.title())}</p>'
        f'<ol class="list">{"".join(cells)}</ol></div>\n'
    )


def _thumbnail(data: bytes, alternative: str) -> str:
    return f'<img src="{data_uri("jpeg", data)}" alt="{text(alternative)}" width="72" height="136">'


def attention_card(rows: Sequence[AttentionRow]) -> str:
    """Return images with where the model looks; nothing where there is no row.

    Example:
        >>> attention_card([])
        ''
    """
    if not rows:
        return ""
    lines = "".join(_attention_row(row) for row in rows)
    return f'<div class="card"><h3>Where the model looks</h3><p class="soft">{ATTENTION}</p>\n{lines}</div>\n'


def _attention_row(row: AttentionRow) -> str:
    images = {PLAIN: row.image, **{name: row.shaded(name) for name in row.maps}}
    cells = "".join(
        f'<li class="aside">{_thumbnail(encode_jpeg(fit_image(image)), f"{row.name}: {name}")}{text(name)}</li>'
        for name, image in images.items()
    )
    return f'<div class="row"><h4>{text(row.name)}</h4><ol class="list">{cells}</ol></div>\n'
