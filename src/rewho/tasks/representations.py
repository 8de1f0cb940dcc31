"""Supervisory representations on disk: what the teacher of each view says of every training image (FD equation 2).

One array [N, D] per view, in the order of the training images, read through a memory map: a batch touches its own
rows only. `representations.json` names the views, their boxes, the teachers and the images, and the folder's manifest
holds the hash of every file, so that neither a damaged array nor one of other images is ever used in silence.

Letters: N training images, B images of a batch, K views, D_k width of view k's representation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import MANIFEST, write_file, write_json
from rewho.core.check import UserError, check_choice, check_name, describe_error, resolve_inside
from rewho.core.files import read_json
from rewho.core.record import find_damage, read_record
from rewho.data.views import View

INDEX = "representations.json"
IMAGES = "images"
"""Name of an input in the manifest: the digest of the images' contents."""


@dataclass(frozen=True)
class TeacherRecord:
    """Where one view's representations come from.

    Args:
        view: The view's name; the array's file is called after it.
        box: Top, bottom, left and right of the view as fractions, such as "1/4".
        width: Length D of a representation.
        teacher: What the teacher is called.
        digest: sha256 of the teacher's weights, and of how its input is prepared.
    """

    view: str
    box: tuple[str, str, str, str]
    width: int
    teacher: str
    digest: str

    def as_view(self) -> View:
        """Return the view's box, at a size that means nothing."""
        top, bottom, left, right = (Fraction(side) for side in self.box)
        return View(self.view, top, bottom, left, right, (1, 1))


def array_file(folder: Path, view: str) -> Path:
    """Return where the array of a view lies."""
    return folder / f"{view}.npy"


def write_representations(file: Path, rows: Iterable[NDArray[np.float32]], count: int, width: int, dtype: str) -> Path:
    """Write one view's array, batch by batch, so that it is there whole or not at all.

    Args:
        file: Where to.
        rows: Batches [B, D] that make up all N rows.
        count: Number N of rows.
        width: Length D of a row.
        dtype: float32 or float16.

    Raises:
        UserError: A value is not finite, or does not fit into float16; the disk is full.
    """

    def write(stream: Any) -> None:  # noqa: ANN401 - an open binary file
        kind = np.dtype(dtype).newbyteorder("<")
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count, width)}
        np.lib.format.write_array_header_1_0(stream, header)
        written = 0
        for batch in rows:
            if not (np.abs(batch) <= np.finfo(kind).max).all():  # also false for NaN
                raise UserError(
                    f"representations of {file.stem}",
                    expected=f"finite numbers that {dtype} can hold",
                    got=f"others among images {written} to {written + len(batch) - 1}",
                    fix="Look at the teacher: did its training diverge? --dtype float32 holds larger numbers.",
                )
            stream.write(batch.astype(kind).tobytes())
            written += len(batch)
        assert written == count, "the teacher returned another number of vectors than there are images"

    return write_file(file, write)


