"""How an exported file is compared with its model, by embeddings whose neighbours are known."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.export.parity import Parity, check_parity, compute_parity, same_neighbours


def circle(degrees) -> np.ndarray:
    """Directions in the plane: whoever is nearest in angle is the nearest neighbour."""
    angles = np.deg2rad(np.asarray(degrees, np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_difference_is_relative_to_the_scale():
    expected = 100 * circle(np.arange(0, 120, 5))
    found = expected.copy()
    found[3, 1] += 0.5
    parity = compute_parity(expected, found)
    assert parity.images == 24
    assert parity.largest_difference == pytest.approx(0.5, rel=1e-4)
    assert parity.scale == pytest.approx(100 / np.sqrt(2), rel=1e-6)
    assert parity.relative_difference == pytest.approx(0.5 / parity.scale, rel=1e-4)


def test_neighbours_are_shared_by_number():
    degrees = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70])
    expected = circle(degrees)
    assert same_neighbours(expected, expected) == 1
    assert same_neighbours(expected, 7 * expected) == 1, "length does not matter"
    moved = degrees.copy()
    moved[[10, 11]] = moved[[11, 10]]  # one of each group changes places: it finds ten others, the rest miss one each
    assert same_neighbours(expected, circle(moved)) == pytest.approx(1 - (2 * 10 + 20) / 220)


def test_ties_count_whichever_way_they_fall():
    same = np.repeat(circle([0, 40]), 15, axis=0)
    random = np.random.default_rng(1)
    assert same_neighbours(same, same + 1e-5 * random.standard_normal(same.shape).astype(np.float32)) == 1


@pytest.mark.parametrize(
    ("difference", "share", "sound"),
    [(1e-4, 0.999, True), (1.1e-4, 1.0, False), (0.0, 0.9989, False), (float("nan"), 1.0, False)],
)
def test_both_limits_hold(difference, share, sound):
    parity = Parity(50, difference, 1.0, difference, share)
    if sound:
        check_parity(parity, "file")
    else:
        with pytest.raises(UserError, match="no model was kept"):
            check_parity(parity, "file")
