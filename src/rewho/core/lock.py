"""One writer per folder, by a lock that the system releases when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from rewho.core.check import UserError, describe_error
from rewho.core.progress import say
from rewho.core.runtime import is_main_process

LOCK = ".lock"
"""Name of a folder's lock file; removed when its holder ends, ignored when its holder was killed."""
_HELD: dict[Path, Lock] = {}
_GUARD = threading.Lock()
P = ParamSpec("P")
R = TypeVar("R")


class Lock:
    """Holds a lock file, which names its holder, while a block runs.

    The lock is the system's, not the file's presence: the file of a killed process blocks nobody. It is a record lock,
    not flock, so that it belongs to the process alone and workers that outlive a killed process do not keep it.

    Args:
        path: The lock file.
        what: What is locked, for the message.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what, self._descriptor = path, what, -1
        self._process, self._thread = 0, threading.current_thread()

    def __enter__(self) -> Lock:
        with _GUARD:
            self._key = self.path.absolute()
            if self._key in _HELD and _HELD[self._key].held():
                raise self._busy(f"{os.getpid()} (this one)")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._acquire()
            except OSError as error:
                place = error.filename or self.path.parent
                fix = "Check the path and its permissions, or choose another folder."
                got = f"{place}: {error.strerror or describe_error(error)}"
                raise UserError(self.what, expected="a folder that can be written to", got=got, fix=fix) from error
            _HELD[self._key] = self
            self._process, self._thread = os.getpid(), threading.current_thread()
        return self

    def _acquire(self) -> None:
        while self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    say(f"warning: {self.path.parent} has no locks ({error.strerror}): run one command at a time there")
                else:
                    holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
                    os.close(descriptor)
                    raise self._busy(holder) from error
            if self._is_there(descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # its holder removed the file between our opening and locking it
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode())

    def _busy(self, holder: str) -> UserError:
        return UserError(
            self.what,
            expected="one writer at a time",
            got=f"another writer: process {holder}",
            fix="Wait until it ends, or stop it, or choose another folder.",
        )

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def held(self, *, here: bool = False) -> bool:
        """Return whether this process holds it; with `here`, whether the calling or a finished thread does."""
        mine = self._descriptor >= 0 and self._process == os.getpid()
        return mine and (not here or self._thread is threading.current_thread() or not self._thread.is_alive())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock and remove its file."""
        with _GUARD:
            if self.held():
                self.path.unlink(missing_ok=True)
                os.close(self._descriptor)
                _HELD.pop(self._key, None)
            self._descriptor = -1


@contextlib.contextmanager
def waiting_lock(path: Path, what: str, longest: float) -> Iterator[None]:
    """Hold a lock file while a block runs; wait for another holder, in this process too, for some seconds."""
    began, lock = time.monotonic(), Lock(path, what)
    while True:
        try:
            lock.__enter__()
            break
        except UserError:
            if time.monotonic() - began > longest:
                raise
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def hold(path: Path, what: str) -> None:
    """Acquire a lock until `release`, the end of the surrounding `release_locks`, or the end of the process.

    The main process holds it for all processes of a run. A lock that the thread holds already is kept.
    """
    held = _HELD.get(path.absolute())
    if is_main_process() and not (held and held.held(here=True)):
        Lock(path, what).__enter__()


def release(path: Path) -> None:
    """Release a lock acquired by `hold`, if this process has it."""
    if held := _HELD.get(path.absolute()):
        held.release()


def release_locks(run: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: when it ends, release the locks that it acquired by `hold`."""

    @functools.wraps(run)
    def freeing(*args: P.args, **kwargs: P.kwargs) -> R:
        before = set(_HELD)
        try:
            return run(*args, **kwargs)
        finally:
            for lock in [lock for path, lock in _HELD.items() if path not in before and lock.held(here=True)]:
                lock.release()

    return freeing
