"""Clusters of images without labels: DBSCAN on a sparse graph of Jaccard distances.

Nothing here is N x N. The graph holds only pairs up to a radius; each pair is computed once, from the lists of images
that have a neighbour in common. Clustering with another eps is a selection of the graph's entries. Zhong et al. (CVPR
2017) for the distance, Ester et al. (KDD 1996) for DBSCAN.

Letters: N images, D embedding, K neighbours, E pairs in the graph, C clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from rewho.core.check import UserError
from rewho.rank.blocks import map_blocks
from rewho.rank.distance import unit_vectors
from rewho.rank.nearest import nearest_neighbours
from rewho.rank.neighbours import (
    expanded_reciprocal_sets,
    gaussian_weights,
    half_size,
    local_query_expansion,
)
from rewho.settings.adapt import RADIUS

OUTLIER = -1
"""Label of an image in no cluster."""
PAIRS_AT_ONCE = 2**21
"""Pairs with a shared neighbour in memory at once, in each thread: about 100 MB."""
EPS_STEP = 0.05
"""Step of the values of eps that are compared."""
SHARE_OF_CLUSTERS = 0.9
"""Share of the most clusters below which they have begun to run together."""
FLAT = 1e-3
"""Rise of a curve below which it has no bend."""
ROUNDING = 1e-5
"""Difference of distances that is rounding: near-duplicates are not at exactly 0."""


def jaccard_weights(
    embeddings: NDArray[Any], k1: int = 30, k2: int = 6, threads: int | None = None
) -> sparse.csr_array:
    """Return the weighted k-reciprocal neighbour set of every image, float32 [N, N], whose rows sum to 1.

    As in SpCL (Ge et al., NeurIPS 2020): k1 neighbours with the image itself among them, where re-ranking has k1 + 1;
    squared distances are not scaled.

    Args:
        embeddings: [N, D], not zero; their lengths do not matter.
        k1: Neighbours of the reciprocal sets; fewer images than that make smaller sets.
        k2: Neighbours over which weights are averaged.
        threads: None uses one per processor.
    """
    check_neighbours(len(embeddings), k1, k2)
    units = unit_vectors(embeddings, "float32")
    indices = nearest_neighbours(units, k1, threads=threads).indices
    sets = expanded_reciprocal_sets(indices, half_size(k1))
    return local_query_expansion(gaussian_weights(sets, units), indices[:, :k2])


def check_neighbours(images: int, k1: int, k2: int) -> None:
    """Raise a UserError unless 1 <= k2 <= k1 and there are images to cluster."""
    if images < 2:
        raise UserError("images to cluster", expected="2 or more", got=str(images), fix="Add images.")
    if not 1 <= k2 <= k1:
        raise UserError("k2", expected=f"from 1 to k1, which is {k1}", got=str(k2), fix="Pass k1 30 and k2 6.")


def jaccard_graph(weights: sparse.csr_array, radius: float = RADIUS, threads: int | None = None) -> sparse.csr_array:
    """Return the Jaccard distances of all pairs at most `radius` apart, float32 [N, N], symmetric, without a diagonal.

    Entries are stored also where the distance is 0, so that copies of an image are neighbours. Time and memory grow
    with the number of pairs that share a neighbour, about N k1^2.

    Args:
        weights: float32 [N, N], one weighted set per row, each with the sum 1 (`jaccard_weights`).
        radius: Largest distance, 0 to 1; at 1 itself, images that share nothing are still left out.
        threads: None uses one per processor.

    Example:
        >>> two = sparse.csr_array(np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], np.float32))
        >>> graph = jaccard_graph(two)
        >>> graph.nnz, graph.data.tolist(), graph.indices.tolist()
        (2, [0.0, 0.0], [1, 0])
    """
    weights = sparse.csr_array(weights)
    weights.sort_indices()
    images = weights.shape[0]
    owners = sparse.csc_array(weights)  # who has a neighbour; within a column by image number
    # Where each entry of the rows stands in its column: what follows it there are the later images that share it.
    places = _places_in_columns(weights, owners.indptr)
    later = owners.indptr[weights.indices + 1] - places - 1
    work = np.r_[0, np.cumsum(later)][weights.indptr]
    least = (1 - radius) * 2 / (2 - radius)  # shared weight at distance `radius`

    def pairs_of(rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        first, last = weights.indptr[rows[0]], weights.indptr[rows[-1] + 1]
        counts = later[first:last]
        ends = np.cumsum(counts)
        place = np.arange(counts.sum()) + np.repeat(places[first:last] + 1 - ends + counts, counts)
        minima = np.minimum(np.repeat(weights.data[first:last], counts), owners.data[place]).astype(np.float64)
        shared = sparse.csr_array((minima, owners.indices[place], np.r_[0, ends]), shape=(len(counts), images))
        own = weights.indptr[rows[0] : rows[-1] + 2] - first
        ones = sparse.csr_array((np.ones(len(counts)), np.arange(len(counts)), own), shape=(len(rows), len(counts)))
        sums = sparse.coo_array(ones @ shared)  # adds up the shared neighbours of each pair
        near = sums.data >= least
        distances = np.maximum(1 - sums.data[near] / (2 - sums.data[near]), 0)
        return (sums.row[near] + rows[0]).astype(np.int32), sums.col[near], distances.astype(np.float32)

    parts = map_blocks(pairs_of, _blocks_of_work(work), threads)
    left, right, distances = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    both = np.r_[left, right], np.r_[right, left]
    graph = sparse.coo_array((np.r_[distances, distances], both), shape=(images, images)).tocsr()
    graph.sort_indices()
    return graph


def _places_in_columns(weights: sparse.csr_array, starts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the position in column order of every entry of a matrix in row order, int64 [entries]."""
    order = sparse.csc_array(
        (np.arange(weights.nnz), weights.indices, weights.indptr), shape=weights.shape[::-1]
    ).tocsr()  # the transpose of a matrix of entry numbers: its data lists them column by column
    places = np.empty(weights.nnz, np.int64)
    places[order.data] = np.arange(weights.nnz)
    assert len(starts) == weights.shape[1] + 1
    return places


