"""The columns of a crop set's manifest: where every crop comes from, and what is known of it without decoding it.

What is unusual: sums over pixels and their squares stand in each row as exact whole numbers, so that the channel mean
and standard deviation of any part of a set are sums of rows, in any order, without an image being opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rewho.core.check import UserError, check_name

if TYPE_CHECKING:
    import pyarrow as pa

KEY_POINT_VALUES = 51
"""17 COCO keypoints, each with x and y in pixels of the frame and a score from 0 to 1."""
FARTHEST = 1e6
"""Most pixels that a keypoint or a head may lie from the origin."""
MOST_HEADS = 4_000
"""Most numbers of other people's heads in a crop, four each."""

MEANING = {
    "name": "unique within the set: the video's hash, the frame's number, the detection's number in that frame",
    "video": "sha256 of the video file's bytes",
    "frame": "number of the frame, from 0, in the order of presentation",
    "time": "seconds since the video's first frame",
    "index": "number of the detection within the frame, before any filter",
    "box": "left, top, right, bottom as detected, in pixels of the frame",
    "cut": "left, top, right, bottom of the crop itself, whole pixels, within the frame",
    "confidence": "how sure the detector was, 0 to 1",
    "keypoints": "x, y, score of 17 COCO keypoints, in pixels of the frame; null where none are known",
    "other_heads": "x, y, half width, half height of every known head of somebody else in it, in pixels of the crop",
    "height": "of the crop, in pixels",
    "width": "of the crop, in pixels",
    "bytes": "length of the encoded image",
    "sha256": "of the encoded image's bytes",
    "quality": "0 to 1, see `rewho.crops.quality`",
    "fingerprint": "32 bytes that near-duplicates nearly share, see `rewho.crops.near_duplicates`",
    "channel_sum": "sum of the pixels of R, G and B",
    "channel_square_sum": "sum of the squared pixels of R, G and B",
    "detector": "id of the detector, with the hash of its file",
    "pose": "id of the keypoint model, with the hash of its file",
    "licence": "id of the licence of the video",
    "config": "sha256 of the settings that decide the crop",
}
"""Every column in its order, and what it holds."""


def import_pyarrow() -> Any:  # noqa: ANN401 - a module
    """Return pyarrow; imported late, because most commands need none.

    Raises:
        UserError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "crop set", expected="the library pyarrow", got="an installation without it", fix="pip install pyarrow"
        ) from error
    return pa


def row_schema() -> pa.Schema:
    """Return the columns of a crop set's manifest.

    Example:
        >>> row_schema().names == list(MEANING)
        True
    """
    pa = import_pyarrow()
    three = pa.list_(pa.int64(), 3)
    kinds = {
        "frame": pa.int32(),
        "time": pa.float64(),
        "index": pa.int32(),
        "box": pa.list_(pa.float32(), 4),
        "cut": pa.list_(pa.int32(), 4),
        "confidence": pa.float32(),
        "keypoints": pa.list_(pa.float32(), KEY_POINT_VALUES),
        "other_heads": pa.list_(pa.float32()),
        "height": pa.int32(),
        "width": pa.int32(),
        "bytes": pa.int32(),
        "quality": pa.float32(),
        "fingerprint": pa.binary(32),
        "channel_sum": three,
        "channel_square_sum": three,
    }
    nullable = ("keypoints",)
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=name in nullable) for name in MEANING])


def rows_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows, given as one dictionary each, as a table with the manifest's columns.

    Example:
        >>> rows_table([]).num_rows
        0
    """
    return import_pyarrow().Table.from_pylist(list(rows), schema=row_schema())


def check_rows(what: str, rows: Any, columns: Sequence[str]) -> None:  # noqa: ANN401 - pyarrow's
    """Refuse rows without one of the columns, with columns of other types, absent values or numbers that no crop has.

    Raises:
        UserError: Names the first such column.
    """
    schema, wrong = row_schema(), ""
    for field in map(schema.field, columns):
        at = rows.schema.get_field_index(field.name)
        if at < 0 or rows.schema.field(at).type != field.type or (rows.column(at).null_count and not field.nullable):
            wrong = f"no {field.name}" if at < 0 else f"{field.name} of another type, or absent values in it"
        elif field.name in ("keypoints", "other_heads"):
            parts = rows.column(at).combine_chunks()
            values, known = np.asarray(parts.flatten()), field.name == "keypoints"  # which may be NaN, and are 51
            lengths = np.zeros(1) if known else np.diff(parts.offsets)
            if (lengths % 4).any() or lengths.max(initial=0) > MOST_HEADS or (np.abs(values) > FARTHEST).any():
                wrong = f"{field.name} that no image has"
            elif not known and np.isnan(values).any():
                wrong = f"{field.name} that are no numbers"
        if wrong:
            expected = "the columns of a crop set, with a value in every row"
            raise UserError(what, expected=expected, got=wrong, fix="Get the set again from where it was made.")
    if "name" in columns:
        check_crop_names(what, rows.column("name"))


def check_crop_names(what: str, names: Any) -> None:  # noqa: ANN401 - pyarrow's
    """Refuse a column of crop names if one could not be the name of a file: exports write a file for each.

    Raises:
        UserError: Names the first such.
    """
    import pyarrow.compute

    usual = pyarrow.compute.match_substring_regex(names, r"^[0-9A-Za-z_-][0-9A-Za-z_.-]{0,199}$")
    for name in names.filter(pyarrow.compute.invert(usual)).to_pylist():
        check_name(what, name, deep=False)


def matches_row(row: Mapping[str, Any], image: bytes) -> bool:
    """Return whether an encoded image is the one that a row was written for.

    Example:
        >>> matches_row({"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, b"test")
        True
    """
    return bool(hashlib.sha256(image).hexdigest() == row["sha256"])


def image_schema() -> pa.Schema:
    """Return the columns of a shard: the crop's name and the bytes of its encoded image."""
    pa = import_pyarrow()
    return pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("image", pa.binary(), nullable=False)])
