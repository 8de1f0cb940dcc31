"""Work on a large matrix a few rows at a time, in threads.

A matrix of query-to-gallery distances never exists as a whole: each block of rows is computed, used and dropped.
Threads suffice, because NumPy releases the interpreter lock while it multiplies, sorts and compares. BLAS is limited to
one thread meanwhile: its own threads would spin on the processors that the other blocks need.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_count

T = TypeVar("T")

BLOCK_BYTES = 32 * 2**20
"""Bytes of one float64 block; a thread uses about three times as much. Larger ones cost page faults."""

LEAST_ROWS, MOST_ROWS = 128, 512
"""Fewer rows slow a matrix product down, so wide blocks exceed `BLOCK_BYTES`; more rows do not speed it up."""

MOST_THREADS = 4
"""More threads wait for memory, and each holds its own blocks."""


def row_blocks(rows: int, columns: int, multiple: int = 1) -> list[NDArray[np.int64]]:
    """Return the row numbers of each block of a [rows, columns] matrix, in order; blocks have about as many rows.

    The number of blocks is a multiple of `multiple`, if there are enough rows.
    """
    height = min(max(BLOCK_BYTES // (8 * max(columns, 1)), LEAST_ROWS), MOST_ROWS)
    count = math.ceil(rows / height / multiple) * multiple if rows > height else min(rows, 1)
    return np.array_split(np.arange(rows), count) if count else []


def map_row_blocks(
    function: Callable[[NDArray[np.int64]], T], rows: int, columns: int, threads: int | None = None
) -> list[T]:
    """Apply `function` to the row numbers of each block, in threads; returns the results in the order of the rows.

    `threads=None` uses one for each processor, up to `MOST_THREADS`.
    """
    workers = check_count("threads", threads or min(os.cpu_count() or 1, MOST_THREADS))
    return map_blocks(function, row_blocks(rows, columns, workers), workers)


def map_blocks(
    function: Callable[[NDArray[np.int64]], T], blocks: Sequence[NDArray[np.int64]], threads: int | None = None
) -> list[T]:
    """Apply `function` to each of some blocks of row numbers, in threads; returns the results in their order."""
    workers = check_count("threads", threads or min(os.cpu_count() or 1, MOST_THREADS))
    if workers == 1 or len(blocks) <= 1:
        return [function(block) for block in blocks]
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, blocks))


def one_thread_each() -> AbstractContextManager[object]:
    """Limit BLAS to one thread, if threadpoolctl is installed."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
