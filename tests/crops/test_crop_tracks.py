"""Tracks in crop sets: equal numbers of different videos or settings differ, merging and old sets included."""

import json
from pathlib import Path

import numpy as np
import pytest

from rewho.core.artifact import json_bytes
from rewho.core.check import UserError
from rewho.core.record import SEAL, seal
from rewho.crops.export import export
from rewho.crops.rows import rows_table
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.sheet import CELL, GAP, PAPER, draw_track_sheet
from rewho.crops.statistics import compute_statistics
from rewho.crops.tracks import read_tracks
from rewho.crops.verify import verify
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.data.datasets import read

# video, config, frame, track
CROPS = [
    ("b", "x", 0, 7),
    ("b", "x", 1, 7),
    ("b", "y", 1, 7),
    ("a", "x", 0, 7),
    ("a", "x", 3, 2),
    ("a", "x", 4, None),
    ("b", "x", 2, 7),
]


def write_set(folder: Path, crops=CROPS, version: int = 2, shard_rows: int = 3) -> CropSet:
    writer = ShardWriter(folder, shard_rows=shard_rows, version=version)
    for number, (video, config, frame, track) in enumerate(crops):
        pixels = np.full((16, 8, 3), 10 * number, np.uint8)
        data = encode(pixels)
        known = {"video": video, "config": config, "frame": frame, "time": frame / 2, "track": track}
        writer.add(rows_table([crop_row(f"crop-{number}", data, pixels, **known)]), [data])
    return writer.commit()


def test_a_track_is_one_number_of_one_video_and_one_choice_of_settings(tmp_path):
    tracks = read_tracks(write_set(tmp_path / "set"))
    assert tracks.numbers.tolist() == [0, 0, 1, 3, 2, -1, 0]
    assert tracks.times.tolist() == [0, 0.5, 0.5, 0, 1.5, 2, 1]
    figures = compute_statistics(CropSet.open(tmp_path / "set"), [])["tracks"]
    assert (figures["tracks"], figures["of_several_crops"], figures["crops_without"]) == (4, 1, 1)
    assert figures["crops_per_track"]["most"] == 3 and figures["seconds_per_track"]["most"] == 1.0


def test_the_sheet_has_a_track_per_row_in_order_of_time(tmp_path):
    crops = write_set(tmp_path / "set", [("b", "x", 4 - n, n % 2) for n in range(5)])
    sheet = draw_track_sheet(crops, read_tracks(crops))
    left = [GAP + column * (CELL[1] + GAP) + CELL[1] // 2 for column in range(4)]
    levels = [[int(sheet[GAP + row * (CELL[0] + GAP) + CELL[0] // 2, at, 0]) for at in left] for row in range(2)]
    assert levels == [
        [pytest.approx(level, abs=3) for level in row] for row in [[40, 20, 0, PAPER], [30, 10, PAPER, PAPER]]
    ]
    assert draw_track_sheet(crops, read_tracks(crops), most=1).shape[0] == 2 * GAP + CELL[0]
    alone = write_set(tmp_path / "alone", [("b", "x", n, n) for n in range(3)])
    assert draw_track_sheet(alone, read_tracks(alone)) is None


def test_verify_reports_two_crops_of_one_frame_in_one_track(tmp_path):
    write_set(tmp_path / "set")
    assert verify(tmp_path / "set") == []
    write_set(tmp_path / "twice", [*CROPS, ("b", "x", 1, 7)])
    (damage,) = verify(tmp_path / "twice")
    assert damage.crops == ("crop-7",) and "same frame" in damage.what


def make_old(folder: Path, **options) -> CropSet:
    """Write a set as version 1 did, whose crops have no tracks."""
    write_set(folder, version=1, **options)
    content = {**json.loads((folder / INDEX).read_text()), "format": 1}
    sealed = seal({name: content[name] for name in content if name != SEAL})
    (folder / INDEX).write_bytes(json_bytes(sealed, sort_keys=True))
    return CropSet.open(folder)


def test_sets_without_the_column_are_read_as_without_tracks(tmp_path):
    old = make_old(tmp_path / "old")
    assert verify(old.folder) == []
    assert old.manifest().schema == write_set(tmp_path / "new").manifest().schema
    assert read_tracks(old).numbers.tolist() == [-1] * len(CROPS)
    assert old.manifest(["frame", "name"]).column_names == ["name", "frame"]


def test_tracks_stand_for_people_in_exports(tmp_path, capsys):
    crops = write_set(tmp_path / "set")
    export(crops, tmp_path / "market", "market", people="track")
    assert "1 of 7 crops have no track" in capsys.readouterr().err
    table = read(tmp_path / "market")
    assert sorted(zip(table.person_ids.tolist(), table.camera_ids.tolist(), strict=True)) == [
        *[(1, 0)] * 3,
        *[(2, 0), (3, 1), (4, 1)],
    ]
    export(crops, tmp_path / "folder", "folder", people="track")
    assert {path.parent.name: 0 for path in (tmp_path / "folder").rglob("*.jpg")}.keys() == {
        f"{person:07d}" for person in (1, 2, 3, 4)
    }
    export(crops, tmp_path / "videos", "folder")
    assert len(list((tmp_path / "videos").rglob("*.jpg"))) == 7
    with pytest.raises(UserError, match="crops with tracks"):
        export(make_old(tmp_path / "old"), tmp_path / "none", "folder", people="track")
