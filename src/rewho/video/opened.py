"""An open video file: its stream of pictures, the plan of its packets, and how to reach a frame.

What is unusual: which frames to decode is planned on the packets, which are read without decoding. Their timestamps,
sorted, number the frames; their keyframe flags say where decoding may start; their end says whether the file is
whole. This module runs in the decoding process only (`decoder.py`) and imports PyAV when it opens something.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.video.container import FORMATS, first_look, missing_bytes
from rewho.video.people import VideoFailure

FRAMES_OF_ROOM = 2  # a decoder that has less than this left, at 3 bytes a pixel, has run out of memory
CUT_SECONDS, CUT_SHARE = 0.5, 0.01  # frames may end this much before what the container claims


class Video:
    """One open file: its video stream, and the plan of its packets."""

    def __init__(self, path: Path, limits: dict[str, Any], beat: Callable[[], None]) -> None:
        first_look(path)
        self.path, self.beat, self.errors = path, beat, 0
        self._limits = limits
        self.open()

    def open(self) -> None:
        """Open the file, at its first packet; also to begin anew, since not every container can be rewound."""
        import av

        limits = self._limits
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        # Before version 19, which has no such argument, PyAV fails on metadata that is not UTF-8 by default.
        lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
        # An absolute path cannot be taken for an address such as concat:a|b or http://…
        self.container = av.open(str(self.path.absolute()), options=options, **lenient)
        claimed = self.container.duration
        self.claimed = claimed / 1e6 if claimed and claimed > 0 else 0.0
        if self.claimed > limits["hours"] * 3600:
            raise VideoFailure("too long", f"{self.claimed / 3600:.1f} hours claimed")
        self.stream = self._video_stream()
        context = self.stream.codec_context
        pixels = context.width * context.height
        if pixels > limits["megapixels"] * 1e6:
            raise VideoFailure("too large", f"{context.width} x {context.height} pixels")
        context.thread_count = limits["threads"]
        context.options = {"max_pixels": str(int(limits["megapixels"] * 1e6))}
        self.start, self.base = self.stream.start_time or 0, float(self.stream.time_base or 0)

    def _video_stream(self) -> Any:  # noqa: ANN401 - PyAV has no types for its streams' attributes
        import av

        pictures = av.stream.Disposition.attached_pic
        streams = [one for one in self.container.streams.video if not one.disposition & pictures]
        if not streams:
            reason = "audio only" if self.container.streams.audio else "unreadable"
            raise VideoFailure(reason, "no video stream")
        if streams[0].codec_context is None:
            raise VideoFailure("unreadable", "no decoder for its video stream")
        return streams[0]

    def read_packets(self) -> None:
        """Read every packet without decoding it: timestamps, keyframes, and where each stream ends."""
        import av

        stamps, keys, sizes, last = [], [], 0, 0.0
        try:
            for packet in self.container.demux():
                self.beat()
                if packet.dts is None and packet.pts is None:
                    sizes += packet.size if packet.stream_index == self.stream.index else 0
                    continue
                end = float(((packet.pts or packet.dts or 0) + (packet.duration or 0)) * (packet.time_base or 0))
                last = max(last, end)
                if packet.stream_index == self.stream.index and not packet.is_discard:
                    stamps.append(packet.pts)
                    keys.append(packet.is_keyframe)
        except av.error.FFmpegError as error:
            self._count(error)
        zero = (self.container.start_time or 0) / 1e6
        self.ends = last - zero
        known = [stamp for stamp in stamps if stamp is not None]
        self.packets = len(stamps)
        # Numbers and jumps need one timestamp per frame; some containers give none, and then frames are counted.
        self.indexed = bool(known) and len(known) == len(stamps) == len(set(known)) and not sizes
        order = np.argsort(known, kind="stable") if self.indexed else np.zeros(0, int)
        self.stamps: NDArray[np.int64] = np.array(known if self.indexed else [], np.int64)[order]
        self.keys: NDArray[np.bool_] = np.array(keys if self.indexed else [], bool)[order]

    def cut(self) -> str:
        """Return how the file falls short of what its container says, or an empty text."""
        lacking = missing_bytes(self.path)
        if lacking:
            return f"{lacking} bytes are missing at the end"
        if self.stream.frames and self.packets < 0.99 * self.stream.frames - 1:
            return f"{self.packets} of {self.stream.frames} frames"
        if self.claimed and self.ends < self.claimed - max(CUT_SECONDS, CUT_SHARE * self.claimed):
            return f"{self.ends:.2f} s of {self.claimed:.2f} s"
        return ""

    def decode(self, only_keys: bool = False) -> Iterator[Any]:
        """Yield decoded frames from the current place on; packets that cannot be decoded are counted and left out."""
        import av

        packets = self.container.demux(self.stream)
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
            yield from frames

    def _count(self, error: Exception) -> None:
        """Count a packet that could not be read or decoded.

        Raises:
            MemoryError: It is no fault of the packet. FFmpeg calls a lack of memory damaged data, hence the look at
                how much is left.
        """
        context = self.stream.codec_context
        if isinstance(error, MemoryError) or free_memory() < FRAMES_OF_ROOM * 3 * context.width * context.height:
            raise MemoryError
        self.errors += 1

    def time_of(self, stamp: int | None, number: int) -> float:
        """Return a frame's seconds since the first frame."""
        if stamp is None or not self.base:
            rate = self.stream.average_rate or self.stream.guessed_rate
            return number / float(rate) if rate else float(number)
        first = int(self.stamps[0]) if len(self.stamps) else self.start
        return (stamp - first) * self.base

    def duration(self) -> float:
        """Return the seconds from the first frame to the end of the last one, by the packets."""
        if self.indexed:
            span = float(self.stamps[-1] - self.stamps[0]) * self.base
            return span + (span / (len(self.stamps) - 1) if len(self.stamps) > 1 else 0.0)
        return self.time_of(None, self.packets)


def free_memory() -> int:
    """Return how many bytes this process may still allocate under its limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return limit - allocated()


def allocated() -> int:
    """Return the bytes of address space that this process holds; 0 where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
