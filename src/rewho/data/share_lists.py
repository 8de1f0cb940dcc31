"""Smaller training sets by LUPerson's published lists, of people or of images, or by your own lists in their form."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from rewho.core.check import UserError
from rewho.core.text import quantity
from rewho.data.file_lists import read_text
from rewho.data.splits import training_rows
from rewho.data.table import ImageTable, first_three


def keep_listed(table: ImageTable, file: Path | str) -> ImageTable:
    """Keep only the listed people or images in the training set; query and gallery stay as they are.

    The file has a person id per line, or lines `name; label; camera`; its first line decides which.
    """
    if ";" in _lines(Path(file))[0][1]:
        kept = keep_images(table, read_image_list(file))
    elif isinstance(table.person_names, tuple) and table.person_names:
        expected = f"a list of images, because the people of {table.name} have names instead of numbers"
        fix = "Write lines like 'FILE NAME; 0; 0'."
        raise UserError(str(file), expected=expected, got="a list of person ids", fix=fix)
    else:
        kept = keep_identities(table, read_identity_list(file))
    rows = training_rows(kept)
    people = len(np.unique(kept.person_ids[rows]))
    return kept.with_notes(
        f"Listed in {Path(file).name}: {quantity(len(rows), 'training images')} of {quantity(people, 'people')}."
    )


def read_identity_list(file: Path | str) -> tuple[int, ...]:
    """Read a published small-scale list: one person id per line."""
    lines = _lines(Path(file))
    bad = [f"line {n}: {line}" for n, line in lines if not line.isdecimal() or len(line) > 18]
    if bad:
        raise _wrong_lines(Path(file), bad)
    return tuple(int(line) for _, line in lines)


def read_image_list(file: Path | str) -> tuple[str, ...]:
    """Read the file names of a published few-shot list, whose lines are `name; label; camera from 0`."""
    names, bad = [], []
    for n, line in _lines(Path(file)):
        cells = [cell.strip() for cell in line.split(";")]
        if len(cells) == 3 and cells[0] and cells[1].isdecimal():
            names.append(cells[0])
        else:
            bad.append(f"line {n}: {line}")
    if bad:
        raise _wrong_lines(Path(file), bad)
    return tuple(names)


def keep_identities(table: ImageTable, people: Collection[int]) -> ImageTable:
    """Keep only these people in the training set; query and gallery stay as they are."""
    training = training_rows(table)
    unknown = sorted(set(people) - set(table.person_ids[training].tolist()))
    if unknown:
        raise _not_in_training(table, "people", [str(person) for person in unknown], len(set(people)))
    keep = np.ones(len(table), np.bool_)
    keep[training] = np.isin(table.person_ids[training], list(people))
    return table.rows(keep)


def keep_images(table: ImageTable, names: Collection[str]) -> ImageTable:
    """Keep only these images in the training set; query and gallery stay as they are.

    Names are paths relative to the data set's folder, or their ends, such as the file name, if only one training image
    has that end.
    """
    training = training_rows(table)
    rows: dict[str, list[int]] = {}
    for row in training.tolist():
        parts = _spelling(table.paths[row]).split("/")
        for start in range(len(parts)):
            rows.setdefault("/".join(parts[start:]), []).append(row)
    exact = {_spelling(table.paths[row]): [row] for row in training.tolist()}
    spelt = {_spelling(name.removeprefix("./")) for name in names}
    wanted = {name: exact.get(name) or rows.get(name, []) for name in spelt}
    unknown = sorted(name for name, found in wanted.items() if not found)
    if unknown:
        raise _not_in_training(table, "images", unknown, len(wanted))
    several = sorted(name for name, found in wanted.items() if len(found) > 1)
    if several:
        expected = "names of one training image each"
        got = f"{first_three(several)}, which is {first_three([table.paths[row] for row in wanted[several[0]]])}"
        fix = f"Write paths relative to {table.root}."
        raise UserError("--data.share_list, list of images", expected=expected, got=got, fix=fix)
    keep = np.ones(len(table), np.bool_)
    keep[training] = np.isin(training, [found[0] for found in wanted.values()])
    return table.rows(keep)


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number in the file."""
    lines = [(n, line.strip()) for n, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
    if not lines:
        raise _wrong_list(file, "an empty file")
    return lines


def _wrong_list(file: Path, got: str) -> UserError:
    expected = "one person id per line, or lines like '0002_c1s2_000841_01.jpg; 0; 0'"
    fix = "Correct these lines, or download the list again."
    return UserError(f"--data.share_list {file}", expected=expected, got=got, fix=fix)


def _wrong_lines(file: Path, bad: Sequence[str]) -> UserError:
    return _wrong_list(file, f"{len(bad):,} of another form: {first_three(list(bad))}")


def _not_in_training(table: ImageTable, what: str, unknown: list[str], wanted: int) -> UserError:
    expected = f"{what} of the training set of {table.name}"
    got = f"{len(unknown):,} of {wanted:,} that are not in it: {first_three(unknown)}"
    fix = "Check that list and data set belong together (same data set, boxes, version and file naming)."
    return UserError(f"--data.share_list, list of {what}", expected=expected, got=got, fix=fix)
