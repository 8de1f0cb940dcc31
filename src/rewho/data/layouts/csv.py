"""Your own images in a list: a CSV file with the columns path and person, and optionally camera and split."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rewho.core.check import UserError, check_choice, is_file, nearest
from rewho.core.files import find_spelling
from rewho.data.file_lists import missing_files, read_text
from rewho.data.names import MISSING, NamedRow, named_table
from rewho.data.table import SPLITS, ImageTable, first_three, leaves_root
from rewho.settings import DataSettings

COLUMNS = ("path", "person", "camera", "split")
OTHER_NAMES = {
    "path": "image image_path img img_path file file_name filename file_path filepath",
    "person": "pid person_id personid id identity label target",
    "camera": "cam camid cam_id cameraid camera_id camera_name",
    "split": "subset set partition part phase",
}
"""What other programs call the columns. One of them beside no column of ours is refused: it would be left out."""


def recognise(root: Path) -> str:
    """Return the reason for this layout: the file's ending."""
    return f"a {root.suffix} file" if is_file(root) and root.suffix.lower() in (".csv", ".tsv") else ""


def read(settings: DataSettings) -> ImageTable:
    """Read a CSV file; paths are relative to its folder, and rows are sorted by split and path.

    Commas, semicolons and tabs are recognised. Person -1 is junk and -2 a distractor.
    """
    file = settings.root
    if file.is_dir():
        raise UserError(
            str(file), expected="a CSV file", got="a folder", fix=f"Give the file, such as {file / 'images.csv'}."
        )
    root = settings.image_root or file.parent
    rows = _csv_rows(file, settings.image_root)
    rows, notes = _spelt_as_on_disk(root, rows)
    if unread := [name for name in read_cells(file)[0] if name and name not in COLUMNS]:
        notes = [*notes, f"Columns that are not read: {first_three(unread)}."]
    missing = missing_files(root, [row.path for row in rows])
    if missing:
        got = f"{len(missing):,} of {len(rows):,} that are no files: {first_three(missing)}"
        fix = "Write the paths as seen from that folder, or pass another as --data.image_root FOLDER."
        raise UserError(str(file), expected=f"paths of images, relative to {root}", got=got, fix=fix)
    _check_splits(file, rows)
    return named_table(file.stem, root, sorted(rows, key=lambda row: (SPLITS.index(row.split), row.path)), notes)


def _spelt_as_on_disk(folder: Path, rows: list[NamedRow]) -> tuple[list[NamedRow], list[str]]:
    """Return rows with paths in the Unicode form of the files, and a note if there were others."""

    def spelt(row: NamedRow) -> NamedRow:
        if row.path.isascii():
            return row
        return row._replace(path=find_spelling(folder / row.path).relative_to(folder).as_posix())

    found = [spelt(row) for row in rows]
    other = [row.path for row, given in zip(found, rows, strict=True) if row.path != given.path]
    note = f"{len(other):,} paths have another Unicode form on the disk, such as {first_three(other[:1])}."
    return found, [note] if other else []


def _check_splits(file: Path, rows: Sequence[NamedRow]) -> None:
    """Raise if only some rows have a split: which of the others are trained on would be a guess."""
    unsplit = [row.where for row in rows if row.split == "pool"]
    if unsplit and len(unsplit) < len(rows):
        got = f"{len(unsplit):,} of {len(rows):,} without (blank or pool): {first_three(unsplit)}"
        fix = "Fill in the missing splits, or leave the column out: then all images are one pool."
        raise UserError(f"{file}: split", expected="train, query or gallery in every row, or in none", got=got, fix=fix)


def _csv_rows(file: Path, image_root: Path | None = None) -> list[NamedRow]:
    header, lines = read_cells(file)
    columns = _csv_columns(file, header)
    root = image_root or file.parent
    _check_absolute(file, root, [(line, cells[at]) for line, cells in lines if len(cells) > (at := columns["path"])])
    return [_csv_row(file, root, line, columns, len(header), cells) for line, cells in lines]


def _check_absolute(file: Path, root: Path, paths: Sequence[tuple[int, str]]) -> None:
    """Raise a UserError for absolute paths outside of a folder, as pandas may write them, with the folder above all."""
    outside = [(line, path) for line, path in paths if Path(path).is_absolute() and not _is_inside(path, root)]
    if not outside:
        return
    above = os.path.commonpath([Path(path).parent for _, path in paths if Path(path).is_absolute()])
    such = f", such as --data.image_root {shlex.quote(above)}" if len(Path(above).parts) > 1 else ""
    line, path = outside[0]
    expected, fix = f"the path of an image inside {root}", f"Pass a folder above all images{such}."
    raise UserError(f"{file}, line {line}", expected=expected, got=repr(path), fix=fix)


def _is_inside(path: str, root: Path) -> bool:
    return Path(path).is_relative_to(root.absolute())


def read_cells(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header of a CSV file in lower case, and its other lines, each with its number and cells."""
    text = read_text(file)
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line; the header shows the delimiter too
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        got = f"in line {reader.line_num}: {error}"
        raise UserError(str(file), expected="a CSV file", got=got, fix="Save it again as CSV.") from None
    if len(lines) < 2:
        raise UserError(str(file), expected="a header and at least one row", got="no rows", fix="Fill the file.")
    return [cell.strip().lower() for cell in lines[0][1]], lines[1:]


def _csv_columns(file: Path, header: list[str]) -> dict[str, int]:
    others = {name: next((one for one in header if one in words.split()), "") for name, words in OTHER_NAMES.items()}
    for name in COLUMNS:
        if name not in header and (others[name] or name in ("path", "person")):
            near = others[name] or nearest(name, header)
            expected = "the columns path and person, and optionally camera and split"
            fix = f"Rename the column {near!r} to {name!r}." if near else f"Add the column {name!r}."
            fix = fix if name in ("path", "person") else f"{fix[:-1]}, or remove it."
            raise UserError(f"{file}: header", expected=expected, got=f"no {name!r} in {', '.join(header)}", fix=fix)
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise UserError(f"{file}: header", expected="each column once", got=f"{twice[0]!r} twice", fix="Rename one.")
    return {name: header.index(name) for name in COLUMNS if name in header}


def _csv_row(file: Path, root: Path, line: int, columns: dict[str, int], width: int, cells: list[str]) -> NamedRow:
    where = f"{file}, line {line}"
    if len(cells) <= max(columns.values()) or any(cell.strip() for cell in cells[width:]):
        fix = "Fill in the missing cells, and put quotes around a cell that has the separator in it."
        raise UserError(where, expected=f"{width} cells, as in the header", got=str(len(cells)), fix=fix)
    values = {name: cells[at].strip() for name, at in columns.items()}
    path = cells[columns["path"]]
    if Path(path).is_absolute() and _is_inside(path, root):
        path = Path(path).relative_to(root.absolute()).as_posix()
    if leaves_root(path):
        fix = "Write paths relative to that folder, without '..'."
        raise UserError(where, expected=f"the path of an image inside {root}", got=repr(path), fix=fix)
    person, camera = values["person"], values.get("camera", "")
    if not person or person in MISSING:
        got = f"{person!r}, which stands for no value" if person else "an empty cell"
        raise UserError(where, expected="a person", got=got, fix="Fill it in (-1 is junk), or remove the row.")
    split = values.get("split", "").casefold()
    split = check_choice(f"{where}: split", "pool" if split in ("", *map(str.casefold, MISSING)) else split, SPLITS)
    if "\\" in path and not is_file(root / path):
        path = path.replace("\\", "/")
    return NamedRow(path, person, "" if camera in MISSING else camera, split, f"line {line}")
