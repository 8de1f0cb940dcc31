"""Thresholds on the similarity of two images: how many strangers they let through, how many true matches they find.

A pair is a candidate if its similarity reaches the threshold. The false match rate (FMR) is the share of the pairs of
two people that are candidates, the false non-match rate (FNMR) the share of the pairs of one person that are not.

Pairs that share a person are correlated, so intervals resample people, not pairs: a pair of two people counts as often
as the product of how often both were drawn (Owen, "The pigeonhole bootstrap", 2007). A rate needs enough pairs of
people for 30 false matches (Doddington's rule of 30), else it is refused.

Letters: S pairs of one person, D pairs of two people, P people, T thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.rank.ranking import Ranking, RankingBlock

Floats = NDArray[np.float64]

RATES = (0.01, 0.001)
NEEDED_ERRORS = 30  # Doddington et al. (2000): the rate is then within 30 % of the truth, 9 times in 10
NEEDED_PEOPLE = 30  # who have a true match; with fewer, bootstrap intervals are too narrow
MOST_PAIRS = 4_000_000
"""Pairs of two people that are kept; 4,000 of them are false matches at 0.1 %."""
RESAMPLED_PAIRS = 50_000  # evenly chosen; their sampling error is far below the spread of the resamples
TAIL = 8  # pairs that are resampled, in multiples of the wanted false matches


@dataclass(frozen=True, eq=False)
class PairScores:
    """Similarities of pairs of images, with the people in them.

    Args:
        same: Similarities of pairs of one person, [S].
        same_people: That person, int64 [S].
        different: Similarities of pairs of two people, [D].
        different_people: Both people, int64 [D, 2]; a negative one is unknown and is not resampled.
        compared: Pairs of two people in all, of which D were chosen evenly; 0 means D.
        unit: What the people are in messages: people, or tracks where each stands for a person.
    """

    same: NDArray[np.floating[Any]]
    same_people: NDArray[np.int64]
    different: NDArray[np.floating[Any]]
    different_people: NDArray[np.int64]
    compared: int = 0
    unit: str = "people"

    def __post_init__(self) -> None:
        if len(self.same) != len(self.same_people) or self.different_people.shape != (len(self.different), 2):
            got = f"{len(self.same)}, {len(self.same_people)}, {len(self.different)}, {self.different_people.shape}"
            fix = "Pass the person of each pair of one person, and both people of each other pair."
            raise UserError("pairs", expected="similarities with their people", got=got, fix=fix)
        if not (np.isfinite(self.same).all() and np.isfinite(self.different).all()):
            fix = "Leave out pairs that were not compared."
            raise UserError("similarities", expected="finite numbers", got="NaN or infinity", fix=fix)

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """Known people in any pair, ascending, int64 [P]."""
        largest = int(max(self.same_people.max(initial=0), self.different_people.max(initial=0)))
        if largest > MOST_PAIRS:
            found = np.union1d(self.same_people, self.different_people)
            return np.asarray(found[found >= 0], np.int64)
        seen = np.zeros(largest + 1, bool)  # many times faster than sorting millions of pairs
        for people in (self.same_people, *self.different_people.T):
            seen[people[people >= 0]] = True
        return np.flatnonzero(seen)

    @cached_property
    def pairs_of_people(self) -> int:
        """Number of pairs of known people that were compared at least once."""
        known, count = (self.different_people >= 0).all(axis=1), len(self.people)
        one, other = (np.searchsorted(self.people, people[known]) for people in self.different_people.T)
        numbers = np.minimum(one, other) * count + np.maximum(one, other)
        if count**2 > 16 * MOST_PAIRS:
            return len(np.unique(numbers))
        seen = np.zeros(count**2, bool)
        seen[numbers] = True
        return int(np.count_nonzero(seen))


class Interval(NamedTuple):
    """Ends of a 95 % interval over people."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for a wanted false match rate, or the reason why these pairs support none.

    Args:
        rate: Wanted false match rate.
        people: Known people in the pairs.
        refusal: Why there is no threshold, and how many people it would take; empty if there is one.
        threshold: Least similarity of a candidate; the other fields are NaN too where it is refused.
        false_match_rate: Share of the pairs of two people at or above the threshold; at most `rate`.
        found: Share of the pairs of one person at or above the threshold, 1 - FNMR.
        threshold_interval: Thresholds for this rate with other people.
        false_match_interval: Rates of this threshold with other people.
        found_interval: Shares found at this rate with other people, each with its own threshold.
    """

    rate: float
    people: int
    refusal: str = ""
    threshold: float = math.nan
    false_match_rate: float = math.nan
    found: float = math.nan
    threshold_interval: Interval = NO_INTERVAL
    false_match_interval: Interval = NO_INTERVAL
    found_interval: Interval = NO_INTERVAL


def match_rates(pairs: PairScores, thresholds: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Return the false match rate and the false non-match rate, [T] each, of thresholds [T].

    Raises:
        UserError: There is no pair of one person, or none of two people.

    Example:
        >>> one, two = np.zeros(2, np.int64), np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
        >>> pairs = PairScores(np.array([0.9, 0.4]), one, np.array([0.1, 0.2, 0.3, 0.5]), two)
        >>> [rates.tolist() for rates in match_rates(pairs, [0.3, 0.6])]
        [[0.5, 0.0], [0.0, 0.5]]
    """
    if not len(pairs.same) or not len(pairs.different):
        got = f"{len(pairs.same):,} and {len(pairs.different):,}"
        fix = "Compare more images: some of one person, and some of two."
        raise UserError("pairs", expected="pairs of one person and pairs of two people", got=got, fix=fix)
    wanted = np.asarray(thresholds, np.float64)
    below_different = np.searchsorted(np.sort(pairs.different), wanted, "left")
    below_same = np.searchsorted(np.sort(pairs.same), wanted, "left")
    return 1 - below_different / len(pairs.different), below_same / len(pairs.same)


