"""What a crop set must not hold any more: hashes that know forgotten crops, tracks and videos again.

A crop is known by its frame and box, the same hash as in galleries. The hashes say nothing about what they stand for,
and lie in `forgotten.json`, which only grows: it is written before anything is removed, and whatever adds crops to the
set asks it first. Keys: hexadecimal sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import json_bytes, write_file
from rewho.core.check import UserError, describe_error
from rewho.core.record import read_sealed, seal

FORGOTTEN = "forgotten.json"
COUNT = "forgotten"
"""Name in a set's properties of the least number of keys that the file must have."""
COLUMNS = ("video", "frame", "cut", "track")
"""Columns of the rows that keys are made of."""


def place_key(frame: str, box: Sequence[float]) -> str:
    """Return the hash of a frame and a box in it, rounded to whole pixels.

    Example:
        >>> place_key("video/7", (1.2, 2, 3, 4)) == place_key("video/7", (1, 2, 3, 4))
        True
    """
    return hashlib.sha256(json.dumps([frame, *(round(side) for side in box)]).encode()).hexdigest()


def track_key(video: str, track: int) -> str:
    """Return the hash of a track of a video."""
    return hashlib.sha256(json.dumps(["track", video, track]).encode()).hexdigest()


def video_key(video: str) -> str:
    """Return the hash of a whole video, by the hash of its bytes."""
    return hashlib.sha256(json.dumps(["video", video]).encode()).hexdigest()


def keys_of(row: Mapping[str, Any]) -> list[str]:
    """Return the keys any of which keeps a crop out, from its row's `COLUMNS`."""
    found = [place_key(f"{row['video']}/{row['frame']}", row["cut"]), video_key(row["video"])]
    return found if row["track"] is None else [*found, track_key(row["video"], row["track"])]


def find_suppressed(rows: Any, keys: frozenset[str]) -> NDArray[np.bool_]:  # noqa: ANN401 - pyarrow's
    """Return which rows of a manifest are forgotten, bool [N]."""
    if not keys:
        return np.zeros(len(rows), bool)
    listed = rows.select(list(COLUMNS)).to_pylist()
    return np.fromiter((not keys.isdisjoint(keys_of(row)) for row in listed), bool, len(listed))


def without_suppressed(
    rows: Sequence[dict[str, Any]], images: Sequence[bytes], keys: frozenset[str]
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return rows and their images without those that are forgotten."""
    kept = [at for at, row in enumerate(rows) if keys.isdisjoint(keys_of(row))]
    return [rows[at] for at in kept], [images[at] for at in kept]


def read_suppressed(folder: Path, about: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Return the keys of a crop set; none where nothing was forgotten.

    Args:
        folder: The set's folder.
        about: The set's properties, which say how many keys there must be.

    Raises:
        UserError: The file is damaged, or not there although something was forgotten.
    """
    path, least = folder / FORGOTTEN, int((about or {}).get(COUNT, 0))
    fix = "Restore it from a copy: without it, what was forgotten could come back."
    if not path.is_file():
        if least:
            raise UserError(str(path), expected=f"{least:,} hashes of what was forgotten", got="none", fix=fix)
        return frozenset()
    try:
        keys = read_sealed(path)["keys"]
        if len(keys) < least or not all(isinstance(key, str) for key in keys):
            raise ValueError(f"{len(keys):,} hashes, not {least:,}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "the hashes of what was forgotten"
        raise UserError(str(path), expected=expected, got=describe_error(error), fix=fix) from error
    return frozenset(keys)


def add_suppressed(folder: Path, keys: Iterable[str]) -> frozenset[str]:
    """Add keys to those of a folder and return them all; the file is on the disk when this returns."""
    whole = read_suppressed(folder) | frozenset(keys)
    content = json_bytes(seal({"format": 1, "keys": sorted(whole)}))
    write_file(folder / FORGOTTEN, lambda file: file.write(content))
    return whole
