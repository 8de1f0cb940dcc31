"""Escaping of untrusted text, such as file names and labels, for terminals, HTML and CSV; tables of text."""

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
_GUARDED = re.compile(f"'+[{re.escape(''.join(_FORMULA))}]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def printable(text: str) -> str:
    r"""Return text with control characters escaped as in Python, so that it cannot control a terminal.

    Example:
        >>> printable("a\x1b[31m.jpg")
        'a\\x1b[31m.jpg'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


_SINGULAR = {"people": "person", "identities": "identity", "queries": "query", "boxes": "box", "classes": "class"}


def quantity(number: int, things: str) -> str:
    """Return a number with the plural that it counts, which becomes a singular where it is one.

    Example:
        >>> quantity(1, "training images"), quantity(4_200, "people"), quantity(1, "people")
        ('1 training image', '4,200 people', '1 person')
    """
    *before, last = things.split(" ")
    return " ".join([f"{number:,}", *before, _SINGULAR.get(last, last.removesuffix("s")) if number == 1 else last])


def aligned_table(header: Sequence[object], *rows: Sequence[object]) -> str:
    """Return a header and rows as lines whose columns are aligned; control characters are escaped.

    Example:
        >>> print(aligned_table(("id", "name"), (7, "Ann"), (10, "Bo")))
        id  name
        7   Ann
        10  Bo
    """
    cells = [[printable(str(cell)).replace("\n", " ").replace("\t", " ") for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def html_text(value: object) -> str:
    r"""Return a value as text for HTML, with markup and control characters escaped."""
    return html.escape(printable(str(value)))


def csv_table(rows: Iterable[Sequence[object]]) -> bytes:
    r"""Return rows as CSV in UTF-8, with an apostrophe before text that a spreadsheet would run as a formula.

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
    return printable(f"'{cell}" if cell.startswith(_FORMULA) or _GUARDED.match(cell) else cell)


def read_csv_table(text: str) -> list[tuple[str, ...]]:
    r"""Return the rows of a CSV file of ours, without empty ones and without the apostrophes that `csv_table` added.

    Example:
        >>> read_csv_table(csv_table([("image",), ("-1_c2.jpg",), ("'-1_c2.jpg",), ("'a.jpg",)]).decode())
        [('image',), ('-1_c2.jpg',), ("'-1_c2.jpg",), ("'a.jpg",)]
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    return [tuple(cell[1:] if _GUARDED.match(cell) else cell for cell in row) for row in rows if row]
