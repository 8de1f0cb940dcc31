"""Score normalisation against the formula; what it does to thresholds of different cameras."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.rank.labels import ImageLabels
from rewho.rank.ranking import Ranking
from rewho.rank.score_norm import COHORT, choose_cohort, normalise_scores


def pool(images, dimensions=16, seed=0):
    random = np.random.default_rng(seed)
    labels = ImageLabels(np.arange(images), np.zeros(images, np.int64), [f"{one}.jpg" for one in range(images)])
    embeddings = random.normal(size=(images, dimensions)) + 1
    return Ranking.from_embeddings(embeddings, labels, embeddings, labels), embeddings


def test_distances_are_those_of_the_formula_and_nobody_is_their_own_look_alike():
    ranking, embeddings = pool(150)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = unit @ unit.T
    others = np.where(np.eye(150, dtype=bool), -np.inf, cosine)
    top = np.sort(others, axis=1)[:, -15:]
    relative = (cosine - top.mean(1)[:, None]) / top.std(1)[:, None]
    found = normalise_scores(ranking)
    np.testing.assert_allclose(1 - found.source.block(np.arange(150)), (relative + relative.T) / 2, atol=2e-4)
    assert found.description == "cosine, AS-norm(cohort 150, highest 15)"


def test_one_threshold_fits_galleries_of_different_spread():
    def strangers(scale, normalised):
        random = np.random.default_rng(3)
        embeddings = np.c_[np.full((600, 1), scale), random.normal(size=(600, 32))]
        query, gallery = ImageLabels(np.arange(300)), ImageLabels(np.arange(300, 600))
        ranking = Ranking.from_embeddings(embeddings[:300], query, embeddings[300:], gallery)
        distances = (normalise_scores(ranking) if normalised else ranking).source.block(np.arange(300))
        return 1 - distances.ravel()

    for normalised, factor in ((False, 100), (True, 3)):
        threshold = np.quantile(strangers(1.0, normalised), 0.999)
        carried = np.mean(strangers(8.0, normalised) >= threshold)
        assert (carried / 0.001 > factor) == (not normalised)


def test_the_cohort_is_drawn_evenly_from_a_named_generator():
    cohort = choose_cohort(5000, seed=2)
    assert len(cohort) == len(set(cohort.tolist())) == COHORT
    assert np.array_equal(cohort, np.sort(generator(2, "cohort").permutation(5000)[:COHORT]))
    assert abs(cohort.mean() - 2500) < 150


def test_too_small_a_gallery_is_refused():
    with pytest.raises(UserError, match="100 gallery images or more, got 99"):
        normalise_scores(pool(99)[0])
