"""Runs `rewho serve` as users do, in a process of its own: its address, its log, its memory."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path


class Running:
    """A service that runs.

    Attributes:
        address: Where it answers.
        password: Of the first user, where it made one.
        process: Its process.
    """

    def __init__(self, folder: Path, *options: str):
        command = [sys.executable, "-m", "rewho", "serve", str(folder), "--port", "0", "--device", "cpu", *options]
        self._log = folder.with_suffix(".log")
        with self._log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, stdout=file)
        until, found = time.monotonic() + 300, None
        while found is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.05)
            found = re.search(r"open (https?://\S+) in a browser", self.log)
        password = re.search(r"password: (\S+)", self.log)
        self.address, self.password = found[1], password[1] if password else ""

    @property
    def log(self) -> str:
        return self._log.read_text()

    def memory(self, name: str = "VmRSS") -> float:
        """Return megabytes; VmHWM is the most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024

    def forget_peak(self) -> None:
        """Let VmHWM count from now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def serving(folder: Path, *options: str):
    """Run a service; it must end when asked to, and have failed nowhere."""
    service = Running(folder, *options)
    try:
        yield service
        assert '"status": 500' not in service.log, service.log[-3000:]
    finally:
        service.process.terminate()
        service.process.wait(60)
