"""Atomic writing of files and folders, with hashes of everything."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rewho.core.check import UserError
from rewho.core.files import read_json

MANIFEST = "manifest.json"
ASIDE = ".aside-"  # prefix of unfinished files and folders; the next writer removes those of killed ones
_END = 1 << 17  # bytes at either end of a large file that are hashed


def plain(value: Any) -> Any:  # noqa: ANN401 - anything a settings class holds
    """Return a value as JSON can hold it: dataclasses as dictionaries, paths as text, tuples as lists.

    Infinity and NaN, which JSON lacks, become the texts "Infinity", "-Infinity" and "NaN".

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
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_contents(files: Sequence[Path]) -> str:
    """Return the sha256 over the contents of files in their order, by which stages recognise the same images.

    Of files above 256 kB, length and first and last 128 kB are hashed, so that a run does not read large photos twice;
    other photos, and photos saved again, differ there. Missing files are allowed.
    """
    with ThreadPoolExecutor() as pool:  # reading waits for the disk; in chunks, because each task costs time too
        chunks = [files[start : start + 256] for start in range(0, len(files), 256)]
        return hashlib.sha256(b"".join(pool.map(_hash_content, chunks))).hexdigest()


def _hash_content(files: Iterable[Path]) -> bytes:
    found = hashlib.sha256()
    for path in files:
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block
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
    """Flush a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explain_full_disk(path: Path, aside: Path) -> Iterator[None]:
    """On any error remove `aside`; turn a full disk into a UserError that names `path` and what is free."""
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
            got=f"no free inode ({free:,} bytes free)" if no_files else f"{free:,} bytes free ({full})",
            fix="Free some space, or choose another folder, and run the same command again; nothing was lost.",
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file atomically: aside, fsync, rename, fsync the folder; return its path.

    Args:
        path: The file; parent folders are created.
        write: Called with the open binary file.
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

    File names that are not UTF-8 contain lone surrogates, which are escaped.

    Example:
        >>> json.loads(json_bytes({"path": "caf\udce9.mp4"}))
        {'path': 'caf\udce9.mp4'}
    """
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def try_file(path: Path) -> None:
    """Find out whether a file can be written at a path, before work that cannot be done again.

    Raises:
        UserError: It is a folder.
        OSError: Its folder cannot be made, or written to.
    """
    if path.is_dir():
        raise UserError(str(path), expected="a file to write", got="a folder", fix="Choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        return


def write_json(path: Path, value: Any) -> Path:  # noqa: ANN401 - anything `plain` takes
    """Write a value as indented JSON, atomically."""
    content = json_bytes(value)
    return write_file(path, lambda file: file.write(content))


def write_folder(path: Path, fill: Callable[[Path], object], aside_in: Path | None = None) -> Path:
    """Write a folder with a manifest of its files' hashes atomically, replacing an older one; return its path.

    Args:
        path: The folder.
        fill: Called with an empty folder to write into.
        aside_in: Folder for the unfinished folder, on the same disk; the parent of `path` by default. With many
            writers, pass a dedicated folder and clean it yourself: scanning for leftovers of killed writers is slow.
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
            path.replace(old)  # renamed first, because a kill while removing would leave half of it
        aside.replace(path)
        _sync(path.parent)
        _remove(old)
    return path


def remove_unfinished(folder: Path, *, ours: bool = False) -> None:
    """Remove what killed writers left in `folder`.

    Args:
        folder: The folder.
        ours: We hold the folder's lock, so that there is no other writer: remove leftovers in sub-folders too, and
            those whose process id is in use again.
    """
    for entry in sorted(folder.rglob(f"{ASIDE}*") if ours else folder.glob(f"{ASIDE}*")):
        owner = entry.name.removeprefix(ASIDE).split("-")[0]
        alive = owner.isdigit() and int(owner) != os.getpid() and Path(f"/proc/{owner}").exists()
        if ours or not alive:
            _remove(entry)


def compute_hashes(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size in bytes and sha256 of each file, by its path within `folder`."""
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in files
    }


def verify_hash(file: Path, *listings: str) -> bool:
    """Check a file's hash, if there is one beside it; return whether there is.

    Args:
        file: The file.
        *listings: Names of JSON files in its folder that may hold its hash: manifests (`files`), model.json (`sha256`).
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
        fix = "Check its permissions."
        raise UserError(str(file), expected="a readable file", got=str(error.strerror), fix=fix) from error
    for name, sha256 in wanted.items():
        if found and found != sha256:
            raise UserError(
                str(file),
                expected=f"the file whose hash is in {name}",
                got="other bytes: it is damaged, or from another run",
                fix="Copy the whole folder again.",
            )
    return bool(wanted)
