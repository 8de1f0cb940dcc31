"""From DataSettings to an ImageTable: recognise the layout → read → compare counts → hold out and keep a share.

`Images(table)` then decodes. A new data set is one module in `layouts/`, or a function of your own behind
`--data.layout MODULE:FUNCTION`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewho.core.check import UserError, is_file
from rewho.core.people import RENDERED
from rewho.core.text import quantity
from rewho.data.file_lists import check_folder, is_crop_set, refuse_output, sub_folders
from rewho.data.market_folders import FOLDERS
from rewho.data.published_counts import Counts, compare_counts
from rewho.data.share_lists import keep_listed
from rewho.data.shares import select_share
from rewho.data.splits import hold_out
from rewho.data.table import ImageTable
from rewho.settings import DataSettings
from rewho.settings.data import LAYOUTS
from rewho.settings.fields import check

WHICH_PATH = "Check the path, which is the one behind --data.root."

_OWN_IMAGES = ("csv", "folder")
_ANY_NAMES = ("market1501", "folder")  # these recognise every file name, so they are tried last
_SEARCHED_FOLDERS = 200


class _Layout(NamedTuple):
    """How a data set is read, its published counts by table name, and why this layout was chosen."""

    read: Callable[[DataSettings], ImageTable]
    published: Mapping[str, Counts]
    notes: tuple[str, ...] = ()


def read_settings(settings: DataSettings) -> ImageTable:
    """Read the data set that the settings describe."""
    check(settings, "--data.")
    settings = replace(settings, root=settings.root.expanduser())
    layout = _find_layout(settings)
    table = _read(layout, settings)
    table = replace(table, notes=(*layout.notes, *table.notes, *_compare(table, layout), *_warnings(table)))
    if settings.hold_out:
        table = hold_out(table, settings.hold_out, settings.split_seed)
    if settings.share_list is not None:
        return keep_listed(table, settings.share_list)
    return select_share(table, settings.share, settings.share_by, settings.split_seed) if settings.share != 1 else table


def read(root: Path | str, layout: str | Callable[[DataSettings], ImageTable] = "auto", **options: Any) -> ImageTable:  # noqa: ANN401 - see DataSettings
    """Read the data set at `root`; the table's notes say what was found.

    Args:
        root: Folder of the data set, or a CSV file.
        layout: Name of a layout, "auto" to recognise it, or a function from DataSettings to ImageTable.
        options: Other fields of DataSettings, such as `person_pattern`.

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
    return read_settings(DataSettings(Path(root), layout, **options))


def _find_layout(settings: DataSettings) -> _Layout:
    """Return the layout that was named, or the one that the folder has."""
    name, root = str(settings.layout), settings.root
    if ":" in name:
        return _Layout(_import_function(name), {})
    _refuse_unlabelled(root)
    notes: tuple[str, ...] = ()
    if name == "auto":
        name, reason = recognise(root)
        notes = (f"Read as the layout {name!r}: {reason}.",)
    elif name not in _OWN_IMAGES:
        _check_level(check_folder(root, WHICH_PATH), name)
    module = _module(name)
    return _Layout(module.read, getattr(module, "PUBLISHED", {}), notes)


def _module(layout: str) -> Any:  # noqa: ANN401 - a module
    return importlib.import_module(f"rewho.data.layouts.{layout.replace('-', '_')}")


