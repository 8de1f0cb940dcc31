"""An open video file: its video stream, the index of its packets, and decoding.

What is unusual: the packets are read first, without decoding. Their sorted timestamps number the frames, their keyframe
flags show where decoding may start, and their end shows whether the file is complete. Where packets have no timestamps
of their own, frames are counted while they are decoded. Only the decoding process (`decoder.py`) uses this module.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.video.container import FORMATS, IVF, check_file_kind, count_missing_bytes, declares_length, has_video_behind
from rewho.video.display import square_pixel_size
from rewho.video.people import VideoFailure

SPARE_FRAMES = 2  # a decoder with memory left for fewer frames, at 3 bytes a pixel, has run out of memory
CUT_SECONDS, CUT_SHARE = 0.5, 0.01  # frames may end so much before the declared duration
BROADCAST = ("mpegts", "mpeg")  # no duration in the file; timestamps may jump where recordings are joined
JUMP_SECONDS = 10.0  # a larger gap in a broadcast container is a joint; FFmpeg's dts_delta_threshold
BACK_SECONDS = 1.0  # decoding times of damaged files may go back by less


class _Clock:
    """One time line for recordings joined in one file: timestamps after a restart are shifted to follow."""

    def __init__(self, base: float, gaps: bool) -> None:
        self.joints = 0
        self._back, self._ahead = -BACK_SECONDS / base, JUMP_SECONDS / base if gaps else np.inf
        self._shift, self._latest, self._step = 0, 0, 1
        self._last: int | None = None

    def move(self, packet: Any) -> None:  # noqa: ANN401 - PyAV's packet
        """Shift a packet's timestamps to the common time line."""
        if packet.dts is None or not packet.size:
            packet.pts = None if packet.pts is None else packet.pts + self._shift
            return
        decoded = packet.dts + self._shift
        shown = decoded if packet.pts is None else packet.pts + self._shift
        if self._last is None:
            self._last = self._latest = decoded
        step = decoded - self._last
        if step < self._back or step > self._ahead or (step < 0 and packet.is_keyframe and shown <= self._latest):
            moved = self._latest + self._step - shown
            decoded, shown, self._shift = decoded + moved, shown + moved, self._shift + moved
            self.joints += 1
        elif step > 0:
            self._step = step
        self._last, self._latest = decoded, max(self._latest, shown)
        packet.dts, packet.pts = decoded, None if packet.pts is None else shown


