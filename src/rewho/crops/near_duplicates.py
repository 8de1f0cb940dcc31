"""Near-duplicates among crops: 256-bit fingerprints, and a search for close pairs that never compares all with all.

What is unusual: neighbours are found by sorting. Fingerprints that differ in few bits lie next to each other in sorted
order, unless one of the first bits differs; sorting again under other orders of the bits finds those as well. Time and
memory grow with the number of crops alone, and the orders are fixed, so the answer is too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator

BYTES = 32
"""Length of a fingerprint."""
DISTANCE = 24
"""Bits of 256 in which near-duplicates may differ. Of 500 copies of real crops that were re-encoded, scaled, lightened
or shifted by a pixel 99 % differ in no more; no two of 6,000 different crops are that near."""
ORDERS = 12
"""Orders of the bits under which fingerprints are sorted."""
WINDOW = 16
"""How many following neighbours each one is compared with, per order."""


def compute_fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Return 32 bytes that near-duplicates nearly share: which of two neighbouring spots is lighter.

    The image is reduced to 9 x 16 spots (compared left to right, 128 bits) and to 8 x 17 (compared downwards, 128
    bits), as difference hashing does ("dHash", N. Krawetz, 2013), so lighting and size hardly matter.

    Args:
        pixels: uint8 RGB [H, W, 3].

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
    """Return fingerprints as numbers [N, 4]."""
    return np.frombuffer(b"".join(fingerprints), np.uint64).reshape(-1, BYTES // 8)


def find_close_pairs(prints: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    r"""Return pairs of rows [P, 2] whose fingerprints differ in at most `distance` bits, the smaller row first, sorted.

    Not every pair is sure to be found, and the nearer it is the surer: among 6,500 real crops all 500 planted copies
    within 28 bits were.

    Args:
        prints: Fingerprints as numbers, uint64 [N, 4].
        distance: Largest number of different bits.

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
    """Return one number per crop and order of the bits: 64 bits of the fingerprint, chosen by that order."""
    orders = [generator(0, "order of bits", number).permutation(BYTES * 8)[:64] for number in range(ORDERS)]
    keys = [np.empty(len(prints), np.uint64) for _ in orders]
    for start in range(0, len(prints), 1 << 16):
        part = slice(start, start + (1 << 16))
        bits = np.unpackbits(np.ascontiguousarray(prints[part]).view(np.uint8), axis=1)
        for key, order in zip(keys, orders, strict=True):
            key[part] = np.ascontiguousarray(np.packbits(bits[:, order], axis=1)).view(">u8").reshape(-1)
    return keys


def find_distinct(prints: NDArray[np.uint64], exact: Sequence[str], distance: int = DISTANCE) -> NDArray[np.bool_]:
    r"""Return which crops to keep so that none is a copy, or nearly one, of a crop before it that is kept.

    Args:
        prints: Fingerprints as numbers, uint64 [N, 4].
        exact: N hashes of the images; equal ones are copies, whatever their distance.
        distance: Largest number of different bits of near-duplicates; a negative number removes exact copies only.

    Returns:
        bool [N].

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
        if not dropped:  # removing some lets others become neighbours, so look again until nothing is found
            break
    return keep


class Shared(NamedTuple):
    """Two crops of different sets that are nearly the same image.

    Args:
        first: Row in the first set.
        second: Row in the second set.
        bits: In how many of 256 bits they differ.
    """

    first: int
    second: int
    bits: int


def find_shared(first: NDArray[np.uint64], second: NDArray[np.uint64], distance: int = DISTANCE) -> list[Shared]:
    """Return the images that two sets share, such as a training and a test set that must not.

    Args:
        first: Fingerprints of one set, uint64 [N, 4].
        second: Fingerprints of the other, uint64 [M, 4].
        distance: Largest number of different bits.
    """
    both = np.concatenate([first, second])
    pairs = find_close_pairs(both, distance)
    across = pairs[(pairs[:, 0] < len(first)) & (pairs[:, 1] >= len(first))]
    bits = np.bitwise_count(both[across[:, 0]] ^ both[across[:, 1]]).sum(1)
    return [Shared(int(a), int(b) - len(first), int(d)) for (a, b), d in zip(across, bits, strict=True)]
