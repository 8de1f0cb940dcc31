"""Blocks cover each row once, in order, and stay within their size."""

import threading

import numpy as np
import pytest

from rewho.rank.blocks import BLOCK_BYTES, LEAST_ROWS, MOST_ROWS, map_row_blocks, row_blocks


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 3000])
@pytest.mark.parametrize("columns", [0, 1, 16_000, 10**9])
@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_blocks_cover_each_row_once_and_in_order(rows, columns, multiple):
    blocks = row_blocks(rows, columns, multiple)
    assert len(blocks) % multiple == 0 or len(blocks) == 1
    assert np.concatenate([np.empty(0, int), *blocks]).tolist() == list(range(rows))
    for block in blocks:
        assert 1 <= len(block) <= MOST_ROWS
        assert len(block) <= LEAST_ROWS or 8 * len(block) * columns <= BLOCK_BYTES


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_rows(threads):
    assert np.diff(map_row_blocks(lambda rows: int(rows[0]), 2000, 10, threads)).min() > 0


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(rows):
        raise ArithmeticError(f"row {rows[0]}")

    with pytest.raises(ArithmeticError, match="row 0"):
        map_row_blocks(fail, 2000, 10, 2)


def test_more_than_one_thread_works():
    both = threading.Barrier(2, timeout=300)
    map_row_blocks(lambda rows: both.wait(), 1024, 10, 2)  # breaks if the blocks come one after the other
