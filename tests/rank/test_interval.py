"""The bootstrap interval covers the truth as often as it says."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.interval import bootstrap_interval, gain_interval


def coverage(simulations, resamples, queries):
    """Share of simulations whose interval holds the truth, for a rank-1 of 0.75 and for average precisions."""
    random = np.random.default_rng(0)
    truth = np.array([0.75, 2 / 3.5])
    covered = np.zeros(2)
    for seed in range(simulations):
        scores = np.stack([random.random(queries) < 0.75, random.beta(2, 1.5, queries)], axis=1)
        low, high = bootstrap_interval(scores, resamples=resamples, seed=seed)
        covered += (low <= truth) & (truth <= high)
    return covered / simulations


def test_covers_the_truth():
    found = coverage(600, 400, 300)
    assert ((found > 0.93) & (found < 0.97)).all()


@pytest.mark.slow
def test_covers_the_truth_in_many_simulations():
    found = coverage(4000, 1000, 300)
    assert ((found > 0.93) & (found < 0.97)).all()


def test_people_with_many_queries_need_whole_people_resampled():
    random = np.random.default_rng(1)
    covered = {"queries": 0, "people": 0}
    for seed in range(120):
        scores = np.repeat(random.random(60), 10)[:, None]  # ten queries of one person score alike
        people = np.repeat(np.arange(60), 10)
        for name, groups in (("queries", None), ("people", people)):
            low, high = bootstrap_interval(scores, groups=groups, resamples=150, seed=seed)
            covered[name] += bool(low[0] <= 0.5 <= high[0])
    assert covered["people"] / 120 > 0.9
    assert covered["queries"] / 120 < 0.6


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(2).random((80, 3))
    first, again, other = (bootstrap_interval(scores, resamples=50, seed=seed) for seed in (3, 3, 4))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()
    assert (first[0] < scores.mean(axis=0)).all()
    assert (first[1] > scores.mean(axis=0)).all()


def test_groups_of_one_are_queries():
    scores = np.random.default_rng(3).random((30, 1))
    assert bootstrap_interval(scores) == bootstrap_interval(scores, groups=np.arange(30) * 7)


def test_nothing_to_resample_is_refused():
    with pytest.raises(UserError, match="bootstrap"):
        bootstrap_interval(np.empty((0, 1)))
    with pytest.raises(UserError, match="bootstrap"):
        bootstrap_interval(np.ones((3, 1)), resamples=0)


def test_a_gain_that_every_query_shares_has_no_width():
    before = np.random.default_rng(1).random(80)
    before[3] = np.nan
    gain, low, high = gain_interval(before, before + 0.05)
    assert (round(gain, 9), round(low, 9), round(high, 9)) == (0.05, 0.05, 0.05)


def test_the_interval_of_no_gain_touches_zero():
    random = np.random.default_rng(2)
    _, low, high = gain_interval(random.random(300), random.random(300))
    assert low < 0 < high


def test_scores_of_other_queries_are_refused():
    with pytest.raises(UserError, match="same queries"):
        gain_interval(np.array([0.1, np.nan]), np.array([np.nan, 0.1]))
