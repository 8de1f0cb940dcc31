"""Looks for pieces of erased content in every byte of a folder's files.

Content may be left in pieces, because a database splits it over pages. So windows of 16 bytes are taken from it every
few bytes, and every position of every file is compared with all of them. Lock files are not read: a process that
closes one gives up its lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from rewho.core.lock import LOCK

WINDOW = 16
STEP = 48
"""Bytes from one window to the next, shorter than the pieces that a database could leave."""
FEWEST = 9
"""Fewest different bytes of a window: others are found in any image."""
CHUNK = 16 * 2**20
_JPEG_DATA = b"\xff\xda"  # before and in this segment is a header that all thumbnails share


class Scan(NamedTuple):
    """What was scanned, and the windows that were found: (file, position)."""

    files: int
    length: int
    windows: int
    found: list[tuple[str, int]]


def windows_of(contents: Iterable[bytes]) -> list[bytes]:
    """Return the windows by which contents are looked for."""
    found = set[bytes]()
    for content in contents:
        start = _begin_of_data(content)
        last = len(content) - WINDOW
        for at in [*range(start, last + 1, STEP), *([last] if last >= start else [])]:
            window = content[at : at + WINDOW]
            if len(set(window)) >= FEWEST:
                found.add(window)
    return sorted(found)


def _begin_of_data(content: bytes) -> int:
    """Return where the data of a JPEG begin, behind the header of its scan; 0 for other contents."""
    at = content.find(_JPEG_DATA) if content[:2] == b"\xff\xd8" else -1
    return 0 if at < 0 else at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")


class Pieces:
    """Windows (16 bytes each) of some contents, to find copies of these in other bytes.

    Args:
        contents: What the windows are taken from.

    Example:
        >>> Pieces([bytes(range(100))]).find(bytes(range(90)))
        [0, 48]
    """

    def __init__(self, contents: Iterable[bytes]) -> None:
        windows = windows_of(contents)
        self._table = np.zeros(1 << 24, bool)
        starts = np.array([int.from_bytes(window[:8], "little") for window in windows], np.uint64)
        self._table[(starts & np.uint64(0xFFFFFF)).astype(np.int64)] = True
        self._ordered, self._wanted = np.sort(starts), frozenset(windows)

    def __len__(self) -> int:
        return len(self._wanted)

    def find(self, data: bytes) -> list[int]:
        """Return the positions of the windows; candidates are filtered by three bytes, then eight, then all sixteen."""
        values = np.frombuffer(data, np.uint8)
        if len(values) < WINDOW or not self._wanted:
            return []
        parts = []
        for shift in range(4):  # every fourth position at a time, as the numbers that lie there
            words = np.frombuffer(data, "<u4", (len(values) - shift) // 4, shift)
            parts.append(np.flatnonzero(self._table[words & 0xFFFFFF]) * 4 + shift)
        places = np.sort(np.concatenate(parts))
        places = places[places <= len(values) - WINDOW]
        if not len(places):
            return []
        eight = np.zeros(len(places), np.uint64)
        for at in range(8):
            eight |= values[places + at].astype(np.uint64) << np.uint64(8 * at)
        near = np.minimum(np.searchsorted(self._ordered, eight), len(self._ordered) - 1)
        places = places[self._ordered[near] == eight]
        return [int(at) for at in places if data[at : at + WINDOW] in self._wanted]


def scan_folder(folder: Path, pieces: Pieces, skip: Iterable[str] = ()) -> Scan:
    """Look for pieces in all files of a folder and below.

    Args:
        folder: The folder.
        pieces: What to look for.
        skip: Files, as seen from the folder, that are not read.
    """
    files, total, found = 0, 0, list[tuple[str, int]]()
    left_out = {folder / name for name in skip}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        if path in left_out or path.name.endswith(LOCK):
            continue
        files += 1
        with contextlib.suppress(FileNotFoundError):  # another process has removed it meanwhile
            for start, chunk in _chunks(path):
                total += max(0, len(chunk) - (WINDOW - 1))
                found += [(path.relative_to(folder).as_posix(), start + at) for at in pieces.find(chunk)]
    return Scan(files, total, len(pieces), found)


def scan_apart(folder: Path, contents: Sequence[bytes]) -> Scan:
    """Look for contents as `scan_folder` does, in a process of its own.

    A process that closes a file gives up all its locks on it, those of a database that it has open among them.
    """
    begun = subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", __spec__.name, str(folder)],
        input=b"".join(len(one).to_bytes(8, "little") + one for one in contents),
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )
    found = json.loads(begun.stdout)
    return Scan(**{**found, "found": [(file, at) for file, at in found["found"]]})


def _read_contents(stream: BinaryIO) -> Iterator[bytes]:
    while length := stream.read(8):
        yield stream.read(int.from_bytes(length, "little"))


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the position and bytes of overlapping parts of a file."""
    with path.open("rb") as file:
        start, before = 0, b""
        while data := file.read(CHUNK):
            yield start - len(before), before + data
            start += len(data)
            before = data[-(WINDOW - 1) :]


if __name__ == "__main__":
    json.dump(scan_folder(Path(sys.argv[1]), Pieces(_read_contents(sys.stdin.buffer)))._asdict(), sys.stdout)
