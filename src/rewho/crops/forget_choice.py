"""Which crops of a set are to be forgotten, and which models were trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.record import STARTED
from rewho.core.shipped import CARD
from rewho.crops.forget import RECEIPTS, read_receipt
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.statistics import read_videos
from rewho.crops.suppression import COLUMNS, place_key, track_key, video_key

LEAST_DIGITS = 8
"""Digits of a video's hash that name it."""


def find_keys(
    folder: Path, names: Sequence[str] = (), videos: Sequence[str] = (), tracks: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return the keys of crops, videos and tracks of a set, by what named them; those that are not there have none.

    Args:
        folder: The set.
        names: Names of crops.
        videos: File names, paths, or beginnings of at least 8 digits of hashes.
        tracks: A video and the number of a track in it, such as street.mp4:3.
    """
    crops = CropSet.open(folder)
    rows = crops.manifest(["name", *COLUMNS]).to_pylist()
    crops.close()
    wanted, found = set(names), {name: list[str]() for name in (*names, *videos, *tracks)}
    known = {row["video"] for row in rows} | {one["sha256"] for one in read_videos(folder)}
    for row in rows:
        if row["name"] in wanted:
            found[row["name"]].append(place_key(f"{row['video']}/{row['frame']}", row["cut"]))
    for video in videos:
        found[video] = [video_key(one) for one in _find_videos(folder, video, known)]
    for track in tracks:
        video, _, number = track.rpartition(":")
        if not video or not number.isdecimal():
            fix = "Write it like street.mp4:3; `track` in the manifest is its number."
            raise UserError("--tracks", expected="a video, a colon and a number", got=repr(track), fix=fix)
        there = {row["video"] for row in rows if row["track"] == int(number)}
        chosen = [one for one in _find_videos(folder, video, known) if one in there]
        places = [row for row in rows if row["video"] in chosen and row["track"] == int(number)]
        found[track] = [track_key(one, int(number)) for one in chosen]
        found[track] += [place_key(f"{row['video']}/{row['frame']}", row["cut"]) for row in places]
    return found


def _find_videos(folder: Path, given: str, known: set[str]) -> list[str]:
    """Return the hashes of the videos of a set that a name, path or beginning of a hash stands for."""
    listed = read_videos(folder)
    by_name = {one["sha256"] for one in listed if given in (one["path"], Path(one["path"]).name) and one["sha256"]}
    by_hash = {one for one in known if len(given) >= LEAST_DIGITS and one.startswith(given)}
    return sorted(by_name | by_hash)


def find_models(folders: Sequence[Path], runs: Path) -> list[Path]:
    """Return the models and unfinished trainings below a folder whose records name one of these crop sets.

    A record names a set by the hash of an index that it had, also in what its first weights were trained on, or by its
    path. Copies of models elsewhere, in galleries or exported, are not found.
    """
    hashes = set[str]()
    for folder in folders:
        earlier = {read_receipt(file)["index before"] for file in (folder / RECEIPTS).glob("*.json")}
        for one in {*earlier, hash_file(folder / INDEX)}:
            hashes |= {one, hashlib.sha256(one.encode()).hexdigest()}  # of one source, and of all sources joined
    places = {folder.resolve() for folder in folders}
    found = []
    for file in sorted(one for name in (CARD, STARTED) for one in runs.rglob(name)):
        values = {str(value) for value in _leaves(read_json(file, "", "Restore it from a copy."))}
        by_path = file.name == STARTED and any(Path(value).resolve() in places for value in values if "\0" not in value)
        if values & hashes or by_path:
            found.append(file.parent)
    return sorted(set(found) - set(folders))


def _leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(inner)
    else:
        yield value
