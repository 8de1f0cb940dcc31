"""A command with its settings and inputs, stored in its folder: a repeated command ends before heavy imports.

`command.json` holds the settings as given, and size and time of every input and output. It is a shortcut only: where it
differs in anything, the stage itself compares settings and the contents of files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rewho.core.artifact import ASIDE, MANIFEST, digest, plain, write_json
from rewho.core.files import read_json
from rewho.core.lock import LOCK
from rewho.core.record import STARTED, flatten, list_differences, rewho_version
from rewho.core.text import quantity

Result = TypeVar("Result")
COMMAND_FILE = "command.json"
FREE = (
    *("out", "resume", "allow_config_change", "engine", "checkpoint", "workers", "device", "threads", "cache"),
    *("data.workers", "data.memory_gb"),
)
"""Settings that change where and how fast a command runs, not its result."""
OUTPUTS = ("out", "cache")
"""Settings that name folders which the command itself writes."""
LISTS = (".csv", ".txt", ".yaml", ".yml")
MOST_FILES = 300_000  # in folders whose files are compared by size and time; more would take longer than a second
_ELSEWHERE = re.compile(rb"(?m)(?:^|[,;\"'\s])(?:/|\.\.|~|[A-Za-z]:\\)")


class Before(NamedTuple):
    """A folder's record, and size and time of the records of its run."""

    record: Mapping[str, Any]
    runs: list[tuple[str, int, int]]

    @classmethod
    def of(cls, folder: Path) -> Before | None:
        """Return what is in a folder; None where there is no record."""
        files = [folder / name for name in (STARTED, MANIFEST)]
        runs = [_of_file(file.name, file.stat()) for file in files if file.is_file()]
        return cls(read_invocation(folder), runs) if (folder / COMMAND_FILE).is_file() else None


