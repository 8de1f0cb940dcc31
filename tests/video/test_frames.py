"""Reading videos: the right frames at the right times, however they are reached, and limits that hold."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import barcode, read_number, sampled, write_clip, write_sound

from rewho.core.check import UserError
from rewho.settings import LimitSettings, SamplingSettings
from rewho.video import decoder_client as decoding_module
from rewho.video import frames as frames_module
from rewho.video.frames import open_video, probe, sample_frames
from rewho.video.people import VideoFailure

av = pytest.importorskip("av", reason="PyAV is an extra")

# Says that it is alive, for ever.
CHATTERS = r"""
import os, time
while True:
    os.write(1, b'\0\0\0\x11\0\0\0\0{"kind": "alive"}')
    time.sleep(0.05)
"""


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts", "intra", "h264"])
def test_every_nth_frame_is_that_frame(clips: dict[str, Path], kind: str) -> None:
    expected = [(number, number, number / 25) for number in range(0, 130, 40)]
    assert sampled(clips[kind], every=40) == expected
    assert sampled(clips[kind], every=40, seek=False) == expected
    assert [number for number, _, _ in sampled(clips[kind], every=50, offset=7)] == [7, 57, 107]


def test_golden_sampling(folder: Path) -> None:
    """The paper's every 100th frame, of a video with 100 and one with 101 frames (golden `videos.json`)."""
    for count, expected in ((100, [0]), (101, [0, 100])):
        path = write_clip(folder / f"golden{count}.mp4", [barcode(number) for number in range(count)])
        assert [number for number, _, _ in sampled(path)] == expected


def test_seconds_and_keyframes(clips: dict[str, Path]) -> None:
    assert sampled(clips["mp4"], by="seconds", seconds=2.0) == [(0, 0, 0.0), (50, 50, 2.0), (100, 100, 4.0)]
    assert sampled(clips["h264"], by="seconds", seconds=2.0) == [(0, 0, 0.0), (50, 50, 2.0), (100, 100, 4.0)]
    keys = sampled(clips["mp4"], by="keyframes")
    assert [number for number, _, _ in keys] == list(range(0, 130, 12))
    assert all(number == written for number, written, _ in keys)
    assert len(sampled(clips["intra"], by="keyframes")) == 130


def test_seconds_sample_the_first_frame_at_or_after_each_tick(folder: Path) -> None:
    """A rate that varies: 100 ms for ten frames, then 20 ms, then a gap of 2 s."""
    stamps = np.cumsum([0, *[100] * 9, *[20] * 20, 2000, *[40] * 9])
    path = write_clip(folder / "varies.mkv", [barcode(number) for number in range(len(stamps))], stamps=stamps.tolist())
    expected = []
    for tick in np.arange(0, stamps[-1] + 1, 500):
        number = int(np.searchsorted(stamps, tick))
        if not expected or expected[-1][0] != number:
            expected.append((number, number, stamps[number] / 1000))
    assert sampled(path, by="seconds", seconds=0.5) == expected
    assert sampled(path, every=9) == [(number, number, stamps[number] / 1000) for number in range(0, 40, 9)]
    assert probe(path).duration == pytest.approx(stamps[-1] / 1000, rel=0.05)


@pytest.mark.parametrize(("rotation", "corner"), [(0, "lower left"), (90, "lower right"), (180, "upper right")])
def test_rotation_flag_is_applied(folder: Path, rotation: int, corner: str) -> None:
    """The red corner moves counter-clockwise with the flag."""
    path = write_clip(folder / f"turned{rotation}.mp4", [barcode(0)] * 3, rotation=rotation)
    image = next(sample_frames(path)).image
    assert image.shape == ((64, 48, 3) if rotation == 90 else (48, 64, 3))
    assert image.flags.c_contiguous
    known = probe(path)
    assert (known.height, known.width) == image.shape[:2]
    height, width = image.shape[0] // 2, image.shape[1] // 2
    quarters = {
        "upper left": image[:height, :width],
        "upper right": image[:height, width:],
        "lower left": image[height:, :width],
        "lower right": image[height:, width:],
    }
    redness = {name: float(part[..., 0].mean() - part[..., 1].mean()) for name, part in quarters.items()}
    assert max(redness, key=redness.get) == corner


def test_probe_knows_the_video(clips: dict[str, Path]) -> None:
    import hashlib

    known = probe(clips["mkv"])
    assert (known.status, known.reason, known.frames, known.width, known.height) == ("ok", "", 130, 64, 48)
    assert known.fps == pytest.approx(25, abs=0.1)
    assert known.duration == pytest.approx(5.2, abs=0.05)
    assert known.sha256 == hashlib.sha256(clips["mkv"].read_bytes()).hexdigest()
    assert known.stillness > 100
    assert np.isnan(probe(clips["mkv"], still_frames=0).stillness)


