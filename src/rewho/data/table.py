"""ImageTable: path, person, camera and split of each image; immutable, and checked when it is created.

Every labelled data set becomes one. The special person ids JUNK and DISTRACTOR follow Market-1501's convention, but as
negative numbers, because person 0 is a real person elsewhere (MSMT17).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewho.core.artifact import hash_contents
from rewho.core.check import UserError, check_choice
from rewho.core.people import DISTRACTOR, JUNK, UNKNOWN_CAMERA
from rewho.core.text import quantity

SPLITS = ("train", "query", "gallery", "pool")
""""pool" is a data set that was not split."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


Names = tuple[str, ...] | Mapping[int, str]


class SplitCounts(NamedTuple):
    """Size of one split. `people` and `cameras` count neither junk and distractors nor unknown cameras."""

    images: int
    people: int
    cameras: int
    junk: int
    distractors: int


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A whole data set: one row per image.

    Args:
        name: Name of the data set, such as "market1501".
        root: Folder of the data set.
        paths: N paths inside `root`, relative to it, with forward slashes. Stored without "./".
        person_ids: int64 [N], >= 0, or JUNK or DISTRACTOR. Stored read-only.
        camera_ids: int64 [N], >= 0, or UNKNOWN_CAMERA. Stored read-only.
        splits: N names, each "train", "query" or "gallery", or all of them "pool".
        person_names: `person_names[person_id]` if people have names; if numbers have leading zeros, their spelling by
            id; otherwise empty.
        camera_names: The same for cameras.
        notes: Notes of the reader to the user, one sentence each.

    Raises:
        UserError: No rows; unequal lengths; wrong ids; an unknown split; "pool" beside other splits; the same image
            twice in a split, under two people or two cameras; a path that leaves `root`.

    Example:
        >>> table = ImageTable("two", Path("."), ("a.jpg", "b.jpg"), [7, 9], [0, 1], ("query", "gallery"))
        >>> len(table), table.select("gallery").paths, table.labels().tolist()
        (2, ('b.jpg',), [0, 1])
    """

    name: str
    root: Path
    paths: tuple[str, ...]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    splits: tuple[str, ...]
    person_names: Names = ()
    camera_names: Names = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "root", Path(self.root))
        set_field(self, "paths", tuple(map(_normalise_path, self.paths)))
        set_field(self, "splits", tuple(self.splits))
        set_field(self, "person_ids", _read_only_ids(f"{self.name}: person ids", self.person_ids, DISTRACTOR))
        set_field(self, "camera_ids", _read_only_ids(f"{self.name}: camera ids", self.camera_ids, UNKNOWN_CAMERA))
        _check_lengths(self)
        for split in set(self.splits):
            check_choice(f"{self.name}: split", split, SPLITS)
        _check_pool(self)
        _check_paths(self)
        _check_duplicates(self)

    def __repr__(self) -> str:
        """Return the name and the counts of each split, on one line."""
        counts = ", ".join(
            f"{split} {quantity(one.images, 'images')} of {quantity(one.people, 'people')}"
            for split, one in self.counts().items()
        )
        return f"ImageTable({self.name!r}: {counts})"

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, row: int) -> Path:
        """Return the path of an image."""
        return self.root / self.paths[row]

    def rows(self, which: ArrayLike) -> ImageTable:
        """Return a table of some rows.

        Args:
            which: Boolean mask [N], or row numbers in the wanted order; at least one.

        Example:
            >>> table = ImageTable("two", Path("."), ("a.jpg", "b.jpg"), [7, 9], [0, 1], ("query", "gallery"))
            >>> table.rows([1]).paths, table.rows(table.person_ids == 7).paths
            (('b.jpg',), ('a.jpg',))
        """
        index = np.arange(len(self))[np.asarray(which, dtype=None if np.size(which) else np.int64)]
        return replace(
            self,
            paths=tuple(self.paths[i] for i in index),
            person_ids=self.person_ids[index],
            camera_ids=self.camera_ids[index],
            splits=tuple(self.splits[i] for i in index),
        )

    def select(self, split: str) -> ImageTable:
        """Return the rows of one split, in the table's order; UserError if there are none."""
        check_choice(f"{self.name}: split", split, SPLITS)
        mask = self.in_split(split)
        if not mask.any():
            there = ", ".join(name for name in SPLITS if name in set(self.splits))
            got = f"none (it has {there})"
            fix = "Use data that has this split, or hold people out of its training part with --data.hold_out 50."
            raise UserError(f"{self.name} ({self.root})", expected=f"images in the split {split!r}", got=got, fix=fix)
        return self.rows(mask)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Return the mask [N] of the rows of `split`."""
        return np.fromiter((name == split for name in self.splits), np.bool_, len(self))

    def labels(self) -> NDArray[np.int64]:
        """Return class labels [N] from 0 without gaps, in order of person id; UserError for junk and distractors."""
        unnamed = int((self.person_ids < 0).sum())
        if unnamed:
            got = f"{unnamed} junk or distractor images"
            fix = "Use the labels of the training split: `table.select('train').labels()`."
            raise UserError(f"class labels of {self.name}", expected="images of known people only", got=got, fix=fix)
        return np.unique(self.person_ids, return_inverse=True)[1].astype(np.int64)

    @property
    def knows_cameras(self) -> bool:
        """Whether the camera of every image is known."""
        return bool((self.camera_ids != UNKNOWN_CAMERA).all())

    def person_name(self, person_id: int) -> str:
        """Return a person's name in the data set, or the number."""
        if person_id < 0:
            return {JUNK: "junk", DISTRACTOR: "distractor"}[person_id]
        return _name_of(self.person_names, person_id)

    def camera_name(self, camera_id: int) -> str:
        """Return a camera's name in the data set, or its number; "" if it is unknown."""
        if camera_id == UNKNOWN_CAMERA:
            return ""
        return _name_of(self.camera_names, camera_id)

    def digest(self) -> str:
        """Return the sha256 (hex) over all rows in their order; root and name have no influence."""
        text = "\0".join(
            (str(len(self)), *self.paths, *self.splits)
        )  # no path contains NUL, so the separation is unambiguous
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
        for ids in (self.person_ids, self.camera_ids):
            digest.update(ids.astype("<i8").tobytes())
        return digest.hexdigest()

    def hash_contents(self) -> str:
        """Return the sha256 (hex) over the contents of all files, in the table's order."""
        return hash_contents([self.file(row) for row in range(len(self))])

    def counts(self) -> dict[str, SplitCounts]:
        """Return the counts of every split that has rows, in the order of SPLITS."""
        found = {}
        for split in SPLITS:
            mask = self.in_split(split)
            if mask.any():
                people, cameras = self.person_ids[mask], self.camera_ids[mask]
                found[split] = SplitCounts(
                    images=int(mask.sum()),
                    people=len(np.unique(people[people >= 0])),
                    cameras=len(np.unique(cameras[cameras >= 0])),
                    junk=int((people == JUNK).sum()),
                    distractors=int((people == DISTRACTOR).sum()),
                )
        return found

    def summary(self) -> str:
        """Return the table's name, one line per split, and the notes.

        Example:
            >>> table = ImageTable("two", Path("."), ("a.jpg", "b.jpg"), [7, 9], [0, 1], ("query", "gallery"))
            >>> print(table.summary())
            two
              query: 1 image, 1 person, 1 camera
              gallery: 1 image, 1 person, 1 camera
        """
        lines = [self.name]
        for split, count in self.counts().items():
            cameras = quantity(count.cameras, "cameras") if count.cameras else "unknown cameras"
            line = f"  {split}: {quantity(count.images, 'images')}, {quantity(count.people, 'people')}, {cameras}"
            for kind, number in (("junk", count.junk), ("distractors", count.distractors)):
                line += f", {number:,} {kind}" if number else ""
            lines.append(line)
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def with_notes(self, *notes: str) -> ImageTable:
        """Return the table with notes added to its own."""
        return replace(self, notes=(*self.notes, *notes))


