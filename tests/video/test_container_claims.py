"""What containers claim: joined recordings, raw streams, edit lists, late starts, pipes and foreign bytes."""

from pathlib import Path

import pytest
from clips import barcode, read_number, sampled, write_clip

from rewho.settings import SamplingSettings
from rewho.video.display import FOLLOWED
from rewho.video.frames import probe, sample_frames
from rewho.video.people import VideoFailure

av = pytest.importorskip("av", reason="PyAV is an extra")


def spliced(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(("kind", "codec"), [("ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video")])
def test_joined_recordings_whose_timestamps_restart_are_one_video(tmp_path: Path, kind: str, codec: str) -> None:
    """Parts of different length, with B-frames: numbers and times run on over the joint, and none is lost."""
    bf = {"bf": "2"}
    first = write_clip(tmp_path / f"a.{kind}", [barcode(number) for number in range(30)], codec=codec, options=bf)
    second = write_clip(tmp_path / f"b.{kind}", [barcode(number) for number in range(30, 48)], codec=codec, options=bf)
    for parts, order in (((first, second), range(48)), ((second, first), [*range(30, 48), *range(30)])):
        path = spliced(tmp_path / f"joined.{kind}", *parts)
        came = sampled(path, every=1)
        assert [written for _, written, _ in came] == list(order)
        assert [number for number, _, _ in came] == list(range(48))
        assert [time for _, _, time in came] == pytest.approx([number / 25 for number in range(48)], abs=0.041)
        known = probe(path)
        assert (known.status, known.frames, known.changes) == ("ok", 48, "timestamps joined at 1 places")
        # FFmpeg shows the last frame of a program stream one frame late.
        assert known.duration == pytest.approx(48 / 25, abs=0.01 if kind == "ts" else 0.05)
        seconds = [written for _, written, _ in sampled(path, by="seconds", seconds=1.0)]
        assert seconds == [order[0], order[25]] or kind == "mpg"


def test_a_jump_ahead_at_a_joint_is_no_length(tmp_path: Path) -> None:
    """Parts that begin hours apart: 26 hours are claimed by nobody."""
    late = write_clip(tmp_path / "late.ts", [barcode(number) for number in range(20)], late=9 * 3600)
    early = write_clip(tmp_path / "early.ts", [barcode(number) for number in range(20, 40)])
    for parts in ((late, early), (early, late)):
        path = spliced(tmp_path / "joined.ts", *parts)
        known = probe(path)
        assert (known.status, known.frames, round(known.duration, 2)) == ("ok", 40, 1.6)
        assert len(sampled(path, every=1)) == 40


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_b_frames_numbers_frames_in_the_order_they_are_shown(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "b.avi", [barcode(number) for number in range(40)], codec=codec, options={"bf": "2"})
    assert sampled(path, every=1) == [(number, number, number / 25) for number in range(40)]
    assert sampled(path, every=9, offset=4) == [(number, number, number / 25) for number in range(4, 40, 9)]
    assert probe(path).frames == 40


@pytest.mark.parametrize("bf", ["0", "2"])
def test_a_raw_stream_counts_its_frames(tmp_path: Path, bf: str) -> None:
    path = write_clip(tmp_path / "raw.h264", [barcode(number) for number in range(40)], options={"bf": bf})
    known = probe(path)
    assert (known.status, known.frames, known.fps, known.duration) == ("ok", 40, 25.0, 1.6)
    assert known.stillness > 100, "compared from the first to the last frame"
    assert sampled(path, every=9) == [(number, number, number / 25) for number in range(0, 40, 9)]


def trimmed(source: Path, path: Path, first: int, count: int) -> Path:
    """Write an MP4 file again with an edit list that shows `count` frames from number `first` on, as a lossless cut."""
    content = bytearray(source.read_bytes())
    place = content.index(b"elst") + 4
    assert content[place : place + 8] == bytes(7) + b"\x01"
    begins = int.from_bytes(content[place + 12 : place + 16], "big")
    scale = content.index(b"mdhd") + 16
    tick = int.from_bytes(content[scale : scale + 4], "big") // 25
    content[place + 8 : place + 12] = (40 * count).to_bytes(4, "big")
    content[place + 12 : place + 16] = (begins + first * tick).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("first", "count"), [(17, 43), (0, 30), (17, 20), (5, 55)])
