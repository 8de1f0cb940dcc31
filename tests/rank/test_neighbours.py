"""Sparse neighbour sets against loops over sets, and the Jaccard distance against golden values."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import DBSCAN

from rewho.rank.nearest import nearest_neighbours
from rewho.rank.neighbours import (
    JaccardDistances,
    expanded_reciprocal_sets,
    gaussian_weights,
    half_size,
    local_query_expansion,
    reciprocal_sets,
)


def people(seed=0, count=240, dimensions=12, centres=20):
    random = np.random.default_rng(seed)
    found = random.normal(size=(centres, dimensions))[random.integers(0, centres, count)]
    found = found + 0.5 * random.normal(size=found.shape)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def rows_of(matrix):
    return [set(matrix[[row]].indices.tolist()) for row in range(matrix.shape[0])]


def reciprocal_by_loops(indices, size):
    near = [set(row[:size].tolist()) for row in indices]
    return [{other for other in near[image] if image in near[other]} for image in range(len(indices))]


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
def test_nearest_neighbours_agree_with_a_sort(metric):
    embeddings = people() * np.random.default_rng(1).uniform(1, 2, (240, 1))
    exact = embeddings if metric == "squared_euclidean" else embeddings / np.linalg.norm(embeddings, axis=1)[:, None]
    squared = np.square(exact[:, None] - exact[None]).sum(axis=2)
    found = nearest_neighbours(embeddings, 9, metric)
    assert (found.indices == np.argsort(squared, axis=1)[:, :9]).all()
    farthest = squared.max(axis=1) / (2 if metric == "cosine" else 1)
    np.testing.assert_allclose(found.farthest, farthest, rtol=1e-5)


def test_an_image_is_its_own_nearest_even_among_copies():
    indices = nearest_neighbours(np.ones((50, 3)), 5).indices
    assert (indices[:, 0] == np.arange(50)).all()
    assert indices[7].tolist() == [7, 0, 1, 2, 3]


def test_never_more_neighbours_than_images():
    assert nearest_neighbours(np.eye(4), 21).indices.shape == (4, 4)


@pytest.mark.parametrize("block_rows", [7, 2048])
@pytest.mark.parametrize("k1", [1, 3, 8, 20])
def test_sets_agree_with_loops_over_sets(k1, block_rows, monkeypatch):
    monkeypatch.setattr("rewho.rank.neighbours.PRODUCT_ROWS", block_rows)
    indices = nearest_neighbours(people(), k1 + 1).indices
    whole, half = reciprocal_by_loops(indices, k1 + 1), reciprocal_by_loops(indices, half_size(k1))
    assert rows_of(reciprocal_sets(indices)) == whole
    expected = []
    for members in whole:
        joined = set(members)
        for member in members:
            if len(half[member] & members) > 2 / 3 * len(half[member]):
                joined |= half[member]
        expected.append(joined)
    found = expanded_reciprocal_sets(indices, half_size(k1))
    assert rows_of(found) == expected
    assert set(found.data) == {1}
    assert any(len(joined) > len(members) for joined, members in zip(expected, whole, strict=True)) == (k1 > 3)


def test_exactly_two_thirds_is_not_enough():
    #  The half-size set of image 1 is {1, 2, 3}; of it, 1 and 2 lie in the set of image 0.
    indices = np.array([[0, 1, 2, 9], [1, 2, 3, 0], [2, 1, 3, 0], [3, 1, 2, 8]] + [[i, 0, 0, 0] for i in range(4, 10)])
    assert rows_of(reciprocal_sets(indices))[0] == {0, 1, 2, 9}
    assert rows_of(reciprocal_sets(indices[:, :3]))[1] == {1, 2, 3}
    assert rows_of(expanded_reciprocal_sets(indices, half=3))[0] == {0, 1, 2, 9}


def test_half_sizes_round_halves_to_even():
    assert [half_size(k1) for k1 in (1, 2, 3, 5, 7, 20, 30, 50)] == [1, 2, 3, 3, 5, 11, 16, 26]


def test_weights_sum_to_one_and_fall_with_distance():
    embeddings = people().astype(np.float32)
    sets = expanded_reciprocal_sets(nearest_neighbours(embeddings, 9).indices, 5)
    scale = np.linspace(1, 3, 240)
    weights = gaussian_weights(sets, embeddings, scale)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    row = 17
    members = weights[[row]].indices
    raw = np.exp(-np.square(embeddings[row] - embeddings[members]).sum(axis=1) / scale[row])
    np.testing.assert_allclose(weights[[row]].data, raw / raw.sum(), atol=1e-6)


def test_query_expansion_is_the_mean_over_neighbours():
    random = np.random.default_rng(2)
    weights = sparse.csr_array(random.random((30, 30)) * (random.random((30, 30)) < 0.2)).astype(np.float32)
    indices = np.stack([random.permutation(30)[:4] for _ in range(30)])
    expected = weights.toarray()[indices].mean(axis=1)
    np.testing.assert_allclose(local_query_expansion(weights, indices).toarray(), expected, atol=1e-6)
    assert local_query_expansion(weights, indices[:, :1]) is weights


@pytest.mark.parametrize("entries", [1, 50, 2**20])
def test_jaccard_distance_agrees_with_the_dense_formula(entries, monkeypatch):
    monkeypatch.setattr("rewho.rank.neighbours.EXPANDED_ENTRIES", entries)
    random = np.random.default_rng(3)
    dense = random.random((40, 40)) * (random.random((40, 40)) < 0.15)
    dense[np.arange(40), np.arange(40)] += 0.5
    dense[5] = 0  # a set without members shares nothing
    dense /= np.maximum(dense.sum(axis=1, keepdims=True), 1e-30)
    rows, columns = np.arange(12), np.arange(8, 40)
    minima = np.minimum(dense[rows][:, None], dense[columns][None]).sum(axis=2)
    expected = 1 - minima / (2 - minima)
    found = JaccardDistances(sparse.csr_array(dense.astype(np.float32)), rows, columns)
    assert found.shape == (12, 32)
    np.testing.assert_allclose(found.block(np.arange(12)), expected, atol=1e-6)
    np.testing.assert_allclose(found.block(np.array([11, 3])), expected[[11, 3]], atol=1e-6)


def jaccard_as_for_clustering(features):
    """k1 columns with the image itself among them, distances not divided: what self-paced clustering uses."""
    indices = nearest_neighbours(features, 30).indices
    sets = expanded_reciprocal_sets(indices, half_size(30))
    weights = local_query_expansion(gaussian_weights(sets, features), indices[:, :6])
    everyone = np.arange(len(features))
    return indices, JaccardDistances(weights, everyone, everyone).block(everyone)


@pytest.mark.parametrize("epoch", [0, 1])
def test_golden_jaccard_distances_and_clusters(shared, epoch):
    golden = np.load(shared / "golden" / "jaccard" / "input_output.npz")
    indices, jaccard = jaccard_as_for_clustering(golden[f"epoch{epoch}_features"])
    assert (np.sort(indices) == np.sort(golden[f"epoch{epoch}_neighbours_k1"])).all()
    if epoch == 0:
        np.testing.assert_allclose(jaccard, golden["epoch0_jaccard"], rtol=0, atol=2e-6)
    for eps in ("0.58", "0.60", "0.62"):
        clusters = DBSCAN(eps=float(eps), min_samples=4, metric="precomputed").fit_predict(jaccard)
        assert (clusters == golden[f"epoch{epoch}_dbscan_eps{eps}"]).all()
