"""Market-1501, and the data sets that came in its folders: CUHK03-NP and DukeMTMC-reID.

What is unusual: junk images (person -1) stay in the table as JUNK rather than being dropped here, and person 0
becomes DISTRACTOR only in the gallery, where Market-1501 put its background boxes. Camera ids are the printed numbers
minus 1. A part that is not there (many people have the training part only) is noted, not refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK
from rewho.data.file_lists import Row, check_folder, left_out, make_table, require_images, sub_folders, wrong_names
from rewho.data.table import ImageTable, first_three
from rewho.settings import DataSettings

FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
"""Folder of each split."""
BOXES = ("detected", "labeled")
"""CUHK03 comes with boxes from a detector, and with boxes drawn by hand."""
WITHDRAWN = (
    "DukeMTMC-reID was withdrawn by its authors in 2019, because people were recorded without their consent. "
    "It is read here only where you already hold it; prefer Market-1501, CUHK03-NP or MSMT17 for new work."
)

_NAME = re.compile(r"(?P<person>-1|\d{1,9})_c(?P<camera>0*[1-9]\d{0,3})(?!\d)")


class Style(NamedTuple):
    """How one data set uses Market-1501's folders.

    Args:
        example: A file name, for messages.
        zero_is_distractor: Person 0 in the gallery is a distractor, not a person.
        test_offset: Added to the person ids of query and gallery, where these are counted from 0 again.
    """

    example: str
    zero_is_distractor: bool = True
    test_offset: int = 0


def read_market1501(settings: DataSettings) -> ImageTable:
    """Read Market-1501: `bounding_box_train`, `query`, `bounding_box_test`, names like 0002_c1s1_000451_03.jpg.

    Source: Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Raises:
        UserError: No such folder, an empty one, or file names of another form.
    """
    return read_market_folders("market1501", settings.root, Style("0002_c1s1_000451_03.jpg"))


def read_cuhk03_np(settings: DataSettings) -> ImageTable:
    """Read CUHK03 in Market-1501's folders (new protocol), from `detected/`, from `labeled/`, or from one level above.

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.

    Raises:
        UserError: No such folder, an empty one, or file names of another form.
    """
    boxes: str = settings.cuhk03_boxes
    root = settings.root
    if has_market_folders(root):
        boxes = root.name if root.name in BOXES else boxes
    else:
        there = [name for name in BOXES if has_market_folders(root / name)]
        if there and boxes not in there:
            raise UserError(
                "--data.cuhk03_boxes",
                expected=f"a folder {boxes}/ in {root}",
                got=f"only {there[0]}/",
                fix=f"Pass --data.cuhk03_boxes {there[0]}.",
            )
        root = root / boxes if there else root
    return read_market_folders(f"cuhk03-np-{boxes}", root, Style("0001_c1_01.png"))


def read_dukemtmc(settings: DataSettings) -> ImageTable:
    """Read DukeMTMC-reID where the user holds it, with a notice that its authors withdrew it; never downloaded.

    Raises:
        UserError: No such folder, an empty one, or file names of another form.
    """
    table = read_market_folders("dukemtmc-reid", settings.root, Style("0001_c2_f0046182.jpg"))
    return table.with_notes(WITHDRAWN)


def has_market_folders(root: Path) -> bool:
    """Return whether Market-1501's folders are here: the training part, or both of the test part."""
    train, query, gallery = ((root / folder).is_dir() for folder in FOLDERS)
    return train or (query and gallery)


def read_market_folders(name: str, root: Path, style: Style) -> ImageTable:
    """Read any data set that lies in Market-1501's folders.

    Args:
        name: Name of the table.
        root: Folder that holds `bounding_box_train`, `query` and `bounding_box_test`, or some of them.
        style: What is particular about the data set.

    Raises:
        UserError: None of the folders is here, one is empty, or file names are of another form.
    """
    there = [folder for folder in FOLDERS if (check_folder(root) / folder).is_dir()]
    if not there:
        raise UserError(
            str(root),
            expected=f"the folders {', '.join(FOLDERS)}",
            got="none of them",
            fix="Give the folder that holds them, unpacked.",
        )
    rows: list[Row] = []
    notes: list[str] = []
    for folder in there:
        listing = require_images(root / folder)
        rows += _read_names(root / folder, listing.images, FOLDERS[folder], style)
        notes += left_out(f"{folder}/", listing.others)
        if below := sub_folders(root / folder):
            notes.append(f"{len(below):,} folders in {folder}/ were left out, such as {below[0]!r}.")
    notes += [
        f"No {folder}/ here, so there is no {FOLDERS[folder]} split." for folder in FOLDERS if folder not in there
    ]
    return make_table(name, root, rows, notes)


def _read_names(folder: Path, names: tuple[str, ...], split: str, style: Style) -> list[Row]:
    matches = [_NAME.match(name) for name in names]
    bad = [name for name, match in zip(names, matches, strict=True) if match is None]
    if bad:
        fix = (
            "Remove or rename these files; your own naming is read with --data.layout folder and --data.person_pattern."
        )
        raise wrong_names(folder, bad, len(names), style.example, fix)
    rows = [
        Row(f"{folder.name}/{name}", _person(int(match["person"]), split, style), int(match["camera"]) - 1, split)
        for name, match in zip(names, matches, strict=True)
        if match
    ]
    if split != "gallery":
        _check_known(folder, rows, style)
    return rows


def _person(printed: int, split: str, style: Style) -> int:
    if printed == JUNK:
        return JUNK
    if printed == 0 and style.zero_is_distractor and split != "train":
        return DISTRACTOR
    return printed if split == "train" else printed + style.test_offset


def _check_known(folder: Path, rows: list[Row], style: Style) -> None:
    nobody = [row.path for row in rows if row.person < 0]
    if nobody:
        raise UserError(
            str(folder),
            expected="images of known people",
            got=f"person -1 or 0: {first_three(nobody)}",
            fix=f"In this layout ({style.example}) -1 is junk and 0 a distractor, which only the gallery may hold; "
            "number your own people from 1.",
        )
