"""Videos to frames, safely: what is known of a file, and the frames that a sampling asks for.

What is unusual: every video is opened in a process of its own (`decoding.py`) with limits on time, memory and pixels.
Damage of any kind, up to a crash of the decoder, ends in a `VideoFailure` with its reason and never in the loss of a
run. Frames come one at a time, so that memory does not depend on the video's length, and the decoder waits where
whoever takes the frames is slower.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.check import UserError
from rewho.settings import LimitSettings, SamplingSettings
from rewho.settings.fields import check
from rewho.video.container import check_file_kind
from rewho.video.decoder_client import DecoderClient
from rewho.video.people import Frame, Probe, VideoFailure

STILL_FRAMES = 5  # the paper's


class OpenVideo(NamedTuple):
    """A video whose process is running.

    Args:
        probe: What is known of it; a failed one has its reason.
        frames: The frames that the sampling asks for, each once; see `sample_frames`.
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
    """Give what is known of a video, then its frames if they are wanted, from one process that ends with the block.

    It costs one start of a process, and of short videos nothing is decoded twice; otherwise it is `probe` and then
    `sample_frames`.

    Args:
        path: The file.
        sampling: Which frames.
        limits: What it may cost, all in all.
        still_frames: How many evenly spaced frames to compare; 0 compares none.

    Raises:
        UserError: PyAV is not installed, or a setting is out of range.

    Example:
        >>> with open_video("/dev/null") as video:
        ...     video.probe.reason
        'not a file'
    """
    check_pyav()
    sampling, limits = sampling or SamplingSettings(), limits or LimitSettings()
    job = {"job": "probe", "still_frames": still_frames, "sampling": asdict(sampling)}
    with contextlib.ExitStack() as stack:
        known: dict[str, Any] = {}
        try:
            check_file_kind(Path(path))
            decoding = stack.enter_context(DecoderClient(path, limits, job))
            _learn(known, decoding)
            frames = _frames(decoding)
        except VideoFailure as failure:
            known |= _failed(failure)
            frames = _failing(failure)
        yield OpenVideo(_as_probe(known), frames)


def probe(path: Path | str, limits: LimitSettings | None = None, still_frames: int = STILL_FRAMES) -> Probe:
    """Return what is known of a video: soundness, length, size, hash, and the signs that `screen.py` judges by.

    Every packet is read and a few frames are decoded. A file that fails has its reason in the result; nothing is raised
    for it.

    Args:
        path: The file.
        limits: What it may cost.
        still_frames: How many evenly spaced frames to compare; 0 compares none.

    Raises:
        UserError: PyAV is not installed.

    Example:
        >>> probe("/dev/null").reason
        'not a file'
    """
    check_pyav()
    known: dict[str, Any] = {}
    job = {"job": "probe", "still_frames": still_frames, "sampling": None}
    try:
        check_file_kind(Path(path))
        with DecoderClient(path, limits or LimitSettings(), job) as decoding:
            _learn(known, decoding)
    except VideoFailure as failure:
        known |= _failed(failure)
    return _as_probe(known)


def _learn(known: dict[str, Any], decoding: DecoderClient) -> None:
    """Add the fields of a `Probe` as the process tells them; what came before a failure stays."""
    for message in decoding.messages():
        known |= message.fields
        if message.kind == "probe":
            return


def _failed(failure: VideoFailure) -> dict[str, Any]:
    return {"status": "failed", "reason": failure.reason, "detail": failure.detail}


def _as_probe(known: dict[str, Any]) -> Probe:
    known = {key: value for key, value in known.items() if value is not None}
    known["marks"] = tuple(known.get("marks", ()))
    nothing = {"frames": 0, "duration": 0.0, "width": 0, "height": 0, "fps": 0.0, "sha256": ""}
    return Probe(**{**nothing, **known})


def sample_frames(
    path: Path | str, sampling: SamplingSettings | None = None, limits: LimitSettings | None = None
) -> Iterator[Frame]:
    """Yield the frames that a sampling asks for, one at a time, in order.

    Args:
        path: The file.
        sampling: Which frames.
        limits: What the file may cost.

    Raises:
        UserError: PyAV is not installed, or a setting is out of range; before the first frame.
        VideoFailure: The file cannot be read, or not to its end; frames that came before are sound.

    Example:
        >>> list(sample_frames("/dev/null"))
        Traceback (most recent call last):
        ...
        rewho.video.people.VideoFailure: not a file: a pipe, socket or device
    """
    check_pyav()
    sampling, limits = sampling or SamplingSettings(), limits or LimitSettings()
    check(sampling, "sampling.")
    check(limits, "limits.")
    return _sampled(Path(path), sampling, limits)


def _sampled(path: Path, sampling: SamplingSettings, limits: LimitSettings) -> Iterator[Frame]:
    check_file_kind(path)
    with DecoderClient(path, limits, {"job": "sample", "sampling": asdict(sampling)}) as decoding:
        yield from _frames(decoding)


def _frames(decoding: DecoderClient) -> Iterator[Frame]:
    decoding.go_on()
    for message in decoding.messages():
        if message.kind == "frame":
            fields = message.fields
            image = message.payload.reshape(fields["height"], fields["width"], 3)
            yield Frame(fields["number"], fields["time"], image)
        elif message.kind == "end":
            return


def _failing(failure: VideoFailure) -> Iterator[Frame]:
    raise failure
    yield


def check_pyav() -> None:
    """Check that videos can be decoded at all.

    Raises:
        UserError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError(
            "reading videos",
            expected="the PyAV library",
            got="an installation without it",
            fix="pip install rewho[video]",
        )
