"""Which frames of an open video are looked at, and the shortest way to each of them.

What is unusual: a frame can only be decoded from the last keyframe before it. From one wanted frame to the next,
decoding goes on where that is near, and starts again at a later keyframe where that leaves out enough frames; the
frames that come out are the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.video.video_file import VideoFile

WORTH_A_JUMP = 6  # frames; decoding on is as cheap as a jump to a keyframe that is no farther
INDEXED = ("mov", "matroska", "avi")  # containers whose index makes a jump exact


def select_frames(video: VideoFile, sampling: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) of the frames that a sampling asks for, in order.

    Args:
        video: An open video whose packets were read.
        sampling: Fields of `SamplingSettings`.
    """
    if not video.indexed:
        return _counted(video, sampling)
    if sampling["by"] == "keyframes":
        return decode_frames(video, np.flatnonzero(video.keys), sampling["seek"], only_keys=True)
    return decode_frames(video, select_numbers(video, sampling), sampling["seek"])


def select_numbers(video: VideoFile, sampling: dict[str, Any]) -> NDArray[np.int64]:
    """Return the numbers of the frames that a sampling asks for, where the packets tell them."""
    if sampling["by"] == "keyframes":
        return np.flatnonzero(video.keys)
    if sampling["by"] == "seconds":
        times = (video.stamps - video.stamps[0]) * video.base
        ticks = np.arange(0, times[-1] + 1e-6, sampling["seconds"])
        return np.unique(np.searchsorted(times, ticks - 1e-6))
    return np.arange(sampling["offset"], len(video.stamps), sampling["every"])


def decode_frames(
    video: VideoFile, numbers: NDArray[np.int64], seek: bool, only_keys: bool = False
) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) of the frames with these ascending numbers, decoding no more than needed.

    From one wanted frame to the next, decoding goes on, or starts again at the last keyframe before the wanted one
    where that leaves out enough frames.
    """
    seek = seek and not only_keys and video.format in INDEXED and not video.joints
    keys = np.flatnonzero(video.keys)
    frames, seen = video.decode(only_keys), -1  # `seen`: number of the last frame that came out
    for wanted in map(int, numbers):
        if wanted <= seen:
            continue
        before = keys[np.searchsorted(keys, wanted, side="right") - 1] if len(keys) and keys[0] <= wanted else 0
        jumped = seek and before > seen + WORTH_A_JUMP
        if jumped:
            video.container.seek(int(video.stamps[before]), stream=video.stream, backward=True)
            frames = video.decode(only_keys)
        for frame in frames:
            if frame.pts is None:
                continue
            seen = int(np.searchsorted(video.stamps, frame.pts, side="right")) - 1
            if jumped and seen > wanted:  # the container's index was wrong: begin anew and jump no more
                video.open()
                yield from decode_frames(video, numbers[numbers >= wanted], False, only_keys)
                return
            jumped = False
            if seen >= wanted:
                yield seen, frame
                break
        else:
            return


def _counted(video: VideoFile, sampling: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) by decoding everything, for containers that do not give every frame its timestamp."""
    due = 0.0
    for number, frame in enumerate(video.decode()):
        seconds = video.time_of(frame.pts, number)
        if sampling["by"] == "keyframes":
            wanted = bool(frame.key_frame)
        elif sampling["by"] == "seconds":
            wanted = seconds >= due - 1e-6
        else:
            wanted = number >= sampling["offset"] and (number - sampling["offset"]) % sampling["every"] == 0
        if wanted:
            due = (np.floor(seconds / sampling["seconds"] + 1e-6) + 1) * sampling["seconds"]
            yield number, frame
