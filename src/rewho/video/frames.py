"""Probe videos and sample their frames, safely.

What is unusual: every video is opened in a process of its own (`decoder_client.py`) with limits on time, memory and
pixels. Any damage, including a crash of the decoder, ends in a `VideoFailure` of that video, with a reason.
Frames come one at a time, so memory does not depend on the video's length; the decoder waits for a slower reader.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.check import UserError, install
from rewho.settings import LimitSettings, SamplingSettings
from rewho.settings.fields import check
from rewho.video.container import check_file_kind
from rewho.video.decoder_client import DecoderClient
from rewho.video.people import Frame, Probe, VideoFailure

STILL_FRAMES = 5  # the paper's


class OpenVideo(NamedTuple):
    """A video whose decoding process is running.

    Args:
        probe: What is known of it; after a failure, with the reason.
        frames: The sampled frames, each once; see `sample_frames`.
    """

    probe: Probe
    frames: Iterator[Frame]


@contextlib.contextmanager
def open_video(
    path: Path | str,
    sampling: SamplingSettings | None = None,
    limits: LimitSettings | None = None,
    still_frames: int = STILL_FRAMES,
) -> Iterator[OpenVideo]:
    """Probe a video and sample its frames, if they are read, with one process that ends with the `with` block.

    The result is that of `probe` and `sample_frames`, for the start of one process; short videos are decoded once.

    Args:
        path: The file.
        sampling: Which frames.
        limits: Limits on time, memory and frame size.
        still_frames: How many evenly spaced frames to compare; 0 compares none.

    Raises:
        UserError: PyAV is not installed, or a setting is out of range.

    Example:
        >>> with open_video("/dev/null") as video:
        ...     video.probe.reason
        'not a file'
    """
    with _open(path, *_checked(sampling, limits), still_frames) as video:
        yield video


@contextlib.contextmanager
def _open(
    path: Path | str, sampling: SamplingSettings | None, limits: LimitSettings, still_frames: int
) -> Iterator[OpenVideo]:
    """Probe a video in a process that can then send the frames of a sampling, if there is one."""
    job = {"job": "probe", "still_frames": still_frames, "sampling": sampling and asdict(sampling)}
    with contextlib.ExitStack() as stack:
        known: dict[str, Any] = {}
        try:
            check_file_kind(Path(path))
            client = stack.enter_context(DecoderClient(path, limits, job))
            for message in client.messages():  # each has some fields, so that those before a failure are kept
                known |= message.fields
                if message.kind == "probe":
                    break
            frames = _read_frames(client)
        except VideoFailure as failure:
            known |= {"status": "failed", "reason": failure.reason, "detail": failure.detail}
            frames = _fail(failure)
        yield OpenVideo(_as_probe(known), frames)


def probe(path: Path | str, limits: LimitSettings | None = None, still_frames: int = STILL_FRAMES) -> Probe:
    """Return what is known of a video: whether it can be read, its length, size and hash, and what `screen.py` needs.

    Every packet is read and a few frames are decoded. A failure is part of the result and raises nothing.

    Args:
        path: The file.
        limits: Limits on time, memory and frame size.
        still_frames: How many evenly spaced frames to compare; 0 compares none.

    Raises:
        UserError: PyAV is not installed, or a limit is out of range.

    Example:
        >>> probe("/dev/null").reason
        'not a file'
    """
    with _open(path, None, _checked(None, limits)[1], still_frames) as video:
        return video.probe


def _checked(sampling: SamplingSettings | None, limits: LimitSettings | None) -> tuple[SamplingSettings, LimitSettings]:
    """Return both settings, or their defaults, checked; also check that videos can be decoded at all."""
    if importlib.util.find_spec("av") is None:
        fix = install("video")
        raise UserError("reading videos", expected="the PyAV library", got="an installation without it", fix=fix)
    sampling, limits = sampling or SamplingSettings(), limits or LimitSettings()
    check(sampling, "sampling.")
    check(limits, "limits.")
    return sampling, limits


def _as_probe(known: dict[str, Any]) -> Probe:
    known = {key: value for key, value in known.items() if value is not None}
    known["marks"] = tuple(known.get("marks", ()))
    nothing = {"frames": 0, "duration": 0.0, "width": 0, "height": 0, "fps": 0.0, "sha256": ""}
    return Probe(**{**nothing, **known})


def sample_frames(
    path: Path | str, sampling: SamplingSettings | None = None, limits: LimitSettings | None = None
) -> Iterator[Frame]:
    """Yield the sampled frames of a video, one at a time, in order.

    Args:
        path: The file.
        sampling: Which frames.
        limits: Limits on time, memory and frame size.

    Raises:
        UserError: PyAV is not installed, or a setting is out of range; raised before the first frame.
        VideoFailure: The file cannot be read, or not to its end; frames that came before are valid.

    Example:
        >>> list(sample_frames("/dev/null"))
        Traceback (most recent call last):
        ...
        rewho.video.people.VideoFailure: not a file: a pipe, socket or device
    """
    return _sample(Path(path), *_checked(sampling, limits))


def _sample(path: Path, sampling: SamplingSettings, limits: LimitSettings) -> Iterator[Frame]:
    check_file_kind(path)
    with DecoderClient(path, limits, {"job": "sample", "sampling": asdict(sampling)}) as client:
        yield from _read_frames(client)


def _read_frames(client: DecoderClient) -> Iterator[Frame]:
    client.request_frames()
    for message in client.messages():
        if message.kind == "frame":
            fields = message.fields
            image = message.payload.reshape(fields["height"], fields["width"], 3)
            yield Frame(fields["number"], fields["time"], image)
        elif message.kind == "end":
            return


def _fail(failure: VideoFailure) -> Iterator[Frame]:
    raise failure
    yield
