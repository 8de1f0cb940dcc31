"""What a similarity means in one gallery: how many strangers look as alike, and how many searches would miss.

Thresholds for pairs are those of `thresholds.py`. A search compares with everybody: at a false match rate of 1 in 1,000
a gallery of 5,000 sightings shows five strangers. So two rates belong to a gallery of its size (ISO/IEC 19795-1): the
false positive identification rate (FPIR) is the share of searches for somebody who is not there that find a candidate,
the false negative identification rate (FNIR) that of searches for somebody who is there that find none of theirs.

Letters: S pairs of one person, D pairs of two people, Q searches, P people, N strangers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.rank.ranking import Ranking, RankingBlock
from rewho.rank.thresholds import (
    NEEDED_ERRORS,
    NEEDED_PEOPLE,
    NO_INTERVAL,
    Interval,
    OperatingPoint,
    PairScores,
    find_operating_points,
    find_threshold,
    match_rates,
)

RATES = (0.01, 0.001, 0.0001)
FPIRS = (0.01, 0.1)
STEPS = (1, 2, 5)
"""Leading digits of the numbers of strangers in a table."""
ENOUGH = 100
"""Strangers that the people of a pair of cameras must support for a row of its own."""
CURVE = 60
"""Points of a DET curve."""
PAIR_RESAMPLES = 300
"""Resamples of people for each pair of cameras; of all cameras together they are 1,000."""


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Pairs with the cameras of both images.

    Args:
        pairs: Similarities and people.
        same_cameras: Cameras of the pairs of one person, int64 [S, 2].
        different_cameras: Cameras of the pairs of two people, int64 [D, 2].
    """

    pairs: PairScores
    same_cameras: NDArray[np.int64]
    different_cameras: NDArray[np.int64]

    def camera_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of cameras, each ascending, that pairs of two people were compared on."""
        found = np.unique(np.sort(self.different_cameras, axis=1), axis=0)
        return [(int(one), int(other)) for one, other in found]

    def of(self, cameras: tuple[int, int]) -> PairScores:
        """Return the pairs on two cameras."""
        same, different = (
            (np.sort(both, axis=1) == cameras).all(axis=1) for both in (self.same_cameras, self.different_cameras)
        )
        pairs = self.pairs
        return PairScores(
            pairs.same[same],
            pairs.same_people[same],
            pairs.different[different],
            pairs.different_people[different],
            unit=pairs.unit,
        )


@dataclass(frozen=True)
class Row:
    """Thresholds of a pair of cameras, or of all together.

    Args:
        cameras: Both cameras; None for all together.
        points: A threshold for each false match rate, or why there is none.
        strangers: Pairs (N, least similarity at which at most 1 of N strangers looks as alike), N ascending.
        same: Pairs of one person.
        different: Pairs of two people.
    """

    cameras: tuple[int, int] | None
    points: tuple[OperatingPoint, ...]
    strangers: tuple[tuple[int, float], ...]
    same: int
    different: int


def measure_rows(found: CameraPairs, rates: Sequence[float] = RATES, seed: int = 1) -> list[Row]:
    """Return the thresholds of all cameras together, then of each pair of cameras with enough people."""
    whole = _row(None, found.pairs, rates, 1000, seed)
    rows = [_row(both, found.of(both), rates, PAIR_RESAMPLES, seed) for both in found.camera_pairs()]
    return [whole, *(row for row in rows if row.strangers and row.strangers[-1][0] >= ENOUGH)]


def _row(cameras: tuple[int, int] | None, pairs: PairScores, rates: Sequence[float], resamples: int, seed: int) -> Row:
    points = tuple(find_operating_points(pairs, rates, resamples=resamples, seed=seed))
    return Row(cameras, points, count_strangers(pairs), len(pairs.same), len(pairs.different))


def count_strangers(pairs: PairScores) -> tuple[tuple[int, float], ...]:
    """Return pairs (N, similarity): from the similarity on, at most 1 of N strangers looks as alike.

    N goes up as far as the people support: 30 pairs of two people look as alike at the last.

    Example:
        >>> different, both = np.linspace(0, 1, 4951), np.array([(a, b) for a in range(100) for b in range(a)])
        >>> pairs = PairScores(np.ones(1), np.ones(1, int), different[:-1], both)
        >>> [(strangers, round(least, 2)) for strangers, least in count_strangers(pairs)]
        [(2, 0.5), (5, 0.8), (10, 0.9), (20, 0.95), (50, 0.98), (100, 0.99)]
    """
    table: list[tuple[int, float]] = []
    if not len(pairs.different):
        return ()
    most = min(pairs.pairs_of_people, len(pairs.different)) / NEEDED_ERRORS
    power = 1
    while power <= most:
        for step in STEPS:
            if 2 <= step * power <= most:
                table.append((step * power, find_threshold(pairs.different, 1 / (step * power))))
        power *= 10
    return tuple(table)


def place_among_strangers(similarity: float, table: Sequence[tuple[int, float]]) -> int:
    """Return N: at most 1 of N strangers looks as alike as this; 1 where the table says nothing of it.

    Example:
        >>> [place_among_strangers(one, [(10, 0.3), (100, 0.6)]) for one in (0.1, 0.4, 0.9)]
        [1, 10, 100]
    """
    return max((strangers for strangers, least in table if similarity >= least), default=1)


class Det(NamedTuple):
    """A DET curve: false match and false non-match rates at falling thresholds."""

    false_match: list[float]
    false_non_match: list[float]


def measure_det(pairs: PairScores) -> Det:
    """Return the DET curve where the pairs of two people support it: down to 30 false matches.

    Raises:
        UserError: There is no pair of one person, or none of two people.
    """
    if not len(pairs.same) or not len(pairs.different):
        match_rates(pairs, [0.0])  # raises
    least = min(0.5, NEEDED_ERRORS / max(pairs.pairs_of_people, 1))
    thresholds = [find_threshold(pairs.different, rate) for rate in np.geomspace(least, 1, CURVE)]
    false_match, missed = match_rates(pairs, np.unique(thresholds)[::-1])
    return Det(false_match.tolist(), missed.tolist())


@dataclass(frozen=True, eq=False)
class Searches:
    """Searches for known people, each against many strangers.

    Args:
        people: Whom each search is for, int64 [Q].
        stranger: Highest similarity with a stranger, [Q].
        mate: Highest similarity with the person, [Q]; NaN where they were seen only once.
        strangers: Sightings of strangers that a search went through, on average.
        unit: What the people are in messages: people, or tracks where each stands for a person.
    """

    people: NDArray[np.int64]
    stranger: NDArray[np.floating[Any]]
    mate: NDArray[np.floating[Any]]
    strangers: float
    unit: str = "people"


def collect_searches(ranking: Ranking) -> Searches:
    """Return a ranking's queries as searches, with similarities of 1 - distance.

    Queries that are compared with no stranger are left out.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> query, gallery = ImageLabels(np.array([1, 3])), ImageLabels(np.array([1, 2]))
        >>> ranking = Ranking.from_distances(np.array([[0.25, 1.0], [0.75, 0.5]]), query, gallery)
        >>> searches = collect_searches(ranking)
        >>> searches.stranger.tolist(), searches.mate.tolist(), searches.strangers
        ([0.0, 0.5], [0.75, nan], 1.5)
    """

    def read(block: RankingBlock) -> tuple[NDArray[Any], ...]:
        distances = block.distances.copy()
        mate = np.full(len(block.rows), np.inf)
        np.minimum.at(mate, block.match_rows, distances[block.match_rows, block.match_columns])
        distances[block.match_rows, block.match_columns] = np.inf
        strangers = np.count_nonzero(np.isfinite(distances), axis=1)
        return ranking.query.person_ids[block.rows], distances.min(axis=1, initial=np.inf), mate, strangers

    people, stranger, mate, strangers = (np.concatenate(part) for part in zip(*ranking.map_blocks(read), strict=True))
    met = np.isfinite(stranger)
    found = np.where(np.isfinite(mate), 1 - mate, np.nan)[met]
    return Searches(people[met], 1 - stranger[met], found, float(strangers[met].mean()) if met.any() else 0.0)


@dataclass(frozen=True)
class SearchPoint:
    """What searches of a gallery of this size miss, or why it cannot be said.

    Args:
        rate: Wanted FPIR.
        size: Sightings of the gallery.
        people: People that were searched for.
        refusal: Why there is no threshold, and how many people it would take; empty if there is one.
        threshold: Least similarity of a candidate; the other fields are NaN too where it is refused.
        missed: FNIR, 0 to 1.
        threshold_interval: Thresholds with other people.
        missed_interval: FNIR with other people, each with its own threshold.
    """

    rate: float
    size: int
    people: int
    refusal: str = ""
    threshold: float = math.nan
    missed: float = math.nan
    threshold_interval: Interval = NO_INTERVAL
    missed_interval: Interval = NO_INTERVAL


def measure_searches(
    searches: Searches, size: int, rates: Sequence[float] = FPIRS, *, resamples: int = 1000, seed: int = 1
) -> list[SearchPoint]:
    """Return what searches of a gallery of `size` sightings miss at each FPIR.

    Where the searches went through fewer strangers than the gallery holds, each stranger counts as a chance of its own:
    a rate F of the whole is the rate 1 - (1 - F) ^ (strangers / size) of these searches, which takes more people.

    Raises:
        UserError: A rate is not between 0 and 1.
    """
    points = []
    people, places = np.unique(searches.people, return_inverse=True)
    mated = len(np.unique(searches.people[~np.isnan(searches.mate)]))
    for rate in rates:
        if not 0 < rate < 1:
            fix = "Pass 0.01 for 1 %."
            raise UserError("false positive identification rate", expected="above 0, below 1", got=str(rate), fix=fix)
        share = min(1.0, searches.strangers / max(size, 1))
        wanted = -math.expm1(share * math.log1p(-rate))
        refusal = _refuse(rate, wanted, len(people), mated, size, searches.unit)
        if refusal:
            points.append(SearchPoint(rate, size, len(people), refusal))
            continue
        threshold = find_threshold(searches.stranger, wanted)
        missed = _missed(searches.mate, threshold, np.ones(len(places)))
        spread = _resample(searches, places, len(people), wanted, resamples, seed)
        ends = [Interval(*np.quantile(values, [0.025, 0.975]).tolist()) for values in spread]
        points.append(SearchPoint(rate, size, len(people), "", threshold, missed, *ends))
    return points


def _refuse(rate: float, wanted: float, people: int, mated: int, size: int, unit: str) -> str:
    if people * wanted < NEEDED_ERRORS:
        needed = math.ceil(NEEDED_ERRORS / wanted - 1e-9) if wanted > 0 else 0
        takes = f"about {needed:,} {unit} with this many strangers each" if needed else "strangers to compare with"
        return f"too few {unit}: FPIR {100 * rate:g} % among {size:,} sightings takes {takes}, here are {people:,}"
    if mated < NEEDED_PEOPLE:
        return f"too few {unit} with a true match: it takes {NEEDED_PEOPLE}, here are {mated:,}"
    return ""


def _missed(mate: NDArray[np.floating[Any]], threshold: float, weights: NDArray[np.float64]) -> float:
    there = ~np.isnan(mate)
    total = weights[there].sum()
    return float(weights[there & (mate < threshold)].sum() / total) if total else math.nan


def _resample(
    searches: Searches, places: NDArray[np.intp], people: int, rate: float, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return thresholds and shares missed with people drawn anew, each with all their searches, [2, resamples]."""
    random = generator(seed, "searches")
    order = np.argsort(-searches.stranger, kind="stable")
    descending = np.r_[searches.stranger[order], -np.inf]
    spread = np.empty((2, resamples))
    for resample in range(resamples):
        drawn = np.bincount(random.integers(people, size=people), minlength=people).astype(np.float64)[places]
        place = int(np.searchsorted(np.cumsum(drawn[order]), rate * drawn.sum() + 1e-9, "right"))
        limit = float(np.nextafter(descending[min(place, len(order) - 1)], np.inf))
        spread[:, resample] = limit, _missed(searches.mate, limit, drawn)
    return spread[:, ~np.isnan(spread[1])]
