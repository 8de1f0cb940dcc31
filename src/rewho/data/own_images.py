"""The user's own images: a folder per person, file-name patterns, or a CSV file.

What is unusual: people and cameras may have names (see `rewho.data.names`). Where cameras are not
given they are UNKNOWN_CAMERA.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, is_file, nearest
from rewho.core.people import UNKNOWN_CAMERA
from rewho.data.file_lists import (
    Listing,
    check_folder,
    empty_folder,
    left_out,
    list_folder,
    list_tree,
    missing_files,
    read_text,
    sub_folders,
    wrong_names,
)
from rewho.data.name_patterns import compile_pattern, loses_minus, propose_pattern, search_name
from rewho.data.names import CAMERA_MARKS, MISSING, canonical, number_names, spelling_notes
from rewho.data.table import SPLITS, ImageTable, Names, first_three, leaves_root
from rewho.settings import DataSettings

SPLIT_FOLDERS = ("train", "query", "gallery")
"""Sub-folders that split a folder of one's own; without any of them all images are in the split "pool"."""
CSV_COLUMNS = ("path", "person", "camera", "split")
"""Columns of a CSV file; camera and split are optional."""

_LIKE_CAMERA = re.compile(
    r"(?:c|cam|camera|kamera|view|channel)[ _-]?\d+|(?:cam|camera)[ _-]\w+|\w+[ _-]cam(?:era)?|(?-i:cam[A-Z])",
    re.IGNORECASE,
)
_LIKE_SPLIT = re.compile("train(ing)?|test(ing)?|val(id(ation)?)?|query|queries|probe|gallery", re.IGNORECASE)


class _Named(NamedTuple):
    """An image as the user named it; `camera` is empty where it is not known, `where` is where it was read."""

    path: str
    person: str
    camera: str
    split: str
    where: str


def read_folder(settings: DataSettings) -> ImageTable:
    """Read a folder with one sub-folder per person, with cameras above or below them, or with a pattern.

    With sub-folders `train/`, `query/` and `gallery/` (some of them) each holds such people or files; otherwise every
    image is in the split "pool". With `person_pattern`, its group `person`, and `camera` if it has one, are searched
    for in each file's name, in the folder and all below it; in the path, if the pattern has a slash.

    Raises:
        UserError: No such folder, no images, a person without images, two levels of folders that could both be people,
            an unknown split folder, a pattern that is wrong or does not fit some names.
    """
    root = check_folder(settings.root)
    folders = sub_folders(root)
    splits = [name for name in SPLIT_FOLDERS if name in folders]
    wrong = [name for name in folders if name not in splits]
    if wrong and (splits or any(map(_LIKE_SPLIT.fullmatch, wrong))):
        wrong.sort(key=lambda name: not _LIKE_SPLIT.fullmatch(name))
        near = nearest(wrong[0].lower(), SPLIT_FOLDERS)
        raise UserError(
            str(root),
            expected=f"no other folders for splits than {', '.join(SPLIT_FOLDERS)}, and no others beside them",
            got=f"the folder {wrong[0]!r}",
            fix=f"Did you mean {near!r}? Rename it." if near else "Rename it, or move it elsewhere.",
        )
    places = [(f"{name}/", name) for name in splits] or [("", "pool")]
    if settings.person_pattern is not None:
        rows, notes = _rows_by_pattern(root, places, compile_pattern(settings.person_pattern))
    else:
        rows, notes = _rows_by_folder(root, places)
    beside = list_folder(root) if splits else Listing((), Counter())
    notes += left_out("the folder", beside.others + Counter({"image": len(beside.images)}))
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
            str(file), expected="a CSV file", got="a folder", fix=f"Give the file, such as {file / 'images.csv'}."
        )
    rows = _csv_rows(file)
    missing = missing_files(file.parent, [row.path for row in rows])
    if missing:
        raise UserError(
            str(file),
            expected=f"paths of images, relative to {file.parent}",
            got=f"{len(missing):,} of {len(rows):,} that are no files: {first_three(missing)}",
            fix="Write the paths as seen from the CSV file's own folder.",
        )
    _check_splits(file, rows)
    return _named_table(file.stem, file.parent, sorted(rows, key=lambda row: (SPLITS.index(row.split), row.path)), [])


