"""The user's own pictures: a folder per person, a file-name pattern, or a CSV file.

What is unusual: people and cameras may have names. Where every name is a whole number it is used as it is; otherwise
names are sorted and counted from 0, and the table remembers them. Cameras are never guessed: where they are not given
they are UNKNOWN_CAMERA.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, nearest
from rewho.data.file_lists import (
    check_folder,
    empty_folder,
    left_out,
    list_folder,
    list_pictures,
    missing_files,
    read_text,
    sub_folders,
    wrong_names,
)
from rewho.data.table import DISTRACTOR, JUNK, SPLITS, UNKNOWN_CAMERA, ImageTable, Names, first_three, leaves_root
from rewho.settings import DataSettings

SPLIT_FOLDERS = ("train", "query", "gallery")
"""Sub-folders that split a folder of one's own; without any of them all pictures are in the split "pool"."""
CSV_COLUMNS = ("path", "person", "camera", "split")
"""Columns of a CSV file; camera and split are optional."""

_NUMBER = re.compile(r"-?\d{1,18}")
_SPECIAL = {str(JUNK): JUNK, str(DISTRACTOR): DISTRACTOR}


class _Named(NamedTuple):
    """A picture as the user named it; `camera` is empty where it is not known."""

    path: str
    person: str
    camera: str
    split: str


def read_folder(settings: DataSettings) -> ImageTable:
    """Read a folder with one sub-folder per person, or with a pattern for file names.

    With sub-folders `train/`, `query/` and `gallery/` (some of them) each holds such people or files; otherwise every
    picture is in the split "pool". With `person_pattern`, its group `person`, and `camera` if it has one, are searched
    for in each file's name, in the folder and all below it.

    Raises:
        UserError: No such folder, no pictures, a person without pictures, people one level too deep, an unknown split
            folder, a pattern that is wrong or does not fit some names.
    """
    root = check_folder(settings.root)
    folders = sub_folders(root)
    splits = [name for name in SPLIT_FOLDERS if name in folders]
    wrong = [name for name in folders if name not in splits]
    if splits and wrong:
        near = nearest(wrong[0], SPLIT_FOLDERS)
        raise UserError(
            str(root),
            expected=f"only split folders ({', '.join(SPLIT_FOLDERS)}) beside {splits[0]}/",
            got=f"the folder {wrong[0]!r}",
            fix=f"Did you mean {near!r}? Rename it." if near else "Rename it, or move it elsewhere.",
        )
    pattern = _compile(settings.person_pattern) if settings.person_pattern is not None else None
    rows: list[_Named] = []
    notes: list[str] = []
    for place, split in [(f"{name}/", name) for name in splits] or [("", "pool")]:
        if pattern:
            rows += _rows_by_pattern(root, place, split, pattern)
        else:
            found, said = _rows_by_folder(root, place, split)
            rows += found
            notes += said
    return _named_table(root.resolve().name, root, rows, notes)


def read_csv(settings: DataSettings) -> ImageTable:
    """Read a CSV file with the columns path, person, and optionally camera and split; paths relative to its folder.

    Commas, semicolons and tabs are recognised. Person -1 is junk and -2 a distractor. Rows keep their order sorted by
    split and path.

    Raises:
        UserError: Not a readable CSV file, columns or cells missing, unknown splits, paths that leave the CSV file's
            folder or are no files, cameras given for some rows only.
    """
    file = settings.root
    if file.is_dir():
        raise UserError(
            str(file), expected="a CSV file", got="a folder", fix=f"Give the file, such as {file / 'pictures.csv'}."
        )
    rows = _csv_rows(file)
    missing = missing_files(file.parent, [row.path for row in rows])
    if missing:
        raise UserError(
            str(file),
            expected=f"paths of pictures, relative to {file.parent}",
            got=f"{len(missing):,} of {len(rows):,} that are no files: {first_three(missing)}",
            fix="Write the paths as seen from the CSV file's own folder.",
        )
    return _named_table(file.stem, file.parent, sorted(rows, key=lambda row: (SPLITS.index(row.split), row.path)), [])


