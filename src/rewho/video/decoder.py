"""The process that decodes one video under limits. `decoder_client.py` starts it and reads its messages.

What is unusual: this is a Python process of its own, because a decoder that reads a damaged file may hang, crash, or
allocate all memory. It reads one request (JSON) from standard input and writes messages to standard output: 8 bytes
with two lengths, a JSON header, and the pixels of a frame. It does not import torch, so it starts quickly. It lowers
its own limits before it opens anything. One process can probe a video and then, on request, send its frames; the frames
of a short video are kept while probing, so that nothing is decoded twice.
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
BEAT = 0.5  # seconds between heartbeats
STDERR_BYTES = 2**20  # the only file that is written is the standard error
MOST_LOST = 0.25  # share of the sampled frames; recordings that begin between keyframes lose a few
HELD_SHARE = 16  # kept frames may take 1/16 of the memory that the process may allocate
CELLS, LEAST_CELL = (64, 36), 8  # columns and rows of the grid for comparing frames; least pixels of a cell's side
PANORAMA = (1.95, 2.05)  # width over height of an equirectangular image
TEXTURE = 4.0  # grey levels; a border column with less variation cannot show a seam
FLAT = {"SPHERICAL": 4, "STEREO3D": 0}  # FFmpeg's numbers for a plain projection and for a single view
TAG_MARKS = ("spherical-video", "spherical", "stereo_mode")
Numbered = tuple[int, Any]
"""A frame's number and PyAV's frame."""


class Channel:
    """Writes messages with a JSON header to a file descriptor, and heartbeats between them."""

    def __init__(self, number: int) -> None:
        self._number, self._sent = number, time.monotonic()

    def send(self, kind: str, payload: memoryview | None = None, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Send one message; blocks while the reader is slower."""
        header = json.dumps({"kind": kind, **fields}).encode()
        self._write(memoryview(HEADER.pack(len(header), payload.nbytes if payload else 0) + header))
        if payload:
            self._write(payload)
        self._sent = time.monotonic()

    def beat(self) -> None:
        """Send a heartbeat if nothing was sent for `BEAT` seconds."""
        if time.monotonic() - self._sent > BEAT:
            self.send("alive")

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._number, data) :]


def lower_limits(seconds: float, memory_mb: int) -> None:
    """Limit this process: processor time, memory beyond what it has already, size of files, core dumps."""
    memory = allocated() + memory_mb * 2**20
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, max(1, int(seconds) + 1)),
        (resource.RLIMIT_FSIZE, STDERR_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Answer the request on standard input."""
    for request_to_stop in (signal.SIGINT, signal.SIGTERM):  # sent to whole process groups; our parent ends us
        signal.signal(request_to_stop, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    # Libraries print to standard output too; that must not get between the messages.
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
            if not (sampling and sys.stdin.readline()):  # the client wants no frames
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
        end = f"; {lacking} bytes are missing at the end" if lacking else ""
        channel.send("failed", reason="unreadable", detail=(error.strerror or type(error).__name__) + end)


def _sample(video: VideoFile, sampling: dict[str, Any], held: list[Numbered] | None, channel: Channel) -> None:
    """Send the selected frames, then the end, or that the end came too early."""
    if held is None:
        video.open()
    last, sent = -1, 0
    numbers = select_numbers(video, sampling) if video.indexed else np.zeros(0, np.int64)
    for number, frame in select_frames(video, sampling) if held is None else held:
        image = to_rgb(frame, video.aspect)
        height, width = image.shape[:2]
        seconds = video.time_of(frame.pts, number)
        channel.send("frame", image.data.cast("B"), number=number, time=seconds, height=height, width=width)
        last, sent = number, sent + 1
    cut = video.describe_cut()
    if not cut and last < 0 and (len(numbers) or not video.packets):
        raise _no_frames(video)
    if not cut and len(numbers) and last < numbers[-1]:
        cut = f"nothing can be decoded after frame {last} of {video.packets}"
    if cut:
        raise VideoFailure("cut short", cut)
    lost = len(numbers) - sent
    if lost > MOST_LOST * len(numbers) and lost > 1:
        raise VideoFailure("damaged", f"{lost} of {len(numbers)} sampled frames cannot be decoded")
    lost = video.packets - video.decoded  # an interlaced frame of H.264 may be in two packets
    if not video.indexed and video.stream.codec_context.name != "h264" and lost > max(1, MOST_LOST * video.packets):
        raise VideoFailure("damaged", f"{lost} of {video.packets} packets cannot be decoded")
    channel.send("end", errors=video.errors)


def _no_frames(video: VideoFile) -> VideoFailure:
    return VideoFailure("no frames", f"{video.packets} packets, none of which can be decoded")


def _probe(
    video: VideoFile, still_frames: int, sampling: dict[str, Any] | None, memory_mb: int, channel: Channel
) -> list[Numbered] | None:
    """Send the file's hash, then the fields of `Probe`; return the sampled frames if all of them could be kept."""
    channel.send("hash", sha256=_hash(video.path, channel))
    video.read_packets()
    cut = video.describe_cut()
    video.open()
    held = None
    if sampling and (wanted := _few_enough(video, sampling, memory_mb)) is not None:
        places = _even_places(video, max(1, still_frames))
        decoded = list(decode_frames(video, np.union1d(places, wanted), sampling["seek"]))
        frames, held = [frame for _, frame in match_frames(decoded, places)], match_frames(decoded, wanted)
    else:
        frames = [frame for _, frame in _evenly_spaced(video, max(1, still_frames))]
    if not frames:
        raise VideoFailure("cut short", cut) if cut else _no_frames(video)
    _send_probe(video, frames, cut, channel)
    return held


def _send_probe(video: VideoFile, frames: list[Any], cut: str, channel: Channel) -> None:
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
        changes=describe_changes(first, video),
    )