class VideoFile:
    """An open file with its video stream; `read_packets` fills the index, `beat` is called between packets."""

    def __init__(self, path: Path, limits: dict[str, Any], beat: Callable[[], None]) -> None:
        check_file_kind(path)
        self.path, self.beat, self.errors, self.joints, self.decoded = path, beat, 0, 0, 0
        self._limits = limits
        self.open()

    def open(self) -> None:
        """Open the file at its first packet; reopening replaces rewinding, which not every container can do."""
        import av

        limits, self.decoded = self._limits, 0
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        # Before version 19, which has no such argument, PyAV fails on metadata that is not UTF-8 by default.
        lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
        # FFmpeg reads names such as concat:a|b and http://… as addresses, but never an absolute path.
        self.container = av.open(str(self.path.absolute()), options=options, **lenient)
        self.format = self.container.format.name.split(",")[0]
        self._declares = self.format not in BROADCAST and declares_length(self.path)
        claimed = self.container.duration if self._declares else 0  # else FFmpeg's estimate
        self.claimed = claimed / 1e6 if claimed and claimed > 0 else 0.0
        self._check_length(self.claimed, "claimed")
        self.stream = self._video_stream()
        context, aspect = self.stream.codec_context, self.stream.sample_aspect_ratio
        self.aspect = Fraction(aspect.numerator, aspect.denominator) if aspect else None
        width, height = square_pixel_size(context.width, context.height, self.aspect)
        if width * height > limits["megapixels"] * 1e6:
            raise VideoFailure("too large", f"{width} x {height} pixels")
        context.thread_count = limits["threads"]
        context.options = {"max_pixels": str(int(limits["megapixels"] * 1e6))}
        self.start, self.base = self.stream.start_time or 0, float(self.stream.time_base or 0)

    def _check_length(self, seconds: float, how: str) -> None:
        if seconds > self._limits["hours"] * 3600:
            raise VideoFailure("too long", f"{seconds / 3600:.1f} hours {how}")

    def _video_stream(self) -> Any:  # noqa: ANN401 - PyAV has no types for its streams' attributes
        """Return the largest video stream that is not a cover, a thumbnail or a single image beside a video."""
        import av

        kinds = av.stream.Disposition
        images = kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image
        streams = [one for one in self.container.streams.video if not one.disposition & images]
        if not streams:
            reason = "audio only" if self.container.streams.audio else "unreadable"
            raise VideoFailure(reason, "no video stream")
        streams = [one for one in streams if one.codec_context is not None]
        if not streams:
            raise VideoFailure("unreadable", "no decoder for its video stream")
        # Of equally large streams, max returns the first in FFmpeg's order.
        return max(streams, key=lambda one: (one.frames != 1, one.codec_context.width * one.codec_context.height))

    def read_packets(self) -> None:
        """Index every packet without decoding it: timestamps, keyframes, and the end of the streams."""
        import av

        stamps, slots, keys, last, place = [], [], [], 0.0, 0
        self._read = 0
        try:
            for packet in self._packets():
                self.beat()
                known = packet.dts is not None or packet.pts is not None
                end = float(((packet.pts or packet.dts or 0) + (packet.duration or 0)) * (packet.time_base or 0))
                last, place = max(last, end), max(place, (packet.pos or 0) + packet.size)
                if packet.stream_index != self.stream.index or not (known or packet.size):
                    continue
                self._read += 1
                if packet.size and not packet.is_discard:  # an empty packet prolongs the frame before
                    stamps.append(packet.pts)
                    slots.append(packet.dts)
                    keys.append(packet.is_keyframe)
        except av.error.FFmpegError as error:
            self._count(error)
        self.followed = has_video_behind(self.path, place)
        zero = (self.container.start_time or 0) / 1e6
        # Matroska may declare its end instead of its duration.
        self.ends = last if self.format == "matroska" and zero < self.claimed else last - zero
        self.packets = len(stamps)
        # Numbering and seeking need a timestamp per frame. AVI has the decoding order only, raw streams have nothing.
        guessed = self.format == "avi" and self.stream.codec_context.has_b_frames
        self.indexed = bool(stamps) and not guessed and None not in stamps and len(stamps) == len(set(stamps))
        order = np.argsort(stamps, kind="stable") if self.indexed else np.zeros(0, int)
        self.stamps: NDArray[np.int64] = np.array(stamps if self.indexed else [], np.int64)[order]
        self.keys: NDArray[np.bool_] = np.array(keys if self.indexed else [], bool)[order]
        self._slots = np.sort(np.array(slots, np.int64)) if guessed and None not in slots else self.stamps
        self._check_length(self.duration(), "long")

    def _packets(self, *streams: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV's
        """Yield the packets of the given streams, or of all; those of the video stream share one time line."""
        clock = _Clock(self.base or 1.0, self.format in BROADCAST)
        for packet in self.container.demux(*streams):
            if self.format == "ivf" and self._is_header(packet):
                return
            if packet.stream_index == self.stream.index:
                clock.move(packet)
                self.joints = max(self.joints, clock.joints)
            yield packet

    def _is_header(self, packet: Any) -> bool:  # noqa: ANN401 - PyAV's
        """Return whether FFmpeg took the header of another IVF file, written behind this one, for a packet."""
        with self.path.open("rb") as file:
            file.seek(packet.pos or 0)
            return file.read(len(IVF)) == IVF

    def describe_cut(self) -> str:
        """Return what is missing of what the container declares, as text; empty if nothing is."""
        lacking = count_missing_bytes(self.path)
        if lacking:
            return f"{lacking} bytes are missing at the end"
        declared = self.stream.frames if self._declares else 0
        if self.format in ("mov", "avi"):  # their index omits what an edit list hides
            declared = min(declared, len(self.stream.index_entries) or declared)
        if self._read < 0.99 * declared - 1:
            return f"{self._read} of {declared} frames"
        if self.claimed and self.ends < self.claimed - max(CUT_SECONDS, CUT_SHARE * self.claimed):
            return f"{self.ends:.2f} s of {self.claimed:.2f} s"
        return ""

    def decode(self, only_keys: bool = False) -> Iterator[Any]:
        """Yield decoded frames from the current position; packets that cannot be decoded are counted and skipped."""
        import av

        packets = self._packets(self.stream)
        while True:
            try:
                packet = next(packets)
                if only_keys and packet.size and not packet.is_keyframe:
                    continue
                frames = packet.decode()
            except StopIteration:
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self._count(error)
                if self.errors > 10 * self.packets + 100:
                    return
                continue
            self.beat()
            self.decoded += len(frames)
            yield from frames

    def _count(self, error: Exception) -> None:
        """Count a packet that could not be read or decoded."""
        context = self.stream.codec_context
        if isinstance(error, MemoryError) or free_memory() < SPARE_FRAMES * 3 * context.width * context.height:
            raise MemoryError
        self.errors += 1

    def time_of(self, stamp: int | None, number: int) -> float:
        """Return a frame's seconds since the first frame."""
        if not self.indexed and number < len(self._slots):
            return float(self._slots[number] - self._slots[0]) * self.base
        if stamp is None or not self.base:
            rate = self.stream.average_rate or self.stream.guessed_rate
            return number / float(rate) if rate else float(number)
        first = int(self.stamps[0]) if len(self.stamps) else self.start
        return (stamp - first) * self.base

    def duration(self) -> float:
        """Return the seconds from the first frame to the end of the last one, according to the packets."""
        if not len(self._slots):
            return self.time_of(None, self.packets)
        span = float(self._slots[-1] - self._slots[0]) * self.base
        return span + (span / (len(self._slots) - 1) if len(self._slots) > 1 else 0.0)


def free_memory() -> int:
    """Return how many bytes this process may still allocate under its limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return limit - allocated()


def allocated() -> int:
    """Return the bytes of address space that this process holds; 0 where /proc is absent."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
