"""A stage's folder on disk: files written aside and renamed, the manifest last, hashes of everything.

The presence of `manifest.json` means that the stage is complete. A re-run with the same settings and inputs does
nothing; with others it is an error that shows the difference, never a silent mix of two runs. `run.json` is written at
the start, so that an interrupted run is held to the same rule when it is resumed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, Literal

from rewho.core.check import UserError
from rewho.core.progress import say

MANIFEST = "manifest.json"
STARTED = "run.json"
CHANGED = "run-changed.json"  # the next run.json of a run that goes on with other settings, until they turn out to fit
_END = 1 << 17  # bytes at either end of a large file that its content is told by
ASIDE = ".aside-"  # files and folders with this prefix are unfinished; whoever writes next removes them


def rewho_version() -> str:
    """Return the version of the installed package, or "unknown" for a bare source tree."""
    try:
        return version("rewho")
    except PackageNotFoundError:
        return "unknown"


def environment() -> dict[str, str]:
    """Return the versions that decide whether a run can be repeated to the bit."""
    packages = ("torch", "torchvision", "timm", "lightning", "numpy", "opencv-python-headless")
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def plain(value: Any) -> Any:  # noqa: ANN401 - it takes whatever a settings class may hold
    """Return `value` as JSON can hold it: dataclasses as dictionaries, paths as text, tuples as lists.

    Example:
        >>> plain({"root": Path("a/b"), "size": (256, 128)})
        {'root': 'a/b', 'size': [256, 128]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.as_posix() if isinstance(value, Path) else value


def digest(value: Any) -> str:  # noqa: ANN401 - anything `plain` takes
    """Return the sha256 of a value's canonical JSON; equal values have equal digests.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(files: Sequence[Path]) -> str:
    """Return the sha256 over the contents of files in their order: what counts as the same images, in every stage.

    Files above 256 kB count with their length and their first and last 128 kB, so that a run over large photos does not
    read them twice; other photos, and those saved again, differ there. A missing file counts as such.
    """
    with ThreadPoolExecutor() as pool:  # reading waits for the disk; a chunk at a time, because a task costs too
        chunks = [files[start : start + 256] for start in range(0, len(files), 256)]
        return hashlib.sha256(b"".join(pool.map(_content_of, chunks))).hexdigest()


def _content_of(files: Iterable[Path]) -> bytes:
    found = hashlib.sha256()
    for path in files:
        descriptor = -1
        try:
            descriptor = os.open(
                path, os.O_RDONLY | os.O_NONBLOCK
            )  # a pipe by the name of an image must not hold us up
            size = os.fstat(descriptor).st_size
            begin = os.pread(descriptor, 2 * _END if size <= 2 * _END else _END, 0)
            end = os.pread(descriptor, _END, size - _END) if size > 2 * _END else b""
            found.update(size.to_bytes(8, "little") + begin + end)
        except OSError:
            found.update(b"missing")
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    return found.digest()


def _sync(path: Path) -> None:
    """Make sure that a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explain_full_disk(path: Path, aside: Path) -> Iterator[None]:
    """Remove what was half written and say in plain words that the disk is full."""
    try:
        yield
    except OSError as error:
        need = sum(file.stat().st_size for file in [aside, *aside.rglob("*")] if file.is_file())
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"writing {path}",
            expected=f"room for more than {need:,} bytes",
            got=f"{free:,} bytes free ({os.strerror(error.errno or 0)})",
            fix="Free some space, or choose another folder, and run the same command again; nothing was lost.",
        ) from error


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file so that it is there whole or not at all: aside, fsync, rename, fsync the folder.

    Args:
        path: Where the file shall be; parent folders are made.
        write: Called with the open binary file.

    Raises:
        UserError: The disk is full; says the path, what was needed, and what is free. The old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    with explain_full_disk(path, aside):
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync(path.parent)
    return path


def write_json(path: Path, value: Any) -> Path:  # noqa: ANN401 - anything `plain` takes
    """Write a value as indented JSON, whole or not at all."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    return write_file(path, lambda file: file.write(text.encode() + b"\n"))


def write_folder(path: Path, fill: Callable[[Path], object], aside_in: Path | None = None) -> Path:
    """Write a folder so that it is there whole or not at all; an older one of that name is replaced.

    Args:
        path: Where the folder shall be.
        fill: Called with an empty folder to write into; its files are hashed into a manifest, then it is renamed.
        aside_in: Where the unfinished folder is kept, on the same disk; beside `path` by default. Whoever has many
            writers gives a folder of their own and clears it, because looking for what killed ones left takes time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if aside_in is None:
        remove_unfinished(path.parent)
    else:
        aside_in.mkdir(parents=True, exist_ok=True)
    aside = (aside_in or path.parent) / f"{ASIDE}{os.getpid()}-{path.name}"
    with explain_full_disk(path, aside):
        aside.mkdir()
        fill(aside)
        files = sorted(file for file in aside.rglob("*") if file.is_file())
        for file in files:
            _sync(file)
        write_json(aside / MANIFEST, {"files": hashes(aside, files)})
        if path.exists():
            shutil.rmtree(path)
        aside.replace(path)
        _sync(path.parent)
    return path


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers of earlier runs left behind in `folder`."""
    for entry in folder.glob(f"{ASIDE}*"):
        owner = entry.name.removeprefix(ASIDE).split("-")[0]
        if owner.isdigit() and int(owner) != os.getpid() and Path(f"/proc/{owner}").exists():
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def hashes(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of each file, by its path within `folder`."""
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in files
    }


def damage(folder: Path) -> str | None:
    """Compare a folder's files with its manifest; return what is wrong in a few words, or None.

    Every byte is read: a missing file, a changed length and a single flipped bit are found.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        recorded = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"{MANIFEST} is missing or damaged ({type(error).__name__})"
    for name, entry in recorded.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != entry["bytes"]:
            return f"{name} has {file.stat().st_size:,} bytes, not {entry['bytes']:,}"
        if hash_file(file) != entry["sha256"]:
            return f"{name} does not match its sha256"
    return None


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - nested settings
    """Return nested dictionaries as one with dotted names.

    Example:
        >>> flatten({"model": {"view": "up1"}, "seed": 1})
        {'model.view': 'up1', 'seed': 1}
    """
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: item
        for key, inner in value.items()
        for name, item in flatten(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def difference(before: Mapping[str, Any], now: Mapping[str, Any], ignore: Iterable[str] = ()) -> list[str]:
    """Return one line for each dotted name whose value differs; names under an ignored prefix do not count.

    Example:
        >>> difference({"seed": 1, "out": "a"}, {"seed": 2, "out": "b"}, ignore=["out"])
        ['seed: 1 -> 2']
    """
    old, new = flatten(plain(before)), flatten(plain(now))
    skip = tuple(ignore)
    return [
        f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not any(name == key or name.startswith(f"{key}.") for key in skip)
    ]


def _shown(value: object) -> str:
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return repr(f"{value[:12]}…")
    return repr(value)


def accept_changes(folder: Path) -> None:
    """Hold a stage's folder to the changed settings that `Stage.begin` allowed from now on, if there are any."""
    if (folder / CHANGED).is_file():
        (folder / CHANGED).replace(folder / STARTED)


@dataclass(frozen=True)
class Stage:
    """One run of a stage, and the folder that it fills.

    Args:
        folder: The stage's folder.
        name: The stage's verb, such as "train".
        settings: The resolved settings.
        inputs: Digest of each input by name, such as the rows of a data set.
        ignore: Dotted names of settings that may differ between a run and its continuation.
        work: Pattern of what in the folder means that a run got somewhere; empty takes any file. A run that ended
            before that, over a mistake in its settings, does not bind the next one.
        fixed: Dotted names of settings and inputs that may not change even where changes are allowed, because they are
            settled when a run begins.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    ignore: tuple[str, ...] = ()
    work: str = ""
    fixed: tuple[str, ...] = ()

    def begin(self, *, allow_change: bool = False) -> Literal["new", "unfinished", "finished"]:
        """Claim the folder and say what is in it.

        Changes that are allowed are written aside: whoever finds that the earlier work fits them calls
        `accept_changes`, and until then the folder is held to the settings that it had.

        Raises:
            UserError: The folder holds a run with other settings or inputs; the message shows the difference.
        """
        started, manifest = self.folder / STARTED, self.folder / MANIFEST
        target = started
        if manifest.is_file():
            self._compare(json.loads(manifest.read_text()), finished=True)
            return "finished"
        state: Literal["new", "unfinished"] = "new"
        if started.is_file() and self._has_work():
            changed = self._compare(json.loads(started.read_text()), allow_change=allow_change)
            target = self.folder / CHANGED if changed else started
            state = "unfinished"
        elif not started.is_file() and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(
                f"--out {self.folder}",
                expected="a new or empty folder, or one of an earlier run of this command",
                got=f"a folder with other files, such as {next(self.folder.iterdir()).name!r}",
                fix="Choose another folder with --out.",
            )
        (self.folder / CHANGED).unlink(missing_ok=True)
        write_json(target, self._record())
        return state

    def _has_work(self) -> bool:
        if self.work:
            return any(self.folder.glob(self.work))
        return any(entry.name != STARTED for entry in self.folder.iterdir())

    def _compare(self, record: Mapping[str, Any], *, allow_change: bool = False, finished: bool = False) -> bool:
        """Return whether anything differs."""
        if record.get("stage") != self.name:
            raise UserError(
                f"--out {self.folder}",
                expected=f"a new or empty folder, or one of an earlier `rewho {self.name}`",
                got=f"what `rewho {record.get('stage')}` made",
                fix="Choose another folder with --out.",
            )
        lines = difference(
            {"stage": record.get("stage"), **record.get("settings", {}), "inputs": record.get("inputs", {})},
            {"stage": self.name, **self.settings, "inputs": self.inputs},
            self.ignore,
        )
        settled = [line for line in lines if line.partition(": ")[0] in self.fixed]
        if lines and allow_change and not settled:
            say("going on in spite of these changes:\n    " + "\n    ".join(lines))
        elif lines:
            allowed = "allow_config_change" in self.settings and not finished and not settled
            raise UserError(
                f"--out {self.folder}",
                expected=f"the settings and data of the {'finished ' if finished else ''}run that is in this folder",
                got="different ones:\n    " + "\n    ".join(settled if allow_change and settled else lines),
                fix="Choose another folder with --out, or undo the change"
                + (", or pass --allow_config_change." if allowed else ".")
                + (" A run that has begun cannot change these, even with --allow_config_change." if settled else ""),
            )
        return bool(lines)

    def _record(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "rewho": rewho_version(),
            "settings": plain(self.settings),
            "inputs": dict(self.inputs),
            "command": sys.argv,
            "environment": environment(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def finish(self, outputs: Iterable[Path], counts: Mapping[str, Any], seconds: float) -> Path:
        """Write the manifest: from now on the stage is complete.

        Args:
            outputs: The files that the stage leaves; each is hashed.
            counts: Numbers worth keeping, such as images and steps.
            seconds: How long the work took.
        """
        record = json.loads((self.folder / STARTED).read_text())
        record |= {"files": hashes(self.folder, outputs), "counts": plain(counts), "seconds": round(seconds, 3)}
        record["seal"] = digest(record)  # of the manifest itself, so that a changed byte in it shows
        return write_json(self.folder / MANIFEST, record)
