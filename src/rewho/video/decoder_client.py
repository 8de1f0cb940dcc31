"""Start the process that decodes one video (`decoder.py`), read its messages within deadlines, and end it.

What is unusual: the process is not trusted, because it reads hostile files. Its messages are checked, its time and its
silence are limited, and any way in which it ends early becomes a `VideoFailure` with a reason.
"""

from __future__ import annotations

import contextlib
import fcntl
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

from rewho.settings import LimitSettings
from rewho.video.people import VideoFailure

HEADER_BYTES = 2**16  # most bytes of a message's header
PIPE_BYTES = 2**20  # the most that Linux allows without privileges; its default of 64 kB costs 40 switches per HD frame
START = "from rewho.video.decoder import main; main()"


class Message(NamedTuple):
    """One message of the decoding process: its kind, its fields, and the bytes of a frame if there is one."""

    kind: str
    fields: dict[str, Any]
    payload: NDArray[np.uint8]


class DecoderClient:
    """The process that decodes one video; it is killed at the end of the `with` block.

    `job` has the other fields of the request, see `decoder.py`.
    """

    def __init__(self, path: Path | str, limits: LimitSettings, job: dict[str, Any]) -> None:
        self._limits, self._waited = limits, 0.0
        self._request = {"path": str(Path(path).absolute()), "limits": asdict(limits), **job}

    def __enter__(self) -> DecoderClient:
        source = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, started without a shell
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # or Ctrl-C would end it too, which is no failure of the video
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdin and self._process.stdout
        self._send(json.dumps(self._request))
        self._pipe = self._process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(PermissionError):  # the user's other pipes have used up the allowance
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # for a line that a dead process did not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._stderr.close()

    def request_frames(self) -> None:
        """Ask for the frames after the probe; without effect if the job was to sample only."""
        self._send("frames")

    def _send(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # the exit status of a dead process is read later
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def messages(self) -> Iterator[Message]:
        """Yield messages, without heartbeats."""
        while True:
            lengths = self._read(8)
            header, payload = int.from_bytes(lengths[:4]), int.from_bytes(lengths[4:])
            if header > HEADER_BYTES or payload > 3e6 * self._limits.megapixels:
                raise VideoFailure("decoder died", "it sent a malformed message")
            fields = json.loads(self._read(header).tobytes())
            kind = fields.pop("kind")
            if kind == "failed":
                raise VideoFailure(fields["reason"], fields["detail"])
            data = self._read(payload)
            if kind != "alive":
                yield Message(kind, fields, data)

    def _read(self, length: int) -> NDArray[np.uint8]:
        """Return exactly `length` bytes from the process."""
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
                    raise self._end_reason()
                left, heard = left[got:], time.monotonic()
            self._waited += time.monotonic() - started
        return data

    def _end_reason(self) -> VideoFailure:
        """Return why the process ended without an answer."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return VideoFailure("time limit", f"{self._limits.seconds:g} s of processor time")
        self._stderr.seek(0)
        lines = self._stderr.read(2**16).decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:300]}" if lines else ""
        if "MemoryError" in last:
            return VideoFailure("memory limit", f"{self._limits.memory_mb} MB")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return VideoFailure("decoder died", how + last)
