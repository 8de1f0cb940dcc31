"""Reading a data set of any known layout into an ImageTable.

What is unusual: `auto` says what it took a folder for and why; a folder given one level too high or too low is answered
with the one to give; counts are compared with the published ones, and the outcome is in the table's notes. Adding a
layout means writing one function from DataSettings to ImageTable and entering it in LAYOUTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewho.core.check import UserError, is_file
from rewho.core.people import RENDERED
from rewho.data.cuhk03 import PROTOCOL_FILE, read_cuhk03_original
from rewho.data.file_lists import check_folder, is_crop_set, list_folder, refuse_output, sub_folders
from rewho.data.known_counts import compare_counts
from rewho.data.market_layout import (
    BOXES,
    FOLDERS,
    has_market_folders,
    read_cuhk03_np,
    read_dukemtmc,
    read_market1501,
)
from rewho.data.msmt17 import VERSION_FOLDERS, has_msmt17_lists, read_msmt17
from rewho.data.own_images import read_csv, read_folder
from rewho.data.splits import hold_out, keep_listed, select_share
from rewho.data.table import ImageTable
from rewho.settings import DataSettings
from rewho.settings.data import CuhkBoxes, Layout
from rewho.settings.fields import check

LAYOUTS: dict[str, Callable[[DataSettings], ImageTable]] = {
    "market1501": read_market1501,
    "cuhk03-np": read_cuhk03_np,
    "cuhk03-original": read_cuhk03_original,
    "dukemtmc-reid": read_dukemtmc,
    "msmt17": read_msmt17,
    "folder": read_folder,
    "csv": read_csv,
}
"""The reader of every layout."""
WHICH_PATH = "Check the path, which is the one behind --data.root."

_SEARCHED_FOLDERS = 200
_NAME_STYLES = (
    (re.compile(r"-?\d+_c\d+s\d+_"), "market1501"),
    (re.compile(r"\d+_c\d+_f\d+"), "dukemtmc-reid"),
    (re.compile(r"\d{4}_c\d\d_\d{4}\."), "msmt17"),
    (re.compile(r"\d{4}_c[12]_\d{1,2}\."), "cuhk03-np"),
)


def read(
    root: Path | str,
    layout: Layout = "auto",
    *,
    cuhk03_boxes: CuhkBoxes = "detected",
    cuhk03_protocol: Path | None = None,
    person_pattern: str | None = None,
    train_with_val: bool = True,
) -> ImageTable:
    """Read the data set at `root`; the table's notes say what was found.

    Args:
        root: Folder of the data set, or a CSV file.
        layout: A name in LAYOUTS, or "auto" to recognise it.
        cuhk03_boxes: CUHK03: "detected" or "labeled".
        cuhk03_protocol: Original CUHK03 release: the new protocol's .mat file, if it is not beside the images.
        person_pattern: Plain folders: regular expression with a group `person` and optionally a group `camera`.
        train_with_val: MSMT17: train on train+val rather than on train alone.

    Raises:
        UserError: Anything wrong with the folder, its files or the options.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("adam/1.jpg", "eve/1.jpg", "eve/2.jpg"):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         Path(root, name).touch()
        ...     table = read(root)
        >>> table.paths, table.person_names, set(table.splits)
        (('adam/1.jpg', 'eve/1.jpg', 'eve/2.jpg'), ('adam', 'eve'), {'pool'})
    """
    root = Path(root).expanduser()
    settings = DataSettings(root, layout, cuhk03_boxes, cuhk03_protocol, person_pattern, train_with_val)
    check(settings, "")
    notes, name = [], str(layout)
    _refuse_unlabelled(root)
    if layout == "auto":
        name, reason = recognise(root)
        notes.append(f"Taken for the layout {name!r}: {reason}.")
    elif layout not in ("csv", "folder"):
        _check_level(check_folder(root, WHICH_PATH), layout)
    table = LAYOUTS[name](settings)
    if is_file(root / RENDERED):  # people of our own in the layout of a benchmark are not that benchmark
        table = replace(table, name="rendered-people")
    return replace(table, notes=(*notes, *table.notes, *compare_counts(table), *_doubts(table)))


def _refuse_unlabelled(root: Path) -> None:
    if is_crop_set(root):
        raise UserError(
            str(root),
            expected="images with person labels",
            got="a crop set, whose crops have none",
            fix=f"`rewho pretrain --crops {root}` needs no labels; `rewho crops export {root} --out FOLDER` writes "
            "images, for you to sort into a folder per person.",
        )
    refuse_output(root)


def read_settings(settings: DataSettings) -> ImageTable:
    """Read the data set that `settings` describe, hold people out and keep a share or a list, in that order.

    Raises:
        UserError: Anything wrong with the folder, its files or the settings.
    """
    table = read(
        settings.root,
        settings.layout,
        cuhk03_boxes=settings.cuhk03_boxes,
        cuhk03_protocol=settings.cuhk03_protocol,
        person_pattern=settings.person_pattern,
        train_with_val=settings.train_with_val,
    )
    if settings.hold_out:
        table = hold_out(table, settings.hold_out, settings.split_seed)
    if settings.share_list is not None:
        if settings.share != 1:
            raise UserError(
                "--data.share_list",
                expected="a list, or a share that is drawn",
                got=f"both, with --data.share {settings.share:g}",
                fix="Leave one of them out.",
            )
        return keep_listed(table, settings.share_list)
    if settings.share != 1:
        table = select_share(table, settings.share, settings.share_by, settings.split_seed)
    return table


def recognise(root: Path) -> tuple[str, str]:
    """Return the layout of `root`, and the reason for taking it for that.

    Raises:
        UserError: Nothing there, a file that is no CSV file, or a data set that lies one level off.
    """
    if is_file(root):
        if root.suffix.lower() in (".csv", ".tsv"):
            return "csv", f"a {root.suffix} file"
        raise UserError(
            str(root),
            expected="a folder or a .csv file",
            got=f"a {root.suffix or 'nameless'} file",
            fix="Unpack an archive and give its folder; a single image is no data set.",
        )
    check_folder(root, WHICH_PATH)
    found = recognise_benchmark(root)
    if found is None:
        _check_level(root, None)
        found = "folder", "no benchmark's files were found"
    return found


def recognise_benchmark(root: Path) -> tuple[str, str] | None:
    """Return the layout of a benchmark that lies in `root`, and the reason; None where it is no benchmark's folder."""
    if has_msmt17_lists(root) or any(has_msmt17_lists(root / name) for name in VERSION_FOLDERS):
        return "msmt17", "it has list_train.txt or list_query.txt"
    if has_market_folders(root):
        return _recognise_market_style(root)
    for boxes in BOXES:
        if has_market_folders(root / boxes):
            return "cuhk03-np", f"it has {boxes}/ with Market-1501's folders"
        if (root / f"images_{boxes}").is_dir() or (root / PROTOCOL_FILE.format(boxes=boxes)).is_file():
            return "cuhk03-original", f"it has images_{boxes}/ or the new protocol's file"
    return None


