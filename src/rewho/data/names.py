"""Names of people and cameras → ids.

One id has many spellings: pandas writes 7.0 if a column has gaps, R and NumPy write 1e+05, spreadsheets write a
typographic minus, and names have two Unicode forms. Spellings of one id become one id. Other names stay different,
with a note if they look alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK, UNKNOWN_CAMERA
from rewho.data.table import ImageTable, Names, first_three

PERSON_MARKS = {str(JUNK): JUNK, str(DISTRACTOR): DISTRACTOR}
CAMERA_MARKS = {str(UNKNOWN_CAMERA): UNKNOWN_CAMERA}
MISSING = {"nan", "NaN", "NAN", "<NA>", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "none", "None", "NaT"}
"""What programs write into an empty cell of a CSV file."""

MINUS = "-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
_MOST_DIGITS = 18  # of an int64
_KEPT_DIGITS = 6  # a spreadsheet shows so many digits of a long number
_NUMBER = re.compile(rf"([{MINUS}+]?) ?(\d{{1,{_MOST_DIGITS}}})(?:\.0*|,0{{,2}})?")
_POWER = re.compile(rf"([{MINUS}+]?) ?(\d{{1,{_MOST_DIGITS}}})(?:[.,](\d*?)0*)?[eE]([+-]?\d{{1,3}})")
_HEXADECIMAL = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F]+")


def canonical(names: Iterable[str]) -> list[str]:
    """Return the canonical spelling of names: Unicode form NFC; whole numbers without plus sign, decimals and power.

    Leading zeros stay unless there is a minus or a power: people may be called 7 and 07. Beside hexadecimal names, 1e0
    is one of them.

    Example:
        >>> canonical(["7.0", "+7", "07", "\u22121", "-01.0e+00", "1.5e+01", "1e5", "1.5", "Zoe\u0308"])
        ['7', '7', '07', '-1', '-1', '15', '100000', '1.5', 'Zoë']
        >>> canonical(["1d9", "1e0", "1e+0"])
        ['1d9', '1e0', '1']
    """
    names = [unicodedata.normalize("NFC", name) for name in names]
    hexadecimal = any(_HEXADECIMAL.fullmatch(name) and not _POWER.fullmatch(name) for name in names)
    return [name if hexadecimal and _HEXADECIMAL.fullmatch(name) else _canonical(name) for name in names]


def _canonical(name: str) -> str:
    if power := _POWER.fullmatch(name):
        sign, first, decimals, places = power[1], power[2], power[3] or "", int(power[4])
        if not (len(decimals) <= places and len(first) + places <= _MOST_DIGITS):
            return name
        digits = str(int((first + decimals).ljust(len(first) + places, "0")))
    elif number := _NUMBER.fullmatch(name):
        sign, digits = number.groups()
    else:
        return name
    return str(-int(digits)) if sign and sign in MINUS else digits


def _is_rounded(name: str) -> bool:
    power = _POWER.fullmatch(name)
    return power is not None and len(power[2] + (power[3] or "")) >= _KEPT_DIGITS <= int(power[4])


def number_names(
    names: Sequence[str], what: str = "person", marks: Mapping[str, int] = PERSON_MARKS, where: Sequence[str] = ()
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return ids of names: whole numbers are their own ids, other names are sorted and numbered from 0.

    Args:
        names: N names, in any spelling.
        what: "person" or "camera", for messages.
        marks: Names with a meaning, such as "-1" → JUNK.
        where: The place of each name, for messages; by default the names.

    Returns:
        int64 ids [N], and the name of each id (empty if the names are numbers).
    """
    spelt = canonical(names)
    ordinary = sorted(set(spelt) - set(marks))
    bad = {name for name in ordinary if name[:1] == "-" and name[1:].isdecimal()}
    if bad:
        places = [where[row] if where else names[row] for row, name in enumerate(spelt) if name in bad]
        raise UserError(
            f"{what} ids",
            expected=f"names, numbers from 0, or {' and '.join(marks)}",
            got=f"{first_three(sorted(bad))} in {len(places):,} of {len(names):,}: {first_three(places)}",
            fix=f"Person {JUNK} is junk, person {DISTRACTOR} a distractor, camera {UNKNOWN_CAMERA} is unknown; "
            "number all others from 0.",
        )
    numeric = all(name.isdecimal() and len(name) <= _MOST_DIGITS for name in ordinary)
    if numeric and len({int(name) for name in ordinary}) == len(ordinary):
        return np.array([marks[name] if name in marks else int(name) for name in spelt], np.int64), ()
    ids = {name: i for i, name in enumerate(ordinary)} | dict(marks)
    return np.array([ids[name] for name in spelt], np.int64), tuple(ordinary)


