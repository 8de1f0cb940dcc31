"""Sparse k-reciprocal neighbour sets and the Jaccard distance between them.

Everything is a sparse matrix with a few dozen entries per image: memory grows with N k instead of N^2, and set
operations on all images at once are matrix products. Zhong et al., "Re-ranking Person Re-identification
with k-reciprocal Encoding", CVPR 2017, sections 3.2 to 3.4.

Differences from the dense form: the sums over neighbours run in another order, in float32, which changes a Jaccard
distance by less than 1e-6; images at exactly the same distance are ordered by their number. No entry is truncated.

Letters: N images, D embedding, K neighbours, Q requested rows, G requested columns, B rows of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rewho.rank.blocks import map_row_blocks

PRODUCT_ROWS = 2048
"""Rows of a sparse product that are computed at once."""
EXPANDED_ENTRIES = 2**20
"""Pairs of shared neighbours in memory at once when Jaccard distances are summed."""


def reciprocal_sets(indices: NDArray[np.int64]) -> sparse.csr_array:
    """Return a matrix of ones, [N, N], where both images are among each other's neighbours, int64 [N, K]."""
    forward = _pattern(indices)
    return sparse.csr_array(forward.multiply(forward.T))


def expanded_reciprocal_sets(indices: NDArray[np.int64], half: int) -> sparse.csr_array:
    """Return each image's k-reciprocal set, extended by the sets of its members (section 3.2), as ones, [N, N].

    The half-size set of a member, made of its `half` nearest, is added if strictly more than 2/3 of it lie in the
    k-reciprocal set.
    """
    whole = reciprocal_sets(indices)
    small = reciprocal_sets(indices[:, :half])
    small_sizes = small.sum(axis=1)
    parts = []
    for start in range(0, len(indices), PRODUCT_ROWS):
        members = whole[start : start + PRODUCT_ROWS]
        # Entry (i, c): how much of c's half-size set lies in i's set (`small` is symmetric); for members c only.
        overlap = sparse.coo_array((members @ small).multiply(members))
        fits = 3 * overlap.data > 2 * small_sizes[overlap.col]
        accepted = sparse.csr_array(
            (np.ones(fits.sum(), np.int32), (overlap.row[fits], overlap.col[fits])), shape=members.shape
        )
        joined = sparse.csr_array(members + accepted @ small)
        joined.sort_indices()
        parts.append(joined)
    sets = sparse.csr_array(sparse.vstack(parts))
    sets.data[:] = 1
    return sets


def half_size(k1: int) -> int:
    """Return the neighbours of a half-size set, itself included: round(k1 / 2) + 1, halves to even."""
    return round(k1 / 2) + 1


def gaussian_weights(
    sets: sparse.csr_array, embeddings: NDArray[np.floating[Any]], scale: NDArray[np.floating[Any]] | float = 1.0
) -> sparse.csr_array:
    """Weight the members of each set by exp(-d), to a sum of 1, float32 [N, N] (section 3.3, equation 7).

    Embeddings have length 1 for cosine. Squared distances d are divided by `scale`, one number or one per row.
    """
    row_of = np.repeat(np.arange(sets.shape[0]), np.diff(sets.indptr))
    lengths = np.einsum("nd,nd->n", embeddings, embeddings)  # float64 embeddings keep differences of large lengths

    def squared_distances(entries: NDArray[np.int64]) -> NDArray[np.float32]:
        left, right = row_of[entries], sets.indices[entries]
        products = np.einsum("ed,ed->e", embeddings[left], embeddings[right])
        return np.asarray(lengths[left] + lengths[right] - 2 * products, np.float32)

    squared = np.concatenate(map_row_blocks(squared_distances, sets.nnz, 2 * embeddings.shape[1]))
    whole_scale = np.broadcast_to(np.asarray(scale, np.float32), (sets.shape[0],))
    raw = np.exp(-np.maximum(squared, 0) / whole_scale[row_of])
    totals = np.bincount(row_of, weights=raw, minlength=sets.shape[0])
    return sparse.csr_array(((raw / totals[row_of]).astype(np.float32), sets.indices, sets.indptr), shape=sets.shape)


def local_query_expansion(weights: sparse.csr_array, indices: NDArray[np.int64]) -> sparse.csr_array:
    """Replace each image's weights by the mean over its k2 nearest neighbours, int64 [N, k2] (section 3.4, eq. 11)."""
    if indices.shape[1] == 1:
        return weights
    chosen = _pattern(indices).astype(np.float32)
    chosen.data /= np.float32(indices.shape[1])
    return sparse.csr_array(chosen @ weights)


class JaccardDistances:
    """Jaccard distances between weighted neighbour sets (section 3.3, equation 10).

    The rows of `weights` sum to 1, so that 1 - (sum of minima) / (sum of maxima) = 1 - s / (2 - s) with s the sum of
    minima. Only shared neighbours add to s; they are found in lists of the images that have each neighbour.

    Args:
        weights: float32 matrix [N, N], one weighted set per row.
        rows: Images that become rows of the distance matrix, int64 [Q].
        columns: Images that become its columns, int64 [G].
    """

    def __init__(self, weights: sparse.csr_array, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        self._rows = weights[rows]
        self._owners = sparse.csc_array(weights[columns])
        self.shape = len(rows), len(columns)

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distances of the rows `rows`, float32 [B, G], from 0 to 1."""
        shared = np.zeros((len(rows), self.shape[1]), np.float32)
        sets = self._rows[rows]
        owners_of_entry = np.diff(self._owners.indptr)[sets.indices]
        work = np.r_[0, np.cumsum(owners_of_entry)][sets.indptr]  # pairs of shared neighbours before each row
        start = 0
        while start < len(rows):
            fitting = int(np.searchsorted(work, work[start] + EXPANDED_ENTRIES, "right")) - 1
            stop = min(max(fitting, start + 1), len(rows))
            shared[start:stop] = self._shared_weight(sets[start:stop], stop - start)
            start = stop
        shared /= 2 - shared
        np.subtract(1, shared, out=shared)
        return np.maximum(shared, 0, out=shared)

    def _shared_weight(self, sets: sparse.csr_array, height: int) -> NDArray[np.float64]:
        """Sum the minima of weights over shared neighbours, [B, G]."""
        first = self._owners.indptr[sets.indices]
        counts = self._owners.indptr[sets.indices + 1] - first
        row_of = np.repeat(np.arange(height), np.diff(sets.indptr))
        place = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        minima = np.minimum(np.repeat(sets.data, counts), self._owners.data[place])
        cell = np.repeat(row_of * self.shape[1], counts) + self._owners.indices[place]
        sums = np.bincount(cell, weights=minima, minlength=height * self.shape[1])
        return np.asarray(sums, np.float64).reshape(height, self.shape[1])


def _pattern(indices: NDArray[np.int64]) -> sparse.csr_array:
    """Return neighbour numbers [N, K] as a matrix of ones, [N, N]."""
    images, k = indices.shape
    ones = np.ones(images * k, np.int32)
    return sparse.csr_array((ones, indices.ravel(), np.arange(0, images * k + 1, k)), shape=(images, images))