def find_threshold(different: NDArray[np.floating[Any]], rate: float) -> float:
    """Return the least threshold at which at most `rate` of the pairs of two people are candidates.

    Example:
        >>> find_threshold(np.array([0.1, 0.2, 0.3, 0.4]), 0.25), find_threshold(np.array([0.1, 0.4, 0.4, 0.4]), 0.5)
        (0.4, 0.4000000000000001)
    """
    allowed = math.floor(rate * len(different) + 1e-9)  # 0.29 * 100 is 28.999…
    if allowed >= len(different):
        return float(different.min())
    first_below = np.partition(different, len(different) - allowed - 1)[len(different) - allowed - 1]
    above = different[different > first_below]
    return float(above.min() if len(above) else np.nextafter(first_below, np.inf))


def count_needed_people(rate: float, share: float = 1.0) -> int:
    """Return how many people a false match rate takes, if `share` of the pairs of people are compared.

    Example:
        >>> [count_needed_people(rate) for rate in (0.01, 0.001, 0.0001)]
        [78, 246, 776]
    """
    pairs = NEEDED_ERRORS / rate / share
    return math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2 - 1e-9)


def find_refusal(pairs: PairScores, rate: float) -> str:
    """Return why the pairs cannot support a false match rate and how many people would; empty if they can."""
    people, matched = len(pairs.people), len(np.unique(pairs.same_people))
    if pairs.pairs_of_people * rate < NEEDED_ERRORS:
        share = 2 * pairs.pairs_of_people / max(1, people * (people - 1))
        needed = f"about {count_needed_people(rate, share):,}" if share else "pairs of two known"
        needed = f"{needed} {pairs.unit}"
        return f"too few {pairs.unit}: {100 * rate:g} % false matches takes {needed}, here are {people:,}"
    if matched < NEEDED_PEOPLE:
        return f"too few {pairs.unit} with a true match: it takes {NEEDED_PEOPLE}, here are {matched:,}"
    return ""


