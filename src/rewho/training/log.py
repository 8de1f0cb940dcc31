"""Log of a run: one JSON line per step, and TensorBoard; both exact after a resume."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rewho.core.artifact import plain
from rewho.core.check import UserError
from rewho.core.files import parse_json, read_text
from rewho.core.progress import say

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
LOG_LIMIT = 2**30  # bytes; a million steps are a quarter of it


class RunLog:
    """The log of a run.

    Args:
        folder: Folder of the run.
        at: Length in bytes that the resumed checkpoint recorded; later lines are removed. 0 starts a new log.
        step: Step of the resumed checkpoint.
        tensorboard: Write TensorBoard files too.
    """

    def __init__(self, folder: Path, at: int = 0, step: int = 0, *, tensorboard: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = path = folder / LOG
        path.touch()
        os.truncate(path, _whole_lines(path, at, step))
        self._file = path.open("a", buffering=1, encoding="utf-8")  # line by line, for `tail -f`
        self._before, threading.excepthook = threading.excepthook, self._report
        self._writer = _tensorboard(folder / "tensorboard", step) if tensorboard else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            with _name_file(self._path):
                self._file.close()
                if self._writer is not None:
                    self._writer.close()
        finally:
            threading.excepthook = self._before

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; numbers go to TensorBoard as well."""
        with _name_file(self._path):
            self._file.write(json.dumps(plain({"step": step, **values}), allow_nan=False) + "\n")
            if self._writer is not None:
                for name, value in values.items():
                    if isinstance(value, int | float):
                        self._writer.add_scalar(name, value, step)

    def offset(self) -> int:
        """Flush the log to the disk and return its length in bytes, for the checkpoint."""
        with _name_file(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def _report(self, failure: threading.ExceptHookArgs) -> None:
        """Print the failure of a thread; that of TensorBoard, which raises it again in `write`, only once."""
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard")):
            self._before(failure)


@contextlib.contextmanager
def _name_file(path: Path) -> Iterator[None]:
    """Name a file in the system's error about writing it, such as that of a full disk, which names none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _whole_lines(path: Path, at: int, step: int) -> int:
    """Return the length of the lines up to a checkpoint; warn if some are missing or damaged."""
    with path.open("rb") as file:
        start = file.read(at)
    kept = start.rfind(b"\n") + 1
    if kept < at:
        say(
            f"warning: {path} has {kept:,} whole bytes of the {at:,} at step {step:,}: lines of earlier steps are "
            "missing or damaged. The training is not affected; restore the log from a copy if you need all of it."
        )
    return kept


def _tensorboard(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step or None)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log, oldest first, without a last line that a crash truncated."""
    path, lines = folder / LOG, []
    whole = read_text(path, LOG_LIMIT, expected="the log of a training").split("\n")[:-1]
    for number, line in enumerate(whole, 1):
        try:
            lines.append(parse_json(line))
            if not isinstance(lines[-1], dict):
                raise ValueError(type(lines.pop()).__name__)
        except ValueError as error:
            if number == len(whole):
                break
            raise UserError(
                f"{path}, line {number}", expected="JSON, names and values", got=str(error), fix="Restore the log."
            ) from error
    return lines
