"""MSMT17, versions 1 and 2: four list files, people in sub-folders, cameras with two digits.

What is unusual: the lists number people from 0 twice, once for training and once for testing, and person 0 is a real
person. So that one id means one person in the whole table, the people of the test part are counted on from
TEST_OFFSET. There are two training sets in use, and results differ: the notes say which one was read. Version 2 has the
same images with blurred faces.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError
from rewho.data.file_lists import Row, check_folder, make_table, missing_files, read_text, wrong_names
from rewho.data.market_layout import Style, has_market_folders, read_market_folders
from rewho.data.table import SPLITS, ImageTable, first_three, leaves_root
from rewho.settings import DataSettings

TEST_OFFSET = 10_000
"""Added to the person ids of query and gallery."""
VERSIONS = {"v1": ("train", "test"), "v2": ("mask_train_v2", "mask_test_v2")}
"""Image folders of the two versions."""
VERSION_FOLDERS = ("MSMT17_V1", "MSMT17_V2")

_OFFSET_NOTE = (
    f"People of query and gallery are numbered from {TEST_OFFSET:,}, because MSMT17 counts them from 0 again."
)
_NAME = re.compile(r"\d+_\d+_(?P<camera>\d{1,3})_")
_EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"


class _List(NamedTuple):
    file: str
    folder: str
    split: str
    offset: int


def read_msmt17(settings: DataSettings) -> ImageTable:
    """Read MSMT17 v1 or v2 from its folder or the one above, or a copy of it in Market-1501's folders.

    Source: Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018.

    Raises:
        UserError: Lists or images missing, lines or names of another form, or both versions in one folder.
    """
    root = check_folder(settings.root)
    if has_market_folders(root):
        style = Style("0000_c12_0033.jpg", zero_is_distractor=False, test_offset=TEST_OFFSET)
        return read_market_folders("msmt17-market", root, style).with_notes(_OFFSET_NOTE)
    root, version = _find_version(root)
    train, test = VERSIONS[version]
    lists = [_List("list_train.txt", train, "train", 0)]
    if settings.train_with_val:
        lists.append(_List("list_val.txt", train, "train", 0))
    lists += [
        _List("list_query.txt", test, "query", TEST_OFFSET),
        _List("list_gallery.txt", test, "gallery", TEST_OFFSET),
    ]
    rows = [row for entry in lists for row in _read_list(root, entry)]
    missing = missing_files(root, [row.path for row in rows])
    if missing:
        raise UserError(
            str(root),
            expected="every image of the lists",
            got=f"{len(missing):,} of {len(rows):,} missing: {first_three(missing)}",
            fix="Unpack the data set again, completely.",
        )
    used = "list_train.txt and list_val.txt" if settings.train_with_val else "list_train.txt alone"
    notes = [
        f"MSMT17 {version}: the training set is {used} (--data.train_with_val).",
        _OFFSET_NOTE,
    ]
    name = f"msmt17-{version}-{'trainval' if settings.train_with_val else 'train'}"
    return make_table(name, root, sorted(rows, key=lambda row: (SPLITS.index(row.split), row.path)), notes)


def has_msmt17_lists(root: Path) -> bool:
    """Return whether MSMT17's lists are in this folder."""
    return (root / "list_train.txt").is_file() or (root / "list_query.txt").is_file()


def _find_version(root: Path) -> tuple[Path, str]:
    below = [root / name for name in VERSION_FOLDERS if has_msmt17_lists(root / name)]
    if not has_msmt17_lists(root) and len(below) == 2:
        raise UserError(
            str(root),
            expected="one version of MSMT17",
            got="MSMT17_V1 and MSMT17_V2",
            fix=f"Give one of them: {below[0]} or {below[1]}.",
        )
    place = below[0] if below and not has_msmt17_lists(root) else root
    for version, (train, test) in VERSIONS.items():
        if (place / train).is_dir() and (place / test).is_dir():
            return place, version
    raise UserError(
        str(place),
        expected="list_*.txt with the folders train/ and test/ (v1), or mask_train_v2/ and mask_test_v2/ (v2)",
        got="no such pair of folders",
        fix="Give the folder that holds them, such as MSMT17_V1, unpacked.",
    )


def _read_list(root: Path, entry: _List) -> list[Row]:
    file = root / entry.file
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    rows, bad = [], []
    for line in lines:
        path, _, person = line.rpartition(" ")
        name = _NAME.match(path.rpartition("/")[2])
        if name is None or not person.isdecimal() or len(person) > 9 or int(name["camera"]) == 0 or leaves_root(path):
            bad.append(line)
        else:
            full = f"{entry.folder}/{path}"
            rows.append(Row(full, int(person) + entry.offset, int(name["camera"]) - 1, entry.split))
    if bad or not rows:
        raise wrong_names(file, bad, len(lines), _EXAMPLE, "Take the list from the data set again.")
    return rows