def _name_of(names: Names, number: int) -> str:
    if isinstance(names, Mapping):
        return names.get(number, str(number))
    return names[number] if names else str(number)


def leaves_root(path: str) -> bool:
    r"""Return whether a path could leave its folder on any operating system, or is no path at all."""
    if not path or path[0] in "/\\" or "\0" in path or _DRIVE.match(path):
        return True
    return ".." in path and ".." in path.replace("\\", "/").split("/")


def first_three(names: list[str]) -> str:
    """Return up to three names for a message, quoted, and the number of the others."""
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown


def _read_only_ids(what: str, ids: ArrayLike, lowest: int) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        got = f"{array.dtype} of shape {list(array.shape)}"
        fix = "Number people and cameras with integers."
        raise UserError(what, expected="one whole number per image", got=got, fix=fix)
    if array.size and int(array.max()) >= 2**63:  # unsigned: a cast would make it negative
        fix = "Number people and cameras from 0."
        raise UserError(what, expected="numbers below 2^63", got=f"{array.max()} in row {int(array.argmax())}", fix=fix)
    array = array.astype(np.int64)
    if array.size and array.min() < lowest:
        got = f"{array.min()} in row {int(array.argmin())}"
        fix = f"Number from 0; person {JUNK} is junk, {DISTRACTOR} a distractor; camera {UNKNOWN_CAMERA} is unknown."
        raise UserError(what, expected=f"numbers >= {lowest}", got=got, fix=fix)
    array.flags.writeable = False
    return array


