"""The process that decodes one video, under limits; `frames.py` starts it and reads what it sends.

What is unusual: this runs in a Python of its own, because a decoder fed with a damaged file may hang, crash, or ask
for all memory there is. It reads one request (JSON) from its standard input and answers on its standard output with
messages: 8 bytes with two lengths, a JSON header, and the pixels of a frame. It imports no torch, so that it starts
in a fraction of a second, and it lowers its own limits before it opens anything. One process tells what is known of a
video and then, if it is told to go on, gives its frames; those of a short video are held when they are first passed, so
that nothing is decoded twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.video.container import count_missing_bytes
from rewho.video.display import describe_changes, read_orientation, square_pixel_size, to_rgb
from rewho.video.people import VideoFailure
from rewho.video.sampling import decode_frames, select_frames, select_numbers
from rewho.video.video_file import VideoFile, allocated

HEADER = struct.Struct(">II")
BEAT = 0.5  # seconds between signs of life
COMPLAINT_BYTES = 2**20  # the only file that is written is the standard error
HELD_SHARE = 16  # frames that are held may take this part of the memory that the process may allocate
CELLS, LEAST_CELL = (64, 36), 8  # columns and rows in which still frames are compared; least pixels of a cell
PANORAMA = (1.95, 2.05)  # width over height of an equirectangular image
TEXTURE = 4.0  # grey levels; a border column with less variation says nothing about a seam
FLAT = {"SPHERICAL": 4, "STEREO3D": 0}  # FFmpeg's numbers for a plain projection and for a single view
TAG_MARKS = ("spherical-video", "spherical", "stereo_mode")
Numbered = tuple[int, Any]
"""A frame's number and PyAV's frame."""


class Channel:
    """Where answers go: messages with a JSON header, and signs of life between them."""

    def __init__(self, number: int) -> None:
        self._number, self._spoke = number, time.monotonic()

    def send(self, kind: str, payload: memoryview | None = None, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Send one message; waits where the reader is slow."""
        header = json.dumps({"kind": kind, **fields}).encode()
        self._write(memoryview(HEADER.pack(len(header), payload.nbytes if payload else 0) + header))
        if payload:
            self._write(payload)
        self._spoke = time.monotonic()

    def beat(self) -> None:
        """Say that work goes on, if nothing was said for a while."""
        if time.monotonic() - self._spoke > BEAT:
            self.send("alive")

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._number, data) :]


