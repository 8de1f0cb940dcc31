"""Labels: what is accepted, what is refused."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import UNKNOWN_CAMERA
from rewho.rank.labels import ImageLabels


def test_without_cameras_all_are_unknown():
    assert ImageLabels(np.array([3, 4])).cameras.tolist() == [UNKNOWN_CAMERA] * 2


def test_labels_are_copied_and_cannot_be_changed():
    given = np.array([1, 2], np.int32)
    labels = ImageLabels(given, given)
    given[0] = 9
    assert labels.person_ids.tolist() == [1, 2]
    assert labels.person_ids.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        labels.person_ids[0] = 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array([1.0]),), "person ids.*whole numbers"),
        ((np.array([[1]]),), "person ids.*one-dimensional"),
        ((np.array([1, 2]), np.array([1])), "camera ids: expected 2"),
        ((np.array([1, 2]), np.array([0.5, 1])), "camera ids.*whole numbers"),
        ((np.array([1, 2]), None, ("a",)), "names: expected 2"),
    ],
)
def test_bad_labels_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        ImageLabels(*arguments)
