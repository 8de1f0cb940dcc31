"""Exports crop sets as image files, merges several sets, and finds images that two sets share."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import ASIDE, explain_full_disk, hash_file, plain, remove_unfinished, write_file, write_folder
from rewho.core.check import UserError, check_flag
from rewho.core.progress import say, track
from rewho.core.text import csv_table
from rewho.crops.faces import FACE_COLUMNS, hide_known_faces
from rewho.crops.joining import select_crops
from rewho.crops.near_duplicates import Shared, find_shared, stack_fingerprints
from rewho.crops.page import write_description
from rewho.crops.shards import CropSet
from rewho.crops.statistics import compute_statistics, read_videos, write_videos
from rewho.crops.suppression import COLUMNS as SUPPRESSION_COLUMNS
from rewho.crops.suppression import COUNT, add_suppressed, find_suppressed, read_suppressed
from rewho.crops.tracks import read_tracks
from rewho.crops.writer import ShardWriter, encode
from rewho.data.images import decode

QUALITY = 95
LISTED = ("name", "video", "frame", "time", "track", "confidence", "licence")


def export(crops: CropSet, out: Path, layout: str, *, blur_faces: bool = True, people: str = "video") -> Path:
    """Write the crops of a set as image files and return `out`.

    * jpeg: a folder of `NAME.jpg`, with the source of each in `crops.csv`;
    * folder: the same in a folder for each of the `people`;
    * market: the same with file names as in Market-1501, `PPPPPPP_cCs1_FFFFFF_II.jpg` in `bounding_box_train/`, where P
      numbers the `people`;
    * webdataset: a tar file of pairs `NAME.jpg`, `NAME.json`.

    Args:
        crops: The set.
        out: A new folder, or for webdataset a new tar file.
        layout: jpeg, folder, market or webdataset.
        blur_faces: Hide faces; the images are then encoded again.
        people: A crop set has no identities. What stands for people, for tools that need labels: each video, or each
            track, under the number of its video as camera; crops without a track are then left out, with a message.
    """
    check_flag("blur_faces", blur_faces)
    if out.exists():
        raise UserError(f"--out {out}", expected="a new name", got="one that is there", fix="Choose another.")
    remove_unfinished(out.absolute().parent)
    tracks = read_tracks(crops).numbers if people == "track" and layout in ("folder", "market") else None
    _report_untracked(crops, tracks)
    images = track(_images(crops, tracks, blur_faces=blur_faces), "export", len(crops), "crops")
    if layout == "webdataset":
        return write_file(out, lambda file: _write_tar(file, images))
    return write_folder(out, lambda folder: _write_folder(folder, images, layout))


def _report_untracked(crops: CropSet, tracks: NDArray[np.int64] | None) -> None:
    """Say how many crops have no track to stand for a person; raise UserError if none has one."""
    if tracks is None or (tracks >= 0).all():
        return
    if (tracks < 0).all():
        fix = "Make the set with --tracking.kind motion, or leave --people out."
        raise UserError(f"--people track, {crops.folder}", expected="crops with tracks", got="none", fix=fix)
    say(f"{int((tracks < 0).sum()):,} of {len(tracks):,} crops have no track and are left out")


def _images(
    crops: CropSet, tracks: NDArray[np.int64] | None, *, blur_faces: bool
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the manifest row and the encoded image of each crop, with `person` and `camera` from 1.

    People are videos, or tracks where these are given; camera is 1, or the video.
    """
    videos: dict[str, int] = {}
    begin = 0
    for number, shard in enumerate(crops.contents.shards):
        rows = crops.rows_of(shard, [*LISTED, "index", *FACE_COLUMNS]).to_pylist()
        data = (image.as_py() for batch in crops.batches_of(number) for image in batch.column(1))
        for at, (row, image) in enumerate(zip(rows, data, strict=True), begin):
            video = videos.setdefault(row["video"], len(videos) + 1)
            if tracks is not None and tracks[at] < 0:
                continue
            row["person"], row["camera"] = (video, 1) if tracks is None else (int(tracks[at]) + 1, video)
            hidden = hide_known_faces(decode(image, row["name"]), row) if blur_faces else None
            yield row, image if hidden is None else encode(hidden, quality=QUALITY)
        begin += shard.crops
        crops.close()


