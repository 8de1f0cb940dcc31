"""What is in a crop set, in figures (LUPerson table 1): from its rows and its list of videos, no image opened."""

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
from rewho.crops.rows import import_pyarrow
from rewho.crops.shards import INDEX, CropSet, read_index

VIDEOS = "videos.parquet"
REQUIRED = ("height", "width", "bytes", "confidence", "quality", "channel_sum", "channel_square_sum")
SHARES = (0, 5, 25, 50, 75, 95, 100)  # percentiles that are reported


def write_videos(folder: Path, records: Sequence[dict[str, Any]]) -> Path:
    """Write the list of videos, one row each; what the rules dropped stands as JSON in the column `dropped`."""
    pa = import_pyarrow()
    plain = [{**record, "dropped": json.dumps(record["dropped"], sort_keys=True)} for record in records]
    plain = [{name: utf_8(value) if isinstance(value, str) else value for name, value in one.items()} for one in plain]
    table = pa.Table.from_pylist(plain, schema=_video_schema())
    return write_file(folder / VIDEOS, lambda file: pa.parquet.write_table(table, file, compression="zstd"))


def _video_schema() -> Any:  # noqa: ANN401 - pyarrow's
    pa = import_pyarrow()
    texts = ("path", "key", "city", "source", "licence", "sha256", "status", "reason", "detail", "changes", "dropped")
    whole = ("size", "frames", "width", "height", "looked", "detections", "kept", "persons", "crops")
    kinds = {**dict.fromkeys(texts, pa.string()), **dict.fromkeys(whole, pa.int64())}
    return pa.schema([*kinds.items(), ("duration", pa.float64()), ("fps", pa.float64())])


def read_videos(folder: Path) -> list[dict[str, Any]]:
    """Return the list of videos of a crop set, compared with its hash in the index; empty where it has none.

    Raises:
        UserError: There is no crop set, or the list is not the one that was written.
    """
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
        if table.schema != _video_schema() or any(column.null_count for column in table.columns):
            raise ValueError("other columns, or absent values")
        rows = [{**row, "dropped": parse_json(row["dropped"])} for row in table.to_pylist()]
        if not all(type(count) is int for row in rows for count in {**row["dropped"]}.values()):
            raise ValueError("counts that are no whole numbers")
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        fix = "Get the set again from where it was made."
        raise UserError(str(path), expected="a list of videos", got=describe_error(error), fix=fix) from error
    return [{**row, "path": _as_named(row["path"])} for row in rows]


def utf_8(text: str) -> str:
    r"""Return text with the bytes of a file's name that are not UTF-8 written as escapes.

    Example:
        >>> print(utf_8("caf\udce9.mp4"))
        caf\udce9.mp4
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _as_named(path: str) -> str:
    """Return a path with such bytes back in it, so that the file is found again."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), path)


class Channels:
    """Mean and standard deviation of R, G and B, summed up from rows, 0 to 1.

    Every crop counts the same whatever its size, as it does to a network that scales all to one size.

    Example:
        >>> channels = Channels()
        >>> channels.add(np.array([[510, 0, 255]]), np.array([[130050, 0, 65025]]), np.array([2]))
        >>> channels.mean.tolist(), channels.std.tolist()
        ([1.0, 0.0, 0.5], [0.0, 0.0, 0.5])
    """

    def __init__(self) -> None:
        self._crops, self._sum, self._squares = 0, np.zeros(3), np.zeros(3)

    def add(self, sums: NDArray[np.int64], squares: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Add crops: sums of pixels [N, 3] and of their squares [N, 3], and how many pixels each has [N]."""
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
    """Return the figures of a crop set as plain values.

    `persons` is the paper's estimate: for each video the largest number of people in one frame, summed over the videos.

    Args:
        crops: The set.
        videos: Its list of videos.
    """
    channels = Channels()
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in REQUIRED[:5]}
    for shard in crops.contents.shards:
        rows = crops.rows_of(shard, REQUIRED)
        for name, values in columns.items():
            values.append(rows.column(name).to_numpy())
        sums, squares = (_three(rows.column(name)) for name in REQUIRED[5:])
        channels.add(sums, squares, columns["height"][-1].astype(np.int64) * columns["width"][-1])
    whole = {name: np.concatenate(values) if values else np.empty(0) for name, values in columns.items()}
    scenes = [video for video in videos if video["status"] == "ok"]
    return {
        "crops": len(crops),
        "scenes": len(scenes),
        "persons": sum(video["persons"] for video in scenes),
        "hours": round(sum(video["duration"] for video in scenes) / 3600, 4),
        "frames_looked_at": sum(video["looked"] for video in scenes),
        "detections": sum(video["detections"] for video in scenes),
        "kept_by_the_rules": sum(video["kept"] for video in scenes),
        "dropped_by_rule": _added(video["dropped"] for video in scenes),
        "bytes": int(whole["bytes"].sum()),
        "mean": [round(float(value), 4) for value in channels.mean],
        "std": [round(float(value), 4) for value in channels.std],
        **{name: _percentiles(whole[name]) for name in ("height", "width", "confidence", "quality")},
        "crops_per_video": _percentiles(np.array([video["crops"] for video in scenes])),
        "videos": dict(sorted(Counter(video["status"] for video in videos).items())),
        "reasons": dict(sorted(Counter(video["reason"] for video in videos if video["reason"]).items())),
        "resolutions": dict(sorted(Counter(f"{video['width']} x {video['height']}" for video in scenes).items())),
        "cities": dict(sorted(Counter(video["city"] for video in scenes if video["city"]).items())),
        "licences": dict(sorted(Counter(video["licence"] for video in scenes if video["licence"]).items())),
    }


def _three(column: Any) -> NDArray[np.int64]:  # noqa: ANN401 - pyarrow's
    values: NDArray[np.int64] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, 3)


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for one in counts:
        whole.update(one)
    return dict(sorted(whole.items()))


def _percentiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.percentile(values, SHARES)
    names = ("least", "5 %", "25 %", "median", "75 %", "95 %", "most")
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}
