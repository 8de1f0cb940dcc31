"""Image files with the very same bytes, found by size first and by hash among files of one size."""

from __future__ import annotations

import hashlib
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file


def content_ids(files: Sequence[Path]) -> NDArray[np.int64]:
    """Return a number [N] per file: the row of the first file with the same bytes.

    A file that cannot be read has a number of its own; whoever decodes it says what is wrong.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = [Path(folder, name) for name in "abc"]
        ...     _ = [file.write_text(text) for file, text in zip(files, ("one", "two", "one"))]
        ...     content_ids(files).tolist()
        [0, 1, 0]
    """
    return _content_ids(tuple(map(_status, files)), tuple(map(str, files)))


@lru_cache(maxsize=8)  # a training asks at each of its evaluations
def _content_ids(states: tuple[tuple[int, int], ...], files: tuple[str, ...]) -> NDArray[np.int64]:
    of_size = Counter(size for size, _ in states)
    alike = [row for row, (size, _) in enumerate(states) if size >= 0 and of_size[size] > 1]
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(alike, pool.map(_hash, (files[row] for row in alike)), strict=True))
    first: dict[str, int] = {}
    ids = np.array([first.setdefault(hashes.get(row, str(row)), row) for row in range(len(files))], np.int64)
    ids.flags.writeable = False
    return ids


def _status(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return -1, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, 0)  # a pipe would never end


def _hash(file: str) -> str:
    try:
        return hash_file(Path(file))
    except OSError:
        return hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()
