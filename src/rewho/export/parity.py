"""Differences between an exported file's embeddings and the model's.

Letters: N images, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError

LARGEST_DIFFERENCE = 1e-4
SMALLEST_SHARE = 0.999
NEIGHBOURS = 10
TIE = 1e-6  # cosines that differ by less are equal within float32's precision
ENTRIES = 2**22  # similarities in memory at once


@dataclass(frozen=True)
class Parity:
    """Differences between an exported file's embeddings and the model's.

    Args:
        images: Number N of images compared.
        largest_difference: Largest absolute difference between two numbers.
        scale: Root mean square of the model's numbers; embeddings are not of unit length.
        relative_difference: The largest difference divided by the scale; `LARGEST_DIFFERENCE` is its limit.
        same_neighbours: Share of each image's ten nearest by the file's embeddings, by the cosine, that are among the
            model's ten nearest; ties with the model's tenth count.
    """

    images: int
    largest_difference: float
    scale: float
    relative_difference: float
    same_neighbours: float


def compute_parity(expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """Compare a file's embeddings of N >= 2 images with the model's, [N, D], finite and no row zero."""
    difference = float(np.abs(expected.astype(np.float64) - found).max())
    scale = float(np.sqrt(np.mean(expected.astype(np.float64) ** 2)))
    return Parity(len(expected), difference, scale, difference / scale, same_neighbours(expected, found))


def same_neighbours(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the share of `found`'s ten nearest neighbours that are among `expected`'s; see `Parity`."""
    ours, theirs = (_unit(embeddings) for embeddings in (expected, found))
    count, kept = min(NEIGHBOURS, len(ours) - 1), 0
    step = max(1, ENTRIES // len(ours))
    for start in range(0, len(ours), step):
        rows = np.arange(start, min(start + step, len(ours)))
        similar = [vectors[rows] @ vectors.T for vectors in (ours, theirs)]
        for block in similar:
            block[np.arange(len(rows)), rows] = -np.inf  # an image is not its own neighbour
        nearest = np.argpartition(-similar[1], count - 1, axis=1)[:, :count]
        last = -np.partition(-similar[0], count - 1, axis=1)[:, count - 1 : count]
        kept += int(np.count_nonzero(np.take_along_axis(similar[0], nearest, axis=1) >= last - TIE))
    return kept / (len(ours) * count)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = embeddings.astype(np.float64)
    exact /= np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return exact


def check_parity(parity: Parity, what: str) -> None:
    """Check that a file computes what its model computes; `what` names it in the message."""
    if parity.relative_difference <= LARGEST_DIFFERENCE and parity.same_neighbours >= SMALLEST_SHARE:
        return
    raise UserError(
        what,
        expected=f"embeddings within {LARGEST_DIFFERENCE:g} of the model's, relative to their root mean square, and "
        f"{SMALLEST_SHARE:.1%} of the ten nearest neighbours the same",
        got=f"a difference of {parity.relative_difference:.3g} and {parity.same_neighbours:.2%}, on "
        f"{parity.images} images",
        fix="Try the other --format, or other versions of torch, onnxscript and onnxruntime; no model was kept.",
    )
