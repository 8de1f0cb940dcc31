"""Market-1501's three folders, in which several data sets are published.

Junk images (person -1) stay in the table as JUNK; rankings leave them out. Person 0 is a DISTRACTOR, and only in the
gallery, because Market-1501 put its background boxes there. Camera ids are the printed numbers minus 1. A missing split
is noted, not refused: many users have the training images only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK
from rewho.core.text import quantity
from rewho.data.file_lists import (
    Row,
    check_folder,
    left_out,
    list_folder,
    make_table,
    require_images,
    sub_folders,
    wrong_names,
)
from rewho.data.table import ImageTable, first_three

FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
"""Folder → split."""

_NAME = re.compile(r"(?P<person>-1|\d{1,9})_c(?P<camera>0*[1-9]\d{0,3})(?!\d)")


class Style(NamedTuple):
    """How one data set names its images.

    Args:
        example: A file name, for messages.
        pattern: Regular expression of its names, which tells it from other data sets in the same folders.
        zero_is_distractor: Whether person 0 in the gallery is a distractor rather than a person.
        test_offset: Added to the person ids of query and gallery, where these are counted from 0 again.
    """

    example: str
    pattern: str
    zero_is_distractor: bool = True
    test_offset: int = 0

    def recognise(self, root: Path) -> str:
        """Return why the folder holds this data set, by the last file name in its first folder; "" if it does not."""
        folder = first_folder(root)
        names = list_folder(root / folder).images if folder else ()
        return f"it has {folder}/ with names like {names[-1]}" if names and re.match(self.pattern, names[-1]) else ""


def has_market_folders(root: Path) -> bool:
    """Return whether Market-1501's folders are here: the training images, or both query and gallery."""
    train, query, gallery = ((root / folder).is_dir() for folder in FOLDERS)
    return train or (query and gallery)


def first_folder(root: Path) -> str:
    """Return the first of Market-1501's folders that is here, or "" if this is not such a data set."""
    return next(name for name in FOLDERS if (root / name).is_dir()) if has_market_folders(root) else ""


def read_market_folders(name: str, root: Path, style: Style) -> ImageTable:
    """Read a data set in Market-1501's folders, or in some of them, into a table of this name."""
    there = [folder for folder in FOLDERS if (check_folder(root) / folder).is_dir()]
    if not there:
        fix = "Give the folder that holds them, unpacked."
        raise UserError(str(root), expected=f"the folders {', '.join(FOLDERS)}", got="none of them", fix=fix)
    rows: list[Row] = []
    notes: list[str] = []
    people: set[str] = set()
    cameras: set[str] = set()
    for folder in there:
        listing = require_images(root / folder)
        matches = _match_names(root / folder, listing.images, style)
        people |= {match["person"] for match in matches}
        cameras |= {match["camera"] for match in matches}
        rows += _read_names(root / folder, matches, FOLDERS[folder], style)
        notes += left_out(f"{folder}/", listing.others)
        if below := sub_folders(root / folder):
            notes.append(f"left out of {folder}/: {quantity(len(below), 'folders')}, such as {below[0]!r}.")
    notes += [*_spellings(people, "person"), *_spellings(cameras, "camera")]
    missing = [folder for folder in FOLDERS if folder not in there]
    notes += [f"No {folder}/ here, so there is no {FOLDERS[folder]} split." for folder in missing]
    return make_table(name, root, rows, notes)


def _spellings(numbers: set[str], what: str) -> list[str]:
    """Return a note on numbers that are written with and without leading zeros."""
    by_number: dict[int, list[str]] = {}
    for text in sorted(numbers):
        by_number.setdefault(int(text), []).append(text)
    several = [given for given in by_number.values() if len(given) > 1]
    if not several:
        return []
    more = f", and {len(several) - 1:,} more such" if len(several) > 1 else ""
    return [f"{' and '.join(several[0])} in file names count as one {what}{more}."]


def _match_names(folder: Path, names: tuple[str, ...], style: Style) -> list[re.Match[str]]:
    matches = [_NAME.match(name) for name in names]
    bad = [name for name, match in zip(names, matches, strict=True) if match is None]
    if bad:
        fix = (
            "Remove or rename these files; your own naming is read with --data.layout folder and --data.person_pattern."
        )
        raise wrong_names(folder, bad, len(names), style.example, fix)
    return [match for match in matches if match]


def _read_names(folder: Path, matches: list[re.Match[str]], split: str, style: Style) -> list[Row]:
    rows = [
        Row(
            f"{folder.name}/{match.string}",
            _person(int(match["person"]), split, style),
            int(match["camera"]) - 1,
            split,
        )
        for match in matches
    ]
    unknown = [row.path for row in rows if row.person < 0]
    if unknown and split != "gallery":
        raise UserError(
            str(folder),
            expected="images of known people",
            got=f"person -1 or 0: {first_three(unknown)}",
            fix=f"In this layout ({style.example}) -1 is junk and 0 a distractor, which only the gallery may hold; "
            "number your own people from 1.",
        )
    return rows


def _person(printed: int, split: str, style: Style) -> int:
    if printed == JUNK:
        return JUNK
    if printed == 0 and style.zero_is_distractor and split != "train":
        return DISTRACTOR
    return printed if split == "train" else printed + style.test_offset