def number_names(names: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn names into ids: whole numbers stay what they are, other names are sorted and counted from 0.

    Returns:
        int64 ids [N], and the names that ids stand for (empty where the names were numbers). "-1" and "-2" always
        stay JUNK and DISTRACTOR.

    Example:
        >>> number_names(["0007", "12"])[0].tolist(), number_names(["eve", "-1", "adam"])
        ([7, 12], (array([ 1, -1,  0]), ('adam', 'eve')))
    """
    ordinary = sorted(set(names) - set(_SPECIAL))
    numeric = all(_NUMBER.fullmatch(name) and int(name) >= 0 for name in ordinary)
    if numeric and len({int(name) for name in ordinary}) == len(ordinary):
        return np.array([int(name) for name in names], np.int64), ()
    ids = {name: i for i, name in enumerate(ordinary)} | _SPECIAL
    return np.array([ids[name] for name in names], np.int64), tuple(ordinary)


def _named_table(name: str, root: Path, rows: Sequence[_Named], notes: Sequence[str]) -> ImageTable:
    people, person_names = number_names([row.person for row in rows])
    without = [row.path for row in rows if not row.camera]
    if without and len(without) < len(rows):
        raise UserError(
            f"{name}: cameras",
            expected="the camera of every picture, or of none",
            got=f"{len(without):,} of {len(rows):,} without: {first_three(without)}",
            fix="Fill in the missing cameras, or leave cameras out altogether.",
        )
    cameras, camera_names = np.full(len(rows), UNKNOWN_CAMERA, np.int64), tuple[str, ...]()
    if not without:
        cameras, camera_names = number_names([row.camera for row in rows])
    else:
        notes = [
            *notes,
            "Cameras are not known, so pictures of a query's own camera cannot be left out of its ranking.",
        ]
    return ImageTable(
        name=name,
        root=root,
        paths=tuple(row.path for row in rows),
        person_ids=people,
        camera_ids=cameras,
        splits=tuple(row.split for row in rows),
        person_names=person_names or _zeros_kept(people, [row.person for row in rows]),
        camera_names=camera_names or _zeros_kept(cameras, [row.camera for row in rows]),
        notes=tuple(notes),
    )


def _zeros_kept(ids: NDArray[np.int64], names: Sequence[str]) -> Names:
    """Return how numbers with leading zeros were written, by id; an empty tuple where there are none."""
    pairs = zip(ids.tolist(), names, strict=True)
    return {number: name for number, name in pairs if name.isdecimal() and name != str(number)} or ()


def _rows_by_folder(root: Path, place: str, split: str) -> tuple[list[_Named], list[str]]:
    people = sub_folders(root / place)
    here = list_folder(root / place)
    if not people and here.pictures:
        raise UserError(
            str(root / place),
            expected="one sub-folder per person",
            got=f"{len(here.pictures):,} pictures and no sub-folder",
            fix="Pass person_pattern if the file names say who it is, such as '(?P<person>\\d+)_c(?P<camera>\\d+)'; "
            "without people only embedding is possible.",
        )
    if not people:
        raise empty_folder(root / place, here.others)
    rows: list[_Named] = []
    notes: list[str] = left_out(place or "the folder", here.others)
    if here.pictures:
        notes.append(f"{len(here.pictures):,} pictures beside the people's folders were left out.")
    empty = []
    for person in people:
        listing = list_folder(root / place / person)
        rows += [_Named(f"{place}{person}/{name}", person, "", split) for name in listing.pictures]
        notes += left_out(f"{place}{person}/", listing.others)
        if not listing.pictures:
            empty.append(person)
    if empty:
        raise _people_without_pictures(root / place, empty)
    return rows, notes


def _people_without_pictures(folder: Path, empty: list[str]) -> UserError:
    deeper = sub_folders(folder / empty[0])
    fix = "Remove the empty folders, or put the pictures in."
    if deeper:
        fix = f"People must be one level below the folder that is given: is it {folder / empty[0]}?"
    return UserError(
        str(folder),
        expected="pictures in every person's folder",
        got=f"none in {first_three(empty)}" + (f" (but sub-folders such as {deeper[0]!r})" if deeper else ""),
        fix=fix,
    )


def _rows_by_pattern(root: Path, place: str, split: str, pattern: re.Pattern[str]) -> list[_Named]:
    rows, bad = [], []
    paths = list_pictures(root / place)
    for path in paths:
        found = pattern.search(path.rpartition("/")[2])
        if found is None or not found["person"]:
            bad.append(path)
        else:
            camera = found.groupdict().get("camera") or ""
            rows.append(_Named(place + path, found["person"], camera, split))
    if bad:
        fix = "Change the pattern, or take these files away."
        raise wrong_names(root / place, bad, len(paths), f"the pattern {pattern.pattern!r}", fix)
    return rows


def _compile(text: str) -> re.Pattern[str]:
    example = r"Write it like '(?P<person>\d+)_c(?P<camera>\d+)'."
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(
            "person_pattern", expected="a regular expression", got=f"{text!r} ({error})", fix=example
        ) from None
    if "person" not in pattern.groupindex:
        raise UserError("person_pattern", expected="a group (?P<person>...)", got=repr(text), fix=example)
    return pattern


def _csv_rows(file: Path) -> list[_Named]:
    text = read_text(file)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UserError(str(file), expected="a CSV file", got=str(error), fix="Save it again as CSV.") from None
    if len(lines) < 2:
        raise UserError(str(file), expected="a header and at least one row", got="no rows", fix="Fill the file.")
    columns = _csv_columns(file, [cell.strip().lower() for cell in lines[0][1]])
    return [_csv_row(file, line, columns, cells) for line, cells in lines[1:]]


def _csv_columns(file: Path, header: list[str]) -> dict[str, int]:
    for name in ("path", "person"):
        if name not in header:
            near = nearest(name, header)
            raise UserError(
                f"{file}: header",
                expected="the columns path and person, and optionally camera and split",
                got=f"no {name!r} in {', '.join(header)}",
                fix=f"Rename the column {near!r} to {name!r}." if near else f"Add the column {name!r}.",
            )
    twice = [name for name in CSV_COLUMNS if header.count(name) > 1]
    if twice:
        raise UserError(f"{file}: header", expected="each column once", got=f"{twice[0]!r} twice", fix="Rename one.")
    return {name: header.index(name) for name in CSV_COLUMNS if name in header}


def _csv_row(file: Path, line: int, columns: dict[str, int], cells: list[str]) -> _Named:
    where = f"{file}, line {line}"
    if len(cells) <= max(columns.values()):
        raise UserError(
            where, expected=f"{max(columns.values()) + 1} cells", got=str(len(cells)), fix="Fill in the missing cells."
        )
    values = {name: cells[at].strip() for name, at in columns.items()}
    path = cells[columns["path"]]
    if leaves_root(path):
        raise UserError(
            where,
            expected=f"the path of a picture inside {file.parent}",
            got=repr(path),
            fix="Put the CSV file into a folder above the pictures, and write paths relative to it, without '..'.",
        )
    if not values["person"]:
        raise UserError(where, expected="a person", got="an empty cell", fix="Fill it in, or remove the row.")
    split = check_choice(f"{where}: split", values.get("split", "pool") or "pool", SPLITS)
    if "\\" in path and not (file.parent / path).is_file():
        path = path.replace("\\", "/")
    return _Named(path, values["person"], values.get("camera", ""), split)
