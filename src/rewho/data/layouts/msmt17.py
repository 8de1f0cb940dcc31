"""MSMT17, versions 1 and 2: four lists of images, people in sub-folders, cameras with two digits.

The lists number people from 0 twice, for training and for testing, and person 0 is a real person. The test people are
therefore numbered from TEST_OFFSET. Two training sets are in use and results differ, so the notes name the one that was
read. Version 2 has the same images with blurred faces.

Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError
from rewho.data.file_lists import Row, check_folder, make_table, missing_files, read_text, wrong_names
from rewho.data.market_folders import Style, has_market_folders, read_market_folders
from rewho.data.published_counts import Counts
from rewho.data.table import SPLITS, ImageTable, first_three, leaves_root
from rewho.settings import DataSettings

TEST_OFFSET = 10_000
"""Added to the person ids of query and gallery."""
VERSIONS = {"v1": ("train", "test"), "v2": ("mask_train_v2", "mask_test_v2")}
"""Image folders of the two versions."""
VERSION_FOLDERS = ("MSMT17_V1", "MSMT17_V2")
_ALONE, _WITH_VAL = Counts(30_248, 1_041, 11_659, 82_161), Counts(32_621, 1_041, 11_659, 82_161)
PUBLISHED = {
    f"msmt17-{version}-{name}": counts
    for version in VERSIONS
    for name, counts in (("train", _ALONE), ("trainval", _WITH_VAL))
}

_OFFSET_NOTE = (
    f"People of query and gallery are numbered from {TEST_OFFSET:,}, because MSMT17 counts them from 0 again."
)
_NAME = re.compile(r"\d+_\d+_(?P<camera>\d{1,3})_")
_EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"
_MARKET_STYLE = Style("0000_c12_0033.jpg", r"\d{4}_c\d\d_\d{4}\.", zero_is_distractor=False, test_offset=TEST_OFFSET)


class _List(NamedTuple):
    file: str
    folder: str
    split: str
    offset: int


def recognise(root: Path) -> str:
    """Return the reason for this layout: MSMT17's lists, here or in a version's folder, or its names."""
    if any(_has_lists(folder) for folder in (root, *(root / name for name in VERSION_FOLDERS))):
        return "it has list_train.txt or list_query.txt"
    return _MARKET_STYLE.recognise(root)


def read(settings: DataSettings) -> ImageTable:
    """Read version 1 or 2 from its folder or the one above, or a copy in Market-1501's folders."""
    root = check_folder(settings.root)
    if has_market_folders(root):
        return read_market_folders("msmt17-market", root, _MARKET_STYLE).with_notes(_OFFSET_NOTE)
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
        got = f"{len(missing):,} of {len(rows):,} missing: {first_three(missing)}"
        fix = "Unpack the data set again, completely."
        raise UserError(str(root), expected="every image of the lists", got=got, fix=fix)
    used = "list_train.txt and list_val.txt" if settings.train_with_val else "list_train.txt alone"
    notes = [f"MSMT17 {version}: the training set is {used} (--data.train_with_val).", _OFFSET_NOTE]
    name = f"msmt17-{version}-{'trainval' if settings.train_with_val else 'train'}"
    return make_table(name, root, sorted(rows, key=lambda row: (SPLITS.index(row.split), row.path)), notes)


def _has_lists(root: Path) -> bool:
    return (root / "list_train.txt").is_file() or (root / "list_query.txt").is_file()


def _find_version(root: Path) -> tuple[Path, str]:
    below = [root / name for name in VERSION_FOLDERS if _has_lists(root / name)]
    if not _has_lists(root) and len(below) == 2:
        fix = f"Give one of them: {below[0]} or {below[1]}."
        raise UserError(str(root), expected="one version of MSMT17", got="MSMT17_V1 and MSMT17_V2", fix=fix)
    place = below[0] if below and not _has_lists(root) else root
    for version, (train, test) in VERSIONS.items():
        if (place / train).is_dir() and (place / test).is_dir():
            return place, version
    expected = "list_*.txt with the folders train/ and test/ (v1), or mask_train_v2/ and mask_test_v2/ (v2)"
    fix = "Give the folder that holds them, such as MSMT17_V1, unpacked."
    raise UserError(str(place), expected=expected, got="no such pair of folders", fix=fix)


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
        raise wrong_names(file, bad, len(lines), _EXAMPLE, "Copy the list from the data set again.")
    return rows
