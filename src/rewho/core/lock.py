"""One writer per folder: a lock that the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from rewho.core.check import UserError


class Lock:
    """Holds a lock file while a block runs; the file says who holds it.

    The lock is the system's (flock), not the file's presence: a file that a killed process left holds nobody up.

    Args:
        path: The lock file.
        what: What must not be done twice at a time, for the message.

    Raises:
        UserError: Another process holds it; names its process id.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Lock(Path(folder, "a.lock"), "this folder"):
        ...     print(Path(folder, "a.lock").read_text().split()[0] == str(os.getpid()))
        True
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what, self._descriptor = path, what, -1

    def __enter__(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
                os.close(descriptor)
                raise UserError(
                    self.what,
                    expected="one builder at a time",
                    got=f"one that is at work already: process {holder}",
                    fix="Wait until it ends, or stop it, or choose another folder.",
                ) from error
            if self._is_there(descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # its holder removed the file between our opening and locking it
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        return self

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1