@pytest.mark.parametrize(("kind", "memory_mb"), [("mkv", 2048), ("mkv", 1), ("ts", 2048), ("h264", 2048)])
def test_a_video_that_is_opened_once_gives_what_it_gives_when_opened_twice(
    clips: dict[str, Path], kind: str, memory_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for frames that are passed, and without."""
    monkeypatch.setattr(
        decoding_module, "START", f"import rewho.video.decoder as d; d.HELD_SHARE *= 2048 // {memory_mb}; d.main()"
    )
    alone = repr(probe(clips[kind]))
    for sampling in (
        SamplingSettings(every=7),
        SamplingSettings(by="seconds", seconds=1.3),
        SamplingSettings(by="keyframes"),
    ):
        with open_video(clips[kind], sampling) as video:
            known = video.probe
            frames = list(video.frames)
        assert repr(known) == alone
        apart = list(sample_frames(clips[kind], sampling))
        assert [(one.number, one.time) for one in frames] == [(one.number, one.time) for one in apart]
        assert all(np.array_equal(one.image, other.image) for one, other in zip(frames, apart, strict=True))
        assert len(frames) >= 4


def test_a_damaged_video_that_is_opened_once_gives_what_it_gives_when_opened_twice(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    rng, seen = np.random.default_rng(3), set()
    for number, kind in enumerate(["mp4", "mkv", "ts", "mkv"]):
        content = np.frombuffer(clips[kind].read_bytes(), np.uint8).copy()
        content[rng.integers(len(content) // 3, len(content), 12)] ^= 255
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(content[: -len(content) // 4].tobytes() if number == 3 else content.tobytes())
        came: list[list[object]] = [[], []]
        for frames, found in zip((sample_frames(path, SamplingSettings(every=9)), opened(path)), came, strict=True):
            try:
                found.extend(frame.number for frame in frames)
            except VideoFailure as failure:
                found.append(str(failure))
        assert came[0] == came[1]
        seen.add(type(came[0][-1]))
    assert seen == {int, str}


def opened(path: Path) -> Iterator[frames_module.Frame]:
    with open_video(path, SamplingSettings(every=9)) as video:
        yield from video.frames


def test_a_short_video_is_decoded_once(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from rewho.video import decoder
    from rewho.video.video_file import VideoFile

    decoded = []
    plain = VideoFile.decode

    def counting(self: VideoFile, only_keys: bool = False) -> Iterator[object]:
        for frame in plain(self, only_keys):
            decoded.append(frame)
            yield frame

    class Silent(decoder.Channel):
        def send(self, kind: str, payload: memoryview | None = None, **fields: object) -> None:
            sent.append(kind)

    sent: list[str] = []
    monkeypatch.setattr(VideoFile, "decode", counting)
    channel, sampling = Silent(-1), vars(SamplingSettings(every=10))
    video = VideoFile(clips["mp4"], vars(LimitSettings()), channel.beat)
    held = decoder._probe(video, 5, sampling, 2048, channel)
    decoder._sample(video, sampling, held, channel)
    assert sent == ["hash", "probe", *["frame"] * 13, "end"]
    assert len(decoded) <= 130


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_look_without_frames_ends_the_process(clips: dict[str, Path]) -> None:
    before = children()
    with open_video(clips["mp4"]) as video:
        assert video.probe.status == "ok"
    with (
        pytest.raises(VideoFailure, match="audio only"),
        open_video(write_sound(clips["mp4"].parent / "s.mp4")) as video,
    ):
        assert video.probe.reason == "audio only"
        next(video.frames)
    assert children() <= before


def test_sound_that_is_longer_than_the_images_is_no_cut(folder: Path) -> None:
    path = write_clip(folder / "sound.mkv", [barcode(number) for number in range(50)], audio=True)
    assert probe(path).status == "ok"
    assert len(sampled(path, every=10)) == 5


@pytest.mark.parametrize("name", ["numbers.mkv", "numbers.mp4", "numbers.avi"])
@pytest.mark.parametrize("share", [0.4, 0.999])
def test_a_file_that_was_cut_is_told(clips: dict[str, Path], tmp_path: Path, name: str, share: float) -> None:
    whole = clips[name[-3:]].read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(share * len(whole))])
    known = probe(path)
    assert (known.status, known.reason) in (("failed", "cut short"), ("failed", "unreadable"))
    if name.endswith("mkv"):
        assert known.reason == "cut short"
    with pytest.raises(VideoFailure) as failure:
        list(sample_frames(path))
    assert failure.value.reason == known.reason


def test_frames_before_a_cut_are_handed_out(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    whole = clips["mkv"].read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    came = []
    with pytest.raises(VideoFailure, match="cut short"):
        for frame in sample_frames(path, SamplingSettings(every=10)):
            came.append((frame.number, read_number(frame.image)))
    assert len(came) >= 3
    assert all(number == written for number, written in came)


def test_limits_on_size_and_length(clips: dict[str, Path]) -> None:
    assert probe(clips["mp4"], LimitSettings(megapixels=0.001)).reason == "too large"
    assert probe(clips["mp4"], LimitSettings(hours=0.001)).reason == "too long"
    with pytest.raises(VideoFailure, match="too large"):
        next(sample_frames(clips["mp4"], limits=LimitSettings(megapixels=0.001)))


def test_images_that_are_larger_than_the_container_says(folder: Path) -> None:
    """Each JPEG of 64 x 48 says that it is 20,000 x 20,000: 1.2 GB each, if anybody believed it."""
    plain = write_clip(folder / "plain.mkv", [barcode(number) for number in range(20)], codec="mjpeg").read_bytes()
    bomb, count = re.subn(
        rb"(\xff\xc0\0\x11\x08)....", lambda start: start[1] + b"\x4e\x20" * 2, plain, flags=re.DOTALL
    )
    assert count == 20
    (folder / "bomb.mkv").write_bytes(bomb)
    assert probe(folder / "bomb.mkv", LimitSettings(memory_mb=400)).reason == "no frames"
    with pytest.raises(VideoFailure, match="no frames"):
        list(sample_frames(folder / "bomb.mkv", limits=LimitSettings(memory_mb=400)))


def test_memory_limit(folder: Path) -> None:
    path = write_clip(folder / "large.mp4", [np.zeros((2160, 3840, 3), np.uint8)] * 2, options={"preset": "ultrafast"})
    assert probe(path).status == "ok"
    assert probe(path, LimitSettings(memory_mb=8)).reason in ("memory limit", "decoder died")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "hung"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "decoder died"),
        ("import sys; sys.exit(7)", "decoder died"),
        ("raise MemoryError", "memory limit"),
        ("import os; os.write(1, b'\\xff' * 100)", "decoder died"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "time limit"),
        (CHATTERS, "time limit"),
    ],
)
def test_whatever_happens_to_the_decoder_is_a_reason(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setattr(decoding_module, "START", program)
    # Generous limits where they are not what is tested, since a busy machine starts a process slowly.
    limits = LimitSettings(silence=0.5 if reason == "hung" else 60.0, seconds=1.0 if program == CHATTERS else 60.0)
    assert probe(clips["mp4"], limits).reason == reason
    with pytest.raises(VideoFailure) as failure:
        list(sample_frames(clips["mp4"], limits=limits))
    assert failure.value.reason == reason


def test_the_process_ends_with_the_iterator(clips: dict[str, Path]) -> None:
    def children() -> int:
        return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before = children()
    frames = sample_frames(clips["mp4"], SamplingSettings(every=1))
    next(frames)
    assert children() == before + 1
    frames.close()
    assert children() == before


def test_the_process_ends_with_a_killed_parent(clips: dict[str, Path]) -> None:
    """Nothing is left behind by a SIGKILL, although the decoder is in a session of its own."""
    import signal
    import subprocess
    import time

    program = f"""
import sys
from rewho.settings import LimitSettings, SamplingSettings
from rewho.video.decoder_client import DecoderClient
job = {{"job": "sample", "sampling": vars(SamplingSettings(every=1))}}
with DecoderClient({str(clips["mp4"])!r}, LimitSettings(), job) as decoding:
    next(decoding.messages())
    print(decoding._process.pid, flush=True)
    sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the decoding process is still there")


def test_asking_the_group_to_stop_is_not_the_videos_fault(clips: dict[str, Path]) -> None:
    import signal

    job = {"job": "sample", "sampling": vars(SamplingSettings(every=1))}
    with decoding_module.DecoderClient(clips["mp4"], LimitSettings(), job) as decoding:
        messages = decoding.messages()
        next(messages)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(decoding._process.pid, number)
        assert sum(message.kind == "frame" for message in messages_until_end(messages)) == 129


def messages_until_end(messages: Iterator[decoding_module.Message]) -> Iterator[decoding_module.Message]:
    """Yield messages up to the one that says that the video has ended."""
    for message in messages:
        yield message
        if message.kind == "end":
            return


def test_without_pyav(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"uv sync --extra video"):
        probe(clips["mp4"])


@pytest.mark.parametrize("wrong", [{"by": "frame"}, {"every": 0}, {"seconds": 0.0}, {"offset": -1}])
def test_wrong_sampling_is_refused_before_anything_starts(clips: dict[str, Path], wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="sampling"):
        sample_frames(clips["mp4"], SamplingSettings(**wrong))


def test_the_decoding_process_imports_nothing_heavy() -> None:
    import subprocess

    code = "import sys, rewho.video.decoder; print([*sys.modules.keys() & {'torch', 'cv2', 'torchvision', 'scipy'}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
