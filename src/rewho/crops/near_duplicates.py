"""Finds near-duplicates among crops: 256-bit fingerprints, and a search for close pairs in near-linear time.

Fingerprints that differ in few bits are neighbours in sorted order, unless one of the first bits differs. Sorting
again under other orders of the bits finds those pairs too. The orders are fixed, so the result is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator

BYTES = 32  # length of a fingerprint
DISTANCE = 24
"""Bits of 256 in which near-duplicates may differ. Of 500 copies of real crops (re-encoded, scaled, lightened or
shifted by a pixel) 99 % differ in no more; no two of 6,000 different crops are that close."""
ORDERS = 12  # of the bits, under which fingerprints are sorted
WINDOW = 16  # following neighbours with which each fingerprint is compared, per order


def compute_fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Return the difference hash ("dHash", N. Krawetz, 2013) of an image, uint8 RGB [H, W, 3]: 256 bits in 32 bytes.

    The image is reduced to 9 x 16 and to 8 x 17 pixels. A bit says whether a pixel is lighter than its left (128 bits)
    or upper (128 bits) neighbour, so that lighting and size hardly matter.

    Example:
        >>> image = np.arange(40 * 20 * 3, dtype=np.uint8).reshape(40, 20, 3)
        >>> len(compute_fingerprint(image)), compute_fingerprint(image) == compute_fingerprint(image // 2 * 2)
        (32, True)
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    wide = cv2.resize(grey, (9, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    high = cv2.resize(grey, (8, 17), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.concatenate([(np.diff(wide, axis=1) > 0).reshape(-1), (np.diff(high, axis=0) > 0).reshape(-1)])
    return np.packbits(bits).tobytes()


def stack_fingerprints(fingerprints: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return fingerprints as uint64 [N, 4]."""
    return np.frombuffer(b"".join(fingerprints), np.uint64).reshape(-1, BYTES // 8)


def find_close_pairs(prints: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    r"""Return sorted pairs of rows [P, 2], smaller row first, whose fingerprints differ in at most `distance` bits.

    The search is approximate; closer pairs are more likely to be found. Among 6,500 real crops all 500 planted copies
    within 28 bits were found.

    Example:
        >>> find_close_pairs(stack_fingerprints([bytes(32), bytes(31) + b"\x01", b"\xff" * 32])).tolist()
        [[0, 1]]
    """
    count = len(prints)
    found = [np.empty((0, 2), np.int64)]
    for keys in _sort_keys(prints):
        order = np.argsort(keys, kind="stable")
        ranked = prints[order]
        for step in range(1, min(WINDOW, count - 1) + 1):
            different = np.bitwise_count(ranked[step:] ^ ranked[:-step]).sum(1, dtype=np.uint16)
            near = np.flatnonzero(different <= distance)
            found.append(np.sort(np.stack([order[near], order[near + step]], 1), 1))
        found = [np.unique(np.concatenate(found), axis=0)]
    return found[0]


def _sort_keys(prints: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Return the sort keys of each order of the bits: 64 bits of every fingerprint."""
    orders = [generator(0, "order of bits", number).permutation(BYTES * 8)[:64] for number in range(ORDERS)]
    keys = [np.empty(len(prints), np.uint64) for _ in orders]
    for start in range(0, len(prints), 1 << 16):
        part = slice(start, start + (1 << 16))
        bits = np.unpackbits(np.ascontiguousarray(prints[part]).view(np.uint8), axis=1)
        for key, order in zip(keys, orders, strict=True):
            key[part] = np.ascontiguousarray(np.packbits(bits[:, order], axis=1)).view(">u8").reshape(-1)
    return keys


def find_distinct(prints: NDArray[np.uint64], exact: Sequence[str], distance: int = DISTANCE) -> NDArray[np.bool_]:
    r"""Return a mask [N] of crops to keep, so that none is a copy or near-duplicate of an earlier one that is kept.

    Args:
        prints: Fingerprints, uint64 [N, 4].
        exact: N hashes of the images; images with equal hashes are copies.
        distance: Largest number of different bits of near-duplicates; a negative number removes exact copies only.

    Example:
        >>> find_distinct(stack_fingerprints([bytes(32), bytes(32), b"\xff" * 32]), ["a", "b", "c"]).tolist()
        [True, False, True]
    """
    keep = np.zeros(len(prints), bool)
    keep[np.unique(np.asarray(exact, dtype=str), return_index=True)[1]] = True
    while distance >= 0:
        rows = np.flatnonzero(keep)
        dropped = False
        for first, second in rows[find_close_pairs(prints[rows], distance)].tolist():
            if keep[first] and keep[second]:
                keep[second], dropped = False, True
        if not dropped:  # removing some makes others neighbours: repeat until nothing is found
            break
    return keep


class Shared(NamedTuple):
    """Near-duplicates in two sets."""

    first: int  # row in the first set
    second: int  # row in the second set
    bits: int  # of 256, in which their fingerprints differ


def find_shared(first: NDArray[np.uint64], second: NDArray[np.uint64], distance: int = DISTANCE) -> list[Shared]:
    """Return the near-duplicates between two sets, from their fingerprints [N, 4] and [M, 4]."""
    both = np.concatenate([first, second])
    pairs = find_close_pairs(both, distance)
    across = pairs[(pairs[:, 0] < len(first)) & (pairs[:, 1] >= len(first))]
    bits = np.bitwise_count(both[across[:, 0]] ^ both[across[:, 1]]).sum(1)
    return [Shared(int(a), int(b) - len(first), int(d)) for (a, b), d in zip(across, bits, strict=True)]
