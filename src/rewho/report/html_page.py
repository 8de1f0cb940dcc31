"""Build HTML pages: one style, one content security policy, no script, nothing from elsewhere.

Every function takes plain text and escapes it, except arguments named `body` or `markup`, which are HTML that other
functions of this module returned. Imports neither matplotlib nor OpenCV, so that every process can build a page.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from rewho.core.record import rewho_version
from rewho.core.text import html_text as text
from rewho.report.style import STYLE_SHEET

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def build_page(title: str, body: str, *, lead: str = "", above: str = "", contents: str = "", footer: str = "") -> str:
    """Return a whole page as HTML; `body`, `above` and `contents` are HTML, the other arguments plain text.

    `lead` and `above` stand below the title, then the links of `contents`.

    Example:
        >>> page = build_page("<Crops>", card("Terms", paragraph("None.")))
        >>> "<h1>&lt;Crops&gt;</h1>" in page, "default-src 'none'" in page
        (True, True)
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE_SHEET}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{text(title)}</h1>\n{paragraph(lead, 'lead') if lead else ''}{above}{contents}</header>\n"
        f"<main>\n{body}</main>\n<footer>{paragraph(footer, '') if footer else ''}"
        f"<p>Made by rewho {text(rewho_version())}. This page works offline.</p></footer>\n</body>\n</html>\n"
    )


def heading(title: str) -> str:
    """Return a heading above cards."""
    return f"<h2>{text(title)}</h2>\n"


def paragraph(words: str, kind: str = "soft") -> str:
    """Return a paragraph; `kind` is a class of the style sheet."""
    return f'<p class="{kind}">{text(words)}</p>\n' if kind else f"<p>{text(words)}</p>\n"


def card(title: str, body: str) -> str:
    """Return a box with a heading, without one where `title` is empty."""
    return f'<div class="card">{f"<h3>{text(title)}</h3>" if title else ""}{body}</div>\n'


def pair(body: str) -> str:
    """Return cards side by side where there is room."""
    return f'<div class="pair">{body}</div>\n' if body else ""


def details(summary: str, body: str) -> str:
    """Return a block that opens on a click."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def tile(name: str, value: str, *, unit: str = "", body: str = "", explanation: str = "") -> str:
    """Return one large figure; `tiles` lays several out."""
    shown_unit = f"<small> {text(unit)}</small>" if unit else ""
    return (
        f'<li title="{text(explanation)}"><span class="name">{text(name)}</span>'
        f'<span class="value">{text(value)}{shown_unit}</span>{body}</li>\n'
    )


def tiles(body: str) -> str:
    """Return large figures in a row; `body` is what `tile` returned, nothing where there is none."""
    return f'<ul class="scores">\n{body}</ul>\n' if body else ""


def definitions(values: Mapping[str, object]) -> str:
    """Return names with their values in a fixed-width font; nothing where there is none."""
    lines = "".join(f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>" for name, value in values.items())
    return f"<dl>{lines}</dl>" if lines else ""


def links(targets: Iterable[tuple[str, str]]) -> str:
    """Return a list of links to files beside the page, given as (path relative to the page, words)."""
    items = "".join(f'<li><a href="{text(quote(path))}">{text(words)}</a></li>' for path, words in targets)
    return f'<ul class="links">{items}</ul>\n' if items else ""


def code(words: str) -> str:
    """Return a command or a file's text, in a fixed-width font."""
    return f"<pre><code>{text(words)}</code></pre>\n"


def table(
    rows: Iterable[Sequence[object]],
    header: Sequence[str] = (),
    groups: Iterable[tuple[str, int]] = (),
    label: str = "",
) -> str:
    """Return a table whose first column names the rows; `groups` are headings with the columns that they span.

    Columns that hold only numbers are aligned to the right; integers get thousands separators. `label` names a table
    without a heading for readers who cannot see it. A table that is wider than the page scrolls, by keyboard too.
    """
    lines = [list(row) for row in rows]
    kinds = [
        ' class="number"' if column and all(_is_number(line[column]) for line in lines) else ""
        for column in range(len(lines[0]) if lines else len(header))
    ]
    spans = "".join(_column(name, f' scope="colgroup" colspan="{count}"', count) for name, count in groups)
    names = "".join(_column(name, f' scope="col"{kind}') for kind, name in zip(kinds, header, strict=bool(header)))
    head = "".join(f"<tr>{row}</tr>" for row in (spans, names) if row)
    body = "".join(
        f'<tr><th scope="row">{_number(name)}</th>'
        + "".join(f"<td{kind}>{_number(cell)}</td>" for kind, cell in zip(kinds[1:], cells, strict=True))
        + "</tr>\n"
        for name, *cells in lines
    )
    head = f"<thead>{head}</thead>" if head else ""
    region = f'class="wide" role="group" tabindex="0" aria-label="{text(label or "Table")}"'
    return f"<div {region}><table>{head}<tbody>\n{body}</tbody></table></div>"


def _column(name: str, attributes: str, count: int = 1) -> str:
    """Return a column's heading; an empty one is no heading."""
    return f"<th{attributes}>{text(name)}</th>" if name else f'<td colspan="{count}"></td>'


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1].isdigit() or str(cell)[:1] == "–"


def _number(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else text(cell)


def image(kind: str, data: bytes, alternative: str, attributes: str = "") -> str:
    """Return an image (kind png, jpeg or svg+xml) that the page itself holds."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{text(alternative)}" {attributes}>'


def plot(svg: bytes, alternative: str) -> str:
    """Return a plot, an SVG file, that fills its card up to 1.4 times its own width."""
    found = re.search(rb'<svg[^>]* width="([\d.]+)pt"', svg)
    assert found, "every SVG of ours has a width"
    width = round(float(found[1]) * 4 / 3)  # a point is 4/3 CSS pixels
    return image("svg+xml", svg, alternative, f'class="plot" width="{round(1.4 * width)}"')


def figure(title: str, markup: str, caption: str = "") -> str:
    """Return a card that holds an image."""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    above = f"<h3>{text(title)}</h3>" if title else ""
    return f'<figure class="card">{above}{markup}{below}</figure>\n'
