"""Single-gallery-shot scores against the mean over all galleries that can be drawn."""

from itertools import product

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.single_shot import single_gallery_shot


def exact_curve(row, person, camera, people, cameras, max_rank):
    """Mean curve of one query over all choices of one image per person, ties at their expected value."""
    allowed = [
        [i for i in np.flatnonzero(people == other) if other != person or cameras[i] != camera]
        for other in np.unique(people[people >= 0])
    ]
    allowed = [images for images in allowed if images]
    curves = []
    for drawn in product(*allowed):
        (match,) = (i for i in drawn if people[i] == person)
        nearer = sum(row[i] < row[match] for i in drawn)
        tied = sum(row[i] == row[match] for i in drawn)
        curves.append(np.clip((np.arange(1, max_rank + 1) - nearer) / tied, 0, 1))
    return np.mean(curves, axis=0)


def test_agrees_with_the_mean_over_all_galleries():
    random = np.random.default_rng(0)
    people, cameras = np.array([1, 1, 1, 2, 2, 3, 0, 0, -1, -2]), np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 0])
    query, query_cameras = np.array([1, 2, 3, 1]), np.array([0, 1, 0, 1])
    values = random.integers(0, 6, (4, 10)).astype(float)
    values[:, 9] = -1  # an image of no one, nearer than all others, takes no part
    ranking = Ranking.from_distances(values, ImageLabels(query, query_cameras), ImageLabels(people, cameras))
    scores = single_gallery_shot(ranking, max_rank=4, repeats=4000)
    curves = [exact_curve(values[q], query[q], query_cameras[q], people, cameras, 4) for q in (0, 1, 3)]
    assert (scores.queries, scores.valid_queries, scores.repeats) == (4, 3, 4000)  # person 3: same camera only
    np.testing.assert_allclose(scores.cmc, np.mean(curves, axis=0), atol=4 * 0.5 / (3 * 4000) ** 0.5)
    assert scores.cmc[-1] == 1


def test_with_one_image_per_person_it_is_the_usual_curve():
    random = np.random.default_rng(1)
    query, gallery = ImageLabels(random.integers(0, 30, 700)), ImageLabels(random.permutation(30))
    ranking = Ranking.from_distances(random.random((700, 30)), query, gallery)
    found = single_gallery_shot(ranking, max_rank=30, repeats=2, threads=2)
    np.testing.assert_allclose(found.cmc, evaluate(ranking, max_rank=30, resamples=0).cmc, atol=1e-12)


def test_draws_depend_on_the_seed_alone(monkeypatch):
    random = np.random.default_rng(2)
    query, gallery = ImageLabels(random.integers(0, 5, 50)), ImageLabels(random.integers(0, 5, 60))
    ranking = Ranking.from_distances(random.random((50, 60)), query, gallery)
    first, other = (single_gallery_shot(ranking, repeats=3, seed=seed).cmc for seed in (1, 2))
    monkeypatch.setattr("rewho.rank.blocks.MOST_ROWS", 7)
    assert (single_gallery_shot(ranking, repeats=3, seed=1, threads=3).cmc == first).all()
    assert (first != other).any()


def test_what_cannot_be_scored_is_refused():
    ranking = Ranking.from_distances(np.ones((1, 1)), ImageLabels(np.array([1])), ImageLabels(np.array([2])))
    with pytest.raises(UserError, match="none of 1"):
        single_gallery_shot(ranking)
    with pytest.raises(UserError, match="repeats"):
        single_gallery_shot(ranking, repeats=0)
