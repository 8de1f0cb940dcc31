"""Clustering of sparse Jaccard distances, against SpCL's own numbers and scikit-learn's."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import DBSCAN

from rewho.core.check import UserError
from rewho.rank.clustering import (
    bend,
    count_clusters,
    dbscan,
    jaccard_graph,
    jaccard_weights,
    neighbour_distances,
)
from rewho.rank.nearest import nearest_neighbours
from rewho.rank.neighbours import JaccardDistances
from rewho.rank.reliability import select_reliable


def first_seen(labels):
    """The same groups, numbered from 0 by their first member."""
    numbers = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]


def blobs(seed, images=300, groups=20, spread=0.35, size=16):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(groups, size))
    return (centres[random.integers(groups, size=images)] + spread * random.normal(size=(images, size))).astype("f4")


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "jaccard" / "input_output.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("epoch", ["epoch0", "epoch1"])
def test_neighbours_and_clusters_are_those_of_spcl(golden, epoch):
    neighbours = nearest_neighbours(golden[f"{epoch}_features"], 30).indices
    assert [set(row) for row in neighbours.tolist()] == [set(row) for row in golden[f"{epoch}_neighbours_k1"].tolist()]
    graph = jaccard_graph(jaccard_weights(golden[f"{epoch}_features"]))
    for eps in ("0.58", "0.60", "0.62"):
        assert dbscan(graph, float(eps)).tolist() == golden[f"{epoch}_dbscan_eps{eps}"].tolist()


def test_distances_are_those_of_spcl(golden):
    graph = jaccard_graph(jaccard_weights(golden["epoch0_features"]), radius=0.95).tocoo()
    assert graph.nnz > 10_000
    assert np.abs(graph.data - golden["epoch0_jaccard"][graph.row, graph.col]).max() < 2e-6
    wanted = golden["epoch0_jaccard"] < 0.95 - 2e-6
    np.fill_diagonal(wanted, False)
    assert graph.nnz >= wanted.sum()


def test_reliable_clusters_are_those_of_spcl_with_the_threshold_of_the_first_epoch(golden):
    threshold = None
    for epoch in ("epoch0", "epoch1"):
        graph = jaccard_graph(jaccard_weights(golden[f"{epoch}_features"]))
        found = select_reliable(dbscan(graph, 0.6), dbscan(graph, 0.58), dbscan(graph, 0.62), threshold)
        threshold = found.threshold
        assert threshold == pytest.approx(float(golden[f"{epoch}_indep_threshold"]), abs=1e-6)
        assert found.compactness == pytest.approx(golden[f"{epoch}_R_comp"], abs=1e-6)
        assert found.independence == pytest.approx(golden[f"{epoch}_R_indep"], abs=1e-6)
        assert found.labels.tolist() == golden[f"{epoch}_pseudo_labels"].tolist()
        assert first_seen(found.labels) == golden[f"{epoch}_pseudo_labels_partition"].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_those_of_scikit_learn(seed):
    graph = jaccard_graph(jaccard_weights(blobs(seed), k1=15, k2=4))
    dense = np.ones((300, 300))
    coo = graph.tocoo()
    dense[coo.row, coo.col] = coo.data
    np.fill_diagonal(dense, 0)
    for eps, samples in ((0.3, 4), (0.5, 4), (0.7, 2), (0.7, 8)):
        reference = DBSCAN(eps=eps, min_samples=samples, metric="precomputed").fit_predict(dense)
        assert dbscan(graph, eps, samples).tolist() == reference.tolist()


def test_pairs_are_those_of_the_dense_distances_in_any_number_of_blocks(monkeypatch):
    weights = jaccard_weights(blobs(5), k1=15, k2=4)
    everyone = np.arange(300)
    dense = JaccardDistances(weights, everyone, everyone).block(everyone)
    graph = jaccard_graph(weights, radius=0.9)
    for at_once in (1, 5000):
        monkeypatch.setattr("rewho.rank.clustering.PAIRS_AT_ONCE", at_once)
        again = jaccard_graph(weights, radius=0.9, threads=2)
        assert (again.indices == graph.indices).all()
        assert (again.data == graph.data).all()
    near = dense <= 0.9
    np.fill_diagonal(near, False)
    coo = graph.tocoo()
    assert (sparse.csr_array(near).indices == graph.indices).all()
    assert np.abs(coo.data - dense[coo.row, coo.col]).max() < 1e-6


def test_the_order_of_images_changes_no_group():
    points, order = blobs(7), np.random.default_rng(1).permutation(300)
    plain = dbscan(jaccard_graph(jaccard_weights(points, 15, 4)), 0.6)
    shuffled = dbscan(jaccard_graph(jaccard_weights(points[order], 15, 4)), 0.6)
    core_pairs = [(a, b) for a, b in zip(plain[order], shuffled, strict=True)]
    assert count_clusters(plain) == count_clusters(shuffled) > 5
    assert sum(a >= 0 for a, _ in core_pairs) == sum(b >= 0 for _, b in core_pairs)


def test_exact_copies_are_one_cluster():
    copies = np.repeat(np.eye(8, dtype="f4"), 5, axis=0)
    labels = dbscan(jaccard_graph(jaccard_weights(copies, k1=5, k2=2)), 0.2)
    assert labels.tolist() == np.repeat(np.arange(8), 5).tolist()


def test_the_curve_is_that_of_sorted_distances_and_bends_where_it_should():
    graph = jaccard_graph(jaccard_weights(blobs(2), k1=15, k2=4), radius=0.9)
    dense = np.full((300, 300), np.inf, "f4")
    coo = graph.tocoo()
    dense[coo.row, coo.col] = coo.data
    np.fill_diagonal(dense, 0)
    expected = np.minimum(np.sort(dense, axis=1)[:, 3], np.float32(0.9))
    assert neighbour_distances(graph, 4, 0.9).tolist() == np.sort(expected).tolist()
    assert bend(np.full(10, 0.5)) is None
    assert bend(np.linspace(0, 1, 100)) is None


def test_near_duplicates_do_not_make_a_bend_and_do_not_move_one():
    curve = np.r_[np.linspace(0.1, 0.3, 90), np.linspace(0.3, 0.8, 10)]
    duplicates = np.linspace(0, 1e-7, 200)
    assert bend(np.r_[duplicates, curve]) == pytest.approx(bend(curve), abs=0.02)
    assert bend(np.r_[duplicates, np.sqrt(np.linspace(0.01, 0.6, 300))]) is None  # it rises steeply at first, then less


def test_few_images_and_wrong_neighbours_are_told():
    assert dbscan(jaccard_graph(jaccard_weights(np.eye(3, dtype="f4"))), 0.6).shape == (3,)
    with pytest.raises(UserError, match="2 or more"):
        jaccard_weights(np.ones((1, 4)))
    with pytest.raises(UserError, match="k1"):
        jaccard_weights(np.eye(4), k1=3, k2=5)