def lower_limits(seconds: float, memory_mb: int) -> None:
    """Limit this process from now on: processor time, memory on top of what it has, file writes, core dumps."""
    memory = allocated() + memory_mb * 2**20
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, max(1, int(seconds) + 1)),
        (resource.RLIMIT_FSIZE, COMPLAINT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Answer the one request that stands on the standard input."""
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):  # sent to whole groups; whoever started us ends us
        signal.signal(asked_to_stop, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    # Whatever a library prints must not get between the messages.
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    import av

    av.logging.set_level(None)
    limits, path = request["limits"], Path(request["path"])
    lower_limits(limits["seconds"], limits["memory_mb"])
    try:
        video = VideoFile(path, limits, channel.beat)
        sampling, held = request["sampling"], None
        if request["job"] == "probe":
            held = _probe(video, request["still_frames"], sampling, limits["memory_mb"], channel)
            if not (sampling and sys.stdin.readline()):  # nobody wants the frames
                return
        else:
            video.read_packets()
        _sample(video, sampling, held, channel)
    except VideoFailure as failure:
        channel.send("failed", reason=failure.reason, detail=failure.detail)
    except MemoryError:
        channel.send("failed", reason="memory limit", detail=f"{limits['memory_mb']} MB")
    except av.error.FFmpegError as error:
        lacking = count_missing_bytes(path)
        said = f"; {lacking} bytes are missing at the end" if lacking else ""
        channel.send("failed", reason="unreadable", detail=(error.strerror or type(error).__name__) + said)


def _sample(video: VideoFile, sampling: dict[str, Any], held: list[Numbered] | None, channel: Channel) -> None:
    """Send the wanted frames, then the end, or that the end came too early."""
    if held is None:
        video.open()
    last = -1
    numbers = select_numbers(video, sampling) if video.indexed else np.zeros(0, np.int64)
    for number, frame in select_frames(video, sampling) if held is None else held:
        image = to_rgb(frame, video.aspect)
        height, width = image.shape[:2]
        seconds = video.time_of(frame.pts, number)
        channel.send("frame", image.data.cast("B"), number=number, time=seconds, height=height, width=width)
        last = number
    cut = video.cut()
    if not cut and last < 0 and (len(numbers) or not video.packets):
        raise VideoFailure("no frames", f"{video.packets} packets, none of which can be decoded")
    if not cut and len(numbers) and last < numbers[-1]:
        cut = f"nothing can be decoded after frame {last} of {video.packets}"
    if cut:
        raise VideoFailure("cut short", cut)
    channel.send("end", errors=video.errors)


def _probe(
    video: VideoFile, still_frames: int, sampling: dict[str, Any] | None, memory_mb: int, channel: Channel
) -> list[Numbered] | None:
    """Send the file's hash, then everything that `Probe` holds; return the sampled frames where they came along."""
    channel.send("hash", sha256=_hash(video.path, channel))
    video.read_packets()
    cut = video.cut()
    video.open()
    held = None
    if sampling and (wanted := _few_enough(video, sampling, memory_mb)) is not None:
        places = _even_places(video, max(1, still_frames))
        passed = list(decode_frames(video, np.union1d(places, wanted), sampling["seek"]))
        frames, held = [frame for _, frame in match_frames(passed, places)], match_frames(passed, wanted)
    else:
        frames = [frame for _, frame in _evenly_spaced(video, max(1, still_frames))]
    if not frames:
        raise (
            VideoFailure("cut short", cut)
            if cut
            else VideoFailure("no frames", f"{video.packets} packets, none of which can be decoded")
        )
    first, stream = frames[0], video.stream
    size = square_pixel_size(first.width, first.height, video.aspect)
    width, height = reversed(size) if read_orientation(first).transposed else size
    metadata = {key.lower(): value for key, value in {**video.container.metadata, **stream.metadata}.items()}
    kinds = [getattr(entry, "type", entry) for entry in first.side_data]  # entries are keys since PyAV 19
    marks = {kind.name for kind in kinds if is_vr_mark(kind.name, bytes(first.side_data[kind]))}
    marks |= {key for key in TAG_MARKS if metadata.get(key, "mono").lower() not in ("mono", "false", "0", "")}
    duration = video.duration()
    channel.send(
        "probe",
        status="failed" if cut else "ok",
        reason="cut short" if cut else "",
        detail=cut,
        frames=video.packets,
        duration=duration,
        claimed=video.claimed,
        width=width,
        height=height,
        fps=video.packets / duration if duration > 0 else 0.0,
        codec=stream.codec_context.name,
        rotation=int(first.rotation),
        title=metadata.get("title", ""),
        marks=sorted(marks),
        stillness=_stillness(frames) if len(frames) > 1 else None,
        seam=_seam(first) if PANORAMA[0] <= size[0] / size[1] <= PANORAMA[1] else None,
        changes=describe_changes(
            first, video.aspect, len(video.container.streams.video), video.stream.index, video.joints
        ),
    )
    return held


def _few_enough(video: VideoFile, sampling: dict[str, Any], memory_mb: int) -> NDArray[np.int64] | None:
    """Return the numbers of the frames that a sampling asks for, or None where they must not, or need not, be held."""
    if not video.indexed or sampling["by"] == "keyframes":
        return None
    numbers = select_numbers(video, sampling)
    context = video.stream.codec_context
    room = memory_mb * 2**20 // HELD_SHARE
    return numbers if len(numbers) * 3 * context.width * context.height <= room else None


def match_frames(passed: list[Numbered], numbers: NDArray[np.int64]) -> list[Numbered]:
    """Return what `decode_frames` would have yielded for these numbers, from what it yielded for more of them.

    Where a frame cannot be decoded, the next one that can stands in for it, once.

    Args:
        passed: (number, frame) in ascending order.
        numbers: Ascending numbers, all of which `decode_frames` was asked for.

    Example:
        >>> match_frames([(0, "a"), (3, "b"), (5, "c")], np.array([0, 2, 3, 4]))
        [(0, 'a'), (3, 'b'), (5, 'c')]
    """
    places = np.unique(np.searchsorted([number for number, _ in passed], numbers))
    return [passed[place] for place in places if place < len(passed)]


def is_vr_mark(kind: str, content: bytes) -> bool:
    """Return whether a frame's side data says that it is a sphere, or holds two views.

    Telephones mark plain videos too, as a rectilinear projection.

    Args:
        kind: FFmpeg's name of the data.
        content: The data, which begins with the number of the projection or of the arrangement.

    Example:
        >>> is_vr_mark("SPHERICAL", bytes(4)), is_vr_mark("STEREO3D", bytes(4)), is_vr_mark("ICC_PROFILE", b"1234")
        (True, False, False)
    """
    return kind in FLAT and int.from_bytes(content[:4], sys.byteorder) != FLAT[kind]


def _hash(path: Path, channel: Channel) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            channel.beat()
    return digest.hexdigest()


def _even_places(video: VideoFile, number: int) -> NDArray[np.int64]:
    """Return the numbers of that many frames from the first to the last one."""
    step = max(1.0, (video.packets - 1) / max(1, number - 1))
    places = np.unique(np.round(np.arange(number) * step).astype(np.int64))
    return places[places < max(1, video.packets)]


def _evenly_spaced(video: VideoFile, number: int) -> Iterator[Numbered]:
    """Yield that many frames from the first to the last one."""
    places = _even_places(video, number)
    if video.indexed:
        return decode_frames(video, places, seek=True)
    wanted = {int(place) for place in places}
    return ((at, frame) for at, frame in enumerate(video.decode()) if at in wanted)


def _stillness(frames: list[Any]) -> float:
    """Return the largest difference of any two frames in any cell, in grey levels."""
    sides = (frames[0].width, frames[0].height)
    columns, rows = (max(1, min(most, side // LEAST_CELL)) for most, side in zip(CELLS, sides, strict=True))
    small = np.stack([frame.reformat(columns, rows, "gray", interpolation="AREA").to_ndarray() for frame in frames])
    # The largest difference of any pair is the range over all of them.
    return float((small.max(0).astype(int) - small.min(0)).max())


def _seam(frame: Any) -> float | None:  # noqa: ANN401 - PyAV's frame
    """Return how much more the image changes across its joined borders than beside them; None where unknown."""
    columns = frame.to_ndarray(format="gray").astype(float)[:, [0, 1, -2, -1]]
    if min(columns[:, 0].std(), columns[:, 3].std()) < TEXTURE:
        return None
    beside = (np.abs(columns[:, 0] - columns[:, 1]) + np.abs(columns[:, 2] - columns[:, 3])).mean() / 2
    return float(np.abs(columns[:, 0] - columns[:, 3]).mean() / max(beside, 0.5))


if __name__ == "__main__":
    main()