def find_operating_points(
    pairs: PairScores, rates: Sequence[float] = RATES, *, resamples: int = 1000, seed: int = 1
) -> list[OperatingPoint]:
    """Return a threshold for each false match rate, with intervals over people, or why there is none.

    Args:
        pairs: Similarities of pairs of images.
        rates: Wanted false match rates, above 0 and below 1.
        resamples: Resamples of the people.
        seed: Seed of the resamples.

    Raises:
        UserError: A rate is not between 0 and 1.
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise UserError("false match rate", expected="above 0, below 1", got=str(rate), fix="Pass 0.01 for 1 %.")
    points = []
    for rate in rates:
        if refusal := find_refusal(pairs, rate):
            points.append(OperatingPoint(rate, len(pairs.people), refusal))
            continue
        threshold = find_threshold(pairs.different, rate)
        false_matches, missed = (float(share[0]) for share in match_rates(pairs, [threshold]))
        spread = _resample(pairs, rate, threshold, resamples, seed)
        ends = [Interval(*np.quantile(values, [0.025, 0.975]).tolist()) for values in spread]
        points.append(OperatingPoint(rate, len(pairs.people), "", threshold, false_matches, 1 - missed, *ends))
    return points


def _resample(pairs: PairScores, rate: float, threshold: float, resamples: int, seed: int) -> Floats:
    """Return thresholds for the rate, false match rates of the threshold, and shares found, [3, resamples]."""
    ascending = np.argsort(pairs.different, kind="stable")
    length = min(len(ascending), math.ceil(TAIL * rate * len(ascending)))
    while (spread := _resample_tail(pairs, ascending[::-1][:length], rate, threshold, resamples, seed)) is None:
        length = min(len(ascending), 2 * length)  # the tail was too short for one of the resamples
    return spread


def _resample_tail(
    pairs: PairScores, tail: NDArray[np.int64], rate: float, threshold: float, resamples: int, seed: int
) -> Floats | None:
    """Resample the most similar pairs of two people, `tail`, in descending order; None if they are too few."""
    random = generator(seed, "thresholds")
    whole, known = len(tail) == len(pairs.different), len(pairs.people)
    step = math.ceil(len(tail) / RESAMPLED_PAIRS)
    tail = tail[step // 2 :: step]
    evenly = random.permutation(len(pairs.different))[:RESAMPLED_PAIRS]  # for the number of pairs in a resample
    first, second = (_numbers(pairs, pairs.different_people[tail, side]) for side in (0, 1))
    all_first, all_second = (_numbers(pairs, pairs.different_people[evenly, side]) for side in (0, 1))
    scores = pairs.different[tail]
    candidates = int(np.searchsorted(-scores, -threshold, "right"))
    order = np.argsort(pairs.same, kind="stable")[:: math.ceil(len(pairs.same) / RESAMPLED_PAIRS)]
    same, same_people = pairs.same[order], _numbers(pairs, pairs.same_people[order])
    spread = np.empty((3, resamples))
    for resample in range(resamples):
        drawn = np.append(np.bincount(random.integers(known, size=known), minlength=known), 1).astype(np.float64)
        total = float(drawn[all_first] @ drawn[all_second]) / len(evenly) * len(pairs.different)
        counts = step * np.cumsum(drawn[first] * drawn[second])
        place = int(np.searchsorted(counts, rate * total, "right"))
        if place == len(scores) and not whole:
            return None
        limit = float(scores[place - 1] if place else np.nextafter(scores[0], np.inf))
        weights = drawn[same_people]
        found = weights[np.searchsorted(same, limit, "left") :].sum() / max(weights.sum(), 1)
        spread[:, resample] = limit, (counts[candidates - 1] if candidates else 0) / max(total, 1), found
    return spread


def _numbers(pairs: PairScores, people: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the people's places in `pairs.people`; an unknown one is behind the last."""
    return np.where(people >= 0, np.searchsorted(pairs.people, people), len(pairs.people))


def collect_pairs(ranking: Ranking, *, most: int = MOST_PAIRS, seed: int = 1) -> PairScores:
    """Return the similarities, 1 - distance, of the pairs that a ranking compares.

    Images that the ranking leaves out for a query, such as those from its own camera, are in no pair. Of more than
    `most` pairs of two people every n-th of each query is taken, from a random one on.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> query, gallery = ImageLabels(np.array([1, 2])), ImageLabels(np.array([1, 2]))
        >>> ranking = Ranking.from_distances(np.array([[0.25, 1.0], [0.75, 0.5]]), query, gallery)
        >>> pairs = collect_pairs(ranking)
        >>> pairs.same.tolist(), pairs.different.tolist(), pairs.different_people.tolist()
        ([0.75, 0.5], [0.0, 0.25], [[1, 2], [2, 1]])
    """
    queries, people = ranking.query.person_ids, ranking.gallery.person_ids[ranking.kept]
    step = max(1, math.ceil(len(queries) * len(people) / most))
    offsets = generator(seed, "threshold pairs").integers(step, size=len(queries))

    def read(block: RankingBlock) -> tuple[NDArray[Any], ...]:
        wanted = np.isfinite(block.distances)
        wanted[block.match_rows, block.match_columns] = False
        counted = int(np.count_nonzero(wanted))
        if step > 1:
            wanted &= (np.arange(len(people)) + offsets[block.rows, None]) % step == 0
        rows, columns = np.nonzero(wanted)
        return (
            block.distances[block.match_rows, block.match_columns],
            queries[block.rows[block.match_rows]],
            block.distances[rows, columns],
            np.stack([queries[block.rows[rows]], people[columns]], axis=1),
            np.array([counted]),
        )

    same, same_people, different, both, counted = (
        np.concatenate(part) for part in zip(*ranking.map_blocks(read), strict=True)
    )
    return PairScores(1 - same, same_people, 1 - different, both, int(counted.sum()))
