"""Embeddings as they are stored: unit vectors of float16 or float32, little-endian, and sums that reveal changed bytes.

Letters: N vectors, D embedding.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_embeddings

Precision = Literal["float16", "float32"]
Vectors = NDArray[np.floating[Any]]


def read_precision(stored: str) -> Precision:
    """Return the precision that a gallery recorded when it was made."""
    return "float16" if stored == "float16" else "float32"


def unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return vectors [N, D], or one [D], divided by their length, float64; zero stays zero."""
    exact = np.asarray(vectors, np.float64)
    length = np.sqrt((exact * exact).sum(axis=-1, keepdims=True))
    return np.asarray(exact / np.where(length > 0, length, 1.0), np.float64)


def pack(vectors: NDArray[Any], precision: Precision, what: str = "image") -> list[bytes]:
    """Return the stored form of N embeddings [N, D]; raise a UserError for one that is zero, NaN or infinite."""
    stored = unit(check_embeddings(what, vectors)).astype(np.dtype(precision).newbyteorder("<"))
    return [row.tobytes() for row in stored]


def unpack(blobs: Sequence[bytes], precision: Precision, size: int) -> Vectors:
    """Return stored embeddings as [N, D] in their precision."""
    found = np.frombuffer(b"".join(blobs), np.dtype(precision).newbyteorder("<"))
    return found.reshape(len(blobs), size)


def mean_vector(vectors: NDArray[Any], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weighted mean of the directions of N vectors, float64 [D]; equal weights if all are zero.

    Example:
        >>> mean_vector(np.array([[2.0, 0], [0, 1]]), [3, 1]).tolist()
        [0.75, 0.25]
    """
    heavy = np.asarray(weights, np.float64)
    heavy = heavy if heavy.sum() > 0 else np.ones(len(heavy))
    return np.asarray(heavy @ unit(vectors) / heavy.sum(), np.float64)


def row_sum(values: Sequence[object]) -> int:
    """Return the CRC of a row's values: numbers, text, bytes, None.

    Example:
        >>> row_sum([1, None, b"a"]) == row_sum([1, None, b"b"])
        False
    """
    # Bytes as they are: written out by `repr` they are four times as long, which took half of the time to open.
    total = zlib.crc32(repr([len(one) if one.__class__ is bytes else one for one in values]).encode())
    for one in values:
        if one.__class__ is bytes:
            total = zlib.crc32(one, total)
    return total
