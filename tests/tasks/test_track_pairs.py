"""Pairs of one track: far enough apart where there are such, else nearer, else the same; uniform over the choices."""

import numpy as np
import pytest

from rewho.data.tracks import ImageTracks
from rewho.tasks.track_pairs import PairCounts, TrackPairs


def draws(pairs: TrackPairs, row: int, count: int = 4000) -> dict[int, float]:
    found = pairs.draw(np.full(count, row), np.random.default_rng(3))
    return {int(value): number / count for value, number in zip(*np.unique(found, return_counts=True), strict=True)}


def test_partners_are_uniform_among_those_far_enough_apart():
    tracks = ImageTracks(np.array([5, 2, 5, 5, 2, 5, 5]), np.array([0.0, 0.0, 0.5, 1.0, 9.0, 2.0, 3.5]))
    pairs = TrackPairs(tracks, apart=1.0)
    assert pairs.counts == PairCounts(0, 0, 7)
    for row, partners in {0: {3, 5, 6}, 2: {5, 6}, 3: {0, 5, 6}, 5: {0, 2, 3, 6}, 1: {4}}.items():
        found = draws(pairs, row)
        assert found.keys() == partners
        assert all(share == pytest.approx(1 / len(partners), abs=0.04) for share in found.values())


def test_nearer_ones_are_taken_where_none_is_far_and_oneself_where_there_is_no_other():
    tracks = ImageTracks(np.array([0, 0, 0, 1, -1, -1]), np.array([0.0, 0.2, 0.4, 0.0, 0.0, 0.0]))
    pairs = TrackPairs(tracks, apart=1.0)
    assert pairs.counts == PairCounts(alone=3, near=3, apart=0)
    assert draws(pairs, 1).keys() == {0, 2} and draws(pairs, 2).keys() == {0, 1}
    assert [draws(pairs, row).keys() for row in (3, 4, 5)] == [{3}, {4}, {5}]
    assert len(set(pairs.numbers.tolist())) == 4, "images without a track are of different ones"


def test_without_a_least_time_any_other_image_will_do():
    pairs = TrackPairs(ImageTracks(np.zeros(3, int), np.zeros(3)), apart=0.0)
    assert [draws(pairs, row).keys() for row in range(3)] == [{1, 2}, {0, 2}, {0, 1}]


@pytest.mark.parametrize("apart", [0.0, 0.7, 3.0])
def test_partners_are_of_the_same_track_and_as_far_apart_as_can_be_had(apart):
    random = np.random.default_rng(1)
    tracks = ImageTracks(random.integers(-1, 60, 400), random.uniform(-5, 5, 400))
    pairs = TrackPairs(tracks, apart)
    rows = np.arange(400)
    partners = pairs.draw(rows, random)
    for row, partner in zip(rows.tolist(), partners.tolist(), strict=True):
        own = tracks.numbers[row]
        others = np.flatnonzero((tracks.numbers == own) & (rows != row)) if own >= 0 else []
        far = [other for other in others if abs(tracks.times[other] - tracks.times[row]) >= apart]
        assert partner in (far if far else others if len(others) else [row])
