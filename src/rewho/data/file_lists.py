"""Listing the images of a folder, sorted, without opening them: 100,000 take about a second."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from rewho.core import files
from rewho.core.check import UserError, is_dir, is_file, nearest
from rewho.core.progress import say
from rewho.core.record import STARTED
from rewho.core.text import quantity
from rewho.data.table import ImageTable, first_three

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Endings of images, compared without case."""
CONVERTIBLE = {".heic", ".heif", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".jxl", ".raw", ".dng"}
"""Endings of image files that are not read, but can be converted."""
OWN_FILES = (STARTED, "model.json")
"""Files that mark a folder written by a command of rewho."""
CROP_SET_INDEX = "index.json"
"""File that marks a folder as a crop set."""
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders that systems and network storage make, with thumbnails or removed files in them."""
TEXT_LIMIT = 256 * 2**20
"""Largest list or table of file names that is read, in bytes."""


class Row(NamedTuple):
    """One row of an ImageTable."""

    path: str
    person: int
    camera: int
    split: str


class Listing(NamedTuple):
    """Sorted names of images, and the number of other files by ending."""

    images: tuple[str, ...]
    others: Counter[str]


def check_folder(folder: Path, fix: str = "Check the path.") -> Path:
    """Return `folder` if it is one; otherwise the UserError names the most similar folder beside it."""
    if is_dir(folder):
        return folder
    if is_file(folder):
        fix = "Give the folder; unpack an archive before."
        raise UserError(str(folder), expected="a folder", got="a file", fix=fix)
    near = None
    if is_dir(folder.parent):
        near = nearest(folder.name, sub_folders(folder.parent))
        got = f"nothing there ({str(folder.parent)!r} exists)"
    else:
        got = f"nothing there, nor is there a folder {str(folder.parent)!r}"
    raise UserError(str(folder), expected="a folder", got=got, fix=f"Did you mean {near!r}? {fix}" if near else fix)


def sub_folders(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the sub-folders, except hidden ones."""
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name)))


