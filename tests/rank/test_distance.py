"""Distances against hand values, against float64, and against themselves in another order."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.distance import EmbeddingDistances, GivenDistances, smallest, unit_vectors


def distances(query, gallery, metric="cosine"):
    return EmbeddingDistances(query, gallery, metric).block(np.arange(len(query)))


def test_cosine_distance_by_hand():
    query = np.array([[1, 0], [3, 3]], np.float32)
    gallery = np.array([[2, 0], [0, 5], [-1, 0], [1, 1]], np.float32)
    expected = [[0, 1, 2, 1 - 0.5**0.5], [1 - 0.5**0.5, 1 - 0.5**0.5, 1 + 0.5**0.5, 0]]
    np.testing.assert_allclose(distances(query, gallery), expected, atol=1e-7)


def test_squared_euclidean_distance_by_hand():
    found = distances(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0], [4.0, 6.0], [0.0, 2.0]]), "squared_euclidean")
    assert found.tolist() == [[0, 25, 1]]


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_agrees_with_float64(metric, dtype):
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(7, 40)).astype(dtype), random.normal(size=(60, 40)).astype(dtype)
    exact_query, exact_gallery = query.astype(float), gallery.astype(float)
    if metric == "cosine":
        exact_query /= np.linalg.norm(exact_query, axis=1, keepdims=True)
        exact_gallery /= np.linalg.norm(exact_gallery, axis=1, keepdims=True)
    exact = np.square(exact_query[:, None] - exact_gallery[None]).sum(axis=2) / (2 if metric == "cosine" else 1)
    np.testing.assert_allclose(distances(query, gallery, metric), exact, atol=1e-7 * exact.max())


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
@pytest.mark.parametrize("sizes", [(1, 3, 5), (2, 86, 594), (37, 53, 126), (70, 400, 11)])
def test_a_distance_does_not_depend_on_where_the_pair_stands(metric, sizes):
    queries, images, dimensions = sizes
    random = np.random.default_rng(1)
    query, gallery = random.normal(size=(queries, dimensions)), random.normal(size=(images, dimensions))
    half = images // 2
    gallery[half : 2 * half] = gallery[:half]  # copies
    whole = distances(query, gallery, metric)
    assert (whole[:, half : 2 * half] == whole[:, :half]).all()
    for _ in range(20):
        rows, columns = random.permutation(queries), random.permutation(images)
        assert (distances(query[rows], gallery[columns], metric) == whole[rows][:, columns]).all()
    for row in range(min(queries, 5)):
        assert (distances(query[row : row + 1], gallery, metric) == whole[row : row + 1]).all()


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_both_precisions_agree_to_float32(precision):
    random = np.random.default_rng(2)
    query, gallery = random.normal(size=(20, 64)), random.normal(size=(30, 64))
    found = EmbeddingDistances(query, gallery, precision=precision).block(np.arange(20))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, distances(query, gallery), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e3, 0.1), (1e5, 1), (-1e6, 100)])
def test_squared_distances_of_long_vectors_keep_their_order(offset, spread, dtype):
    random = np.random.default_rng(0)
    query, gallery = ((offset + spread * random.normal(size=(n, 64))).astype(dtype) for n in (20, 200))
    exact = np.square(query[:, None].astype(float) - gallery[None]).sum(axis=2)
    for precision in ("float64", "float32"):
        found = EmbeddingDistances(query, gallery, "squared_euclidean", precision).block(np.arange(20))
        assert (np.argsort(found, axis=1) == np.argsort(exact, axis=1)).all()
        np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
def test_near_copies_of_long_vectors_in_all_directions_keep_their_order(metric):
    random = np.random.default_rng(1)
    query = random.normal(size=(30, 64))
    query *= 1000 / np.linalg.norm(query, axis=1, keepdims=True)
    gallery = np.repeat(query, 10, axis=0) + 0.1 * random.normal(size=(300, 64))
    first, second = (query, gallery) if metric == "squared_euclidean" else map(unit_vectors, (query, gallery))
    exact = np.square(first[:, None] - second[None]).sum(axis=2)
    found = distances(query, gallery, metric)
    assert (np.argsort(found, axis=1)[:, :10] == np.argsort(exact, axis=1)[:, :10]).all()
    copies = distances(query, np.concatenate([query, gallery, query]), metric)
    assert (copies[:, :30] == copies[:, 330:]).all()
    assert (np.diag(copies) == 0).all()


def test_lengths_whose_squares_leave_float64_are_no_zero_vectors():
    tiny_and_huge = np.array([[3e-200, 4e-200], [3e200, 4e200], [3e-320, 4e-320]])
    np.testing.assert_allclose(unit_vectors(tiny_and_huge), [[0.6, 0.8]] * 3, atol=1e-3)
    np.testing.assert_allclose(distances(tiny_and_huge[:2], np.array([[0.0, 1.0]])), 0.2, atol=1e-6)


@pytest.mark.parametrize("size", [1e20, 1e-20, 1e200])
def test_squared_distances_that_float32_cannot_hold_are_refused(size):
    with pytest.raises(UserError, match="Multiply all embeddings by one number"):
        distances(np.array([[size, 0]]), np.array([[0, size]]), "squared_euclidean")


def test_the_zero_vector_has_squared_distances():
    assert distances(np.array([[3.0, 4.0]]), np.zeros((1, 2)), "squared_euclidean").tolist() == [[25]]


def test_blocks_are_fresh():
    source = EmbeddingDistances(np.eye(2), np.eye(2))
    source.block(np.arange(2))[:] = 7
    assert source.block(np.arange(2)).tolist() == [[0, 1], [1, 0]]
    given = GivenDistances(np.ones((2, 2)))
    given.block(np.arange(2))[:] = 7
    assert given.matrix.tolist() == [[1, 1], [1, 1]]


def test_junk_becomes_bystanders():
    source = EmbeddingDistances(np.eye(2), np.array([[1.0, 0], [0, 2], [0, 1]]), junk=np.array([False, True, False]))
    assert source.shape == (2, 2)
    assert source.bystanders.tolist() == [[0, 1]]


def test_unit_vectors_have_length_one_whatever_their_scale():
    found = unit_vectors(np.array([[3e-20, 4e-20], [3e18, 4e18]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.6, 0.8]], atol=1e-7)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (np.array([[1.0, np.nan]]), np.eye(2), "query embedding of row 0.*NaN"),
        (np.eye(2), np.array([[1.0, 1.0], [0.0, 0.0]]), "gallery embedding of row 1.*zero vector"),
        (np.eye(2), np.array([[1.0, np.inf]]), "gallery embedding of row 0.*infinity"),
        (np.eye(2), np.eye(3), "gallery embeddings: expected 2 dimensions.*got 3"),
        (np.eye(2), np.eye(2, dtype=np.int64), "floating-point"),
        (np.ones(3), np.eye(3), "shape"),
    ],
)
def test_bad_embeddings_are_named(query, gallery, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        EmbeddingDistances(query, gallery)


def test_bad_options_and_matrices_are_named():
    with pytest.raises(UserError, match="Did you mean 'cosine'"):
        EmbeddingDistances(np.eye(2), np.eye(2), "cosin")
    with pytest.raises(UserError, match="precision"):
        EmbeddingDistances(np.eye(2), np.eye(2), precision="float16")
    for bad in (np.array([[np.nan]]), np.ones(3), np.ones((2, 2), np.int64)):
        with pytest.raises(UserError, match="distances"):
            GivenDistances(bad)


@pytest.mark.parametrize("columns", [1, 5, 700, 5000])
@pytest.mark.parametrize("k", [1, 4, 21, 10_000])
def test_smallest_agrees_with_a_stable_sort(columns, k):
    random = np.random.default_rng(columns)
    for values in (random.normal(size=(6, columns)), random.integers(0, 4, (6, columns)).astype(float)):
        found, at = smallest(values, k)
        expected = np.argsort(values, axis=1, kind="stable")[:, :k]
        assert (found == expected).all()
        assert (at == np.take_along_axis(values, expected, axis=1)).all()


def test_smallest_of_infinite_rows():
    values = np.array([[np.inf, 1, np.inf], [np.inf, np.inf, np.inf]])
    assert smallest(values, 2)[0].tolist() == [[1, 0], [0, 1]]
