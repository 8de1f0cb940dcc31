"""Takes the parts of videos out of a finished crop set, for a set of the same settings and more videos.

A part that is taken has the rows, images and record that it had before it was joined, so the new set has the bytes of
one that was made from nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rewho.core.artifact import MANIFEST, hash_file, write_folder
from rewho.core.record import read_record, rewho_version
from rewho.core.stage import Stage
from rewho.crops.inputs import VideoTask
from rewho.crops.one_video import RECORD, part_folder
from rewho.crops.shards import CropSet
from rewho.crops.statistics import read_videos
from rewho.crops.suppression import COUNT, read_suppressed
from rewho.crops.writer import ShardWriter
from rewho.settings import CropSettings, SelectionSettings


def find_hindrance(settings: CropSettings, stage: Stage, old: Path) -> str:
    """Return why a set's videos cannot be taken over, or nothing.

    A set that left crops out, or forgot some, does not have all of a video; frames that explain its choices are in no
    part.
    """
    if settings.selection != SelectionSettings() or settings.explain:
        return "crops are selected, or frames explained"
    if settings.detector.kind == "replay":
        return "files of detections may have changed"
    record = read_record(old / MANIFEST)
    if record.get("rewho") != rewho_version():
        return "another version of rewho made it"
    changed = [line for line in stage.differences(record) if not line.startswith("inputs.videos")]
    if changed:
        return f"other settings: {'; '.join(changed)}"
    if CropSet.open(old).contents.about.get(COUNT) or read_suppressed(settings.out):
        return "crops were forgotten"
    return ""


def take_parts(old: Path, out: Path, tasks: Iterator[VideoTask], aside: Path) -> int:
    """Write the parts of videos that a finished set has, into the folder of another, and return how many.

    A video is known by its path, what was said about it, and its content. Videos that were refused or failed are left
    to be looked at again.
    """
    known = {one["path"]: one for one in read_videos(old) if one["status"] == "ok"}
    wanted: dict[str, tuple[VideoTask, dict[str, Any]]] = {}
    for task in tasks:
        record = known.get(task.path)
        if record and asdict(task).items() <= record.items() and hash_file(Path(task.path)) == record["sha256"]:
            wanted[record["sha256"]] = task, {name: value for name, value in record.items() if name != "crops"}
    empty = {sha256 for sha256, (_, record) in wanted.items() if not record["kept"]}
    for sha256 in empty:
        _write(out, *wanted[sha256], iter(()), aside)
    for sha256, pieces in groupby(_pieces(CropSet.open(old)), key=lambda piece: piece[0]):
        if sha256 in wanted:
            _write(out, *wanted[sha256], ((rows, images) for _, rows, images in pieces), aside)
    return len(wanted)


def _write(
    out: Path, task: VideoTask, record: Mapping[str, Any], pieces: Iterator[tuple[Any, Any]], aside: Path
) -> None:
    def fill(folder: Path) -> None:
        writer = ShardWriter(folder)
        for rows, images in pieces:
            writer.add(rows, images)
        writer.commit({RECORD: dict(record)})

    write_folder(part_folder(out, task), fill, aside_in=aside)


def _pieces(crops: CropSet) -> Iterator[tuple[str, Any, Any]]:
    """Yield the crops of a set in order: the hash of their video, rows and images, compared with each other."""
    for number, shard in enumerate(crops.contents.shards):
        rows, at = crops.rows_of(shard), 0
        for batch in crops.batches_of(number):
            some = rows.slice(at, len(batch))
            videos = np.array(some.column("video").to_pylist())
            ends = [*(np.flatnonzero(videos[1:] != videos[:-1]) + 1), len(videos)]
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                yield str(videos[start]), some.slice(start, end - start), batch.column(1).slice(start, end - start)
            at += len(batch)
