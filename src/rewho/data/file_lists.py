"""Listing the pictures of a folder: sorted, fast, and with a clear word where something is not as it should be.

What is unusual: files are listed with `os.scandir` and never opened, so that a hundred thousand take about a second;
whether they really are pictures is for `rewho.data.pictures.verify` to find out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from rewho.core.check import UserError, nearest
from rewho.data.table import ImageTable, first_three

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
RENDERED = "synthetic.json"  # lies beside rendered people, and says which they are
"""Endings of files that are listed, compared without case."""
TEXT_LIMIT = 256 * 2**20
"""Largest list or table of file names that is read, in bytes."""


class Row(NamedTuple):
    """One picture while a table is being put together; see ImageTable for the fields."""

    path: str
    person: int
    camera: int
    split: str


class Listing(NamedTuple):
    """Pictures in one folder, sorted by name, and how many other files there are of each ending."""

    pictures: tuple[str, ...]
    others: Counter[str]


def check_folder(folder: Path, fix: str = "Check the path.") -> Path:
    """Return `folder` if it is one.

    Raises:
        UserError: It does not exist, or is a file; the message names the most similar folder beside it.
    """
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(
            str(folder), expected="a folder", got="a file", fix="Give the folder; unpack an archive before."
        )
    near = None
    if folder.parent.is_dir():
        near = nearest(folder.name, sub_folders(folder.parent))
        got = f"nothing there ({str(folder.parent)!r} exists)"
    else:
        got = f"nothing there, nor is there a folder {str(folder.parent)!r}"
    raise UserError(str(folder), expected="a folder", got=got, fix=f"Did you mean {near!r}? {fix}" if near else fix)


def sub_folders(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the sub-folders, hidden ones left out."""
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name)))


def list_folder(folder: Path) -> Listing:
    """List the pictures directly in `folder`; hidden files (such as macOS's `._0001.jpg`) count as not there."""
    pictures, others = [], Counter[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name) or entry.is_dir():
                continue
            if entry.name.lower().endswith(PICTURE_ENDINGS):
                pictures.append(entry.name)
            else:
                others[PurePosixPath(entry.name).suffix.lower() or entry.name] += 1
    return Listing(tuple(sorted(pictures)), others)


def require_pictures(folder: Path) -> Listing:
    """List the pictures directly in `folder`, of which there must be one at least.

    Raises:
        UserError: The folder is missing, or holds no picture.
    """
    listing = list_folder(check_folder(folder))
    if not listing.pictures:
        raise empty_folder(folder, listing.others)
    return listing


def empty_folder(folder: Path, others: Counter[str]) -> UserError:
    """Return the error for a folder without pictures, which says what lies there instead."""
    inside = [f"{number:,} x {ending}" for ending, number in others.most_common(3)]
    inside += [f"{len(sub_folders(folder)):,} sub-folders"] if sub_folders(folder) else []
    return UserError(
        str(folder),
        expected=f"pictures ({', '.join(PICTURE_ENDINGS)})",
        got=", ".join(inside) or "an empty folder",
        fix="Check that the data set was unpacked completely; convert pictures of other kinds to PNG or JPEG.",
    )


def list_pictures(folder: Path | str) -> tuple[str, ...]:
    """List all pictures in a folder and below it, for uses that need no person ids, such as embedding.

    Args:
        folder: Any folder; hidden files and folders are left out, and links to folders are not followed.

    Returns:
        Sorted paths relative to `folder`, with forward slashes.

    Raises:
        UserError: The folder is missing, or holds no picture.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "b.JPG").write_bytes(b""), Path(folder, "a.png").write_bytes(b"")
        ...     list_pictures(folder)
        ('a.png', 'b.JPG')
    """
    top = check_folder(Path(folder))
    found: list[str] = []
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(top / prefix) as entries:
            for entry in entries:
                if _hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{prefix}{entry.name}/")
                elif entry.name.lower().endswith(PICTURE_ENDINGS) and not entry.is_dir():
                    found.append(prefix + entry.name)
    if not found:
        here = empty_folder(top, list_folder(top).others)
        if sub_folders(top):
            got = f"none in it or in its sub-folders ({len(sub_folders(top)):,} directly in it)"
            raise UserError(here.what, expected=here.expected, got=got, fix="Check the path. " + here.fix)
        raise here
    return tuple(sorted(found))


def missing_files(root: Path, paths: Sequence[str]) -> list[str]:
    """Return those of `paths` (relative to `root`) that are no files; each folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in present:
            place = root / folder
            present[folder] = {entry.name for entry in os.scandir(place)} if place.is_dir() else set()
        # a name may be spelt otherwise in the listing (case, Unicode form) and be found all the same
        if name not in present[folder] and not (root / path).is_file():
            missing.append(path)
    return missing


def wrong_names(folder: Path, bad: list[str], total: int, example: str, fix: str) -> UserError:
    """Return the error for file names that do not follow the layout's form."""
    return UserError(
        str(folder),
        expected=f"file names like {example}",
        got=f"{len(bad):,} of {total:,} that are not: {first_three(bad)}",
        fix=fix,
    )


def left_out(folder: str, others: Counter[str]) -> list[str]:
    """Return the note about files that are no pictures, if there are any."""
    if not others:
        return []
    kinds = ", ".join(f"{number:,} x {ending}" for ending, number in others.most_common(3))
    return [f"{others.total():,} files in {folder} are no pictures and were left out ({kinds})."]


def read_text(file: Path) -> str:
    """Return the text of a list or CSV file, UTF-8 with or without a byte-order mark.

    Raises:
        UserError: Missing, not a file, too large, or in another encoding.
    """
    if not file.is_file():
        raise UserError(str(file), expected="a text file", got="no file there", fix="Check the path.")
    if file.stat().st_size > TEXT_LIMIT:
        raise UserError(
            str(file), expected=f"at most {TEXT_LIMIT:,} bytes", got=f"{file.stat().st_size:,}", fix="Split the list."
        )
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            str(file),
            expected="text in UTF-8",
            got=f"byte {error.start:,} that is not",
            fix="Save the file again as UTF-8 (in a spreadsheet: 'CSV UTF-8').",
        ) from None


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
    return name.startswith(".")