def test_an_edit_list_that_hides_frames_is_no_cut(
    clips: dict[str, Path], tmp_path: Path, first: int, count: int
) -> None:
    source = write_clip(tmp_path / "whole.mp4", [barcode(number) for number in range(60)], options={"bf": "0"})
    path = trimmed(source, tmp_path / "trimmed.mp4", first, count)
    came = sampled(path, every=1)
    assert came == [(number, first + number, number / 25) for number in range(count)]
    known = probe(path)
    assert (known.status, known.reason, known.frames) == ("ok", "", count)
    assert sampled(path, every=7, offset=2) == came[2::7]
    path.write_bytes(path.read_bytes()[:-200])
    assert probe(path).reason in ("cut short", "unreadable")


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_a_recording_that_starts_late_is_no_cut(tmp_path: Path, kind: str) -> None:
    codec = "libvpx" if kind == "webm" else "libx264"
    path = write_clip(tmp_path / f"late.{kind}", [barcode(number) for number in range(30)], codec=codec, late=100)
    known = probe(path)
    assert (known.status, known.frames, round(known.duration, 2)) == ("ok", 30, 1.2)
    assert known.claimed == pytest.approx(101.2, abs=0.1)
    assert sampled(path, every=10) == [(0, 0, 0.0), (10, 10, 0.4), (20, 20, 0.8)]
    path.write_bytes(path.read_bytes()[:-300])
    assert probe(path).reason == "cut short"


class Pipe:
    """A file that cannot go back, as a pipe."""

    def __init__(self, path: Path) -> None:
        self.name, self._file = str(path), path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("avi", "mpeg4"),
        ("avi", "mjpeg"),
        ("avi", "libx264"),
        ("ivf", "libvpx"),
        ("matroska", "libx264"),
        ("flv", "flv1"),
    ],
)
def test_what_was_written_to_a_pipe_is_whole(tmp_path: Path, kind: str, codec: str) -> None:
    path = tmp_path / f"piped.{kind}"
    pipe = Pipe(path)
    write_clip(pipe, [barcode(number) for number in range(30)], codec=codec, kind=kind)
    pipe.close()
    known = probe(path)
    assert (known.status, known.detail, known.frames) == ("ok", "", 30)
    assert known.duration == pytest.approx(1.2, abs=0.05)
    assert [number for number, _, _ in sampled(path, every=10)] == [0, 10, 20]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts"])
def test_foreign_bytes_behind_a_video_are_no_lack(clips: dict[str, Path], tmp_path: Path, kind: str) -> None:
    for order, tail in enumerate((b"ABCDEFGH" + bytes(range(100)), bytes(50), b"\xff\xff\xff\xffTAG1 and so on")):
        path = tmp_path / f"{order}.{kind}"
        path.write_bytes(clips[kind].read_bytes() + tail)
        known = probe(path, still_frames=1)
        assert (known.status, known.frames) == ("ok", 130)


@pytest.mark.parametrize("codecs", [("libx264", "mpeg2video"), ("mpeg2video", "libx264")])
def test_another_codec_behind_a_joint_is_told(tmp_path: Path, codecs: tuple[str, str]) -> None:
    """FFmpeg decodes one of the two parts; that half of the frames is missing must not go unmentioned."""
    parts = [
        write_clip(tmp_path / f"{number}.ts", [barcode(at) for at in range(24 * number, 24 * number + 24)], codec=codec)
        for number, codec in enumerate(codecs)
    ]
    with pytest.raises(VideoFailure, match=r"cannot be decoded|nothing can be decoded"):
        list(sample_frames(spliced(tmp_path / "joined.ts", *parts), SamplingSettings(every=1)))


def test_a_change_of_size_behind_a_joint_loses_nothing(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", [barcode(number) for number in range(12)])
    large = write_clip(tmp_path / "large.ts", [barcode(number, (96, 128)) for number in range(12, 24)])
    frames = list(sample_frames(spliced(tmp_path / "joined.ts", small, large), SamplingSettings(every=1)))
    assert [read_number(frame.image) for frame in frames] == list(range(24))
    assert {frame.image.shape[:2] for frame in frames} == {(48, 64), (96, 128)}


def test_a_frame_or_two_that_cannot_be_decoded_are_no_failure(tmp_path: Path) -> None:
    """A recording that begins between two keyframes."""
    whole = write_clip(tmp_path / "a.ts", [barcode(number) for number in range(60)], gop=12)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    late = tmp_path / "late.ts"
    late.write_bytes(whole.read_bytes()[: 3 * 188] + whole.read_bytes()[packets[3].pos :])
    came = sampled(late, every=1)
    assert 45 <= len(came) < 60


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "libx264"), ("mov", "libx264"), ("flv", "flv"), ("wmv", "wmv2"), ("ivf", "libvpx")]
)
def test_a_second_video_that_is_not_read_is_named(tmp_path: Path, kind: str, codec: str) -> None:
    """The decoder reads the first one alone; an index behind the frames, and other bytes, are no video."""
    first, second = (
        write_clip(tmp_path / f"{name}.{kind}", [barcode(at) for at in range(9)], codec=codec) for name in "ab"
    )
    assert probe(first).changes == ""
    known = probe(spliced(tmp_path / f"joined.{kind}", first, second))
    assert (known.status, known.frames, known.changes) == ("ok", 9, FOLLOWED)
    assert probe(spliced(tmp_path / f"more.{kind}", first, Path(__file__))).changes == ""
