"""The columns of a crop set's manifest: one row per crop, with its source and properties.

Each row has the exact integer sums of its pixels and squared pixels. Channel mean and standard deviation of any part
of a set follow from them in any order, without opening an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rewho.core.check import UserError, check_name

if TYPE_CHECKING:
    import pyarrow as pa

KEYPOINT_VALUES = 51
"""17 COCO keypoints, each with x and y in pixels of the frame and a score from 0 to 1."""
FARTHEST = 1e6  # pixels that a keypoint or a head may be away from the origin
MOST_HEADS = 4_000  # values of other people's heads in a crop, four per head
FORMAT = 2
"""Version of a crop set's files: 2 added tracks."""
ADDED = {"track": 2}
"""Columns that older versions lack; null is read for them."""
NULLABLE = ("keypoints", "track")
COPY_AGAIN = "Copy the set again from where it was made."

COLUMNS = {
    "name": "unique within the set: the video's hash, the frame's number, the detection's number in that frame",
    "video": "sha256 of the video file's bytes",
    "frame": "number of the frame, from 0, in the order of presentation",
    "time": "seconds since the video's first frame",
    "index": "number of the detection within the frame, before any filter",
    "track": "number of the person's track within the video, see `rewho.crops.tracks`; null where it is not known",
    "box": "left, top, right, bottom as detected, in pixels of the frame",
    "cut": "left, top, right, bottom of the crop itself, in whole pixels within the frame",
    "confidence": "of the detector, 0 to 1",
    "keypoints": "x, y, score of 17 COCO keypoints, in pixels of the frame; null where none are known",
    "other_heads": "x, y, half width, half height of each other person's known head, in pixels of the crop",
    "height": "of the crop, in pixels",
    "width": "of the crop, in pixels",
    "bytes": "length of the encoded image",
    "sha256": "of the encoded image's bytes",
    "quality": "0 to 1, see `rewho.crops.quality`",
    "fingerprint": "32 bytes, similar for near-duplicates, see `rewho.crops.near_duplicates`",
    "channel_sum": "sum of the pixels of R, G and B",
    "channel_square_sum": "sum of the squared pixels of R, G and B",
    "detector": "id of the detector, with the hash of its file",
    "pose": "id of the keypoint model, with the hash of its file",
    "licence": "id of the licence of the video",
    "config": "sha256 of the settings that determine the crop",
}
"""Columns in order, with their meaning."""


def import_pyarrow() -> Any:  # noqa: ANN401 - a module
    """Return the module pyarrow, or raise UserError if it is not installed; most commands do not need it."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        got, fix = "an installation without it", "pip install pyarrow"
        raise UserError("crop set", expected="the library pyarrow", got=got, fix=fix) from error
    return pa


def row_schema(version: int = FORMAT) -> pa.Schema:
    """Return the Arrow schema of the manifest of a crop set of some version."""
    pa = import_pyarrow()
    three = pa.list_(pa.int64(), 3)
    kinds = {
        "frame": pa.int32(),
        "time": pa.float64(),
        "index": pa.int32(),
        "track": pa.int64(),
        "box": pa.list_(pa.float32(), 4),
        "cut": pa.list_(pa.int32(), 4),
        "confidence": pa.float32(),
        "keypoints": pa.list_(pa.float32(), KEYPOINT_VALUES),
        "other_heads": pa.list_(pa.float32()),
        "height": pa.int32(),
        "width": pa.int32(),
        "bytes": pa.int32(),
        "quality": pa.float32(),
        "fingerprint": pa.binary(32),
        "channel_sum": three,
        "channel_square_sum": three,
    }
    names = [name for name in COLUMNS if version >= ADDED.get(name, 1)]
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=name in NULLABLE) for name in names])


def rows_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows, given as one dictionary each, as an Arrow table with the manifest's schema."""
    return import_pyarrow().Table.from_pylist(list(rows), schema=row_schema())


def add_missing_columns(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return rows with those of some columns that were added after their version, full of nulls, in the usual order."""
    pa = import_pyarrow()
    for name in ADDED:
        if name in columns and name not in rows.column_names:
            rows = rows.append_column(row_schema().field(name), pa.nulls(len(rows), row_schema().field(name).type))
    return rows.select([name for name in COLUMNS if name in rows.column_names])


def check_rows(what: str, rows: pa.Table, columns: Sequence[str]) -> None:
    """Raise UserError if rows lack a column, or have another type, a missing value or an impossible head in one."""
    schema = row_schema()
    for field in map(schema.field, columns):
        if wrong := _find_mistake(rows, field):
            expected = "the columns of a crop set, with a value in every row"
            raise UserError(what, expected=expected, got=wrong, fix=COPY_AGAIN)
    if "name" in columns:
        check_crop_names(what, rows.column("name"))


def _find_mistake(rows: pa.Table, field: pa.Field) -> str:
    at = rows.schema.get_field_index(field.name)
    if at < 0:
        return f"no {field.name}"
    if rows.schema.field(at).type != field.type or (rows.column(at).null_count and not field.nullable):
        return f"{field.name} of another type, or absent values in it"
    if field.name in ("keypoints", "other_heads"):
        parts = rows.column(at).combine_chunks()
        values, heads = np.asarray(parts.flatten()), field.name == "other_heads"
        lengths = np.diff(parts.offsets) if heads else np.zeros(1)  # the type fixes the length of keypoints
        if (lengths % 4).any() or lengths.max(initial=0) > MOST_HEADS or (np.abs(values) > FARTHEST).any():
            return f"{field.name} that no image has"
        if heads and np.isnan(values).any():  # keypoints may be NaN
            return f"{field.name} that are no numbers"
    return ""


def check_crop_names(what: str, names: Any) -> None:  # noqa: ANN401 - pyarrow's
    """Raise UserError if a column of crop names has one that is no safe file name: exports write a file per crop."""
    import pyarrow.compute

    usual = pyarrow.compute.match_substring_regex(names, r"^[0-9A-Za-z_-][0-9A-Za-z_.-]{0,199}$")
    for name in names.filter(pyarrow.compute.invert(usual)).to_pylist():
        check_name(what, name, deep=False)


def matches_row(row: Mapping[str, Any], image: bytes) -> bool:
    """Return whether an encoded image has the hash that stands in its row."""
    return bool(hashlib.sha256(image).hexdigest() == row["sha256"])


def image_schema() -> pa.Schema:
    """Return the Arrow schema of a shard: the crop's name and the bytes of its encoded image."""
    pa = import_pyarrow()
    return pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("image", pa.binary(), nullable=False)])
