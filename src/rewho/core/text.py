"""Text from outside, such as file names and labels, made safe where it leaves the program: terminal, HTML page, CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence

# Control characters but newline and tab; marks that reorder or break lines; halves of surrogate pairs, which stand for
# bytes of a file name that is not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def printable(text: str) -> str:
    r"""Return text that no terminal obeys: escape sequences and the like are written out as Python would.

    Example:
        >>> printable("a\x1b[31m.jpg")
        'a\\x1b[31m.jpg'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def html_text(value: object) -> str:
    r"""Return a value as text for a page, in which no markup and no control character is left.

    Example:
        >>> html_text("<b>\x1b")
        '&lt;b&gt;\\x1b'
    """
    return html.escape(printable(str(value)))


def csv_table(rows: Iterable[Sequence[object]]) -> bytes:
    r"""Return rows as CSV in UTF-8 that a spreadsheet runs nothing of.

    Text that a spreadsheet would read as a formula gets an apostrophe in front; numbers stay as they are. Text is
    `printable`.

    Example:
        >>> csv_table([("path", "gain"), ("=1+1.jpg", -0.5)])
        b"path,gain\n'=1+1.jpg,-0.5\n"
    """
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows([_csv_cell(cell) for cell in row] for row in rows)
    return file.getvalue().encode()


def _csv_cell(cell: object) -> object:
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return printable(f"'{cell}" if cell.startswith(_FORMULA) else cell)
