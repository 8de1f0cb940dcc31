"""Videos to frames, safely: what is known of a file, and the frames that a sampling asks for.

What is unusual: every video is opened in a process of its own (`decoder.py`) with limits on time, memory and pixels.
Damage of any kind, up to a crash of the decoder, ends in a `VideoFailure` with its reason and never in the loss of a
run. Frames come through a pipe one at a time, so that memory does not depend on the video's length, and the decoder
waits where whoever takes the frames is slower.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, check_range
from rewho.core.settings import LimitSettings, SamplingSettings
from rewho.video.container import first_look
from rewho.video.people import Frame, Probe, VideoFailure

STILL_FRAMES = 5  # the paper's
HEADER_BYTES = 2**16  # most bytes of a message's header; the decoder reads hostile files and is not trusted
PIPE_BYTES = 2**20  # the most that the system allows to everybody; the usual 64 kB mean 40 switches per HD frame
START = "from rewho.video.decoder import main; main()"


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
    require_pyav()
    limits = limits or LimitSettings()
    known: dict[str, Any] = {}
    try:
        first_look(Path(path))
        with Decoding(path, limits, {"job": "probe", "still_frames": still_frames}) as decoding:
            for message in decoding.messages():
                known |= message.fields
                if message.kind == "probe":
                    break
    except VideoFailure as failure:
        known |= {"status": "failed", "reason": failure.reason, "detail": failure.detail}
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
    require_pyav()
    sampling, limits = sampling or SamplingSettings(), limits or LimitSettings()
    check_choice("sampling.by", sampling.by, ("frames", "seconds", "keyframes"))
    check_range("sampling.every", sampling.every, 1, 10**9)
    check_range("sampling.offset", sampling.offset, 0, 10**9)
    check_range("sampling.seconds", sampling.seconds, 1e-3, 1e6)
    return _frames(Path(path), sampling, limits)


def _frames(path: Path, sampling: SamplingSettings, limits: LimitSettings) -> Iterator[Frame]:
    first_look(path)
    with Decoding(path, limits, {"job": "sample", "sampling": asdict(sampling)}) as decoding:
        for message in decoding.messages():
            if message.kind == "frame":
                fields = message.fields
                image = message.payload.reshape(fields["height"], fields["width"], 3)
                yield Frame(fields["number"], fields["time"], image)
            elif message.kind == "end":
                return


def require_pyav() -> None:
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


class Message(NamedTuple):
    """One message of the decoding process: its kind, its fields, and the bytes of a frame where it brings one."""

    kind: str
    fields: dict[str, Any]
    payload: NDArray[np.uint8]


class Decoding:
    """The process that decodes one video; ends with the `with` block, whatever state it is in.

    Args:
        path: The file.
        limits: What it may cost.
        job: The request, see `decoder.py`.
    """

    def __init__(self, path: Path | str, limits: LimitSettings, job: dict[str, Any]) -> None:
        self._limits, self._waited = limits, 0.0
        self._request = {"path": str(Path(path).absolute()), "limits": asdict(limits), **job}

    def __enter__(self) -> Decoding:
        source = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, started without a shell
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,  # a Ctrl-C is for us; what it ends is not the video's fault
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdin and self._process.stdout
        # A process that has died already says so by its exit status.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as request:
            request.write(json.dumps(self._request).encode() + b"\n")
        self._pipe = self._process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(PermissionError):  # a user's pipes have used up their share: it stays as it is
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._complaints.close()

    def messages(self) -> Iterator[Message]:
        """Yield messages, signs of life left out.

        Raises:
            VideoFailure: The process reported a failure, died, hung, or passed a limit.
        """
        while True:
            lengths = self._read(8)
            header, payload = int.from_bytes(lengths[:4]), int.from_bytes(lengths[4:])
            if header > HEADER_BYTES or payload > 3e6 * self._limits.megapixels:
                raise VideoFailure("decoder died", "it sent a message that makes no sense")
            fields = json.loads(self._read(header).tobytes())
            kind = fields.pop("kind")
            if kind == "failed":
                raise VideoFailure(fields["reason"], fields["detail"])
            data = self._read(payload)
            if kind != "alive":
                yield Message(kind, fields, data)

    def _read(self, length: int) -> NDArray[np.uint8]:
        """Return exactly that many bytes from the process."""
        data = np.empty(length, np.uint8)
        left, heard = data.data, time.monotonic()
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while left:
            started = time.monotonic()
            if self._waited > self._limits.seconds:
                raise VideoFailure("time limit", f"{self._limits.seconds:g} s")
            if started - heard > self._limits.silence:
                raise VideoFailure("hung", f"silent for {self._limits.silence:g} s")
            if poll.poll(1000 * min(1.0, self._limits.silence, self._limits.seconds)):
                got = os.readv(self._pipe, [left])
                if not got:
                    raise self._death()
                left, heard = left[got:], time.monotonic()
            self._waited += time.monotonic() - started
        return data

    def _death(self) -> VideoFailure:
        """Return the reason for which the process ended without an answer."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return VideoFailure("time limit", f"{self._limits.seconds:g} s of processor time")
        self._complaints.seek(0)
        lines = self._complaints.read(2**16).decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:300]}" if lines else ""
        if "MemoryError" in said:
            return VideoFailure("memory limit", f"{self._limits.memory_mb} MB")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return VideoFailure("decoder died", how + said)
