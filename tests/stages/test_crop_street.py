"""A rendered street, decoded and cut for real: every crop is a person who was there; and the published clip's cuts."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_people import TERMS

import rewho
from rewho import cli
from rewho.crops.faces import hide_known_faces
from rewho.crops.one_video import crop_box
from rewho.crops.statistics import read_videos
from rewho.crops.verify import verify
from rewho.rendered import write_street
from rewho.settings import DetectorSettings, PoseSettings, RuleSettings, SamplingSettings, ScreenSettings

av = pytest.importorskip("av", reason="PyAV is an extra")
SIZE = (240, 426)
EVERY = 10
HOW = {
    "terms": TERMS,
    "detector": DetectorSettings(kind="replay"),
    "pose": PoseSettings(kind="detector"),
    "sampling": SamplingSettings(every=EVERY),
    "rules": RuleSettings(min_width=16, min_confidence=0.6),
}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A video of a street with ground truth beside it."""
    return write_street(tmp_path_factory.mktemp("street") / "street.mp4", 10.5, people=6, size=SIZE, seed=6)


@pytest.fixture(scope="module")
def crops(street, tmp_path_factory):
    return rewho.crop(street, tmp_path_factory.mktemp("set") / "crops", workers=1, **HOW)


def overlap(one, other) -> float:
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    both = max(0, right - left) * max(0, bottom - top)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def test_every_crop_is_somebody_who_was_there_and_nobody_clear_is_missing(street, crops):
    truth: dict[int, list] = {}
    for line in street.with_suffix(".gt.txt").read_text().splitlines():
        number, _, left, top, width, height, _, _, visible = (float(cell) for cell in line.split(","))
        box = np.clip([left, top, left + width, top + height], 0, [SIZE[1], SIZE[0]] * 2)
        truth.setdefault(int(number) - 1, []).append((box, visible))
    rows = crops.manifest().to_pylist()
    assert len(rows) > 15
    found = set()
    for row in rows:
        overlaps = [overlap(np.array(row["cut"]), box) for box, _ in truth[row["frame"]]]
        best = int(np.argmax(overlaps))
        assert overlaps[best] >= 0.7, row["name"]
        found.add((row["frame"], best))
        assert row["time"] == pytest.approx(row["frame"] / 10, abs=1e-3)
        assert row["detector"].startswith("replay sha256:")
    for number in range(0, 105, EVERY):
        for at, (box, visible) in enumerate(truth.get(number, [])):
            width, height = box[2:] - box[:2]
            inside = box[0] > 2 and box[2] < SIZE[1] - 2
            if visible > 0.95 and inside and width > 18 and 1.6 < height / width < 4.9:
                assert (number, at) in found, f"frame {number}: {box}"


def test_heads_of_other_people_in_a_crop_are_hidden_too(street, crops):
    """Where noise is changed, a head is hidden: nose and ears of everybody whose keypoints are known."""
    known = json.loads(street.with_suffix(".detections.json").read_text())
    noise = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    heads = 0
    for row in crops.manifest().to_pylist():
        left, top, right, bottom = row["cut"]
        here = np.ascontiguousarray(noise[top:bottom, left:right])
        changed = (hide_known_faces(here, row) != here).any(-1)
        alone = (hide_known_faces(here, {**row, "other_heads": []}) != here).any(-1)
        for index, one in known[str(row["frame"] + 1)]:
            places = np.floor(np.array(one["pose"])[[0, 3, 4]] - [left, top]).astype(int)
            inside = ((places >= 0) & (places < [right - left, bottom - top])).all()
            if index != row["index"] and inside and (np.ravel(one["prob"])[[0, 3, 4]] >= 0.2).all():
                assert changed[places[:, 1], places[:, 0]].all(), row["name"]
                heads += not alone[places[:, 1], places[:, 0]].all()
    assert heads, "one was not hidden by chance"