@dataclass(frozen=True)
class Representations:
    """The representations of a data set's training images; picklable, arrays are opened where they are read.

    Args:
        folder: Folder that `rewho represent` wrote.
        rows_sha256: Digest of the table of training images that they belong to.
        count: Number N of training images.
        dtype: float32 or float16, as stored.
        teachers: One record per view, in the order that `gather` returns them.
    """

    folder: Path
    rows_sha256: str
    count: int
    dtype: str
    teachers: tuple[TeacherRecord, ...]

    @property
    def widths(self) -> dict[str, int]:
        """Length of a representation, by view."""
        return {record.view: record.width for record in self.teachers}

    def select(self, views: Sequence[str]) -> Representations:
        """Return the representations of some views, in the order given; all where none is named.

        Raises:
            UserError: A view is not there; names the nearest.
        """
        chosen = tuple(self._teacher("--views", view) for view in views)
        return Representations(self.folder, self.rows_sha256, self.count, self.dtype, chosen or self.teachers)

    def inputs(self) -> dict[str, str]:
        """Return what a distillation learns from: the sha256 of each view's array, and what the arrays are of."""
        files = read_record(self.folder / MANIFEST)["files"]
        arrays = {f"representations {view}": files[array_file(self.folder, view).name] for view in self.widths}
        return {"representations of": self.rows_sha256} | {name: file["sha256"] for name, file in arrays.items()}

    def check_teacher(self, view: str, digest: str) -> None:
        """Refuse a teacher that did not make the representations of its view.

        Args:
            view: The teacher's view.
            digest: sha256 of its weights.

        Raises:
            UserError: There are none of that view, or another teacher made them.
        """
        made = self._teacher("--teachers, view", view)
        if made.digest != digest:
            raise UserError(
                f"--representations {self.folder}",
                expected=f"representations that the teacher of {view} made (weights {digest[:12]}…)",
                got=f"those of {made.teacher} (weights {made.digest[:12]}…)",
                fix="Run `rewho represent` with these teachers and a new --out, or leave --teachers out.",
            )

    def _teacher(self, what: str, view: str) -> TeacherRecord:
        by_name = {record.view: record for record in self.teachers}
        return by_name[check_choice(what, view, list(by_name))]

    def array(self, view: str) -> NDArray[Any]:
        """Return a view's [N, D] as a memory map, read-only."""
        path = array_file(self.folder, view)
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(str(path), expected="a NumPy array", got=str(error), fix="Copy it again.") from error
        return array

    @cached_property
    def _arrays(self) -> list[NDArray[Any]]:
        return [self.array(record.view) for record in self.teachers]

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the representations of some images, all views side by side.

        Args:
            rows: int64 [B], rows of the training table.

        Returns:
            float32 [B, sum of D_k], in the order of `teachers`.
        """
        return np.concatenate([array[rows].astype(np.float32, copy=False) for array in self._arrays], axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_arrays"}  # maps are opened again


def write_index(folder: Path, rows_sha256: str, count: int, dtype: str, teachers: Sequence[TeacherRecord]) -> Path:
    """Write `representations.json`, which says what the arrays are."""
    records = [asdict(record) for record in teachers]
    return write_json(
        folder / INDEX,
        {"format": 1, "rows_sha256": rows_sha256, "count": count, "dtype": dtype, "teachers": records},
    )


def open_representations(folder: Path, rows_sha256: str = "", content_sha256: str = "") -> Representations:
    """Open a folder of representations, every byte of it verified.

    Args:
        folder: Folder that `rewho represent` wrote.
        rows_sha256: Digest of the training table that they must belong to; empty takes any.
        content_sha256: Digest of the contents of its images, likewise.

    Raises:
        UserError: Not there, unfinished, damaged, or of other images.
    """
    what = f"--representations {folder}"
    if not (folder / INDEX).is_file():
        raise UserError(
            what,
            expected=f"a folder with {INDEX}",
            got="none" if folder.is_dir() else "no such folder",
            fix="Give the folder that `rewho represent --out` wrote.",
        )
    broken = find_damage(folder)
    if broken:
        raise UserError(what, expected="a whole folder", got=broken, fix="Run `rewho represent` with a new --out.")
    opened = _read_index(folder)
    if rows_sha256 and opened.rows_sha256 != rows_sha256:
        raise UserError(
            what,
            expected=f"representations of these training images (rows {rows_sha256[:12]}…)",
            got=f"{opened.count:,} of others (rows {opened.rows_sha256[:12]}…)",
            fix="Pass the same --data options as to `rewho represent`, or run it again for this data.",
        )
    if content_sha256 and read_record(folder / MANIFEST).get("inputs", {}).get(IMAGES) != content_sha256:
        raise UserError(
            what,
            expected="representations of the images as they are now",
            got="those of others under the same names",
            fix="Put the images back, or run `rewho represent` again with a new --out.",
        )
    return opened


def _read_index(folder: Path) -> Representations:
    """Return what `representations.json` says, if every array is one of the folder and as it says.

    Raises:
        UserError: It is damaged, names a file elsewhere, or an array has another shape or type.
    """
    path = folder / INDEX
    try:
        found = read_json(path)
        teachers = tuple(_record(entry) for entry in found["teachers"])
        opened = Representations(folder, found["rows_sha256"], int(found["count"]), str(found["dtype"]), teachers)
        for record in teachers:
            resolve_inside(folder, f"{check_name(str(path), record.view, deep=False)}.npy", str(path))
            array = opened.array(record.view)
            if (array.dtype, array.shape) != (np.dtype(opened.dtype), (opened.count, record.width)):
                raise ValueError(f"{record.view} is {array.dtype} {list(array.shape)}")
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        fix = "Run `rewho represent` with a new --out."
        raise UserError(
            str(path), expected="what `rewho represent` writes", got=describe_error(error), fix=fix
        ) from error
    return opened


def _record(entry: Mapping[str, Any]) -> TeacherRecord:
    top, bottom, left, right = entry["box"]
    return TeacherRecord(entry["view"], (top, bottom, left, right), entry["width"], entry["teacher"], entry["digest"])
