"""The first look at a file: what it is, and how much of it is missing."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.video.container import check_file_kind, count_missing_bytes
from rewho.video.people import VideoFailure


def reason(path: Path) -> str:
    with pytest.raises(VideoFailure) as failure:
        check_file_kind(path)
    return failure.value.reason


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>",
        b"\xef\xbb\xbf  <html>",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_other_kinds_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    assert reason(path) == "not a video"


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    assert reason(tmp_path / "pipe.mp4") == "not a file"
    assert reason(tmp_path / "folder.mp4") == "not a file"
    assert reason(tmp_path / "absent.mp4") == "not a file"
    assert reason(tmp_path / "loop.mp4") == "not a file"
    assert reason(Path("/dev/zero")) == "not a file"
    assert reason(tmp_path / ("n" * 300)) == "not a file"
    assert reason(tmp_path / "empty.mp4") == "empty"


def matroska(payload: int, size: bytes) -> bytes:
    """Return an EBML header, and a segment that declares `size` and has `payload` bytes."""
    return b"\x1a\x45\xdf\xa3\x84abcd" + b"\x18\x53\x80\x67" + size + bytes(payload)


def box(kind: bytes, payload: int, declared: int | None = None) -> bytes:
    return (8 + payload if declared is None else declared).to_bytes(4) + kind + bytes(payload)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (matroska(100, b"\xe4"), 0),  # one byte: 0x80 | 100
        (matroska(99, b"\xe4"), 1),
        (matroska(90, b"\x40\x64"), 10),  # two bytes
        (matroska(90, b"\x01\xff\xff\xff\xff\xff\xff\xff"), 0),  # unknown
        (matroska(90, b"\x01\x00\x00\x00\x00\x00\x00\x64"), 10),  # eight bytes
        (b"\x1a\x45\xdf\xa3", 0),
        (b"RIFF" + (104).to_bytes(4, "little") + b"AVI " + bytes(100), 0),
        (b"RIFF" + (104).to_bytes(4, "little") + b"AVI " + bytes(60), 40),
        (box(b"ftyp", 12) + box(b"mdat", 50) + box(b"moov", 30), 0),
        (box(b"ftyp", 12) + box(b"moov", 30) + box(b"mdat", 50, 108), 50),
        (box(b"ftyp", 12) + box(b"mdat", 50, 0), 0),  # up to the end of the file
        (box(b"ftyp", 12) + b"\0\0\0\x01mdat" + (1000).to_bytes(8) + bytes(84), 900),  # 64-bit size
        (box(b"ftyp", 12) + b"\0\0", 0),
        (b"\x47" * 200, 0),
        ((b"\x47" + bytes(187)) * 5, 0),
        ((b"\x47" + bytes(187)) * 5 + b"\x47" + bytes(87), 100),
    ],
)
def test_missing_bytes(tmp_path: Path, content: bytes, missing: int) -> None:
    path = tmp_path / "video"
    path.write_bytes(content)
    assert count_missing_bytes(path) == missing


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", b"\x1a\x45\xdf\xa3", b"RIFF", b"\0\0\0\x18ftyp", b"\x47"]), st.binary(max_size=80))
def test_any_bytes_have_an_answer(start: bytes, rest: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(start + rest)
        file.flush()
        assert count_missing_bytes(Path(file.name)) >= 0


def test_a_container_in_its_own_words_never_runs_on(tmp_path: Path) -> None:
    """Two million empty boxes are not read to the end."""
    path = tmp_path / "boxes.mp4"
    path.write_bytes(box(b"ftyp", 0) * 2_000_000)
    assert count_missing_bytes(path) == 0
