"""Looks for pieces of erased content in every byte of a folder's files.

Content may be left in pieces, because a database splits it over pages. So windows of 16 bytes are taken from it every
few bytes, and every position of every file is compared with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW = 16
STEP = 48
"""Bytes from one window to the next, shorter than the pieces that a database could leave."""
FEWEST = 9
"""Fewest different bytes of a window: others are found in any image."""
CHUNK = 16 * 2**20
_JPEG_DATA = b"\xff\xda"  # before it is a header that all thumbnails share


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
        start = max(0, content.find(_JPEG_DATA)) if content[:2] == b"\xff\xd8" else 0
        last = len(content) - WINDOW
        for at in [*range(start, last + 1, STEP), *([last] if last >= start else [])]:
            window = content[at : at + WINDOW]
            if len(set(window)) >= FEWEST:
                found.add(window)
    return sorted(found)


def scan_folder(folder: Path, contents: Sequence[bytes]) -> Scan:
    """Look for contents, or pieces of them, in all files of a folder and below."""
    windows = windows_of(contents)
    table = np.zeros(1 << 24, bool)
    starts = np.array([int.from_bytes(window[:8], "little") for window in windows], np.uint64)
    table[(starts & np.uint64(0xFFFFFF)).astype(np.int64)] = True
    ordered = np.sort(starts)
    wanted = frozenset(windows)
    files, total, found = 0, 0, list[tuple[str, int]]()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        files += 1
        for start, chunk in _chunks(path):
            total += max(0, len(chunk) - (WINDOW - 1))
            if windows:
                hits = _find(chunk, table, ordered, wanted)
                found += [(path.relative_to(folder).as_posix(), start + at) for at in hits]
    return Scan(files, total, len(windows), found)


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the position and bytes of overlapping parts of a file."""
    with path.open("rb") as file:
        start, before = 0, b""
        while data := file.read(CHUNK):
            yield start - len(before), before + data
            start += len(data)
            before = data[-(WINDOW - 1) :]


def _find(chunk: bytes, table: NDArray[np.bool_], ordered: NDArray[np.uint64], wanted: frozenset[bytes]) -> list[int]:
    """Return the positions of windows: three bytes by a table, then eight, then all sixteen."""
    data = np.frombuffer(chunk, np.uint8)
    if len(data) < WINDOW:
        return []
    whole = data.astype(np.int32)
    three = whole[:-2] | whole[1:-1] << 8 | whole[2:] << 16
    places = np.flatnonzero(table[three[: len(data) - WINDOW + 1]])
    if not len(places):
        return []
    eight = np.zeros(len(places), np.uint64)
    for at in range(8):
        eight |= data[places + at].astype(np.uint64) << np.uint64(8 * at)
    near = np.minimum(np.searchsorted(ordered, eight), len(ordered) - 1)
    places = places[ordered[near] == eight]
    return [int(at) for at in places if chunk[at : at + WINDOW] in wanted]
