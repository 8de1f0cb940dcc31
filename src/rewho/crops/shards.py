"""Crops on disk: memory-mapped Arrow files of encoded images, with one Parquet manifest beside each.

A crop set is a folder with `shards/00000.arrow`, … (the encoded images, in record batches of 1,000),
`manifest/00000.parquet`, … (where each crop comes from, same order) and `index.json`, written last, with the hash of
every file. Opening reads the index alone; a crop costs one look into a memory-mapped file. Whoever adds crops writes
new files and then replaces the index, so that readers see the set before or after and never between.

Nothing is read without being compared: a file of rows with its hash in the index when it is first used, and a crop
with the hash in its row at every access, which costs a hundredth of decoding it.
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

from rewho.core.artifact import digest, hash_file, json_bytes
from rewho.core.check import UserError, check_name, describe_error, resolve_inside
from rewho.core.files import parse_json
from rewho.crops.rows import MEANING, check_rows, image_schema, import_pyarrow, matches_row
from rewho.data.file_lists import CROP_SET_INDEX
from rewho.data.images import decode

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
BATCH_ROWS = 1000
"""Crops per record batch; the last batch of a shard may have fewer."""
SHARD_ROWS = 10_000
"""Crops per shard; the last shard of a set may have fewer."""
SUM = 16  # digits of an image's hash that are kept in memory: enough against damage, 64 MB for four million crops
SEAL = "seal"
Encoded = bytes
"""An encoded image; a name of its own, because `CropSet.bytes` hides the other."""

INDEX = CROP_SET_INDEX


@dataclass(frozen=True)
class Shard:
    """One shard: a file of images and the file of their rows.

    Args:
        name: Such as "00000"; shards are in the order of the index, not of their names.
        crops: How many.
        images: Path of the Arrow file within the set.
        rows: Path of the Parquet file within the set.
        images_sha256: Hash of the Arrow file.
        rows_sha256: Hash of the Parquet file.
    """

    name: str
    crops: int
    images: str
    rows: str
    images_sha256: str
    rows_sha256: str


@dataclass(frozen=True)
class Index:
    """What `index.json` says of a crop set.

    Args:
        shards: The shards, in order.
        about: What else is known of the set, such as its encoding; plain values.
    """

    shards: tuple[Shard, ...]
    about: dict[str, Any]

    def encoded(self) -> bytes:
        """Return the one form of this index: same index, same bytes; sealed, so that any changed byte shows."""
        content: dict[str, Any] = {"format": FORMAT, "crops": sum(shard.crops for shard in self.shards)}
        content |= {"about": self.about, "shards": [asdict(shard) for shard in self.shards]}
        return sealed(content)


def sealed(content: dict[str, Any]) -> bytes:
    """Return JSON that carries the digest of itself.

    Example:
        >>> unsealed(sealed({"crops": 3}))
        {'crops': 3}
    """
    return json_bytes({**content, SEAL: digest(content)}, sort_keys=True)


def unsealed(data: bytes) -> dict[str, Any]:
    """Return what `sealed` was given.

    Raises:
        ValueError: Any byte differs from what was written.
    """
    content = parse_json(data)
    if not isinstance(content, dict) or content.pop(SEAL, None) != digest(content) or sealed(content) != data:
        raise ValueError("does not match its own seal")
    return content


def read_index(folder: Path) -> Index:
    """Return the index of a crop set.

    Raises:
        UserError: No crop set there, a damaged index, one of a newer version, or one that names a file outside the set.
    """
    path = folder / INDEX
    if not path.is_file():
        raise UserError(
            str(folder), expected=f"a crop set (a folder with {INDEX})", got="none", fix="Check the path, or build it."
        )
    try:
        content = unsealed(path.read_bytes())
        if content.get("format") != FORMAT:
            fix = "Install a newer rewho."
            raise UserError(str(path), expected=f"format {FORMAT}", got=repr(content.get("format")), fix=fix)
        shards = tuple(Shard(**entry) for entry in content["shards"])
        index = Index(shards, {**content["about"]})
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


class CropSet(Sequence[NDArray[np.uint8]]):
    r"""The crops of a folder, in any order, decoded when they are asked for.

    It can be pickled and used after a fork: files are opened where they are first read, and memory pages are shared.

    Args:
        folder: The folder.
        contents: Its index.

    Attributes:
        folder: The folder.
        contents: What `index.json` says.

    Example:
        >>> import tempfile
        >>> from rewho.crops.writer import example_set
        >>> with tempfile.TemporaryDirectory() as place:
        ...     crops = CropSet.open(example_set(Path(place)))
        ...     len(crops), crops[0].shape, crops.bytes(0)[:2], crops.manifest(["frame"]).to_pydict()
        (2, (8, 4, 3), b'\xff\xd8', {'frame': [0, 100]})
    """

    def __init__(self, folder: Path, contents: Index) -> None:
        self.folder, self.contents = folder, contents
        self._ends = list(itertools.accumulate(shard.crops for shard in contents.shards))
        self._forget()

    @classmethod
    def open(cls, folder: Path | str) -> CropSet:
        """Return the crop set in a folder; reads its index alone.

        Raises:
            UserError: No crop set there, or a damaged index.
        """
        return cls(Path(folder), read_index(Path(folder)))

    def close(self) -> None:
        """Close the files; whatever is read next opens them again."""
        self._forget()

    def _forget(self) -> None:
        self._owner = os.getpid()
        self._readers: dict[int, pa.ipc.RecordBatchFileReader] = {}
        self._batches: dict[tuple[int, int], pa.Array] = {}
        self._whole: set[str] = set()  # files of rows that were compared with their hashes
        self._sums: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "contents": self.contents}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["contents"])  # type: ignore[misc]  # the same object, opened anew

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> NDArray[np.uint8]:  # type: ignore[override]  # rows, not slices
        """Return crop `row`, uint8 RGB [H, W, 3].

        Raises:
            UserError: The image is damaged; `rewho crops verify` finds all such.
        """
        return decode(self.bytes(row), f"crop {row} of {self.folder}")

    def bytes(self, row: int) -> Encoded:
        """Return the encoded image of crop `row` as it was written.

        Raises:
            UserError: It is not what was written.
        """
        column, place = self._find(row, 1)
        data = Encoded(column[place].as_buffer())
        number, within = self._place(row)
        shard = self.contents.shards[number]
        if number not in self._sums:
            column = self.rows_of(shard, ["sha256"]).column(0).to_pylist()
            self._sums[number] = "".join(one[:SUM].ljust(SUM) for one in column)
        if hashlib.sha256(data).hexdigest()[:SUM] != self._sums[number][SUM * within : SUM * (within + 1)]:
            raise self._damaged(shard.images, f"other bytes as crop {row}", "the images that were written")
        return data

    def name(self, row: int) -> str:
        """Return the unique name of crop `row`."""
        column, place = self._find(row, 0)
        return str(column[place].as_py())

    def place(self, row: int) -> tuple[Shard, int]:
        """Return the shard of crop `row`, and its place in it."""
        number, place = self._place(row)
        return self.contents.shards[number], place

    def _place(self, row: int) -> tuple[int, int]:
        row = range(len(self))[row]
        number = bisect.bisect_right(self._ends, row)
        return number, row - (self._ends[number - 1] if number else 0)

    def _find(self, row: int, column: int) -> tuple[pa.Array, int]:
        """Return a column of the record batch that holds a row, and the row's place in it."""
        number, place = self._place(row)
        batch, place = divmod(place, BATCH_ROWS)
        if self._owner != os.getpid():
            self._forget()
        key = (number * 2 + column, batch)
        if key not in self._batches:
            self._batches[key] = self._batch(number, batch).column(column)
        return self._batches[key], place

    def _batch(self, number: int, batch: int) -> pa.RecordBatch:
        """Return a record batch whose offsets lie within it: a damaged one would be read beyond its end."""
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
        """Return the memory-mapped shard with this number, opened on first use."""
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
        """Return the manifest's rows, in the order of the crops.

        Args:
            columns: Which columns, of `rewho.crops.rows.MEANING`; all by default. Ask for few where the set is
                large: all columns take about a kilobyte per crop.

        Raises:
            UserError: A file of the manifest is missing or damaged.
        """
        pa = import_pyarrow()
        tables = [self.rows_of(shard, columns) for shard in self.contents.shards]
        if not tables:
            from rewho.crops.rows import row_schema

            empty = row_schema().empty_table()
            return empty if columns is None else empty.select(list(columns))
        return pa.concat_tables(tables)

    def rows_of(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the manifest's rows of one shard, compared with the index's hash when they are first used.

        Raises:
            UserError: The file is missing, damaged or not the one that was written, or a crop's name is none.
        """
        pa = import_pyarrow()
        try:
            path = resolve_inside(self.folder, shard.rows, INDEX)
            if shard.rows not in self._whole and hash_file(path) != shard.rows_sha256:
                raise self._damaged(shard.rows, "others", "the rows that were written")
            self._whole.add(shard.rows)
            with pa.parquet.ParquetFile(path, memory_map=True) as file:
                rows = file.read(columns=list(columns or MEANING), use_threads=False)  # may be a fork
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(shard.rows, describe_error(error)) from error
        if len(rows) != shard.crops:
            raise self._damaged(shard.rows, f"{len(rows):,} rows", f"rows of {shard.crops:,} crops")
        check_rows(str(path), rows, list(columns or MEANING))
        return rows

    def batches_of(self, number: int, *, check: bool = True) -> Iterator[pa.RecordBatch]:
        """Yield the names and encoded images of one shard, a record batch at a time, in order.

        Args:
            number: Which shard.
            check: Compare every name and image with its row.

        Raises:
            UserError: The file is missing or damaged, or a crop is not the one that its row describes.
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

    def images(self) -> Iterator[tuple[str, Encoded]]:
        """Yield name and encoded image of every crop, in order, in bounded memory."""
        for number in range(len(self.contents.shards)):
            for batch in self.batches_of(number):
                for name, image in zip(batch.column(0), batch.column(1), strict=True):
                    yield name.as_py(), image.as_py()