def _recognise_market_style(root: Path) -> tuple[str, str]:
    folder = next(name for name in FOLDERS if (root / name).is_dir())
    names = list_folder(root / folder).images
    for style, layout in _NAME_STYLES:
        if names and style.match(names[-1]):
            return layout, f"it has {folder}/ with names like {names[-1]}"
    return "market1501", f"it has {folder}/"


def _check_level(root: Path, layout: str | None) -> None:
    """Raise where the data set is not here but one level up, or one or two levels down."""
    if recognise_benchmark(root) is not None:
        return
    inside = root.name in (*FOLDERS, "mask_train_v2", "mask_test_v2")
    below = root.parent if inside and recognise_benchmark(root.parent) else _search_below(root)
    if below is not None:
        raise UserError(
            str(root),
            expected=f"the folder of {layout or 'a data set'} itself",
            got=f"a folder {'inside it' if inside else 'above it'}",
            fix=f"Give {below}.",
        )


def _search_below(root: Path) -> Path | None:
    children = [root / name for name in sub_folders(root)[:_SEARCHED_FOLDERS]]
    grandchildren = [child / name for child in children[:10] for name in sub_folders(child)[:_SEARCHED_FOLDERS]]
    return next((folder for folder in children + grandchildren if recognise_benchmark(folder)), None)


def _doubts(table: ImageTable) -> list[str]:
    people = {split: table.person_ids[table.in_split(split)] for split in table.counts()}
    notes = []
    for split, use in (("train", "trained on"), ("query", "searched for"), ("pool", "trained on or searched for")):
        nobody = int((people.get(split, np.empty(0)) < 0).sum())
        if nobody:
            notes.append(f"{nobody:,} junk or distractor images in {split} are not {use}.")
    for split, other in (("query", "gallery"), ("gallery", "query")):
        if split in people and other not in people:
            notes.append(f"There is {split} without {other}: nothing can be scored.")
    if {"query", "gallery"} <= people.keys() and not np.isin(people["query"], people["gallery"]).any():
        notes.append("Nobody in query is in gallery: no query can find anything.")
    for split in ("query", "gallery"):
        both = np.intersect1d(people.get("train", []), people.get(split, []))
        if (both >= 0).any():
            notes.append(
                f"{int((both >= 0).sum()):,} people are in both train and {split}: results will look too good."
            )
    return notes
