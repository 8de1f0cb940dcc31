"""Representations on disk: each teacher's embedding of every training image (FD equation 2).

One array [N, D] per view, in the order of the training images, read through a memory map. `representations.json` names
the views, their boxes, the teachers and the images; the folder's manifest holds the hash of every file.

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
    """Where one view's representations, of length `width`, come from.

    `box` is top, bottom, left and right as fractions such as "1/4"; `digest` covers the weights and the preprocessing.
    """

    view: str
    box: tuple[str, str, str, str]
    width: int
    teacher: str
    digest: str

    def as_view(self) -> View:
        """Return the view's box as a view of size 1 x 1."""
        top, bottom, left, right = (Fraction(side) for side in self.box)
        return View(self.view, top, bottom, left, right, (1, 1))


def array_file(folder: Path, view: str) -> Path:
    """Return the path of a view's array."""
    return folder / f"{view}.npy"


def write_representations(file: Path, rows: Iterable[NDArray[np.float32]], count: int, width: int, dtype: str) -> Path:
    """Write one view's array [count, width] atomically, from batches [B, width]."""

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
                    fix="Check whether the teacher's training diverged. --dtype float32 holds larger numbers.",
                )
            stream.write(batch.astype(kind).tobytes())
            written += len(batch)
        assert written == count, "the teacher returned another number of vectors than there are images"

    return write_file(file, write)


@dataclass(frozen=True)
class Representations:
    """Representations of N training images, one record per view; picklable: arrays are opened when first read."""

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
        """Return the representations of some views, in the order given; of all if none is named."""
        chosen = tuple(self._teacher("--views", view) for view in views)
        return Representations(self.folder, self.rows_sha256, self.count, self.dtype, chosen or self.teachers)

    def inputs(self) -> dict[str, str]:
        """Return the sha256 of each view's array and of the table of training images."""
        files = read_record(self.folder / MANIFEST)["files"]
        arrays = {f"representations {view}": files[array_file(self.folder, view).name] for view in self.widths}
        return {"representations of": self.rows_sha256} | {name: file["sha256"] for name, file in arrays.items()}

    def check_teacher(self, view: str, digest: str) -> None:
        """Raise a UserError if a view's representations are not those of the teacher with this digest."""
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
        """Return float32 [B, sum of D_k], all views side by side, for rows int64 [B] of the training table."""
        return np.concatenate([array[rows].astype(np.float32, copy=False) for array in self._arrays], axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_arrays"}  # maps are opened again


def write_index(folder: Path, rows_sha256: str, count: int, dtype: str, teachers: Sequence[TeacherRecord]) -> Path:
    """Write `representations.json`."""
    records = [asdict(record) for record in teachers]
    return write_json(
        folder / INDEX,
        {"format": 1, "rows_sha256": rows_sha256, "count": count, "dtype": dtype, "teachers": records},
    )


def open_representations(folder: Path, rows_sha256: str = "", content_sha256: str = "") -> Representations:
    """Open a folder of `rewho represent` and verify every byte; an empty expected digest accepts any."""
    what = f"--representations {folder}"
    if not (folder / INDEX).is_file():
        expected, fix = f"a folder with {INDEX}", "Give the folder that `rewho represent --out` wrote."
        raise UserError(what, expected=expected, got="none" if folder.is_dir() else "no such folder", fix=fix)
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
            expected="representations of these images",
            got="those of other images with the same names",
            fix="Put the images back, or run `rewho represent` again with a new --out.",
        )
    return opened


def _read_index(folder: Path) -> Representations:
    """Read `representations.json` and check every array against it."""
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