def _check_lengths(table: ImageTable) -> None:
    lengths = [len(table.paths), len(table.person_ids), len(table.camera_ids), len(table.splits)]
    if min(lengths) == 0 and max(lengths) == 0:
        fix = "Check the folder, and what was selected from it."
        raise UserError(f"{table.name} ({table.root})", expected="at least one image", got="none", fix=fix)
    if min(lengths) != max(lengths):
        expected = "as many paths as person ids, camera ids and splits"
        fix = "Give one of each for every image."
        raise UserError(f"{table.name}", expected=expected, got=", ".join(str(length) for length in lengths), fix=fix)


def _check_pool(table: ImageTable) -> None:
    unsplit = np.flatnonzero(table.in_split("pool")).tolist()
    if unsplit and len(unsplit) < len(table):
        expected = "the split pool for all rows, or for none"
        got = f"{len(unsplit):,} of {len(table):,}, such as {first_three([table.paths[row] for row in unsplit])}"
        fix = "Give these rows a split: train, query or gallery."
        raise UserError(f"{table.name} ({table.root}): splits", expected=expected, got=got, fix=fix)


def _normalise_path(path: str) -> str:
    """Return a path without `./` and double slashes, so that no file has two names."""
    parts = path.split("/") if "./" in path or "//" in path or path.endswith("/.") else []
    return "/".join(part for part in parts if part not in ("", ".")) if parts and path[0] != "/" else path


def _check_paths(table: ImageTable) -> None:
    bad = [path for path in table.paths if leaves_root(path)]
    if bad:
        fix = "Give every image's path relative to the data set's folder, without '..'."
        raise UserError(f"{table.name}: paths", expected=f"paths inside {table.root}", got=first_three(bad), fix=fix)


def _check_duplicates(table: ImageTable) -> None:
    if len(set(table.paths)) == len(table):
        return
    for problem, values in (("two people", table.person_ids), ("two cameras", table.camera_ids)):
        pairs = set(zip(table.paths, values.tolist(), strict=True))
        _refuse_repeated(table, f"under {problem}", (path for path, _ in pairs))
    keys = zip(table.paths, table.splits, strict=True)
    _refuse_repeated(table, "more than once in a split", (f"{path} ({split})" for path, split in keys))


def _refuse_repeated(table: ImageTable, problem: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        expected = "each image once in a split, and of one person and camera"
        got = f"the same image {problem}: {first_three(sorted(twice))}"
        fix = "Remove the wrong rows from the list."
        raise UserError(f"{table.name} ({table.root})", expected=expected, got=got, fix=fix)