def _write_folder(folder: Path, images: Iterator[tuple[dict[str, Any], bytes]], layout: str) -> None:
    lines: list[list[object]] = [["image", *LISTED]]
    place = folder / "bounding_box_train" if layout == "market" else folder
    place.mkdir(exist_ok=True)
    for row, data in images:
        ending = "jpg" if data[:2] == b"\xff\xd8" else "png"
        name = row["name"]
        if layout == "market":
            name = f"{row['person']:07d}_c{row['camera']}s1_{row['frame']:06d}_{row['index']:02d}"
        elif layout == "folder":
            name = f"{row['person']:07d}/{name}"
            (place / name).parent.mkdir(exist_ok=True)
        (place / f"{name}.{ending}").write_bytes(data)
        lines.append([f"{name}.{ending}", *(row[column] for column in LISTED)])
    (folder / "crops.csv").write_bytes(csv_table(lines))


def _write_tar(file: BinaryIO, images: Iterator[tuple[dict[str, Any], bytes]]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for row, data in images:
            ending = "jpg" if data[:2] == b"\xff\xd8" else "png"
            note = json.dumps({name: row[name] for name in LISTED}, sort_keys=True).encode()
            for name, content in ((f"{row['name']}.{ending}", data), (f"{row['name']}.json", note)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def merge(folders: Sequence[Path], out: Path) -> CropSet:
    """Merge crop sets into a new one at `out`; crops with equal names enter once, forgotten crops do not."""
    if len(folders) < 2:
        raise UserError("merge", expected="two or more crop sets", got=str(len(folders)), fix="Name them.")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}", expected="a new folder", got="one with files in it", fix="Choose another.")
    aside = out.with_name(f"{ASIDE}{os.getpid()}-{out.name}")
    remove_unfinished(out.absolute().parent)
    with explain_full_disk(out, aside):
        _merge_into(folders, aside)
        aside.replace(out)
    return CropSet.open(out)


def _merge_into(folders: Sequence[Path], out: Path) -> None:
    sets = [CropSet.open(folder) for folder in folders]
    forgotten = frozenset[str]().union(*(read_suppressed(crops.folder, crops.contents.about) for crops in sets))
    writer, seen = ShardWriter(out), set[str]()
    if forgotten:
        add_suppressed(out, forgotten)
    for crops in sets:
        names = crops.manifest(["name"]).column("name").to_pylist()
        new = np.array([name not in seen for name in names], bool)
        new &= ~find_suppressed(crops.manifest(SUPPRESSION_COLUMNS), forgotten)
        seen.update(names)
        for rows, images in select_crops(crops, new):
            writer.add(rows, images)
        crops.close()
    about = _merge_properties([crops.contents.about for crops in sets]) | ({COUNT: len(forgotten)} if forgotten else {})
    videos: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for video in read_videos(folder):
            videos.setdefault(video["sha256"] or video["path"], video)
    listed = write_videos(out, list(videos.values()))
    about["videos"] = {"file": listed.name, "sha256": hash_file(listed)}
    merged = writer.commit(about)
    write_description(merged, list(videos.values()), compute_statistics(merged, list(videos.values())))


def _merge_properties(abouts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the properties of the first set with the joined terms, encodings and settings of all."""
    first = dict(abouts[0])
    terms = [about.get("terms", {}) for about in abouts]
    names = terms[0]
    first["terms"] = {
        name: " | ".join(dict.fromkeys(str(one.get(name, "not stated")) for one in terms)) for name in names
    }
    first["merged_from"] = plain([about.get("settings", {}) for about in abouts])
    first["faces_hidden"] = all(about.get("faces_hidden", False) for about in abouts)
    first["encoding"] = " | ".join(dict.fromkeys(str(about.get("encoding", "unknown")) for about in abouts))
    return first


def find_overlap(first: CropSet, second: CropSet, distance: int) -> list[tuple[str, str, Shared]]:
    """Return the near-duplicates between two sets, with their names in both; see `near_duplicates.find_shared`."""
    tables = [crops.manifest(["name", "fingerprint"]) for crops in (first, second)]
    names = [table.column("name").to_pylist() for table in tables]
    prints = [stack_fingerprints(table.column("fingerprint").to_pylist()) for table in tables]
    shared = find_shared(prints[0], prints[1], distance)
    return [(names[0][one.first], names[1][one.second], one) for one in shared]
