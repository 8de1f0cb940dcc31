"""Calibration: thresholds by pairs of cameras, strangers, and what searches of a gallery of some size miss."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.calibration import (
    CameraPairs,
    Searches,
    collect_searches,
    count_strangers,
    measure_det,
    measure_rows,
    measure_searches,
    place_among_strangers,
)
from rewho.rank.labels import ImageLabels
from rewho.rank.ranking import Ranking
from rewho.rank.thresholds import PairScores


def pairs_of(people, seed=0, shift=0.0):
    """All pairs of people, their similarities normal; each person has five pairs of their own."""
    random = np.random.default_rng(seed)
    one, other = np.triu_indices(people, 1)
    same = np.repeat(np.arange(people), 5)
    return PairScores(
        random.normal(3 + shift, 1, len(same)), same, random.normal(shift, 1, len(one)), np.stack([one, other], axis=1)
    )


def test_each_pair_of_cameras_has_thresholds_of_its_own():
    one, other = pairs_of(200), pairs_of(200, 1, shift=2.0)
    joined = PairScores(*(np.concatenate([getattr(part, name) for part in (one, other)]) for name in
                          ("same", "same_people", "different", "different_people")))  # fmt: skip
    cameras = [np.repeat([[4, 2], [1, 1]], len(getattr(one, name)), axis=0) for name in ("same", "different")]
    whole, both, alone = measure_rows(CameraPairs(joined, *cameras), (0.01, 0.0001))
    assert (whole.cameras, alone.cameras, both.cameras) == (None, (2, 4), (1, 1))
    for row, shift in ((alone, 0.0), (both, 2.0)):
        point, refused = row.points
        assert point.threshold == pytest.approx(shift + 2.33, abs=0.1)
        assert point.threshold_interval.low < point.threshold < point.threshold_interval.high
        assert refused.refusal == "too few people: 0.01 % false matches takes about 776 people, here are 200"
    assert alone.points[0].threshold < whole.points[0].threshold < both.points[0].threshold


def test_a_pair_of_cameras_with_few_people_is_left_to_the_row_of_all():
    pairs = pairs_of(100)
    cameras = np.zeros((len(pairs.different), 2), np.int64)
    cameras[:50] = 1, 2
    rows = measure_rows(CameraPairs(pairs, np.zeros((len(pairs.same), 2), np.int64), cameras), (0.01,))
    assert [row.cameras for row in rows] == [None, (0, 0)]


def test_strangers_are_counted_as_far_as_people_support():
    pairs = pairs_of(300)
    table = count_strangers(pairs)
    assert [strangers for strangers, _ in table] == [2, 5, 10, 20, 50, 100, 200, 500, 1000]
    for strangers, least in table:
        assert np.mean(pairs.different >= least) <= 1 / strangers
        assert place_among_strangers(least, table) == strangers
    assert place_among_strangers(99.0, table) == 1000
    assert place_among_strangers(-99.0, table) == 1
    assert count_strangers(pairs_of(5)) == ()


def test_a_det_curve_falls():
    curve = measure_det(pairs_of(200))
    assert curve.false_match == sorted(curve.false_match) and curve.false_match[-1] == 1
    assert curve.false_non_match == sorted(curve.false_non_match, reverse=True) and curve.false_non_match[-1] == 0
    assert curve.false_match[0] * 200 * 199 / 2 <= 30.001
    with pytest.raises(UserError, match="pairs of one person"):
        measure_det(PairScores(np.empty(0), np.empty(0, np.int64), np.zeros(1), np.zeros((1, 2), np.int64)))


def searches_of(people, strangers, seed=0):
    random = np.random.default_rng(seed)
    highest = random.normal(size=(people, strangers)).max(axis=1)
    return Searches(np.arange(people), highest, random.normal(5, 1, people), strangers)


@pytest.mark.parametrize("strangers", [500, 5000])
def test_searches_of_few_strangers_stand_for_a_larger_gallery(strangers):
    (point,) = measure_searches(searches_of(4000, strangers), 5000, (0.1,), resamples=200)
    assert point.threshold == pytest.approx(4.10, abs=0.12)  # the normal quantile of (1 - 0.1) ** (1 / 5000)
    assert point.missed == pytest.approx(0.18, abs=0.04)
    assert point.threshold_interval.low <= point.threshold <= point.threshold_interval.high
    assert point.missed_interval.low <= point.missed <= point.missed_interval.high


def test_a_rate_that_the_people_do_not_support_is_refused_with_their_number():
    strict, lax = measure_searches(searches_of(400, 1000), 1000, resamples=50)
    assert (
        "FPIR 1 % among 1,000 sightings takes about 3,000 people" in strict.refusal and "here are 400" in strict.refusal
    )
    assert not lax.refusal
    alone = searches_of(400, 1000)
    alone.mate[:] = np.nan
    (point,) = measure_searches(alone, 1000, (0.1,))
    assert point.refusal == "too few people with a true match: it takes 30, here are 0"
    with pytest.raises(UserError, match="identification rate"):
        measure_searches(alone, 1000, (10,))


def test_queries_of_a_ranking_are_searches():
    random = np.random.default_rng(0)
    query = ImageLabels(random.integers(1, 7, 40), random.integers(0, 3, 40))
    gallery = ImageLabels(random.integers(1, 9, 90), random.integers(0, 3, 90))
    distances = random.random((40, 90))
    searches = collect_searches(Ranking.from_distances(distances, query, gallery))
    same = query.person_ids[:, None] == gallery.person_ids
    elsewhere = same & (query.cameras[:, None] != gallery.cameras)
    np.testing.assert_array_equal(searches.people, query.person_ids)
    np.testing.assert_array_equal(searches.stranger, 1 - np.where(same, np.inf, distances).min(axis=1))
    mate = np.where(elsewhere, distances, np.inf).min(axis=1)
    np.testing.assert_array_equal(searches.mate, np.where(np.isfinite(mate), 1 - mate, np.nan))
    assert searches.strangers == (~same).sum(axis=1).mean()