def list_folder(folder: Path) -> Listing:
    """List the images directly in `folder`; hidden files, such as macOS's `._0001.jpg`, are counted."""
    images, others = [], Counter[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                continue
            if kind := _kind(entry.name):
                others[kind] += 1
            else:
                images.append(entry.name)
    return Listing(tuple(sorted(images)), others)


def _kind(name: str) -> str:
    """Return "" for an image, "hidden" for a hidden file, otherwise the ending."""
    if _hidden(name):
        return "hidden"
    ending = PurePosixPath(name).suffix.lower()
    return "" if ending in IMAGE_ENDINGS else ending or name


def require_images(folder: Path) -> Listing:
    """List the images directly in `folder`; UserError if there is none."""
    listing = list_folder(check_folder(folder))
    if not listing.images:
        raise empty_folder(folder, listing.others)
    return listing


def empty_folder(folder: Path, others: Counter[str]) -> UserError:
    """Return the error for a folder without images, with what it contains instead."""
    inside = [f"{number:,} x {ending}" for ending, number in others.most_common(3)]
    inside += [f"{len(sub_folders(folder)):,} sub-folders"] if sub_folders(folder) else []
    got = ", ".join(inside) or "an empty folder"
    fix = "Check that the data set was unpacked completely; convert images of other kinds to PNG or JPEG."
    return UserError(str(folder), expected=f"images ({', '.join(IMAGE_ENDINGS)})", got=got, fix=fix)


def list_tree(folder: Path) -> Listing:
    """List the images in a folder and below it, of which there may be none; see `list_images`."""
    refuse_output(folder)
    found: list[str] = []
    others = Counter[str]()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                if not entry.is_dir():
                    if kind := _kind(entry.name):
                        others[kind] += 1
                    else:
                        found.append(prefix + entry.name)
                elif _hidden(entry.name) or entry.is_symlink():
                    others["hidden folder" if _hidden(entry.name) else "linked folder"] += 1
                elif any(is_file(Path(entry.path, name)) for name in OWN_FILES) and not is_crop_set(Path(entry.path)):
                    others["folder written by rewho"] += 1
                else:
                    refuse_output(Path(entry.path))
                    waiting.append(f"{prefix}{entry.name}/")
    return Listing(tuple(sorted(found)), others)


def list_images(folder: Path | str) -> tuple[str, ...]:
    """Return the sorted paths of all images in a folder and below it, relative to it, with forward slashes.

    Hidden files and folders, and links to folders, are skipped. Skipped files are counted in a message.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "b.JPG").write_bytes(b""), Path(folder, "a.png").write_bytes(b"")
        ...     list_images(folder)
        ('a.png', 'b.JPG')
    """
    top = check_folder(Path(folder))
    listing = list_tree(top)
    if not listing.images:
        here = empty_folder(top, listing.others)
        if sub_folders(top):
            got = f"none in it or in its sub-folders ({len(sub_folders(top)):,} directly in it)"
            fix = f"Check the path. {here.fix}"
            raise UserError(here.what, expected=here.expected, got=f"{got}; {here.got}", fix=fix)
        raise here
    for note in left_out(str(top), listing.others):
        say(f"note: {note}")
    return listing.images


def refuse_output(folder: Path) -> None:
    """Raise for a crop set, and for a folder that a command of rewho wrote: its images are sheets, not people."""
    if is_crop_set(folder):
        got = "a crop set, whose crops are not files of their own"
        fix = f"Write them as files with `rewho crops export {folder} --out FOLDER`, and pass FOLDER."
        raise UserError(str(folder), expected="a folder of image files", got=got, fix=fix)
    written = next((name for name in OWN_FILES if is_file(folder / name)), None)
    if written:
        got = f"a folder that a command of rewho wrote (it has {written}); its images are sheets and figures"
        fix = "Pass the folder of the images themselves."
        raise UserError(str(folder), expected="a folder of images, one person each", got=got, fix=fix)


def is_crop_set(folder: Path) -> bool:
    """Return whether a folder is a crop set, by its index and its shards."""
    return is_file(folder / CROP_SET_INDEX) and is_dir(folder / "shards")


def missing_files(root: Path, paths: Sequence[str]) -> list[str]:
    """Return the `paths` (relative to `root`) that are no files; each folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in present:
            place = root / folder
            present[folder] = {entry.name for entry in os.scandir(place)} if is_dir(place) else set()
        # the listing may spell a name otherwise (case, Unicode form) although the file is found
        if name not in present[folder] and not is_file(root / path):
            missing.append(path)
    return missing


def wrong_names(folder: Path, bad: list[str], total: int, example: str, fix: str) -> UserError:
    """Return the error for file names of another form than the layout's."""
    return UserError(
        str(folder),
        expected=f"file names like {example}",
        got=f"{len(bad):,} of {total:,} that are not: {first_three(bad)}",
        fix=fix,
    )


def left_out(folder: str, others: Counter[str]) -> list[str]:
    """Return a note on files that are no images, if there are any."""
    if not others.total():
        return []
    in_order = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{number:,} x {ending}" for ending, number in in_order if number)
    hint = " Convert HEIC, TIFF and others to JPEG or PNG." if CONVERTIBLE & others.keys() else ""
    return [f"left out of {folder}: {quantity(others.total(), 'files')} ({kinds}).{hint}"]


def read_text(file: Path) -> str:
    """Return the text of a list or CSV file; see `core.files.read_text`."""
    return files.read_text(file, TEXT_LIMIT)


def make_table(name: str, root: Path, rows: Sequence[Row], notes: Sequence[str] = ()) -> ImageTable:
    """Return the table of `rows`, in their order; camera 0 is called c1, as the file names of benchmarks do."""
    return ImageTable(
        name=name,
        root=root,
        paths=tuple(row.path for row in rows),
        person_ids=np.array([row.person for row in rows], np.int64),
        camera_ids=np.array([row.camera for row in rows], np.int64),
        splits=tuple(row.split for row in rows),
        camera_names=tuple(f"c{camera + 1}" for camera in range(max((row.camera for row in rows), default=-1) + 1)),
        notes=tuple(notes),
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS
