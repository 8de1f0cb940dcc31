"""Files and folders that are there whole or not at all, with hashes of everything, and the records of runs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from rewho.core.check import UserError, describe_error, resolve_inside
from rewho.core.files import read_json

MANIFEST = "manifest.json"
NEEDED = {"stage": str, "settings": dict, "inputs": dict}  # fields of every record of a run, with their types
STARTED = "run.json"
CHANGED = "run-changed.json"  # the next run.json of a run that goes on with other settings, until they turn out to fit
_END = 1 << 17  # bytes at either end of a large file that its content is told by
KEPT = "run-files.json"  # what an unfinished run has finished, with hashes; part of the manifest in the end
SEAL = "seal"  # of a manifest: the digest of all else in it
ASIDE = ".aside-"  # files and folders with this prefix are unfinished; whoever writes next removes them


def rewho_version() -> str:
    """Return the version of the installed package, or "unknown" for a bare source tree."""
    try:
        return version("rewho")
    except PackageNotFoundError:
        return "unknown"


def read_versions() -> dict[str, str]:
    """Return the versions that decide whether a run can be repeated to the bit."""
    packages = ("torch", "torchvision", "timm", "lightning", "numpy", "opencv-python-headless")
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def plain(value: Any) -> Any:  # noqa: ANN401 - it takes whatever a settings class may hold
    """Return `value` as JSON can hold it: dataclasses as dictionaries, paths as text, tuples as lists.

    JSON has no infinity and no NaN; they become the texts "Infinity", "-Infinity" and "NaN".

    Example:
        >>> plain({"root": Path("a/b"), "size": (256, 128)})
        {'root': 'a/b', 'size': [256, 128]}
        >>> plain([1.5, float("-inf")])
        [1.5, '-Infinity']
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
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


def hash_contents(files: Sequence[Path]) -> str:
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
    """Remove what was half written, whatever went wrong, and say in plain words that the disk is full."""
    try:
        yield
    except BaseException as error:
        need = sum(file.stat().st_size for file in [aside, *aside.rglob("*")] if file.is_file())
        _remove(aside)
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        disk = os.statvfs(path.parent)
        free, full = disk.f_bavail * disk.f_frsize, os.strerror(error.errno)
        no_files = error.errno == errno.ENOSPC and disk.f_files > 0 and disk.f_favail == 0
        raise UserError(
            f"writing {path}",
            expected=f"room for more than {need:,} bytes" if need and not no_files else "room for one more file",
            got=f"a disk that holds as many files as it can (no inode is free; {free:,} bytes are)"
            if no_files
            else f"{free:,} bytes free ({full})",
            fix="Free some space, or choose another folder, and run the same command again; nothing was lost.",
        ) from error


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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


def json_bytes(value: Any, *, sort_keys: bool = False) -> bytes:  # noqa: ANN401 - anything `plain` takes
    r"""Return a value as indented JSON in UTF-8.

    File names that are not UTF-8 reach Python with lone surrogates, which stand in JSON as escapes.

    Example:
        >>> json.loads(json_bytes({"path": "caf\udce9.mp4"}))
        {'path': 'caf\udce9.mp4'}
    """
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def write_json(path: Path, value: Any) -> Path:  # noqa: ANN401 - anything `plain` takes
    """Write a value as indented JSON, whole or not at all."""
    content = json_bytes(value)
    return write_file(path, lambda file: file.write(content))


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
        write_json(aside / MANIFEST, {"files": compute_hashes(aside, files)})
        old = aside.with_name(f"{aside.name}.old")
        if path.exists():
            path.replace(old)  # removing takes a while, in which a kill would leave half of it
        aside.replace(path)
        _sync(path.parent)
        _remove(old)
    return path


def remove_unfinished(folder: Path, *, ours: bool = False) -> None:
    """Remove what killed writers of earlier runs left behind in `folder`.

    Args:
        folder: Where to look.
        ours: Nobody else writes there, because we hold its lock: look into sub-folders too, and whatever process has
            a leftover's number by now.
    """
    for entry in sorted(folder.rglob(f"{ASIDE}*") if ours else folder.glob(f"{ASIDE}*")):
        owner = entry.name.removeprefix(ASIDE).split("-")[0]
        alive = owner.isdigit() and int(owner) != os.getpid() and Path(f"/proc/{owner}").exists()
        if ours or not alive:
            _remove(entry)


def compute_hashes(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of each file, by its path within `folder`."""
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in files
    }


def find_damage(folder: Path) -> str | None:
    """Compare a folder's files with its manifest; return what is wrong in a few words, or None.

    Every byte is read: a missing file, a changed length and a single flipped bit are found.
    """
    try:
        recorded = read_record(folder / MANIFEST)["files"]
        for name, entry in recorded.items():
            file, size, sha256 = resolve_inside(folder, name, MANIFEST), int(entry["bytes"]), entry["sha256"]
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
            if hash_file(file) != sha256:
                return f"{name} does not match its sha256"
    except UserError as error:
        return f"{error.what}: expected {error.expected}, got {error.got}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{MANIFEST} is damaged ({describe_error(error)})"
    return None


def verify_hash(file: Path, *listings: str) -> bool:
    """Compare a file with the hashes of it that stand beside it.

    Args:
        file: The file.
        *listings: Names of JSON files in its folder that may hold its hash, as a stage's manifest does (`files`) or as
            the description of a model does (`sha256`).

    Returns:
        Whether there is such a hash: a copy without its lists cannot be checked.

    Raises:
        UserError: It is not the file that was written.
    """
    wanted: dict[str, str] = {}
    for name in listings:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a UserError is a ValueError
            content = read_json(file.parent / name)
            hashed = content["files"][file.name]["sha256"] if "files" in content else content["sha256"][file.name]
            wanted[name] = str(hashed)
    try:
        found = hash_file(file) if wanted and file.is_file() else ""
    except OSError as error:
        fix = "Check who may read it."
        raise UserError(str(file), expected="a readable file", got=str(error.strerror), fix=fix) from error
    for name, sha256 in wanted.items():
        if found and found != sha256:
            raise UserError(
                str(file),
                expected=f"the file that {name} beside it was written with",
                got="other bytes: it is damaged, or of another run",
                fix="Copy the whole folder again from where it was made.",
            )
    return bool(wanted)


def read_record(path: Path, **needed: type) -> dict[str, Any]:
    """Return the content of a `run.json` or `manifest.json`, without the seal that it may have.

    Raises:
        UserError: It is not there, is no such record, lacks a needed field, or was changed after it was written.
    """
    expected, fix = "the record that a run wrote", "Restore it from a copy, or choose another --out."
    try:
        record = read_json(path, "", fix, **needed)
    except UserError as error:
        raise UserError(error.what, expected=expected, got=error.got, fix=fix) from error
    seal = record.pop(SEAL, None)
    if not isinstance(record.get("settings", {}), dict) or (seal is not None and seal != digest(record)):
        got = "one that does not match its own seal" if seal else "no record of a run"
        raise UserError(str(path), expected=expected, got=got, fix=fix)
    return record


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


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any], ignore: Iterable[str] = ()) -> list[str]:
    """Return one line for each dotted name whose value differs; names under an ignored prefix do not count.

    Example:
        >>> list_differences({"seed": 1, "out": "a"}, {"seed": 2, "out": "b"}, ignore=["out"])
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