def test_the_images_are_those_of_the_video(street, crops):
    from rewho.video.frames import sample_frames

    frames = {frame.number: frame.image for frame in sample_frames(street, SamplingSettings(every=EVERY))}
    for row, known in enumerate(crops.manifest(["frame", "cut"]).to_pylist()):
        left, top, right, bottom = known["cut"]
        original = frames[known["frame"]][top:bottom, left:right]
        assert np.abs(original.astype(int) - crops[row]).mean() < 3, "JPEG of quality 95 without subsampling"
    video = read_videos(crops.folder)[0]
    assert (video["frames"], video["looked"], video["width"], video["height"]) == (105, 11, SIZE[1], SIZE[0])


def test_what_is_there_of_a_cut_video_can_be_kept(street, crops, tmp_path):
    cut = tmp_path / "cut.mkv"
    with av.open(str(street)) as whole, av.open(str(cut), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    cut.write_bytes(cut.read_bytes()[: int(0.8 * cut.stat().st_size)])
    shutil.copy(street.with_suffix(".detections.json"), tmp_path / "cut.detections.json")
    strict = rewho.crop(cut, tmp_path / "strict", workers=0, failure_limit=1.0, **HOW)
    video = read_videos(strict.folder)[0]
    assert (len(strict), video["status"], video["reason"]) == (0, "failed", "cut short")
    screen = ScreenSettings(allow_cut=True, min_frames=50)
    lenient = rewho.crop(cut, tmp_path / "lenient", workers=0, screen=screen, **HOW)
    video = read_videos(lenient.folder)[0]
    assert video["status"] == "ok" and "missing at the end" in video["detail"]
    assert 0.5 * len(crops) < len(lenient) < len(crops)


def test_it_is_repaired_from_the_command_line(crops, capsys):
    file = crops.folder / crops.contents.shards[0].images
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    assert cli.main(["crops", "verify", str(crops.folder)]) == cli.USER_MISTAKE
    assert "does not match its sha256" in capsys.readouterr().err
    assert cli.main(["crops", "verify", str(crops.folder), "--repair"]) == 0
    assert "every byte as it was written" in capsys.readouterr().out


def test_cuts_of_the_published_layout_are_the_golden_ones(shared):
    expected = json.loads((shared / "golden" / "builder" / "detections_clip_expected.json").read_text())
    clip = json.loads((shared / "golden" / "builder" / "detections_clip.json").read_text())
    width, height = expected["image_width_height"]
    frames = clip.get("frames", clip)
    for crop in expected["crops"]:
        found = dict(frames[str(crop["frame_id"])])
        cut = crop_box(tuple(found[crop["object_index"]]["bbox"]), (height, width))
        assert list(cut) == crop["bbox_clipped"]
        assert [cut[3] - cut[1], cut[2] - cut[0]] == crop["crop_height_width"]
    assert len(expected["crops"]) == 6


def test_inputs_that_are_no_videos_have_one_reason_each_and_end_in_an_empty_set(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<!doctype html><html></html>")
    os.mkfifo(folder / "pipe.mkv")
    (folder / "gone.avi").symlink_to(folder / "nowhere")
    crops = rewho.crop(folder, tmp_path / "crops", workers=0, failure_limit=1.0, **HOW)
    found = {Path(video["path"]).name: (video["status"], video["reason"]) for video in read_videos(crops.folder)}
    assert found == {
        "empty.mp4": ("failed", "empty"),
        "page.mp4": ("failed", "not a video"),
        "pipe.mkv": ("failed", "not a file"),
        "gone.avi": ("failed", "not a file"),
    }
    assert len(crops) == 0 and verify(crops.folder) == []


def test_the_guide_counts_the_crops_of_its_street_as_they_are(tmp_path):
    guide = (Path(__file__).parents[2] / "docs/guide/crops.md").read_text()
    boxes, frames, kept = map(int, re.search(r"Of (\d+) boxes in (\d+) frames (\d+) are kept", guide).groups())
    video = write_street(tmp_path / "street.mp4", seconds=12.0, people=6, seed=4)
    rewho.crop(video, tmp_path / "crops", workers=1, **{**HOW, "rules": RuleSettings()})
    counted = json.loads((tmp_path / "crops/statistics.json").read_text())
    assert (counted["detections"], counted["frames_looked_at"], counted["crops"]) == (boxes, frames, kept)