@dataclass(frozen=True)
class Invocation:
    """A command and its settings as given.

    Args:
        command: The command's name.
        settings: The settings by dotted name, as JSON holds them.
        inputs: Digest of size and time of the files that each option names; None where a file may name others.
    """

    command: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] | None = field(default_factory=dict)

    @classmethod
    def of(cls, command: str, settings: object) -> Invocation:
        """Return the invocation of a command; reads size and time of the files that its options name."""
        values = flatten(plain(settings))
        return cls(command, values, _fingerprint(values))

    def is_same(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record is of the same command and settings, and no input is known to have changed."""
        return (
            record.get("command") == self.command
            and (None in (self.inputs, record.get("inputs")) or record["inputs"] == self.inputs)
            and isinstance(record.get("settings"), dict)
            and not list_differences(record["settings"], self.settings, FREE)
        )

    def epochs_before(self, record: Mapping[str, Any]) -> int | None:
        """Return the epochs of a record of the same command with fewer epochs and no other difference, else None."""
        before, epochs = record.get("settings"), self.settings.get("epochs")
        if not isinstance(before, dict) or not isinstance(epochs, int):
            return None
        done = before.get("epochs")
        if not isinstance(done, int) or done >= epochs:
            return None
        return done if self.is_same({**record, "settings": {**before, "epochs": epochs}}) else None

    def write(self, folder: Path, result: Mapping[str, str] | None = None) -> Before | None:
        """Write the record into the command's folder; with a result once the command has finished.

        Nothing is written into a folder with files that are not rewho's.

        Returns:
            What was there, for `withdraw`; None where there was no record.
        """
        if folder.exists() and (not folder.is_dir() or not _is_ours(folder)):
            return None  # the stage refuses it, with a message
        before = Before.of(folder)
        # A stage without a folder of its own (no run.json) writes no manifest; with one, the manifest marks the end.
        finished = result is not None and ((folder / MANIFEST).is_file() or not (folder / STARTED).is_file())
        content = {
            "command": self.command,
            "rewho": rewho_version(),
            "settings": self.settings,
            "inputs": self.inputs,
            "finished": {**(result or {}), "files": _stamp(folder)} if finished else None,
        }
        write_json(folder / COMMAND_FILE, content)
        return before

    def run(self, folder: Path, work: Callable[[], tuple[Result, str]]) -> tuple[Result, str]:
        """Run a command's work and return its result and summary, with a record in its folder from start to end."""
        before = self.write(folder)
        try:
            result, summary = work()
        except BaseException:
            self.withdraw(folder, before)
            raise
        self.write(folder, {"result": str(result), "summary": summary})
        return result, summary

    def withdraw(self, folder: Path, before: Before | None = None) -> None:
        """Undo `write` if the command failed before it wrote anything else: an earlier run stays the folder's run."""
        if before is not None:
            if (now := Before.of(folder)) is not None and now.runs == before.runs:
                write_json(folder / COMMAND_FILE, before.record)
            return
        entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        if COMMAND_FILE in entries and all(name == COMMAND_FILE or name.startswith((LOCK, ASIDE)) for name in entries):
            (folder / COMMAND_FILE).unlink()
            with contextlib.suppress(OSError):  # another process holds its lock
                folder.rmdir()


def _is_ours(folder: Path) -> bool:
    entries = [entry.name for entry in folder.iterdir() if not entry.name.startswith((ASIDE, LOCK))]
    return not entries or any(name in (COMMAND_FILE, STARTED, MANIFEST) for name in entries)


def read_invocation(folder: Path) -> dict[str, Any]:
    """Return the record in a folder; an empty one where there is none, or none that can be read."""
    try:
        return read_json(folder / COMMAND_FILE, command=str) if (folder / COMMAND_FILE).is_file() else {}
    except ValueError:
        return {}


def find_finished(folder: Path, invocation: Invocation) -> dict[str, str] | None:
    """Return the stored result of the same command if it finished and no input or output changed since; else None."""
    record = read_invocation(folder)
    finished = record.get("finished")
    known = (
        invocation.inputs is not None
        and record.get("inputs") == invocation.inputs
        and record.get("rewho") == rewho_version()
    )
    if not isinstance(finished, dict) or not known or not invocation.is_same(record):
        return None
    if finished.get("files") != _stamp(folder):
        return None
    return {name: str(text) for name, text in finished.items() if name != "files"}


def choose_folder(
    invocation: Invocation,
    base: Path,
    *,
    resume: bool = True,
    changed: bool = False,
    extends: Callable[[int], bool] = lambda done: False,
) -> tuple[Path, str]:
    """Return the output folder of a command without --out, and the reason in words.

    Folders are BASE, BASE-2, BASE-3. This is the newest folder with the same command, settings and inputs. It is the
    next free name if there is no such folder, or if `resume` is false and the run in it is unfinished.

    Args:
        invocation: The command with its settings.
        base: The first folder, such as runs/train.
        resume: Continue an unfinished run.
        changed: Continue the newest unfinished run of the command, also with other settings.
        extends: Whether a finished run of the same command with so many epochs, fewer than now, can be continued.
    """
    numbered = {1: base} if base.exists() else {}
    for folder in base.parent.glob(f"{base.name}-*") if base.parent.is_dir() else ():
        if found := re.fullmatch(r"[1-9]\d{0,6}", folder.name.removeprefix(f"{base.name}-")):
            numbered[int(found[0])] = folder
    for number in sorted(numbered, reverse=True):
        record = read_invocation(numbered[number])
        unfinished = not record.get("finished")
        if unfinished and not resume:
            continue
        done = None if unfinished else invocation.epochs_before(record)
        if done is not None and extends(done):
            return numbered[number], f"continuing after {quantity(done, 'epochs')}"
        if invocation.is_same(record) or (changed and unfinished and record.get("command") == invocation.command):
            return numbered[number], "resuming" if unfinished else "finished"
    if not numbered or (list(numbered) == [1] and _is_empty(base)):
        return base, "new"
    newest = max(numbered)
    return base.with_name(f"{base.name}-{newest + 1}"), f"new; {numbered[newest]} has other settings, data or state"


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _fingerprint(values: Mapping[str, Any]) -> dict[str, str] | None:
    """Return size and time of all files that options name; None if the list of files is unknown."""
    found = {}
    out = Path(str(values.get("out", ""))).absolute()
    for name, value in values.items():
        texts = value if isinstance(value, list) else [value]
        paths = [Path(text).expanduser() for text in texts if isinstance(text, str) and text and len(text) < 4096]
        paths = [path for path in paths if os.path.exists(path)]  # noqa: PTH110 - False for names that are too long
        if name in OUTPUTS or (name.startswith("terms.") and name != "terms.file") or not paths:
            continue
        files: list[tuple[str, int, int]] = []
        for path in paths:
            # A form of terms names no other files, so that what lies beside it is not an input.
            inside = [_of_file(path.name, path.stat())] if name == "terms.file" else _inputs_of(path, out)
            if inside is None:
                return None
            files.extend(inside)
        found[name] = digest(files)
    return found


def _inputs_of(path: Path, out: Path) -> list[tuple[str, int, int]] | None:
    """Return name, size and time of a file, of those beside a list, or of those in a folder; None if unknown."""
    if not path.is_dir():
        if path.suffix.lower() not in LISTS or not path.is_file():  # a pipe, which the stage refuses, is never opened
            return [_of_file(path.name, path.stat())]
        if not os.access(path, os.R_OK):
            return None
        if path.stat().st_size > 1 << 24 or _ELSEWHERE.search(path.read_bytes()):
            return None  # it may name files anywhere
        path = path.parent
    files = []
    for entry in _own(_walk(path, out)):
        files.append(entry)
        if len(files) > MOST_FILES:
            return None
    return sorted(files)


def _walk(folder: Path, out: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of all files below a folder, except those in `out`; links are followed once."""
    seen, waiting = set[tuple[int, int]](), [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    status = entry.stat()
                    if not entry.is_dir():
                        yield _of_file(prefix + entry.name, status)
                    elif (key := (status.st_dev, status.st_ino)) not in seen and Path(entry.path).absolute() != out:
                        seen.add(key)
                        waiting.append((Path(entry.path), f"{prefix}{entry.name}/"))
        except OSError as error:
            yield f"{prefix}: {error.strerror}", 0, 0


def _of_file(name: str, status: os.stat_result) -> tuple[str, int, int]:
    return name, status.st_size, status.st_mtime_ns


def _stamp(folder: Path) -> str:
    """Return a digest of name, size and time of all files in a command's folder."""
    return digest(sorted(_own(_walk(folder, Path()))))


def _own(files: Iterable[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
    return (file for file in files if not file[0].rpartition("/")[2].startswith((COMMAND_FILE, LOCK, ASIDE)))