def _named_table(name: str, root: Path, rows: Sequence[_Named], notes: Sequence[str]) -> ImageTable:
    where = [row.where for row in rows]
    people, person_names = number_names([row.person for row in rows], where=where)
    without = [row.path for row in rows if not row.camera]
    if without and len(without) < len(rows):
        raise UserError(
            f"{name}: cameras",
            expected="the camera of every image, or of none",
            got=f"{len(without):,} of {len(rows):,} without: {first_three(without)}",
            fix="Fill in the missing cameras, or leave cameras out altogether.",
        )
    cameras, camera_names = np.full(len(rows), UNKNOWN_CAMERA, np.int64), tuple[str, ...]()
    if not without:
        cameras, camera_names = number_names([row.camera for row in rows], "camera", CAMERA_MARKS, where)
    else:
        notes = [
            *notes,
            "Cameras are not known, so images of a query's own camera cannot be left out of its ranking.",
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
        notes=(
            *notes,
            *spelling_notes((row.person for row in rows), "person"),
            *spelling_notes((row.camera for row in rows if row.camera), "camera"),
        ),
    )


def _zeros_kept(ids: NDArray[np.int64], names: Sequence[str]) -> Names:
    """Return how numbers with leading zeros were written, by id; an empty tuple where there are none."""
    pairs = zip(ids.tolist(), map(canonical, names), strict=True)
    return {number: name for number, name in pairs if name.isdecimal() and name != str(number)} or ()


class _Tree(NamedTuple):
    """The images below one of the folders in a split; their paths are relative to it."""

    place: str
    split: str
    folder: str
    paths: tuple[str, ...]


def _rows_by_folder(root: Path, places: Sequence[tuple[str, str]]) -> tuple[list[_Named], list[str]]:
    trees: list[_Tree] = []
    others, beside = Counter[str](), 0
    for place, split in places:
        people = sub_folders(root / place)
        here = list_folder(root / place)
        if not people and here.images:
            raise UserError(
                str(root / place),
                expected="one sub-folder per person",
                got=f"{len(here.images):,} images and no sub-folder",
                fix=f"{propose_pattern(here.images)} Without people only embedding is possible.",
            )
        if not people:
            raise empty_folder(root / place, here.others)
        beside += len(here.images)
        listed = {person: list_tree(root / place / person) for person in people}
        others += sum((listing.others for listing in listed.values()), here.others)
        empty = [person for person, listing in listed.items() if not listing.images]
        if empty:
            raise UserError(
                str(root / place),
                expected="images in every person's folder",
                got=f"none in {first_three(empty)}",
                fix="Remove the empty folders, or put the images in.",
            )
        trees += [_Tree(place, split, person, listing.images) for person, listing in listed.items()]
    notes = left_out("the folder", others)
    if beside:
        notes.append(f"{beside:,} images beside the people's folders were left out.")
    rows, more = _rows_of_trees(root, trees)
    return rows, notes + more


def _rows_of_trees(root: Path, trees: Sequence[_Tree]) -> tuple[list[_Named], list[str]]:
    """Return the rows of folders of people, of people in cameras, or of cameras in people, and what was found out."""
    deep = [path for tree in trees for path in tree.paths if "/" in path]
    direct = sum(len(tree.paths) for tree in trees) - len(deep)
    outer = _are_cameras(tree.folder for tree in trees)
    inner = _are_cameras(path.partition("/")[0] for path in deep)
    if not deep or (direct and not inner and not outer):
        notes = (
            [f"{len(deep):,} images in folders within a person's are that person's, such as {deep[0]!r}."]
            if deep
            else []
        )
        return [_row(tree, path, tree.folder, "") for tree in trees for path in tree.paths], notes
    if inner == outer or all(path.count("/") > 1 for path in deep):
        raise _two_levels(root, trees, deep)
    rows, left = [], 0
    for tree in trees:
        for path in tree.paths:
            folder, slash, _ = path.partition("/")
            if outer and slash:
                rows.append(_row(tree, path, folder, tree.folder))
            elif outer:
                left += 1
            else:
                rows.append(_row(tree, path, tree.folder, folder if slash else ""))
    notes = [f"Read as {'CAMERA/PERSON/' if outer else 'PERSON/CAMERA/'}, such as {rows[0].path!r}."]
    if left:
        notes.append(f"{left:,} images in a camera's folder but in no person's were left out.")
    return rows, notes


def _are_cameras(names: Iterable[str]) -> bool:
    """Return whether all names are like cam1, c2, camera_north; False of none."""
    found = set(names)
    return bool(found) and all(_LIKE_CAMERA.fullmatch(name) for name in found)


def _row(tree: _Tree, path: str, person: str, camera: str) -> _Named:
    whole = f"{tree.place}{tree.folder}/{path}"
    return _Named(whole, person, camera, tree.split, whole)


