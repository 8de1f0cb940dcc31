"""The bootstrap interval covers the truth as often as it says."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.interval import bootstrap_interval, gain_interval


def coverage(simulations, resamples, people, most_queries):
    """Share of simulations whose interval holds the truth, for a rank-1 of 0.75 and for average precisions.

    Each person has 1 to `most_queries` queries. Their average precisions are that of the person and a little noise, and
    half of the people have a rank-1 of 1, half of 0.5.
    """
    random = np.random.default_rng(0)
    covered = np.zeros(2)
    for seed in range(simulations):
        of = np.repeat(np.arange(people), random.integers(1, most_queries + 1, people))
        rank_1 = random.random(len(of)) < random.choice([0.5, 1.0], people)[of]
        scores = np.stack([rank_1, random.beta(2, 1.5, people)[of] + random.normal(0, 0.05, len(of))], axis=1)
        low, high = bootstrap_interval(scores, groups=of, resamples=resamples, seed=seed)
        covered += (low <= [0.75, 2 / 3.5]) & (high >= [0.75, 2 / 3.5])
    return covered / simulations


@pytest.mark.parametrize("most_queries", [1, 10])
def test_covers_the_truth_where_queries_of_one_person_score_alike(most_queries):
    found = coverage(400, 200, 100, most_queries)
    assert ((found > 0.93) & (found < 0.97)).all()


@pytest.mark.slow
def test_covers_the_truth_in_many_simulations():
    found = coverage(4000, 1000, 200, 8)
    assert ((found > 0.93) & (found < 0.97)).all()


def test_single_queries_as_groups_would_be_too_narrow():
    random = np.random.default_rng(1)
    scores = np.repeat(random.random(60), 10)[:, None]  # ten queries of one person score alike
    widths = [
        float(np.diff(bootstrap_interval(scores, groups=groups), axis=0)[0, 0])
        for groups in (np.arange(600), np.repeat(np.arange(60), 10))
    ]
    assert widths[1] / widths[0] == pytest.approx(10**0.5, rel=0.1)


def test_one_query_per_person_equals_resampled_queries():
    random = np.random.default_rng(3)
    scores = random.random((30, 1))
    means = [scores[np.random.default_rng(seed).integers(30, size=30)].mean() for seed in range(4000)]
    low, high = bootstrap_interval(scores, groups=random.permutation(30) * 7, resamples=4000)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(means, [0.025, 0.975]), atol=0.01)
    assert (low, high) == bootstrap_interval(scores, groups=np.arange(30), resamples=4000)


def test_one_person_has_no_interval():
    assert np.isnan(bootstrap_interval(np.random.default_rng(1).random((9, 2)), groups=np.zeros(9, int))).all()
    gain, low, high = gain_interval(np.zeros(3), np.ones(3), groups=np.array([7, 7, 7]))
    assert (gain, np.isnan(low), np.isnan(high)) == (1, True, True)


def test_a_gain_is_resampled_by_people_too():
    random = np.random.default_rng(5)
    before = random.random(400)
    after = before + np.repeat(random.normal(0.02, 0.1, 40), 10)
    _, low, high = gain_interval(before, after, groups=np.repeat(np.arange(40), 10))
    _, single_low, single_high = gain_interval(before, after, groups=np.arange(400))
    assert high - low > 2.5 * (single_high - single_low)


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(2).random((80, 3))
    first, again, other = (bootstrap_interval(scores, np.arange(80), resamples=50, seed=seed) for seed in (3, 3, 4))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()
    assert (first[0] < scores.mean(axis=0)).all()
    assert (first[1] > scores.mean(axis=0)).all()


def test_nothing_to_resample_is_refused():
    with pytest.raises(UserError, match="bootstrap"):
        bootstrap_interval(np.empty((0, 1)), np.empty(0))
    with pytest.raises(UserError, match="bootstrap"):
        bootstrap_interval(np.ones((3, 1)), np.arange(3), resamples=0)
    with pytest.raises(UserError, match="one person for each"):
        bootstrap_interval(np.ones((3, 1)), np.arange(2))


def test_a_gain_that_every_query_shares_has_no_width():
    before = np.random.default_rng(1).random(80)
    before[3] = np.nan
    gain, low, high = gain_interval(before, before + 0.05, np.arange(80))
    assert (round(gain, 9), round(low, 9), round(high, 9)) == (0.05, 0.05, 0.05)


def test_the_interval_of_no_gain_touches_zero():
    random = np.random.default_rng(2)
    _, low, high = gain_interval(random.random(300), random.random(300), np.arange(300))
    assert low < 0 < high


def test_scores_of_other_queries_are_refused():
    with pytest.raises(UserError, match="same queries"):
        gain_interval(np.array([0.1, np.nan]), np.array([np.nan, 0.1]), np.arange(2))
