"""Crop sets on disk: memory-mapped Arrow files of encoded images, with a Parquet manifest beside each.

A crop set is a folder with `shards/00000.arrow`, … (encoded images in record batches of 1,000),
`manifest/00000.parquet`, … (one row per crop, in the same order) and `index.json`, written last, with the hash of
every file. Opening a set reads the index only; a crop costs one access to a memory-mapped file. Crops are added as
new files, then the index is replaced, so that readers see the set before or after.

Everything read is verified: a file of rows against the index when it is first used, a crop against its row at every
access. Hashing a crop costs a hundredth of decoding it.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file, json_bytes
from rewho.core.check import UserError, check_name, describe_error, resolve_inside
from rewho.core.record import read_sealed, seal
from rewho.crops.rows import (
    COLUMNS,
    FORMAT,
    add_missing_columns,
    check_rows,
    image_schema,
    import_pyarrow,
    matches_row,
    row_schema,
)
from rewho.data.file_lists import CROP_SET_INDEX
from rewho.data.images import decode

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1000
"""Crops per record batch; the last batch of a shard may have fewer."""
SHARD_ROWS = 10_000
"""Crops per shard; the last shard of a set may have fewer."""
DIGITS = 16  # of an image's hash kept in memory: enough to find damage, 64 MB for four million crops
Encoded = bytes
"""An encoded image; an alias, because `CropSet.bytes` shadows the built-in name."""

INDEX = CROP_SET_INDEX


@dataclass(frozen=True)
class Shard:
    """One shard: a file of images and the file of their rows."""

    name: str  # such as "00000"; the order of shards is that of the index, not of their names
    crops: int  # how many
    images: str  # path of the Arrow file within the set
    rows: str  # path of the Parquet file within the set
    images_sha256: str
    rows_sha256: str


@dataclass(frozen=True)
class Contents:
    """The content of a crop set's `index.json`."""

    shards: tuple[Shard, ...]
    about: dict[str, Any]  # other properties of the set, such as its encoding; plain values

    def encode(self) -> bytes:
        """Return the index as sealed JSON; equal indexes give equal bytes."""
        content: dict[str, Any] = {"format": FORMAT, "crops": sum(shard.crops for shard in self.shards)}
        content |= {"about": self.about, "shards": [asdict(shard) for shard in self.shards]}
        return json_bytes(seal(content), sort_keys=True)


def read_index(folder: Path) -> Contents:
    """Return the index of a crop set.

    Raises:
        UserError: No crop set there, a damaged index, one of a newer version, or one that names a file outside the set.
    """
    path = folder / INDEX
    if not path.is_file():
        raise no_crop_set(folder)
    try:
        content = read_sealed(path)
        if content.get("format") not in range(1, FORMAT + 1):
            fix = "Install a newer rewho."
            raise UserError(str(path), expected=f"format 1 to {FORMAT}", got=repr(content.get("format")), fix=fix)
        shards = tuple(Shard(**entry) for entry in content["shards"])
        index = Contents(shards, {**content["about"]})
        numbers = [shard.crops for shard in shards]
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError(f"shards of {numbers} crops")
        if not all(isinstance(index.about.get(name, {}), dict) for name in ("videos", "terms", "settings")):
            raise ValueError("videos, terms or settings that are no objects")
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = f"Run `rewho crops verify {folder} --repair`."
        raise UserError(str(path), expected="a whole index", got=describe_error(error), fix=fix) from error
    for shard in shards:
        check_name(str(path), shard.name, deep=False)
        for name in (shard.images, shard.rows):
            resolve_inside(folder, name, str(path))
    if videos := index.about.get("videos"):
        resolve_inside(folder, videos.get("file"), str(path))
    return index


def no_crop_set(folder: Path) -> UserError:
    """Return the error that a folder holds no crop set."""
    fix = "Check the path, or build the set with `rewho crop`."
    return UserError(str(folder), expected=f"a crop set (a folder with {INDEX})", got="none", fix=fix)


