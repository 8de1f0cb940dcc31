"""Expected scores of images at equal distances: the mean over all orders of the tied images, in closed form.

Most evaluation code scores tied images in the order in which the gallery is stored, so that shuffling the gallery
changes the result. Here a group of n tied images, m of them matches, that follows L nearer images, a of them matches,
adds its expected value. Position p = 1 … n of the group holds a match with probability m/n, and then (p - 1) rho other
matches of the group are expected before it, with rho = (m - 1) / (n - 1). Summing over p leaves harmonic numbers H.
Without ties (n = m = 1) every formula is the usual one.

Letters: T groups of tied images, V queries that have a match.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TieGroups(NamedTuple):
    """All groups of images at one distance from their query that hold a match, by query and distance.

    Attributes:
        query: Query of each group, int64 [T], ascending.
        nearer: L, images of the ranking that are strictly nearer, int64 [T].
        matches_nearer: a, matches among them, int64 [T].
        size: n, images at this distance, int64 [T].
        matches: m, matches among those, int64 [T].
    """

    query: NDArray[np.int64]
    nearer: NDArray[np.int64]
    matches_nearer: NDArray[np.int64]
    size: NDArray[np.int64]
    matches: NDArray[np.int64]


def group_ties(query: NDArray[np.int64], nearer: NDArray[np.int64], not_farther: NDArray[np.int64]) -> TieGroups:
    """Group the M matches of all queries by query and distance.

    Args:
        query: Query of each match, int64 [M], ascending.
        nearer: Images strictly nearer than the match, int64 [M], ascending within a query.
        not_farther: Images as near or nearer, the match among them, int64 [M].
    """
    new_query = np.diff(query, prepend=-1) != 0
    start = np.flatnonzero(new_query | (np.diff(nearer, prepend=-1) != 0))
    first_of_query = np.flatnonzero(new_query)[np.cumsum(new_query) - 1]
    return TieGroups(
        query[start],
        nearer[start],
        start - first_of_query[start],
        (not_farther - nearer)[start],
        np.diff(start, append=len(query)),
    )


def precision_sums(groups: TieGroups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each group's expected contribution to the sum of precisions of its query, float64 [T] per convention.

    Divided by the number of matches, the sums over a query's groups are its average precision: *rectangular* takes the
    precision (i + 1) / (r + 1) at each match, *trapezoid* the mean of that and of the precision i / r just before it
    (1 where r = 0), with i matches and r images before the match.
    """
    nearer, before, size, matches = (values.astype(np.float64) for values in groups[1:])
    rho = np.divide(matches - 1, size - 1, out=np.zeros_like(size), where=size > 1)
    share = matches / size
    at_match = size * rho + (before + 1 - rho * (nearer + 1)) * _harmonic_difference(groups.nearer, groups.size)
    # Where nothing is nearer, the first image counts 1 and every other one rho: m in all.
    just_before = np.where(
        groups.nearer == 0,
        matches,
        size * rho + (before - rho * nearer) * _harmonic_difference(groups.nearer - 1, groups.size),
    )
    rectangular = share * at_match
    return rectangular, (rectangular + share * just_before) / 2


@dataclass(frozen=True, eq=False)
class QueryMatches:
    """The matches of the V queries that have any: the input of a metric.

    Args:
        groups: Groups of tied images, by query and distance.
    """

    groups: TieGroups

    @cached_property
    def first(self) -> TieGroups:
        """The nearest group of each query, [V]."""
        new_query = np.diff(self.groups.query, prepend=-1) != 0
        return TieGroups(*(values[new_query] for values in self.groups))

    @cached_property
    def last(self) -> TieGroups:
        """The farthest group of each query, [V]."""
        end_of_query = np.diff(self.groups.query, append=-1) != 0
        return TieGroups(*(values[end_of_query] for values in self.groups))

    @property
    def queries(self) -> NDArray[np.int64]:
        """Numbers of the queries, int64 [V]."""
        return self.first.query

    @property
    def counts(self) -> NDArray[np.int64]:
        """Matches of each query, int64 [V]."""
        return self.last.matches_nearer + self.last.matches

    @cached_property
    def average_precisions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average precision of each query in the rectangular and the trapezoid convention, float64 [V] each."""
        rectangular, trapezoid = (
            np.bincount(self.groups.query, weights=sums)[self.queries] / self.counts
            for sums in precision_sums(self.groups)
        )
        return rectangular, trapezoid


def _harmonic_difference(low: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1/(low + 1) + ... + 1/(low + count); low = -1 gives a number without meaning."""
    difference = 1.0 / np.maximum(low + 1, 1)
    tied = np.flatnonzero(count > 1)
    if tied.size:
        terms = np.arange(1, int((low[tied] + count[tied]).max()) + 1, dtype=np.longdouble)
        numbers = np.r_[np.longdouble(0), np.cumsum(1 / terms)]
        start = np.maximum(low[tied], 0)
        difference[tied] = (numbers[np.maximum(low[tied] + count[tied], 0)] - numbers[start]).astype(np.float64)
    return difference


def match_within(first: TieGroups, max_rank: int) -> NDArray[np.float64]:
    """Return the probability that a query's first match is among the k nearest, k = 1 … max_rank, [V, max_rank].

    `first` is the nearest group of each query, see `QueryMatches.first`.
    """
    place = np.arange(max_rank)
    left = (first.size - first.matches)[:, None] - place
    # Probability that place + 1 draws without replacement hit no match.
    missed = np.cumprod(np.clip(left / np.maximum(first.size[:, None] - place, 1), 0, 1), axis=1)
    missed = np.c_[np.ones(len(missed)), missed]
    draws = np.clip(np.arange(1, max_rank + 1) - first.nearer[:, None], 0, max_rank)
    return 1 - np.take_along_axis(missed, draws, axis=1)


def expected_first_rank(first: TieGroups) -> NDArray[np.float64]:
    """Return the expected rank of the first match, counted from 1, float64 [V]."""
    return first.nearer + (first.size + 1) / (first.matches + 1)


def inverse_last_rank(last: TieGroups) -> NDArray[np.float64]:
    """Return the expected value of 1 / (rank of the last match), float64 [V].

    The last of m matches among n tied images stands at place p with probability C(p - 1, m - 1) / C(n, m).
    """
    inverse = 1.0 / (last.nearer + last.size)
    for group in np.flatnonzero(last.matches < last.size):
        nearer, size, matches = int(last.nearer[group]), int(last.size[group]), int(last.matches[group])
        place = np.arange(size, matches - 1, -1)
        ratio = (place[:-1] - matches) / (place[:-1] - 1)  # P(last at p - 1) / P(last at p)
        probability = matches / size * np.r_[1.0, np.cumprod(ratio)]
        inverse[group] = (probability / (nearer + place)).sum()
    return inverse
