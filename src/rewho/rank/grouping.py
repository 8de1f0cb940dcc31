"""Groups of images under constraints: what must be together, what cannot be, and the rest by average linkage.

Starting from the groups that must be together, the two groups with the least mean distance are united again and again,
unless something forbids it, until none are nearer than a limit. Pairs that the sparse graph lacks count as 1 apart, so
a long chain of look-alikes does not become one group, as it does with DBSCAN. A constraint is never broken for the sake
of a distance: the result is checked before it is returned.

Letters: N images, E pairs in the graph, L links, S groups to start with.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from rewho.core.check import UserError
from rewho.rank.clustering import OUTLIER

LIMIT = 0.4
"""Mean Jaccard distance up to which two groups are united by default; see docs/LOG.md."""
NOBODY = -1


class Constraints(NamedTuple):
    """What is known of N images before they are grouped.

    Attributes:
        must: Pairs that are in one group, int64 [L, 2].
        cannot: Pairs that are in two groups, int64 [L, 2].
        owners: Known group of each image, int64 [N]; -1 is unknown. Images of one owner are in one group, those of two
            in two groups. None knows of none.
    """

    must: NDArray[np.int64]
    cannot: NDArray[np.int64]
    owners: NDArray[np.int64] | None = None


NO_PAIRS = np.empty((0, 2), np.int64)
UNCONSTRAINED = Constraints(NO_PAIRS, NO_PAIRS)


def pairs_of(links: ArrayLike) -> NDArray[np.int64]:
    """Return pairs as an array, int64 [L, 2], also where there are none."""
    return np.asarray(links, np.int64).reshape(-1, 2)


def group(graph: sparse.csr_array, limit: float = LIMIT, known: Constraints = UNCONSTRAINED) -> NDArray[np.int64]:
    """Return the group of every image, int64 [N], from 0 by their first member; -1 is an image alone.

    Args:
        graph: Distances 0 to 1 [N, N], symmetric, without a diagonal (`clustering.jaccard_graph`).
        limit: Groups are united up to this mean distance, below 1.
        known: Constraints, which always hold.

    Raises:
        UserError: The constraints contradict one another (`find_contradiction` names the images).

    Example:
        >>> near = sparse.csr_array(np.array([[0, 0.1, 0.2], [0.1, 0, 0.1], [0.2, 0.1, 0]]))
        >>> group(near).tolist()
        [0, 0, 0]
        >>> group(near, known=Constraints(NO_PAIRS, np.array([[0, 1]]))).tolist()
        [-1, 0, 0]
    """
    images = graph.shape[0]
    if chain := find_contradiction(images, known):
        got = " = ".join(map(str, chain)) + f", though {chain[0]} and {chain[-1]} cannot be one"
        fix = "Take one of the links between them back."
        raise UserError("links", expected="links that can hold together", got=got, fix=fix)
    start = unite(images, known)
    clusters = _Clusters(graph, start, known, limit)
    clusters.run()
    found = clusters.labels()[start]
    _check(found, known)
    _, first, inverse, counts = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts > 1)
    number = np.full(len(first), OUTLIER)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return np.asarray(number[inverse], np.int64)


def find_contradiction(images: int, known: Constraints) -> list[int]:
    """Return a chain of images that must be together though its ends cannot be; empty if there is none.

    Example:
        >>> find_contradiction(4, Constraints(np.array([[0, 2], [2, 3]]), np.array([[3, 0]])))
        [3, 2, 0]
    """
    must, start = _must(images, known), unite(images, known)
    for one, other in pairs_of(known.cannot).tolist():
        if start[one] == start[other]:
            return _chain(must, one, other)
    if known.owners is not None:
        owned = np.flatnonzero(known.owners != NOBODY)
        order = owned[np.argsort(start[owned], kind="stable")]
        apart = (start[order][1:] == start[order][:-1]) & (known.owners[order][1:] != known.owners[order][:-1])
        if apart.any():
            at = int(np.argmax(apart))
            return _chain(must, int(order[at]), int(order[at + 1]))
    return []


def _must(images: int, known: Constraints) -> NDArray[np.int64]:
    """Return the pairs that must be together, those of one owner among them, int64 [L, 2]."""
    must = pairs_of(known.must)
    if known.owners is None:
        return must
    owned = np.flatnonzero(known.owners != NOBODY)
    order = owned[np.argsort(known.owners[owned], kind="stable")]
    same = known.owners[order][1:] == known.owners[order][:-1]
    assert len(known.owners) == images
    return np.concatenate([must, np.stack([order[:-1][same], order[1:][same]], axis=1)])


def unite(images: int, known: Constraints) -> NDArray[np.int64]:
    """Return the group of each image by what must be together alone, int64 [N]."""
    must = _must(images, known)
    links = sparse.coo_array((np.ones(len(must), np.int8), (must[:, 0], must[:, 1])), shape=(images, images))
    return np.asarray(csgraph.connected_components(links.tocsr(), directed=False)[1], np.int64)


def _chain(must: NDArray[np.int64], start: int, end: int) -> list[int]:
    """Return the shortest chain of pairs from one image to another, both included."""
    beside: dict[int, list[int]] = {}
    for one, other in must.tolist():
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    before, queue = {start: start}, deque([start])
    while end not in before:
        here = queue.popleft()
        for there in beside.get(here, ()):
            if there not in before:
                before[there] = here
                queue.append(there)
    chain = [end]
    while chain[-1] != start:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _check(found: NDArray[np.int64], known: Constraints) -> None:
    """Raise an AssertionError if a constraint does not hold: that is a mistake in this module."""
    must, cannot = pairs_of(known.must), pairs_of(known.cannot)
    assert (found[must[:, 0]] == found[must[:, 1]]).all(), "a must-link was broken"
    assert (found[cannot[:, 0]] != found[cannot[:, 1]]).all(), "a cannot-link was broken"
    if known.owners is not None:
        owned = known.owners != NOBODY
        pairs = np.unique(np.stack([known.owners[owned], found[owned]], axis=1), axis=0)
        assert len(np.unique(pairs[:, 0])) == len(pairs) == len(np.unique(pairs[:, 1])), "an owner's group was broken"


class _Clusters:
    """Groups that are being united; a group is known by the number of one of the groups it began as.

    Args:
        graph: Distances of images.
        start: Group of each image to start with, [N], from 0 to S - 1.
        known: Constraints between images.
        limit: Largest mean distance of two groups that are united.
    """

    def __init__(self, graph: sparse.csr_array, start: NDArray[np.int64], known: Constraints, limit: float) -> None:
        count = int(start.max(initial=-1)) + 1
        self.limit = limit
        self.sizes: list[int] = np.bincount(start, minlength=count).tolist()
        self.into = list(range(count))  # the group that a group went into
        self.owners = [NOBODY] * count
        if known.owners is not None:
            for image in np.flatnonzero(known.owners != NOBODY).tolist():
                self.owners[start[image]] = int(known.owners[image])
        self.apart: dict[int, set[int]] = {}
        for one, other in start[pairs_of(known.cannot)].tolist():
            self.apart.setdefault(one, set()).add(other)
            self.apart.setdefault(other, set()).add(one)
        self.alike: list[dict[int, float]] = [{} for _ in range(count)]  # sums of 1 - distance over pairs of images
        self.heap: list[tuple[float, int, int]] = []
        self._read(graph, start, count)

    def _read(self, graph: sparse.csr_array, start: NDArray[np.int64], count: int) -> None:
        """Sum the similarities of every two groups; only pairs that can ever be united are kept."""
        entries = graph.tocoo()
        left, right = start[entries.row], start[entries.col]
        near = entries.data <= self.limit
        links = sparse.coo_array((np.ones(near.sum(), np.int8), (left[near], right[near])), shape=(count, count))
        reach = csgraph.connected_components(links.tocsr(), directed=False)[1]
        inside = (reach[left] == reach[right]) & (left != right)
        similar = 1 - entries.data[inside].astype(np.float64)
        sums = sparse.coo_array((similar, (left[inside], right[inside])), shape=(count, count)).tocsr()
        sums.sum_duplicates()
        for one in range(count):
            places = slice(sums.indptr[one], sums.indptr[one + 1])
            self.alike[one] = dict(zip(sums.indices[places].tolist(), sums.data[places].tolist(), strict=True))
        for one, others in enumerate(self.alike):
            for other in others:
                if one < other:
                    self._offer(one, other)
        heapq.heapify(self.heap)

    def _distance(self, one: int, other: int) -> float:
        return float(1 - self.alike[one][other] / (self.sizes[one] * self.sizes[other]))

    def _barred(self, one: int, other: int) -> bool:
        owners = self.owners[one], self.owners[other]
        return other in self.apart.get(one, ()) or (NOBODY not in owners and owners[0] != owners[1])

    def _offer(self, one: int, other: int) -> None:
        if (distance := self._distance(one, other)) <= self.limit and not self._barred(one, other):
            self.heap.append((distance, min(one, other), max(one, other)))

    def run(self) -> None:
        """Unite groups until none can be."""
        while self.heap:
            distance, one, other = heapq.heappop(self.heap)
            gone = self.into[one] != one or self.into[other] != other
            if gone or self._distance(one, other) != distance or self._barred(one, other):
                continue  # an offer from before one of them grew
            self._unite(*((one, other) if len(self.alike[one]) >= len(self.alike[other]) else (other, one)))

    def _unite(self, stays: int, goes: int) -> None:
        self.into[goes] = stays
        self.sizes[stays] += self.sizes[goes]
        self.owners[stays] = max(self.owners[stays], self.owners[goes])
        for other in self.apart.pop(goes, ()):
            self.apart[other].remove(goes)
            self.apart[other].add(stays)
            self.apart.setdefault(stays, set()).add(other)
        own = self.alike[stays]
        del own[goes], self.alike[goes][stays]
        for other, similar in self.alike[goes].items():
            theirs = self.alike[other]
            del theirs[goes]
            theirs[stays] = own[other] = own.get(other, 0.0) + similar
        self.alike[goes] = {}
        for other in own:
            if (distance := self._distance(stays, other)) <= self.limit and not self._barred(stays, other):
                heapq.heappush(self.heap, (distance, min(stays, other), max(stays, other)))

    def labels(self) -> NDArray[np.int64]:
        """Return the current group of each initial group, int64 [S]."""
        found = list(range(len(self.into)))
        for one in found:
            at = one
            while self.into[at] != at:
                at = self.into[at]
            while self.into[one] != at:
                self.into[one], one = at, self.into[one]  # noqa: PLW2901 - the way up, shortened
        return np.array(self.into, np.int64)