def _import_function(name: str) -> Callable[[DataSettings], ImageTable]:
    """Return the user's function MODULE:FUNCTION; modules are searched in the working folder too, after all others."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    module, _, function = name.partition(":")
    try:
        found: Callable[[DataSettings], ImageTable] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        expected = f"a module {module!r} with a function {function!r}"
        fix = f"Run the command in the folder of {module.partition('.')[0]}.py, or install the module."
        raise UserError(f"--data.layout {name}", expected=expected, got=str(error), fix=fix) from None
    return found


def _read(layout: _Layout, settings: DataSettings) -> ImageTable:
    table = layout.read(settings)
    if not isinstance(table, ImageTable):
        expected = "a function that returns an ImageTable"
        got = f"{type(table).__name__} from it"
        fix = "See 'Another layout' in docs/guide/your-data.md."
        raise UserError(f"--data.layout {settings.layout}", expected=expected, got=got, fix=fix)
    # Rendered people lie in Market-1501's folders, but are not Market-1501.
    return replace(table, name="rendered-people") if is_file(settings.root / RENDERED) else table


def _compare(table: ImageTable, layout: _Layout) -> tuple[str, ...]:
    return compare_counts(table, layout.published[table.name]) if table.name in layout.published else ()


def _refuse_unlabelled(root: Path) -> None:
    if is_crop_set(root):
        raise UserError(
            str(root),
            expected="images with person labels",
            got="a crop set, whose crops have none",
            fix=f"`rewho pretrain {root}` needs no labels; `rewho crops export {root} --out FOLDER` writes "
            "images, for you to sort into a folder per person.",
        )
    refuse_output(root)


def recognise(root: Path) -> tuple[str, str]:
    """Return the layout of `root`, and the reason for choosing it."""
    if is_file(root):
        if reason := _module("csv").recognise(root):
            return "csv", reason
        got = f"a {root.suffix or 'nameless'} file"
        fix = "Unpack an archive and give its folder; a single image is no data set."
        raise UserError(str(root), expected="a folder or a .csv file", got=got, fix=fix)
    check_folder(root, WHICH_PATH)
    found = recognise_benchmark(root)
    if found is None:
        _check_level(root, None)
        found = "folder", _module("folder").recognise(root)
    return found


def recognise_benchmark(root: Path) -> tuple[str, str] | None:
    """Return the layout of the published data set in `root`, and the reason; None if there is none."""
    names = [name for name in LAYOUTS if name not in ("auto", *_OWN_IMAGES)]
    for name in sorted(names, key=_ANY_NAMES.__contains__):
        if reason := _module(name).recognise(root):
            return name, reason
    return None


def _check_level(root: Path, layout: str | None) -> None:
    """Raise if the data set is one level up, or one or two levels down."""
    if recognise_benchmark(root) is not None:
        return
    inside = root.name in (*FOLDERS, "mask_train_v2", "mask_test_v2")
    below = root.parent if inside and recognise_benchmark(root.parent) else _search_below(root)
    if below is not None:
        got = f"a folder {'inside it' if inside else 'above it'}"
        fix = f"Give {below}."
        raise UserError(str(root), expected=f"the folder of {layout or 'a data set'} itself", got=got, fix=fix)


def _search_below(root: Path) -> Path | None:
    children = [root / name for name in sub_folders(root)[:_SEARCHED_FOLDERS]]
    grandchildren = [child / name for child in children[:10] for name in sub_folders(child)[:_SEARCHED_FOLDERS]]
    return next((folder for folder in children + grandchildren if recognise_benchmark(folder)), None)


def _warnings(table: ImageTable) -> list[str]:
    """Return a sentence on each thing about the splits that makes scores impossible or too good."""
    people = {split: table.person_ids[table.in_split(split)] for split in table.counts()}
    notes = []
    for split, use in (("train", "trained on"), ("query", "searched for"), ("pool", "trained on or searched for")):
        unnamed = int((people.get(split, np.empty(0)) < 0).sum())
        if unnamed:
            notes.append(f"{unnamed:,} junk or distractor images in {split} are not {use}.")
    for split, other in (("query", "gallery"), ("gallery", "query")):
        if split in people and other not in people:
            notes.append(f"There is {split} without {other}: nothing can be scored.")
    if {"query", "gallery"} <= people.keys() and not np.isin(people["query"], people["gallery"]).any():
        notes.append("No person in query is in gallery: no query has a match.")
    for split in ("query", "gallery"):
        both = np.intersect1d(people.get("train", []), people.get(split, []))
        if (both >= 0).any():
            notes.append(
                f"in both train and {split}: {quantity(int((both >= 0).sum()), 'people')}; results will look too good."
            )
    return notes
