"""Tracks of a crop set: which crops show one person in neighbouring frames, over all shards and merged sets.

A track's number is unique within its video, for one detector and one choice of settings: a set merged from two
samplings of one video has two tracks of the same number. A track is what agrees in `SOURCE` and number.

Letters: N crops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.crops.shards import CropSet

SOURCE = ("video", "config", "detector")
"""Columns that tell equal numbers of different tracks apart."""
UNTRACKED = -1


class CropTracks(NamedTuple):
    """The tracks of all crops of a set, in its order.

    Attributes:
        numbers: int64 [N], from 0 without gaps, in order of videos as they come and of tracks in them; `UNTRACKED`
            where a crop has none.
        times: float64 [N], seconds since the first frame of the video.
        frames: int64 [N], number of the frame.
    """

    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    frames: NDArray[np.int64]


def read_tracks(crops: CropSet) -> CropTracks:
    """Return the tracks of a crop set; only numbers are in memory for more than one shard at a time.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from rewho.crops.writer import example_set
        >>> with tempfile.TemporaryDirectory() as place:
        ...     read_tracks(CropSet.open(example_set(Path(place)))).numbers.tolist()
        [-1, -1]
    """
    known: dict[tuple[str, ...], int] = {}
    sources, tracks, times, frames = [], [], [], []
    for shard in crops.contents.shards:
        rows = crops.rows_of(shard, [*SOURCE, "track", "frame", "time"])
        sources.append(_number_sources(rows, known))
        tracks.append(rows.column("track").fill_null(UNTRACKED).to_numpy())
        times.append(rows.column("time").to_numpy())
        frames.append(rows.column("frame").to_numpy().astype(np.int64))
    if not tracks:
        return CropTracks(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    track = np.concatenate(tracks)
    numbers = np.full(len(track), UNTRACKED, np.int64)
    has = track >= 0
    _, within = np.unique(track[has], return_inverse=True)
    pairs = np.concatenate(sources)[has] * (int(has.sum()) + 1) + within
    numbers[has] = np.unique(pairs, return_inverse=True)[1]
    return CropTracks(numbers, np.concatenate(times), np.concatenate(frames))


def _number_sources(rows: Any, known: dict[tuple[str, ...], int]) -> NDArray[np.int64]:  # noqa: ANN401 - pyarrow's
    """Return the number of each row's source, adding new ones to `known`."""
    encoded = [rows.column(name).combine_chunks().dictionary_encode() for name in SOURCE]
    indices = np.stack([one.indices.to_numpy() for one in encoded], axis=1)
    different, first, inverse = np.unique(indices, axis=0, return_index=True, return_inverse=True)
    ids = np.empty(len(different), np.int64)
    for at in np.argsort(first):  # in the order of the rows
        source = tuple(one.dictionary[int(place)].as_py() for one, place in zip(encoded, different[at], strict=True))
        ids[at] = known.setdefault(source, len(known))
    return ids[inverse.reshape(-1)]


def find_shared_frames(tracks: CropTracks) -> NDArray[np.int64]:
    """Return the rows of crops that share both track and frame with an earlier crop, which no person can.

    Example:
        >>> tracks = CropTracks(np.array([0, 0, 1, 0, -1, -1]), np.zeros(6), np.array([5, 6, 5, 5, 5, 5]))
        >>> find_shared_frames(tracks).tolist()
        [3]
    """
    rows = np.flatnonzero(tracks.numbers >= 0)
    pairs = np.stack([tracks.numbers[rows], tracks.frames[rows]], axis=1)
    first = np.unique(pairs, axis=0, return_index=True)[1] if len(rows) else np.zeros(0, np.int64)
    return np.setdiff1d(rows, rows[first])


def measure_tracks(tracks: CropTracks) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the number of crops of each track and the seconds from its first to its last crop.

    Example:
        >>> measure_tracks(CropTracks(np.array([0, 1, 0]), np.array([0.5, 1.0, 2.0]), np.array([1, 2, 3])))
        (array([2, 1]), array([1.5, 0. ]))
    """
    rows = np.flatnonzero(tracks.numbers >= 0)
    lengths = np.bincount(tracks.numbers[rows])
    first, last = np.full(len(lengths), np.inf), np.full(len(lengths), -np.inf)
    np.minimum.at(first, tracks.numbers[rows], tracks.times[rows])
    np.maximum.at(last, tracks.numbers[rows], tracks.times[rows])
    return lengths, last - first