def spelling_notes(names: Iterable[str], what: str) -> list[str]:
    """Return notes on names with several spellings, and on different names that look alike."""
    spellings: dict[str, set[str]] = {}
    given_names = sorted(set(names))
    for name, given_name in zip(canonical(given_names), given_names, strict=True):
        spellings.setdefault(name, set()).add(given_name)
    notes = [
        f"{len(given)} spellings of {name!r} count as one {what}."
        for name, given in sorted(spellings.items())
        if len(given) > 1
    ]
    if rounded := [name for name in given_names if _is_rounded(name)]:
        notes.append(
            f"{first_three(rounded)}: the program that wrote the list rounds long numbers, so several {what} ids may "
            "have become one. Write them as text."
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(spellings):
        shown = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
        key = " ".join(unicodedata.normalize("NFKC", shown).casefold().split())
        alike.setdefault(key.lstrip("0") or key[-1:] if key.isdecimal() else key, []).append(name)
    groups = [" and ".join(map(repr, group[:3])) for group in alike.values() if len(group) > 1]
    if groups:
        more = f" and {len(groups) - 3:,} more" if len(groups) > 3 else ""
        notes.append(
            f"Each is a {what} of its own: {', '.join(groups[:3])}{more}. Write them alike where they mean the same."
        )
    return notes


class NamedRow(NamedTuple):
    """An image with its labels as the user wrote them: `camera` is "" if unknown, `where` is the place of the label."""

    path: str
    person: str
    camera: str
    split: str
    where: str


def named_table(name: str, root: Path, rows: Sequence[NamedRow], notes: Sequence[str]) -> ImageTable:
    """Return the table of rows whose people and cameras are names, in their order."""
    where = [row.where for row in rows]
    people, person_names = number_names([row.person for row in rows], where=where)
    without = [row.path for row in rows if not row.camera]
    if without and len(without) < len(rows):
        got = f"{len(without):,} of {len(rows):,} without: {first_three(without)}"
        fix = "Fill in the missing cameras, or leave cameras out altogether."
        raise UserError(f"{name}: cameras", expected="the camera of every image, or of none", got=got, fix=fix)
    cameras, camera_names = np.full(len(rows), UNKNOWN_CAMERA, np.int64), tuple[str, ...]()
    if not without:
        cameras, camera_names = number_names([row.camera for row in rows], "camera", CAMERA_MARKS, where)
    else:
        notes = [*notes, "Cameras are not known, so images of a query's own camera cannot be left out of its ranking."]
    return ImageTable(
        name=name,
        root=root,
        paths=tuple(row.path for row in rows),
        person_ids=people,
        camera_ids=cameras,
        splits=tuple(row.split for row in rows),
        person_names=person_names or _zeros_kept(people, [row.person for row in rows]),
        camera_names=camera_names or _zeros_kept(cameras, [row.camera for row in rows]),
        notes=(
            *notes,
            *spelling_notes((row.person for row in rows), "person"),
            *spelling_notes((row.camera for row in rows if row.camera), "camera"),
        ),
    )


def _zeros_kept(ids: NDArray[np.int64], names: Sequence[str]) -> Names:
    """Return the spelling of numbers with leading zeros, by id; () if there are none."""
    pairs = zip(ids.tolist(), canonical(names), strict=True)
    return {number: name for number, name in pairs if name.isdecimal() and name != str(number)} or ()
