"""Filters as words: `camera:door after:2026-05-01 before:2026-05-02T12:00 new`."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from rewho.core.check import UserError, nearest
from rewho.gallery.inputs import parse_time
from rewho.gallery.records import Filters

KINDS = ("camera", "after", "before", "person", "case")
EXAMPLE = "camera:door after:2026-05-01"


class Words(NamedTuple):
    """Filters of a search as the user wrote them.

    Attributes:
        filters: The filters that the words stand for.
        words: Each word, without repeats.
    """

    filters: Filters
    words: tuple[str, ...]

    def without(self, word: str) -> str:
        """Return all words but this one as text."""
        return join(one for one in self.words if one != word)

    @property
    def text(self) -> str:
        """All words as text."""
        return join(self.words)


def join(words: object) -> str:
    """Return words as text that `read_words` splits again."""
    return " ".join(_quote(word) for word in words)  # type: ignore[attr-defined] # an iterable of text


def _quote(word: str) -> str:
    if any(mark in word for mark in "'\"\\"):
        return shlex.quote(word)
    return f'"{word}"' if len(word.split()) > 1 else word


def read_words(text: str, zone: str = "UTC") -> Words:
    """Return filters from words; a word with a space stands in quotes.

    Example:
        >>> found = read_words('camera:door "camera:back yard" after:1970-01-02 new')
        >>> found.filters.cameras, found.filters.after, found.filters.new
        (('door', 'back yard'), 86400.0, True)
        >>> read_words(join(["camera:boss's door"])).filters.cameras
        ("boss's door",)
        >>> found.without("new")
        'camera:door "camera:back yard" after:1970-01-02'
    """
    try:
        words = tuple(dict.fromkeys(shlex.split(text[:4000])))
    except ValueError:
        fix = "Close the quotes."
        raise UserError("filter", expected=f"words like {EXAMPLE}", got=repr(text)[:80], fix=fix) from None
    values: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for word in words:
        kind, colon, value = word.partition(":")
        if word != "new" and (not colon or kind not in KINDS or not value):
            near = nearest(kind, (*KINDS, "new"))
            fix = f"Did you mean {near}{':' if near != 'new' else ''}?" if near else f"Write it like {EXAMPLE}."
            raise UserError(
                "filter", expected="camera:, after:, before:, person:, case: or new", got=repr(word), fix=fix
            )
        if colon and word != "new":
            values[kind].append(value)
    after, before = (_time(values[kind], zone, kind) for kind in ("after", "before"))
    people, cases = (tuple(_number(value, kind) for value in values[kind]) for kind in ("person", "case"))
    cameras = tuple(values["camera"])
    return Words(
        Filters(cameras=cameras, people=people, cases=cases, new="new" in words, after=after, before=before), words
    )


def _time(values: list[str], zone: str, kind: str) -> float | None:
    if len(values) > 1:
        raise UserError(kind, expected="one time", got=f"{len(values)} of them", fix="Take one of them away.")
    return parse_time(values[0], zone, kind) if values else None


def _number(value: str, kind: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise UserError(kind, expected="a number", got=repr(value)[:40], fix=f"Write it like {kind}:3.")
    return int(value)