class CropSet(Sequence[NDArray[np.uint8]]):
    r"""The crops of a folder, decoded on access, in any order.

    It can be pickled and used after a fork: files are opened on first access, and memory pages are shared.

    Args:
        folder: The folder.
        contents: Its index.

    Example:
        >>> import tempfile
        >>> from rewho.crops.writer import example_set
        >>> with tempfile.TemporaryDirectory() as place:
        ...     crops = CropSet.open(example_set(Path(place)))
        ...     len(crops), crops[0].shape, crops.bytes(0)[:2], crops.manifest(["frame"]).to_pydict()
        (2, (8, 4, 3), b'\xff\xd8', {'frame': [0, 100]})
    """

    def __init__(self, folder: Path, contents: Contents) -> None:
        self.folder, self.contents = folder, contents
        self._ends = list(itertools.accumulate(shard.crops for shard in contents.shards))
        self.close()

    @classmethod
    def open(cls, folder: Path | str) -> CropSet:
        """Return the crop set in a folder; only its index is read.

        Raises:
            UserError: No crop set there, or a damaged index.
        """
        return cls(Path(folder), read_index(Path(folder)))

    def close(self) -> None:
        """Close the files; the next access opens them again."""
        self._owner = os.getpid()
        self._readers: dict[int, pa.ipc.RecordBatchFileReader] = {}
        self._batches: dict[tuple[int, int], pa.Array] = {}
        self._verified: set[str] = set()  # files of rows whose hash was compared
        self._hashes: dict[int, str] = {}  # the first digits of each shard's image hashes, joined

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "contents": self.contents}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["contents"])  # type: ignore[misc]  # the same object, opened again

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> NDArray[np.uint8]:  # type: ignore[override]  # rows, not slices
        """Return crop `row`, uint8 RGB [H, W, 3]; raise UserError if it is damaged."""
        return decode(self.bytes(row), f"crop {row} of {self.folder}")

    def bytes(self, row: int) -> Encoded:
        """Return the encoded image of crop `row` as it was written; raise UserError if it is damaged."""
        column, place = self._find(row, 1)
        data = Encoded(column[place].as_buffer())
        number, within = self._locate(row)
        shard = self.contents.shards[number]
        if number not in self._hashes:
            column = self.rows_of(shard, ["sha256"]).column(0).to_pylist()
            self._hashes[number] = "".join(one[:DIGITS].ljust(DIGITS) for one in column)
        expected = self._hashes[number][DIGITS * within : DIGITS * (within + 1)]
        if hashlib.sha256(data).hexdigest()[:DIGITS] != expected:
            raise self._damaged(shard.images, f"other bytes as crop {row}", "the images that were written")
        return data

    def name(self, row: int) -> str:
        """Return the unique name of crop `row`."""
        column, place = self._find(row, 0)
        return str(column[place].as_py())

    def row(self, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """Return some columns of crop `row`'s manifest row."""
        number, place = self._locate(row)
        values: dict[str, Any] = self.rows_of(self.contents.shards[number], columns).slice(place, 1).to_pylist()[0]
        return values

    def _locate(self, row: int) -> tuple[int, int]:
        """Return the number of the shard that holds a row, and the row's position in it."""
        row = range(len(self))[row]
        number = bisect.bisect_right(self._ends, row)
        return number, row - (self._ends[number - 1] if number else 0)

    def _find(self, row: int, column: int) -> tuple[pa.Array, int]:
        """Return a column of the record batch that holds a row, and the row's position in it."""
        number, place = self._locate(row)
        batch, place = divmod(place, BATCH_ROWS)
        if self._owner != os.getpid():
            self.close()
        key = (number * 2 + column, batch)
        if key not in self._batches:
            self._batches[key] = self._batch(number, batch).column(column)
        return self._batches[key], place

    def _batch(self, number: int, batch: int) -> pa.RecordBatch:
        """Return a record batch with verified offsets: reading a damaged one could run beyond its end."""
        file = self.contents.shards[number].images
        try:
            found = self._reader(number).get_batch(batch)
            found.validate(full=True)
        except (OSError, import_pyarrow().ArrowException) as error:
            raise self._damaged(file, describe_error(error)) from error
        wanted = min(BATCH_ROWS, self.contents.shards[number].crops - batch * BATCH_ROWS)
        if found.schema != image_schema() or len(found) != wanted:
            raise self._damaged(file, f"a record batch of {len(found)} crops")
        return found

    def _reader(self, number: int) -> pa.ipc.RecordBatchFileReader:
        """Return a memory-mapped shard, opened on first use."""
        if number not in self._readers:
            shard = self.contents.shards[number]
            pa = import_pyarrow()
            try:
                file = resolve_inside(self.folder, shard.images, INDEX)
                reader = pa.ipc.open_file(pa.memory_map(os.fspath(file)))
                sound = reader.num_record_batches == -(-shard.crops // BATCH_ROWS)
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(shard.images, describe_error(error)) from error
            if not sound:
                raise self._damaged(shard.images, f"{reader.num_record_batches} record batches")
            self._readers[number] = reader
        return self._readers[number]

    def _damaged(self, file: str, got: str, expected: str = "a whole shard") -> UserError:
        fix = f"Run `rewho crops verify {self.folder} --repair`."
        return UserError(str(self.folder / file), expected=expected, got=got, fix=fix)

    def manifest(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the manifest's rows in the order of the crops; raise UserError if a file is missing or damaged.

        Args:
            columns: Names of `rewho.crops.rows.COLUMNS`; all by default. All take about a kilobyte per crop.
        """
        tables = [self.rows_of(shard, columns) for shard in self.contents.shards]
        if not tables:
            empty = row_schema().empty_table()
            return empty if columns is None else empty.select(list(columns))
        return import_pyarrow().concat_tables(tables)

    def rows_of(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the manifest's rows of one shard; the file's hash is compared on first use.

        Raises:
            UserError: The file is missing, damaged or another one, or a crop's name is no file name.
        """
        pa = import_pyarrow()
        try:
            path = resolve_inside(self.folder, shard.rows, INDEX)
            if shard.rows not in self._verified and hash_file(path) != shard.rows_sha256:
                raise self._damaged(shard.rows, "others", "the rows that were written")
            self._verified.add(shard.rows)
            with pa.parquet.ParquetFile(path, memory_map=True) as file:
                rows = file.read(columns=list(columns or COLUMNS), use_threads=False)  # may be a fork
                rows = add_missing_columns(rows, list(columns or COLUMNS))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(shard.rows, describe_error(error)) from error
        if len(rows) != shard.crops:
            raise self._damaged(shard.rows, f"{len(rows):,} rows", f"rows of {shard.crops:,} crops")
        check_rows(str(path), rows, list(columns or COLUMNS))
        return rows

    def batches_of(self, number: int, *, check: bool = True) -> Iterator[pa.RecordBatch]:
        """Yield the record batches of one shard, with columns `name` and `image`.

        Raises:
            UserError: The file is missing or damaged, or `check` is set and a crop does not match its row.
        """
        shard = self.contents.shards[number]
        rows = self.rows_of(shard, ["name", "sha256"]).to_pylist() if check else []
        for batch in range(self._reader(number).num_record_batches):
            found = self._batch(number, batch)
            for row, name, image in zip(rows[batch * BATCH_ROWS :], *found.columns, strict=False):
                if row["name"] != name.as_py() or not matches_row(row, image.as_py()):
                    expected = "the image that its row describes"
                    raise self._damaged(shard.images, "other bytes", f"{expected}, of crop {row['name']}")
            yield found
