"""Clips that several tests of videos read."""

from pathlib import Path

import pytest
from clips import barcode, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clips(folder: Path) -> dict[str, Path]:
    """The same 130 frames in several containers and codecs."""
    numbered = [barcode(number) for number in range(130)]
    return {
        "mp4": write_clip(folder / "numbers.mp4", numbered),
        "mkv": write_clip(folder / "numbers.mkv", numbered, options={"bf": "3"}),
        "avi": write_clip(folder / "numbers.avi", numbered, codec="mpeg4"),
        "ts": write_clip(folder / "numbers.ts", numbered, codec="mpeg2video"),
        "intra": write_clip(folder / "intra.mkv", numbered, codec="mjpeg"),
        "h264": write_clip(folder / "raw.h264", numbered, options={"bf": "0"}),
    }
