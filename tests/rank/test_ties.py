"""Closed forms against the mean over all orders of the tied images, counted in exact fractions."""

from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from rewho.rank.ties import (
    QueryMatches,
    expected_first_rank,
    group_ties,
    inverse_last_rank,
    match_within,
    precision_sums,
)

MAX_RANK = 9


def orders(levels):
    """Yield every order of a ranking given as levels of (images, matches) at one distance, as tuples of True, False."""
    each = [
        [tuple(place in chosen for place in range(images)) for chosen in combinations(range(images), matches)]
        for images, matches in levels
    ]
    for parts in product(*each):
        yield sum(parts, ())


def scores_of_order(order):
    ranks = [rank for rank, match in enumerate(order) if match]
    number = len(ranks)
    rectangular = sum((Fraction(i + 1, r + 1) for i, r in enumerate(ranks)), Fraction()) / number
    before = sum((Fraction(i, r) if r else Fraction(1) for i, r in enumerate(ranks)), Fraction()) / number
    curve = [Fraction(int(ranks[0] < k)) for k in range(1, MAX_RANK + 1)]
    return [rectangular, (rectangular + before) / 2, Fraction(number, ranks[-1] + 1), Fraction(ranks[0] + 1), *curve]


def mean_over_orders(levels):
    found = [scores_of_order(order) for order in orders(levels)]
    return [float(sum(column, Fraction()) / len(found)) for column in zip(*found, strict=True)]


def closed_forms(levels):
    nearer, not_farther, ahead = [], [], 0
    for images, matches in levels:
        nearer += [ahead] * matches
        not_farther += [ahead + images] * matches
        ahead += images
    groups = group_ties(np.zeros(len(nearer), np.int64), np.array(nearer), np.array(not_farther))
    number = groups.matches.sum()
    rectangular, trapezoid = (sums.sum() / number for sums in precision_sums(groups))
    inp = number * inverse_last_rank(QueryMatches(groups).last)[0]
    first = QueryMatches(groups).first
    return [rectangular, trapezoid, inp, expected_first_rank(first)[0], *match_within(first, MAX_RANK)[0]]


@pytest.mark.parametrize("images", range(1, 7))
@pytest.mark.parametrize("nearer", range(4))
def test_one_group_of_ties(images, nearer):
    for matches in range(1, images + 1):
        levels = [(1, 0)] * nearer + [(images, matches)]
        np.testing.assert_allclose(closed_forms(levels), mean_over_orders(levels), rtol=0, atol=1e-14)


def test_several_groups_of_ties():
    random = np.random.default_rng(0)
    for _ in range(150):
        sizes = random.integers(1, 5, random.integers(1, 4))
        levels = [(int(size), int(random.integers(0, size + 1))) for size in sizes]
        if sum(matches for _, matches in levels) == 0:
            continue
        np.testing.assert_allclose(closed_forms(levels), mean_over_orders(levels), rtol=0, atol=1e-14)


def test_without_ties_the_usual_formulas_hold_to_the_last_bit():
    ranks = np.array([0, 1, 5, 6, 40])
    groups = group_ties(np.zeros(5, np.int64), ranks, ranks + 1)
    rectangular, trapezoid = precision_sums(groups)
    number = np.arange(5)
    assert (rectangular == (number + 1) / (ranks + 1)).all()
    before = np.where(ranks == 0, 1, number / np.maximum(ranks, 1))
    assert (trapezoid == ((number + 1) / (ranks + 1) + before) / 2).all()
    assert set(match_within(groups, 50).ravel()) == {0.0, 1.0}


def test_a_large_group_keeps_its_precision():
    size, matches, nearer = 20_000, 37, 1000
    groups = group_ties(np.zeros(matches, np.int64), np.full(matches, nearer), np.full(matches, nearer + size))
    rho = Fraction(matches - 1, size - 1)
    precisions = (Fraction(1) + place * rho for place in range(size))
    exact = sum(float(value) / (nearer + place + 1) for place, value in enumerate(precisions)) * matches / size
    assert precision_sums(groups)[0][0] == pytest.approx(exact, rel=1e-12)


def test_the_last_match_of_a_large_group():
    size, matches, nearer = 400, 7, 30
    groups = group_ties(np.zeros(matches, np.int64), np.full(matches, nearer), np.full(matches, nearer + size))
    chances = [Fraction(comb(place - 1, matches - 1), comb(size, matches)) for place in range(1, size + 1)]
    exact = float(sum(chance / (nearer + place) for place, chance in enumerate(chances, 1)))
    assert sum(chances) == 1
    assert inverse_last_rank(groups)[0] == pytest.approx(exact, rel=1e-13)


def test_groups_of_several_queries_stay_apart():
    groups = group_ties(np.array([0, 0, 2, 2, 2]), np.array([3, 3, 3, 7, 7]), np.array([5, 5, 4, 9, 9]))
    assert groups.query.tolist() == [0, 2, 2]
    assert groups.size.tolist() == [2, 1, 2]
    assert groups.matches.tolist() == [2, 1, 2]
    assert groups.matches_nearer.tolist() == [0, 0, 1]
    assert QueryMatches(groups).first.nearer.tolist() == [3, 3]
    assert QueryMatches(groups).last.nearer.tolist() == [3, 7]


def test_no_match_at_all():
    empty = np.empty(0, np.int64)
    groups = group_ties(empty, empty, empty)
    assert len(groups.query) == len(QueryMatches(groups).first.query) == len(QueryMatches(groups).last.query) == 0
    assert match_within(QueryMatches(groups).first, 3).shape == (0, 3)
