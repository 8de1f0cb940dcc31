"""Scores of clusterings, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score, silhouette_score

from rewho.rank import cluster_scores
from rewho.rank.cluster_scores import mutual_information, purity, silhouette

RANDOM = np.random.default_rng(3)
POINTS = RANDOM.normal(size=(200, 8)) + 2 * np.repeat(RANDOM.normal(size=(10, 8)), 20, axis=0)
LABELS = np.where(RANDOM.random(200) < 0.1, -1, np.repeat(np.arange(10), 20))


def test_silhouette_is_the_exact_one_without_outliers():
    kept = LABELS >= 0
    expected = silhouette_score(POINTS[kept], LABELS[kept], metric="cosine")
    assert silhouette(POINTS, LABELS) == pytest.approx(expected, abs=1e-5)


def test_a_cluster_of_one_image_scores_0_and_one_cluster_none():
    labels = np.r_[np.arange(3), np.repeat([3, 4], [97, 100])]
    assert silhouette(POINTS, labels) == pytest.approx(silhouette_score(POINTS, labels, metric="cosine"), abs=1e-5)
    assert silhouette(POINTS, np.zeros(200, np.int64)) is None
    assert silhouette(POINTS, np.full(200, -1)) is None


def test_copies_of_one_image_in_two_clusters_score_0():
    copies = np.full((40, 16), 0.25) + 1e-8 * RANDOM.normal(size=(40, 16))
    assert silhouette(copies.astype("f4"), np.arange(40) % 2) == 0


def test_a_sample_stands_for_many_images(monkeypatch):
    whole = silhouette(POINTS, LABELS)
    monkeypatch.setattr(cluster_scores, "MOST_SCORED", 100)
    assert silhouette(POINTS, LABELS) == pytest.approx(whole, abs=0.1)
    assert silhouette(POINTS, LABELS) != whole


@pytest.mark.parametrize("seed", range(3))
def test_mutual_information_is_the_arithmetic_one(seed):
    first, second = np.random.default_rng(seed).integers(-1, 12, size=(2, 300))
    expected = normalized_mutual_info_score(first, second)
    assert mutual_information(first, second) == pytest.approx(expected, abs=1e-9)
    assert mutual_information(first, np.zeros(300, int)) == 0
    assert mutual_information(first, 100 - first) == pytest.approx(1)


def test_purity_counts_the_most_frequent_identity_of_each_cluster():
    assert purity(np.array([0, 0, 1, 1, 1]), np.array([4, 4, 4, 5, 6])) == pytest.approx(3 / 5)