def _two_levels(root: Path, trees: Sequence[_Tree], deep: Sequence[str]) -> UserError:
    deepest = max(deep, key=lambda path: path.count("/"))
    tree = next(tree for tree in trees if deepest in tree.paths)
    outer, inner = "(?P<person>[^/]+)/", "(?P<camera>[^/]+)/"
    only = f" People must be one level below the folder that is given: is it {root / tree.place / tree.folder}?"
    return UserError(
        str(root),
        expected="one level of folders, of people; or two, of which one has names like cam1 or camera_north",
        got=f"two that could both be people, such as {tree.place}{tree.folder}/{deepest}",
        fix=f"Pass --data.person_pattern '^{outer}' if the outer folders are people, '^{outer}{inner}' if the inner "
        f"ones are cameras, '^{inner}{outer}' if the outer ones are." + (only if len(trees) == 1 else ""),
    )


def _rows_by_pattern(
    root: Path, places: Sequence[tuple[str, str]], pattern: re.Pattern[str]
) -> tuple[list[_Named], list[str]]:
    rows: list[_Named] = []
    others = Counter[str]()
    for place, split in places:
        listing = list_tree(root / place)
        others += listing.others
        if not listing.images:
            raise empty_folder(root / place, listing.others)
        found = {path: match for path in listing.images if (match := search_name(pattern, path))}
        bad = [path for path in listing.images if path not in found]
        if bad:
            fix = f"Change the pattern, or take these files away. {propose_pattern(listing.images)}"
            raise wrong_names(root / place, bad, len(listing.images), f"the pattern {pattern.pattern!r}", fix)
        cut = [path for path, match in found.items() if loses_minus(match)]
        if cut:
            raise UserError(
                f"--data.person_pattern {pattern.pattern!r}",
                expected="a group `person` that takes the minus of an id, as in (?P<person>-?\\d+)",
                got=f"one that reads {cut[0]!r} as person {found[cut[0]]['person']}; {len(cut):,} such files",
                fix=propose_pattern(listing.images),
            )
        rows += [
            _Named(place + path, match["person"], match.groupdict().get("camera") or "", split, place + path)
            for path, match in found.items()
        ]
    return rows, left_out("the folder", others)


def _check_splits(file: Path, rows: Sequence[_Named]) -> None:
    """Raise where some rows name their split and others do not: which of them are trained on would be a guess."""
    unsplit = [row.where for row in rows if row.split == "pool"]
    if unsplit and len(unsplit) < len(rows):
        raise UserError(
            f"{file}: split",
            expected="train, query or gallery in every row, or in none",
            got=f"{len(unsplit):,} of {len(rows):,} without (blank or pool): {first_three(unsplit)}",
            fix="Fill in the missing splits, or leave the column out: then all images are one pool.",
        )


def _csv_rows(file: Path) -> list[_Named]:
    text = read_text(file)
    text = re.sub(r"\Asep=(.)\s*\n", "", text)  # Excel's own first line; the header shows the delimiter too
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
    return [_csv_row(file, line, columns, len(lines[0][1]), cells) for line, cells in lines[1:]]


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


def _csv_row(file: Path, line: int, columns: dict[str, int], width: int, cells: list[str]) -> _Named:
    where = f"{file}, line {line}"
    if len(cells) <= max(columns.values()) or any(cell.strip() for cell in cells[width:]):
        fix = "Fill in the missing cells, and put quotes around a cell that has the separator in it."
        raise UserError(where, expected=f"{width} cells, as in the header", got=str(len(cells)), fix=fix)
    values = {name: cells[at].strip() for name, at in columns.items()}
    path = cells[columns["path"]]
    if leaves_root(path):
        raise UserError(
            where,
            expected=f"the path of an image inside {file.parent}",
            got=repr(path),
            fix="Put the CSV file into a folder above the images, and write paths relative to it, without '..'.",
        )
    person, camera = values["person"], values.get("camera", "")
    if not person or person in MISSING:
        got = f"{person!r}, which stands for no value" if person else "an empty cell"
        raise UserError(where, expected="a person", got=got, fix="Fill it in (-1 is junk), or remove the row.")
    split = values.get("split", "").casefold()
    split = check_choice(f"{where}: split", "pool" if split in ("", *map(str.casefold, MISSING)) else split, SPLITS)
    if "\\" in path and not is_file(file.parent / path):
        path = path.replace("\\", "/")
    return _Named(path, person, "" if camera in MISSING else camera, split, f"line {line}")
