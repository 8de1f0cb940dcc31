"""Refusal of whole videos: the golden list, and videos that were made for it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import barcode, write_clip

from rewho.settings import ScreenSettings
from rewho.video.frames import probe
from rewho.video.people import Probe
from rewho.video.screen import SCREEN_REASONS, DuplicateFilter, is_vr, screen_video

GOOD = Probe("ok", "", 500, 20.0, 1280, 720, 25.0, "aa11", stillness=120.0)
GOLDEN_REASONS = {"fewer_than_100_frames": "too few frames", "duplicate_key": "duplicate key", "static": "static"}


def test_golden_videos(shared: Path) -> None:
    """Every video of the list gets the verdict that the paper gives."""
    seen, swept = DuplicateFilter(), 0
    for order, video in enumerate(json.loads((shared / "golden" / "builder" / "videos.json").read_text())["videos"]):
        known = replace(
            GOOD,
            frames=video["frames"],
            sha256=f"hash {order}",
            stillness={True: 0.0, False: 120.0, None: 1.0}[video["static"]],
        )
        verdict = seen.check(known.sha256, video["key"]) or screen_video(known, name=video["title"])
        if video["expect"] == "keep":
            assert verdict == "", video
        elif video["expect"] == "drop":
            assert verdict == next(ours for theirs, ours in GOLDEN_REASONS.items() if theirs in video["reason"])
        else:  # ours: coding noise is static, and a title that says VR is VR
            assert verdict == {"compressed still picture": "static", "360 degree tour VR": "VR"}[video["title"]]
        swept += 1
    assert swept == 10


def test_unreadable_videos_keep_their_reason() -> None:
    cut = replace(GOOD, status="failed", reason="cut short")
    assert screen_video(cut) == "cut short"
    assert screen_video(cut, ScreenSettings(allow_cut=True)) == ""
    assert screen_video(replace(cut, reason="unreadable"), ScreenSettings(allow_cut=True)) == "unreadable"


def test_thresholds_are_settings() -> None:
    assert screen_video(replace(GOOD, frames=99)) == "too few frames"
    assert screen_video(replace(GOOD, frames=99), ScreenSettings(min_frames=99)) == ""
    assert screen_video(replace(GOOD, stillness=4.0)) == "static"
    assert screen_video(replace(GOOD, stillness=4.0), ScreenSettings(static_difference=3.0)) == ""
    assert screen_video(replace(GOOD, stillness=math.nan)) == ""


def test_duplicates_can_be_allowed() -> None:
    seen = DuplicateFilter(ScreenSettings(duplicates_by_content=False))
    assert [seen.check("a", "k"), seen.check("a", "l"), seen.check("b", "k")] == ["", "", "duplicate key"]
    unnamed = DuplicateFilter()
    assert [unnamed.check("", ""), unnamed.check("", "")] == ["", ""]


@pytest.mark.parametrize(
    ("name", "title", "vr"),
    [
        ("tokyo_walk_VR.mp4", "", True),
        ("tokyo.mp4", "Tokyo walk 360°", True),
        ("a-360-degree-tour.mp4", "", True),
        ("walk_360p.mp4", "", False),
        ("walk 640x360.mp4", "", False),
        ("street-360.mp4", "", False),
        ("vrooom.mp4", "Hoover street", False),
    ],
)
def test_vr_by_name(name: str, title: str, vr: bool) -> None:
    assert is_vr(replace(GOOD, title=title), ScreenSettings(), name) is vr
    assert screen_video(replace(GOOD, title=title), ScreenSettings(refuse_vr=False), name) == ""


def noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a smooth random image that wraps around from left to right."""
    import cv2

    coarse = rng.integers(0, 255, (rows // 16, columns // 16, 3), np.uint8)
    wide = cv2.resize(np.concatenate([coarse] * 3, axis=1), (3 * columns, rows), interpolation=cv2.INTER_CUBIC)
    return wide[:, columns : 2 * columns]


def test_still_moving_and_panoramic_videos(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is an extra")
    rng = np.random.default_rng(5)
    still = noise(rng, 128, 256)
    walker = [still.copy() for _ in range(100)]
    for number, image in enumerate(walker):
        image[60:72, 2 * number : 2 * number + 5] = 255 * (image[60:72, 2 * number : 2 * number + 5] < 128)
    grainy = [np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(100)]
    verdicts = {}
    for name, images in {
        "panorama": [np.roll(still, 2 * number, axis=1) for number in range(100)],
        "street": [noise(rng, 128, 512)[:, :256] for _ in range(100)],
        "still": [still[:, :200]] * 100,
        "grainy": [image[:, :200] for image in grainy],
        "walker": [image[:, :200] for image in walker],
        "short": [barcode(number) for number in range(99)],
    }.items():
        path = write_clip(tmp_path / f"{name}.mp4", images, options={"crf": "23", "preset": "veryfast"})
        verdicts[name] = screen_video(probe(path), name=path.name)
    assert verdicts == {
        "panorama": "VR",
        "street": "",
        "still": "static",
        "grainy": "static",
        "walker": "",
        "short": "too few frames",
    }
    plain = [image[:, :200] for image in walker]
    for name, options, marks in (("two views", {"x264-params": "frame-packing=3"}, ("STEREO3D",)), ("one", {}, ())):
        known = probe(write_clip(tmp_path / f"{name}.mkv", plain, options=options))
        assert known.marks == marks
        assert screen_video(known) == ("VR" if marks else "")
    assert set(filter(None, verdicts.values())) < set(SCREEN_REASONS)
