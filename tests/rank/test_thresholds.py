"""Thresholds: rates worked out by hand, refusals, intervals that people widen and that cover the truth."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.labels import ImageLabels
from rewho.rank.ranking import Ranking
from rewho.rank.thresholds import (
    PairScores,
    collect_pairs,
    count_needed_people,
    find_operating_points,
    find_threshold,
    match_rates,
)


def simulated(people, images, seed, spread=0.9, size=8):
    """Pairs of all images of `people` people, whose embeddings scatter around a centre of their own."""
    random = np.random.default_rng(seed)
    centres = np.repeat(random.normal(size=(people, size)), images, axis=0)
    vectors = centres + spread * random.normal(size=centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.repeat(np.arange(people), images)
    first, second = np.triu_indices(len(ids), 1)
    alike = np.einsum("nd,nd->n", vectors[first], vectors[second])
    same = ids[first] == ids[second]
    both = np.stack([ids[first], ids[second]], axis=1)
    return PairScores(alike[same], both[same, 0], alike[~same], both[~same])


def test_at_most_the_wanted_share_of_strangers_is_let_through_and_no_lower_threshold_does():
    scores = np.random.default_rng(1).normal(size=1001).round(2)  # with ties
    for rate in (0.5, 0.1, 0.01, 0.0005):
        threshold = find_threshold(scores, rate)
        assert np.mean(scores >= threshold) <= rate
        below = scores[scores < threshold].max()
        assert np.mean(scores >= below) > rate


def test_the_rates_are_those_of_counting():
    pairs = simulated(12, 3, 1)
    thresholds = np.linspace(-1, 1, 21)
    false, missed = match_rates(pairs, thresholds)
    assert false.tolist() == pytest.approx([np.mean(pairs.different >= t) for t in thresholds])
    assert missed.tolist() == pytest.approx([np.mean(pairs.same < t) for t in thresholds])


def test_few_people_get_no_threshold_but_the_number_that_it_takes():
    few, more = find_operating_points(simulated(100, 2, 1), resamples=20)
    assert not few.refusal and np.isfinite(few.threshold)
    assert more.refusal == "too few people: 0.1 % false matches takes about 246 people, here are 100"
    assert np.isnan(more.threshold)
    assert find_operating_points(simulated(77, 2, 1), [0.01])[0].refusal
    assert not find_operating_points(simulated(78, 2, 1), [0.01], resamples=2)[0].refusal


def test_more_people_are_asked_for_where_only_some_of_them_were_compared():
    whole = simulated(60, 2, 1)
    half = whole.different_people.sum(axis=1) % 2 == 0
    some = PairScores(whole.same, whole.same_people, whole.different[half], whole.different_people[half])
    (point,) = find_operating_points(some, [0.01])
    assert count_needed_people(0.01, 0.5) == 111 and "takes about 11" in point.refusal


def test_true_matches_of_few_people_are_too_few():
    whole = simulated(80, 2, 1)
    some = whole.same_people < 12
    pairs = PairScores(whole.same[some], whole.same_people[some], whole.different, whole.different_people)
    assert "true match: it takes 30, here are 12" in find_operating_points(pairs, [0.01])[0].refusal


def test_intervals_hold_the_value_and_cover_other_people():
    truth = simulated(400, 2, 99)
    limit = find_threshold(truth.different, 0.02)
    found = 1 - match_rates(truth, [limit])[1][0]
    covered = np.zeros(3)
    for seed in range(30):
        pairs = simulated(60, 2, seed)
        (point,) = find_operating_points(pairs, [0.02], resamples=100, seed=seed)
        assert point.threshold_interval.low <= point.threshold <= point.threshold_interval.high
        inside = match_rates(truth, [point.threshold])[0][0]
        covered += [
            point.threshold_interval.low <= limit <= point.threshold_interval.high,
            point.found_interval.low <= found <= point.found_interval.high,
            point.false_match_interval.low <= inside <= point.false_match_interval.high,
        ]
    assert (covered >= 24).all(), "30 intervals of 95 % hold the truth about 28 times"


def test_names_of_people_and_order_of_pairs_do_not_matter():
    pairs = simulated(80, 2, 3)
    order = np.random.default_rng(1).permutation(len(pairs.different))
    other = PairScores(pairs.same, pairs.same_people, pairs.different[order], pairs.different_people[order, ::-1])
    before, after = (find_operating_points(one, [0.01], resamples=50)[0] for one in (pairs, other))
    assert (before.threshold, before.found) == (after.threshold, after.found)
    assert before.threshold_interval == pytest.approx(after.threshold_interval)


def test_a_short_tail_grows_until_it_serves_every_resample(monkeypatch):
    pairs = simulated(80, 2, 3)
    (wide,) = find_operating_points(pairs, [0.01], resamples=50)
    monkeypatch.setattr("rewho.rank.thresholds.TAIL", 1)
    (narrow,) = find_operating_points(pairs, [0.01], resamples=50)
    assert narrow == wide


def test_a_ranking_gives_the_pairs_that_it_compares():
    query = ImageLabels(np.array([1, 2]), np.array([0, 0]))
    gallery = ImageLabels(np.array([1, 1, 2, -1, -2]), np.array([0, 1, 1, 1, 1]))
    distances = np.arange(10, dtype=np.float64).reshape(2, 5) / 10
    pairs = collect_pairs(Ranking.from_distances(distances, query, gallery))
    assert pairs.same.tolist() == pytest.approx([0.9, 0.3]), "not the same camera's"
    assert pairs.different_people.tolist() == [[1, 2], [1, -2], [2, 1], [2, 1], [2, -2]]
    assert pairs.compared == 5 and pairs.people.tolist() == [1, 2] and pairs.pairs_of_people == 1


def test_many_pairs_are_thinned_evenly():
    random = np.random.default_rng(2)
    query, gallery = ImageLabels(np.arange(300)), ImageLabels(np.arange(300))
    distances = random.random((300, 300))
    ranking = Ranking.from_distances(distances, query, gallery)
    whole, some = collect_pairs(ranking), collect_pairs(ranking, most=9_000)
    assert some.compared == len(whole.different) == 300 * 299
    assert len(some.different) == pytest.approx(8970, abs=40)
    assert some.different.mean() == pytest.approx(whole.different.mean(), abs=0.01)
    assert len(np.unique(some.different_people[:, 1])) == 300
    assert some.same.tolist() == whole.same.tolist()


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_is_a_share(rate):
    with pytest.raises(UserError, match="false match rate"):
        find_operating_points(simulated(4, 2, 1), [rate])


def test_pairs_of_one_kind_give_no_rate():
    ids, both = np.zeros(1, np.int64), np.zeros((0, 2), np.int64)
    alone = PairScores(np.ones(1), ids, np.empty(0), both)
    with pytest.raises(UserError, match="of one person and pairs of two"):
        match_rates(alone, [0.5])
    assert "takes pairs of two known people" in find_operating_points(alone)[0].refusal
    with pytest.raises(UserError, match="finite"):
        PairScores(np.ones(1), ids, np.array([np.nan]), np.zeros((1, 2), np.int64))
