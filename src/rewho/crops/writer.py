"""Writes the shards of a crop set, the index last; equal crops give equal bytes.

Batches and shards are split by number of crops only, so that a set does not depend on how many crops were added at a
time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import ASIDE, explain_full_disk, hash_file, write_file
from rewho.core.check import UserError, check_range
from rewho.crops.rows import FORMAT, image_schema, import_pyarrow, row_schema, rows_table
from rewho.crops.shards import BATCH_ROWS, INDEX, SHARD_ROWS, Contents, CropSet, Shard, read_index

if TYPE_CHECKING:
    import pyarrow as pa


def encode(pixels: NDArray[np.uint8], encoding: str = "jpeg", quality: int = 95) -> bytes:
    """Return the bytes of an image, uint8 RGB [H, W, 3], encoded as jpeg or png.

    JPEG is written without chroma subsampling: re-identification relies on the colours of clothes, and with subsampling
    a crop 48 pixels wide has 24 pixels of colour. PNG is lossless and about three times as large.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    if encoding == "jpeg":
        full_colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full_colour]
    done, data = cv2.imencode(".jpg" if encoding == "jpeg" else ".png", pixels[..., ::-1], options)
    assert done, "a uint8 image can always be encoded"
    return data.tobytes()


def crop_row(name: str, data: bytes, pixels: NDArray[np.uint8], **known: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the manifest row of a crop with encoded image `data`; columns missing in `known` are empty or zero."""
    whole = [0, 0, pixels.shape[1], pixels.shape[0]]
    counts = [np.bincount(pixels[..., channel].reshape(-1), minlength=256) for channel in range(3)]
    sums, squares = ([int(count @ np.arange(256) ** power) for count in counts] for power in (1, 2))
    empty = {
        "video": "",
        "frame": 0,
        "time": 0.0,
        "index": 0,
        "track": None,
        "box": whole,
        "cut": whole,
        "confidence": 0.0,
    }
    empty |= {"keypoints": None, "other_heads": [], "quality": 0.0, "fingerprint": bytes(32)}
    empty |= {"detector": "", "pose": "", "licence": "", "config": ""}
    own = {"name": name, "height": pixels.shape[0], "width": pixels.shape[1], "bytes": len(data)}
    own |= {"sha256": hashlib.sha256(data).hexdigest(), "channel_sum": sums}
    return {**empty, **own, "channel_square_sum": squares, **known}


class ShardWriter:
    """Writes crops into a folder, shard by shard; `commit` makes them a crop set.

    Args:
        folder: The folder; created if missing.
        append: Add new shards to the crop set in the folder; otherwise UserError is raised if there is one.
        shard_rows: Crops per shard.
        version: Version of the rows; an older one only to restore what it wrote.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     len(CropSet.open(example_set(Path(place))))
        2
    """

    def __init__(
        self, folder: Path, *, append: bool = False, shard_rows: int = SHARD_ROWS, version: int = FORMAT
    ) -> None:
        check_range("shard_rows", shard_rows, 1, 10_000_000)
        self.folder, self._shard_rows, self._version = folder, shard_rows, version
        there = (folder / INDEX).is_file()
        if there and not append:
            got, fix = "one that has it", "Choose another."
            raise UserError(str(folder), expected="a folder without a crop set", got=got, fix=fix)
        self._shards = list(read_index(folder).shards) if there else []
        self._about = read_index(folder).about if there else {}
        self._rows: list[pa.Table] = []
        self._pending: list[pa.Table] = []
        self._in_shard = 0
        self._open: _OpenShard | None = None

    def add(self, rows: pa.Table, images: pa.Array | Sequence[bytes]) -> None:
        """Add crops: their manifest rows and, in the same order, their encoded images."""
        pa = import_pyarrow()
        names = rows.column("name").combine_chunks()
        table = pa.Table.from_arrays([names, pa.array(images, pa.binary())], schema=image_schema())
        start = 0
        while start < len(rows):
            step = min(len(rows) - start, self._shard_rows - self._in_shard)
            self._rows.append(rows.slice(start, step))
            self._pending.append(table.slice(start, step))
            self._in_shard += step
            start += step
            self._write_batches(whole_only=self._in_shard < self._shard_rows)
            if self._in_shard == self._shard_rows:
                self._close_shard()

    def _write_batches(self, *, whole_only: bool) -> None:
        """Write pending crops as record batches; the last, partial one only at the end of a shard."""
        waiting = sum(len(table) for table in self._pending)
        if waiting == 0 or (whole_only and waiting < BATCH_ROWS):
            return
        table = import_pyarrow().concat_tables(self._pending).combine_chunks()
        count = waiting - waiting % BATCH_ROWS if whole_only else waiting
        self._open = self._open or _OpenShard(self.folder, self._next_name())
        for start in range(0, count, BATCH_ROWS):
            # `take` copies: a slice would write bits of its neighbours into the file's padding.
            self._open.write(table.take(np.arange(start, min(start + BATCH_ROWS, count))))
        self._pending = [table.slice(count)] if count < waiting else []

    def _next_name(self) -> str:
        """Return a number above those of all shards, of which some may be missing or named after what they replace."""
        return f"{max((int(shard.name.partition('-')[0]) for shard in self._shards), default=-1) + 1:05d}"

    def _close_shard(self) -> None:
        assert self._open is not None
        schema = row_schema(self._version)
        table = import_pyarrow().concat_tables(self._rows).select(schema.names).cast(schema).combine_chunks()
        self._shards.append(self._open.close(table))
        self._rows, self._in_shard, self._open = [], 0, None

    def commit(self, about: dict[str, Any] | None = None) -> CropSet:
        """Write the last shard and the index, with other properties of the set in `about`, and return the crop set."""
        if self._in_shard:
            self._write_batches(whole_only=False)
            self._close_shard()
        index = Contents(tuple(self._shards), {**self._about, **(about or {})})
        write_file(self.folder / INDEX, lambda file: file.write(index.encode()))
        return CropSet(self.folder, index)

    def abandon(self) -> None:
        """Remove the partly written shard; finished shards stay until the next writer replaces them."""
        if self._open is not None:
            self._open.remove()
            self._open = None


class _OpenShard:
    """A shard while it is written, under a temporary name."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / "shards" / f"{name}.arrow"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._aside = self._path.with_name(f"{ASIDE}{os.getpid()}-{self._path.name}")
        pa = import_pyarrow()
        self._file = self._aside.open("wb")
        self._writer = pa.ipc.new_file(self._file, image_schema())
        self._crops = 0

    def write(self, table: pa.Table) -> None:
        with explain_full_disk(self._path, self._aside):
            self._writer.write_table(table)
        self._crops += len(table)

    def close(self, rows: pa.Table) -> Shard:
        """Finish both files and return their entry in the index."""
        assert len(rows) == self._crops
        with explain_full_disk(self._path, self._aside):
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._aside.replace(self._path)
        place = self._folder / "manifest" / f"{self._name}.parquet"
        parquet = import_pyarrow().parquet
        write_file(place, lambda file: parquet.write_table(rows, file, compression="zstd", row_group_size=1 << 20))
        return Shard(
            self._name,
            self._crops,
            self._path.relative_to(self._folder).as_posix(),
            place.relative_to(self._folder).as_posix(),
            hash_file(self._path),
            hash_file(place),
        )

    def remove(self) -> None:
        self._file.close()
        self._aside.unlink(missing_ok=True)


def example_set(folder: Path, licence: str = "") -> Path:
    """Write a crop set of two grey images for examples, and return its folder."""
    writer = ShardWriter(folder)
    for number in range(2):
        pixels = np.full((8, 4, 3), 60 + number, np.uint8)
        data = encode(pixels)
        row = crop_row(f"example-{number}", data, pixels, frame=100 * number, licence=licence)
        writer.add(rows_table([row]), [data])
    writer.commit()
    return folder