def _few_enough(video: VideoFile, sampling: dict[str, Any], memory_mb: int) -> NDArray[np.int64] | None:
    """Return the numbers of the sampled frames, or None where they are too many to keep or cannot be known."""
    if not video.indexed or sampling["by"] == "keyframes":
        return None
    numbers = select_numbers(video, sampling)
    context = video.stream.codec_context
    room = memory_mb * 2**20 // HELD_SHARE
    return numbers if len(numbers) * 3 * context.width * context.height <= room else None


def match_frames(decoded: list[Numbered], numbers: NDArray[np.int64]) -> list[Numbered]:
    """Return what `decode_frames` would have yielded for these numbers, from what it yielded for more of them."""
    places = np.unique(np.searchsorted([number for number, _ in decoded], numbers))
    return [decoded[place] for place in places if place < len(decoded)]


def is_vr_mark(kind: str, content: bytes) -> bool:
    """Return whether a frame's side data marks a spherical projection or two views.

    The content begins with FFmpeg's number for the projection or the arrangement. Phones mark ordinary videos too.
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
    """Return the numbers of so many evenly spaced frames, the first and the last among them."""
    step = max(1.0, (video.packets - 1) / max(1, number - 1))
    places = np.unique(np.round(np.arange(number) * step).astype(np.int64))
    return places[places < max(1, video.packets)]


def _evenly_spaced(video: VideoFile, number: int) -> Iterator[Numbered]:
    """Yield so many evenly spaced frames, the first and the last among them."""
    places = _even_places(video, number)
    if video.indexed:
        return decode_frames(video, places, seek=True)
    wanted = {int(place) for place in places}
    return ((at, frame) for at, frame in enumerate(video.decode()) if at in wanted)


def _stillness(frames: list[Any]) -> float:
    """Return the largest difference of any two frames in any cell of a grid, in grey levels."""
    sides = (frames[0].width, frames[0].height)
    columns, rows = (max(1, min(most, side // LEAST_CELL)) for most, side in zip(CELLS, sides, strict=True))
    small = np.stack([frame.reformat(columns, rows, "gray", interpolation="AREA").to_ndarray() for frame in frames])
    # The largest difference of any pair is the range over all frames.
    return float((small.max(0).astype(int) - small.min(0)).max())


def _seam(frame: Any) -> float | None:  # noqa: ANN401 - PyAV's frame
    """Return the difference across the left and right border over that beside them; None without texture there."""
    columns = frame.to_ndarray(format="gray").astype(float)[:, [0, 1, -2, -1]]
    if min(columns[:, 0].std(), columns[:, 3].std()) < TEXTURE:
        return None
    beside = (np.abs(columns[:, 0] - columns[:, 1]) + np.abs(columns[:, 2] - columns[:, 3])).mean() / 2
    return float(np.abs(columns[:, 0] - columns[:, 3]).mean() / max(beside, 0.5))