def _blocks_of_work(work: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return runs of row numbers with about `PAIRS_AT_ONCE` pairs each; `work` counts the pairs before each row."""
    rows, blocks, start = len(work) - 1, [], 0
    while start < rows:
        stop = max(start + 1, int(np.searchsorted(work, work[start] + PAIRS_AT_ONCE, "right")) - 1)
        blocks.append(np.arange(start, min(stop, rows)))
        start = blocks[-1][-1] + 1
    return blocks


def dbscan(graph: sparse.csr_array, eps: float, min_samples: int = 4) -> NDArray[np.int64]:
    """Return the DBSCAN cluster of every image, int64 [N], from 0; -1 is an outlier.

    The labels are those of scikit-learn's DBSCAN: clusters are numbered by their first core image, and an image at the
    border of several belongs to the first of them. Constraints between images are a matter of the graph: what must be
    together gets an entry of 0, what must not be together none, before or after this call.

    Args:
        graph: Distances [N, N], symmetric, without a diagonal; entries that are absent are too far.
        eps: Largest distance between neighbours.
        min_samples: Neighbours of a core image, itself included.

    Example:
        >>> chain = sparse.csr_array(np.diag([0.1, 0.1, 0.9], 1) + np.diag([0.1, 0.1, 0.9], -1))
        >>> dbscan(chain, eps=0.5, min_samples=3).tolist()
        [0, 0, 0, -1]
    """
    images = graph.shape[0]
    row_of = np.repeat(np.arange(images), np.diff(graph.indptr))
    near = graph.data <= eps
    left, right = row_of[near], graph.indices[near]
    core = np.bincount(left, minlength=images) + 1 >= min_samples
    inner = core[left] & core[right]
    links = sparse.csr_array((np.ones(inner.sum(), np.int8), (left[inner], right[inner])), shape=(images, images))
    component = csgraph.connected_components(links, directed=False)[1]
    labels = np.full(images, images, np.int64)
    labels[core] = _number_by_first(component[core])
    border = ~core[left] & core[right]
    np.minimum.at(labels, left[border], labels[right[border]])
    labels[labels == images] = OUTLIER
    return labels


def _number_by_first(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the same grouping with groups numbered from 0 by their first member."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]


def count_clusters(labels: NDArray[np.int64]) -> int:
    """Return the number of clusters in labels from 0 without gaps."""
    return int(labels.max(initial=OUTLIER)) + 1


def neighbour_distances(graph: sparse.csr_array, min_samples: int = 4, radius: float = RADIUS) -> NDArray[np.float32]:
    """Return each image's distance to the farthest of its `min_samples` nearest, itself included; ascending, [N].

    This is the k-distance curve of Ester et al. (section 4.2). Images with fewer neighbours in the graph get `radius`.
    """
    if min_samples < 2:
        return np.zeros(graph.shape[0], np.float32)
    row_of = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    order = np.lexsort((graph.data, row_of))
    ranked = graph.data[order]
    place = graph.indptr[:-1] + min_samples - 2
    enough = place < graph.indptr[1:]
    found = np.full(graph.shape[0], radius, np.float32)
    found[enough] = ranked[place[enough]]
    return np.sort(found)


def largest_sound_eps(graph: sparse.csr_array, highest: float, min_samples: int = 4) -> float | None:
    """Return the largest eps up to `highest` at which clusters do not merge yet; None without any clusters.

    DBSCAN is run with every multiple of `EPS_STEP`. The result is the largest that gives at least the share
    `SHARE_OF_CLUSTERS` of the highest number of clusters. The bend of the k-distance curve does not serve: a curve need
    not have one, and on ImageNet's embeddings it was at 0.79, where nearly all images are in one cluster. Groups of
    near-duplicates are clusters as well here; where they outnumber people, eps is too small.

    Example:
        >>> pairs = np.diag([0.1, 0.6, 0.1], 1)
        >>> largest_sound_eps(sparse.csr_array(pairs + pairs.T), 0.7, min_samples=2)
        0.55
    """
    values = [round(step * EPS_STEP, 10) for step in range(1, int(highest / EPS_STEP + 1e-9) + 1)]
    counts = [count_clusters(dbscan(graph, eps, min_samples)) for eps in values]
    most = max(counts, default=0)
    return (
        max(eps for eps, count in zip(values, counts, strict=True) if count >= SHARE_OF_CLUSTERS * most)
        if most
        else None
    )


def bend(curve: NDArray[np.floating[Any]]) -> float | None:
    """Return the height of the bend of an ascending curve [N]; None if it is flat or straight.

    The bend is the point that lies farthest below the chord from the first point to the last one, both axes scaled to
    0 to 1 (Satopaa et al., "Finding a Kneedle in a Haystack", 2011). Points at the last height are cut off at a radius
    and count as one; so do points at the first height, which are near-duplicates with a distance of 0 but for rounding.

    Example:
        >>> round(bend(np.r_[np.linspace(0.1, 0.3, 90), np.linspace(0.3, 0.8, 10)]), 2)
        0.3
    """
    between = (curve > curve[0] + ROUNDING) & (curve < curve[-1])
    shown = np.r_[curve[:1], curve[between], curve[-1:]].astype(np.float64)
    if len(shown) < 3 or shown[-1] - shown[0] < FLAT:
        return None
    below = np.linspace(0, 1, len(shown)) - (shown - shown[0]) / (shown[-1] - shown[0])
    best = int(below.argmax())
    return float(shown[best]) if below[best] > FLAT else None
