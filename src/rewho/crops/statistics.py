"""Computes statistics of a crop set (LUPerson table 1) from its rows and its list of videos, without opening images."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file, write_file
from rewho.core.check import UserError, describe_error, resolve_inside
from rewho.core.files import parse_json
from rewho.crops.rows import COPY_AGAIN, import_pyarrow
from rewho.crops.shards import INDEX, CropSet, read_index
from rewho.crops.tracks import measure_tracks, read_tracks

VIDEOS = "videos.parquet"
UNLINKED = "unlinked"  # frames of a video too far from their neighbours to link anyone
REQUIRED = ("height", "width", "bytes", "confidence", "quality", "channel_sum", "channel_square_sum")
PERCENTILES = {"least": 0, "5 %": 5, "25 %": 25, "median": 50, "75 %": 75, "95 %": 95, "most": 100}


def write_videos(folder: Path, records: Sequence[dict[str, Any]], name: str = VIDEOS) -> Path:
    """Write the list of videos, one row per video; the column `dropped` has counts by rule as JSON."""
    pa = import_pyarrow()
    plain = [{UNLINKED: 0, **record, "dropped": json.dumps(record["dropped"], sort_keys=True)} for record in records]
    plain = [{name: utf_8(value) if isinstance(value, str) else value for name, value in one.items()} for one in plain]
    table = pa.Table.from_pylist(plain, schema=_video_schema())
    return write_file(folder / name, lambda file: pa.parquet.write_table(table, file, compression="zstd"))


def _video_schema() -> Any:  # noqa: ANN401 - pyarrow's
    pa = import_pyarrow()
    texts = ("path", "key", "city", "source", "licence", "sha256", "status", "reason", "detail", "changes", "dropped")
    whole = ("size", "frames", "width", "height", "looked", "detections", "kept", "persons", "crops")
    kinds = {**dict.fromkeys(texts, pa.string()), **dict.fromkeys(whole, pa.int64())}
    return pa.schema([*kinds.items(), ("duration", pa.float64()), ("fps", pa.float64()), (UNLINKED, pa.int64())])


def read_videos(folder: Path) -> list[dict[str, Any]]:
    """Return the list of videos of a crop set, after comparing its hash with the index; empty where it has none."""
    listed = read_index(folder).about.get("videos")
    if not listed:
        return []
    path = resolve_inside(folder, listed.get("file"), INDEX)
    if not path.is_file() or hash_file(path) != listed.get("sha256"):
        fix = "Run the command that built the set with another --out."
        got = "another" if path.is_file() else "none"
        raise UserError(str(path), expected="the list of videos that was written", got=got, fix=fix)
    pa = import_pyarrow()
    try:
        table = pa.parquet.read_table(path)
        if UNLINKED not in table.column_names:  # made before there were tracks
            table = table.append_column(UNLINKED, pa.array(np.zeros(len(table), np.int64)))
        if table.schema != _video_schema() or any(column.null_count for column in table.columns):
            raise ValueError("other columns, or absent values")
        rows = [{**row, "dropped": parse_json(row["dropped"])} for row in table.to_pylist()]
        if not all(type(count) is int for row in rows for count in {**row["dropped"]}.values()):
            raise ValueError("counts that are no whole numbers")
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(str(path), expected="a list of videos", got=describe_error(error), fix=COPY_AGAIN) from error
    return [{**row, "path": _unescape(row["path"])} for row in rows]


def utf_8(text: str) -> str:
    """Return text in which bytes of a file name that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _unescape(path: str) -> str:
    """Return the file name that `utf_8` escaped."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), path)


class Channels:
    """Mean and standard deviation of R, G and B, 0 to 1, accumulated from rows.

    Every crop has the same weight, large or small, because networks scale all crops to one size.

    Example:
        >>> channels = Channels()
        >>> channels.add(np.array([[510, 0, 255]]), np.array([[130050, 0, 65025]]), np.array([2]))
        >>> channels.mean.tolist(), channels.std.tolist()
        ([1.0, 0.0, 0.5], [0.0, 0.0, 0.5])
    """

    def __init__(self) -> None:
        self._crops, self._sum, self._squares = 0, np.zeros(3), np.zeros(3)

    def add(self, sums: NDArray[np.int64], squares: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Add N crops: sums of pixels [N, 3] and of squared pixels [N, 3], and the number of pixels [N]."""
        self._crops += len(pixels)
        self._sum += (sums / pixels[:, None]).sum(0)
        self._squares += (squares / pixels[:, None]).sum(0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of R, G and B, 0 to 1."""
        return self._sum / max(1, self._crops) / 255

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of R, G and B over all pixels of all crops, 0 to 1."""
        variance = self._squares / max(1, self._crops) / 255**2 - self.mean**2
        return np.sqrt(np.maximum(variance, 0))


def compute_statistics(crops: CropSet, videos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics of a crop set and its list of videos as plain values.

    `persons` is the paper's estimate: the largest number of people in one frame of a video, summed over the videos.
    """
    whole, channels = _read_columns(crops)
    scenes = [video for video in videos if video["status"] == "ok"]
    dropped: Counter[str] = Counter()
    for video in scenes:
        dropped.update(video["dropped"])
    return {
        "crops": len(crops),
        "scenes": len(scenes),
        "persons": sum(video["persons"] for video in scenes),
        "hours": round(sum(video["duration"] for video in scenes) / 3600, 4),
        "frames_looked_at": sum(video["looked"] for video in scenes),
        "detections": sum(video["detections"] for video in scenes),
        "kept_by_the_rules": sum(video["kept"] for video in scenes),
        "dropped_by_rule": dict(sorted(dropped.items())),
        "bytes": int(whole["bytes"].sum()),
        "mean": [round(float(value), 4) for value in channels.mean],
        "std": [round(float(value), 4) for value in channels.std],
        **{name: _percentiles(whole[name]) for name in ("height", "width", "confidence", "quality")},
        "crops_per_video": _percentiles(np.array([video["crops"] for video in scenes])),
        "tracks": _describe_tracks(crops, scenes),
        "videos": _count(video["status"] for video in videos),
        "reasons": _count(video["reason"] for video in videos),
        "resolutions": _count(f"{video['width']} x {video['height']}" for video in scenes),
        "cities": _count(video["city"] for video in scenes),
        "licences": _count(video["licence"] for video in scenes),
    }


def _read_columns(crops: CropSet) -> tuple[dict[str, NDArray[Any]], Channels]:
    channels = Channels()
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in REQUIRED[:5]}
    for shard in crops.contents.shards:
        rows = crops.rows_of(shard, REQUIRED)
        for name, values in columns.items():
            values.append(rows.column(name).to_numpy())
        sums, squares = (
            rows.column(name).combine_chunks().flatten().to_numpy().reshape(-1, 3) for name in REQUIRED[5:]
        )
        channels.add(sums, squares, columns["height"][-1].astype(np.int64) * columns["width"][-1])
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in columns.items()}, channels


def _describe_tracks(crops: CropSet, scenes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the number of tracks, of crops without one and of frames too far apart, and the tracks' lengths."""
    tracks = read_tracks(crops)
    lengths, seconds = measure_tracks(tracks)
    return {
        "tracks": len(lengths),
        "of_several_crops": int((lengths > 1).sum()),
        "crops_without": int((tracks.numbers < 0).sum()),
        "frames_too_far_apart": sum(video[UNLINKED] for video in scenes),
        "crops_per_track": _percentiles(lengths),
        "seconds_per_track": _percentiles(seconds),
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    """Return how often each non-empty value occurs, sorted by value."""
    return dict(sorted(Counter(filter(None, values)).items()))


def _percentiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.percentile(values, list(PERCENTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(PERCENTILES, found, strict=True)}
