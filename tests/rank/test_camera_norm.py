"""Camera normalisation against the formula, image by image."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.camera_norm import LEAST_CROPS, count_without_mean, normalise_cameras
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.rerank import rerank


def street(people=40, cameras=4, dimensions=32, seed=0):
    """Images of people on several cameras, of which each adds a vector of its own."""
    random = np.random.default_rng(seed)
    person, camera = np.repeat(np.arange(people), cameras), np.tile(np.arange(cameras), people)
    own, light = random.normal(size=(people, dimensions)), 2 * random.normal(size=(cameras, dimensions))
    return own[person] + light[camera] + 0.5 * random.normal(size=(len(person), dimensions)), person, camera


def ranking_of(embeddings, person, query_cameras, cameras):
    names = [f"{number}.jpg" for number in range(len(person))]
    query, gallery = (ImageLabels(person, shown, names) for shown in (query_cameras, cameras))
    return Ranking.from_embeddings(embeddings, query, embeddings, gallery)


def by_formula(ranking):
    """Each cosine distance by itself, as the specification says."""

    def unit(vector):
        return vector / np.linalg.norm(vector)

    query, gallery = (np.array([unit(one) for one in side]) for side in (ranking.source.query, ranking.source.gallery))
    shown = ranking.gallery.cameras[ranking.kept]
    means = {c: gallery[shown == c].mean(0) for c in set(shown.tolist()) if c >= 0 and sum(shown == c) >= LEAST_CROPS}
    found = np.empty((len(query), len(gallery)))
    for row, camera in enumerate(ranking.query.cameras.tolist()):
        for column, other in enumerate(shown.tolist()):
            one, two = query[row], gallery[column]
            if camera in means:
                one, two = unit(one - means[camera]), unit(two - means.get(other, means[camera]))
            found[row, column] = 1 - one @ two
    return found


@pytest.mark.parametrize("case", ["every camera", "a small camera", "unknown cameras", "a query's own camera", "junk"])
def test_distances_are_those_of_the_formula(case):
    embeddings, person, camera = street()
    query_cameras = camera.copy()
    if case == "a small camera":
        camera[7::8][: 40 - LEAST_CROPS + 1] = 9
        query_cameras = camera
    elif case == "unknown cameras":
        camera[::3] = -1
        query_cameras = camera
    elif case == "a query's own camera":
        query_cameras[::2] = 77
    elif case == "junk":
        person = np.where(np.arange(len(person)) % 5 == 0, -1, person)
    plain = ranking_of(embeddings, person, query_cameras, camera)
    moved = normalise_cameras(plain)
    rows = np.arange(len(plain.query))
    np.testing.assert_allclose(moved.source.block(rows), by_formula(plain), atol=1e-6)
    assert np.array_equal(moved.source.block(rows[5:9]), moved.source.block(rows)[5:9])
    without = count_without_mean(query_cameras, camera[plain.kept])
    assert (f"({without:,} queries plain)" in moved.description) == bool(without)


def test_it_helps_where_cameras_differ():
    plain = ranking_of(*(street()[part] for part in (0, 1, 2, 2)))
    before, after = evaluate(plain), evaluate(normalise_cameras(plain))
    assert after.mAP_rectangular > before.mAP_rectangular + 0.2
    assert after.valid_queries == before.valid_queries


def test_it_can_be_re_ranked_where_every_camera_has_a_mean():
    embeddings, person, camera = street()
    again = rerank(normalise_cameras(ranking_of(embeddings, person, camera, camera)), k1=4, k2=2)
    assert again.description == "cosine relative to cameras + k-reciprocal(k1=4, k2=2, lambda=0.3)"
    camera[3] = 9
    with pytest.raises(UserError, match="made from embeddings"):
        rerank(normalise_cameras(ranking_of(embeddings, person, camera, camera)))


def test_without_statistics_it_is_refused():
    embeddings, person, camera = street()
    with pytest.raises(UserError, match="Leave the option out"):
        normalise_cameras(ranking_of(embeddings, person, np.full_like(camera, 50), camera))
    squared = ImageLabels(person, camera)
    with pytest.raises(UserError, match="by cosine"):
        normalise_cameras(Ranking.from_embeddings(embeddings, squared, embeddings, squared, "squared_euclidean"))
