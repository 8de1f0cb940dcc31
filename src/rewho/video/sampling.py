"""Select frames of an open video, and decode as few others as possible to reach them.

What is unusual: decoding a frame has to start at the last keyframe before it. Between two selected frames the decoder
continues where they are close, and seeks to a later keyframe where that skips enough frames; the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.video.video_file import VideoFile

WORTH_A_SEEK = 6  # frames; seeking to a keyframe that is no farther costs as much as decoding up to it
INDEXED = ("mov", "matroska", "avi")  # containers whose index makes seeking exact


def select_frames(video: VideoFile, sampling: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) of the frames that the fields of `SamplingSettings` select, in order.

    The packets of the video must have been read.
    """
    if not video.indexed:
        return _counted(video, sampling)
    return decode_frames(video, select_numbers(video, sampling), sampling["seek"], sampling["by"] == "keyframes")


def select_numbers(video: VideoFile, sampling: dict[str, Any]) -> NDArray[np.int64]:
    """Return the numbers of the frames that a sampling selects, for a video whose packets have timestamps."""
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
    """Yield (number, frame) of the frames with these ascending numbers, seeking to keyframes where that saves time.

    Where a frame cannot be decoded, the next one that can is yielded instead, once.
    """
    seek = seek and not only_keys and video.format in INDEXED and not video.joints
    keys = np.flatnonzero(video.keys)
    frames, last = video.decode(only_keys), -1  # `last`: number of the last decoded frame
    for wanted in map(int, numbers):
        if wanted <= last:
            continue
        before = keys[np.searchsorted(keys, wanted, side="right") - 1] if len(keys) and keys[0] <= wanted else 0
        sought = seek and before > last + WORTH_A_SEEK
        if sought:
            video.container.seek(int(video.stamps[before]), stream=video.stream, backward=True)
            frames = video.decode(only_keys)
        for frame in frames:
            if frame.pts is None:
                continue
            last = int(np.searchsorted(video.stamps, frame.pts, side="right")) - 1
            if sought and last > wanted:  # the container's index was wrong: reopen and seek no more
                video.open()
                yield from decode_frames(video, numbers[numbers >= wanted], False, only_keys)
                return
            sought = False
            if last >= wanted:
                yield last, frame
                break
        else:
            return


def _counted(video: VideoFile, sampling: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) by decoding everything, for containers without a timestamp for every frame."""
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
