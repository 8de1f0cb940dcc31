"""The search of one triangle against sorts of whole rows, across the borders of strips and tiles."""

import numpy as np
import pytest

from rewho.rank.distance import EmbeddingDistances, smallest
from rewho.rank.nearest import nearest_neighbours


def spread(count, dimensions=16, seed=3):
    return np.random.default_rng(seed).normal(size=(count, dimensions))


@pytest.fixture(params=[(512, 2048), (20, 33), (7, 5)], ids=str)
def small_tiles(request, monkeypatch):
    monkeypatch.setattr("rewho.rank.nearest.MOST_ROWS", request.param[0])
    monkeypatch.setattr("rewho.rank.nearest.TILE_COLUMNS", request.param[1])


@pytest.mark.parametrize("k", [1, 6, 31])
@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
def test_it_agrees_with_a_sort_of_whole_rows(small_tiles, metric, k):
    embeddings = spread(301) * np.linspace(1, 2, 301)[:, None]
    points = embeddings if metric == "squared_euclidean" else embeddings / np.linalg.norm(embeddings, axis=1)[:, None]
    squared = np.square(points[:, None] - points[None]).sum(axis=2)
    found = nearest_neighbours(embeddings, k, metric)
    assert (found.indices == np.argsort(squared, axis=1, kind="stable")[:, :k]).all()
    farthest = squared.max(axis=1) / (2 if metric == "cosine" else 1)
    np.testing.assert_allclose(found.farthest, farthest, rtol=1e-5)


def test_equal_distances_are_ordered_by_number(small_tiles):
    corners = np.random.default_rng(1).integers(0, 3, (257, 2)).astype(np.float64)  # nine places, exact distances
    squared = np.square(corners[:, None] - corners[None]).sum(axis=2)
    squared[np.arange(257), np.arange(257)] = -1
    found = nearest_neighbours(corners, 40, "squared_euclidean")
    assert (found.indices == np.argsort(squared, axis=1, kind="stable")[:, :40]).all()


@pytest.mark.parametrize("k", [1, 9, 700])
def test_threads_change_nothing(monkeypatch, k):
    monkeypatch.setattr("rewho.rank.nearest.MOST_ROWS", 128)  # strips for every thread
    monkeypatch.setattr("rewho.rank.nearest.TILE_COLUMNS", 512)
    embeddings = spread(1500, 8)[np.random.default_rng(2).integers(0, 1500, 1500)]  # with copies
    one, three = (nearest_neighbours(embeddings, k, threads=threads) for threads in (1, 3))
    assert (one.indices == three.indices).all()
    assert (one.farthest == three.farthest).all()


def test_it_agrees_with_the_search_of_the_whole_matrix():
    embeddings = spread(3000, 64).astype(np.float32)
    distances = EmbeddingDistances(embeddings, embeddings, "cosine", "float32").block(np.arange(3000))
    found = nearest_neighbours(embeddings, 21)
    assert (found.indices == smallest(distances, 21)[0]).mean() > 0.9999  # the last bit orders some pairs
    np.testing.assert_allclose(found.farthest, distances.max(axis=1), atol=3e-7)
