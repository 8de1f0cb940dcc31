"""Groups under constraints: no constraint is ever broken; the result is that of average linkage."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from rewho.core.check import UserError
from rewho.rank.clustering import jaccard_graph, jaccard_weights
from rewho.rank.grouping import NO_PAIRS, UNCONSTRAINED, Constraints, find_contradiction, group, pairs_of


def graph_of(matrix):
    rows, columns = np.nonzero(matrix < 1)
    apart = rows != columns
    return sparse.csr_array((matrix[rows, columns][apart], (rows[apart], columns[apart])), shape=matrix.shape)


def random_distances(images, seed, kept=0.5):
    random = np.random.default_rng(seed)
    matrix = np.triu(np.where(random.random((images, images)) < kept, random.random((images, images)), 1.0), 1)
    return matrix + matrix.T


@pytest.mark.parametrize("seed", range(5))
def test_without_constraints_it_is_average_linkage(seed):
    matrix = random_distances(40, seed)
    tree = linkage(squareform(matrix, checks=False), "average")
    expected = fcluster(tree, 0.6, "distance")
    found = group(graph_of(matrix), 0.6)
    alone = found < 0
    found[alone] = 1000 + np.flatnonzero(alone)
    assert len(np.unique(np.stack([expected, found], 1), axis=0)) == len(np.unique(expected)) == len(np.unique(found))


PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)).filter(lambda pair: pair[0] != pair[1]), max_size=25)


@settings(max_examples=150, deadline=None)
@given(must=PAIRS, cannot=PAIRS, owners=st.lists(st.integers(-1, 3), min_size=20, max_size=20), seed=st.integers(0, 99))
def test_no_constraint_is_broken_or_it_is_said_which_contradict(must, cannot, owners, seed):
    owned = np.array(owners)
    owned[np.random.default_rng(seed).random(20) < 0.6] = -1
    known = Constraints(pairs_of(must), pairs_of(cannot), owned)
    graph = graph_of(random_distances(20, seed, 0.8))
    chain = find_contradiction(20, known)
    links = {frozenset(pair) for pair in must}
    if chain:
        for one, other in pairwise(chain):
            assert frozenset((one, other)) in links or owned[one] == owned[other] != -1
        ends = chain[0], chain[-1]
        refused = {frozenset(pair) for pair in cannot}
        assert frozenset(ends) in refused or (owned[ends[0]] != owned[ends[1]] and -1 not in owned[list(ends)])
        with pytest.raises(UserError, match="cannot be one"):
            group(graph, 0.9, known)
        return
    found = group(graph, 0.9, known)
    alone = found < 0
    assert all(np.count_nonzero(found == label) > 1 for label in range(found.max(initial=-1) + 1))
    found[alone] = 1000 + np.flatnonzero(alone)
    assert all(found[one] == found[other] for one, other in must)
    assert all(found[one] != found[other] for one, other in cannot)
    for one in range(20):
        for other in range(20):
            if owned[one] != -1 and owned[other] != -1:
                assert (found[one] == found[other]) == (owned[one] == owned[other])


def test_groups_do_not_depend_on_the_order_of_links_and_need_no_edge():
    graph = sparse.csr_array((6, 6))
    must = np.array([[0, 3], [3, 5]])
    assert group(graph, 0.5, Constraints(must, NO_PAIRS)).tolist() == [0, -1, -1, 0, -1, 0]
    assert group(graph, 0.5, Constraints(must[::-1, ::-1], NO_PAIRS)).tolist() == [0, -1, -1, 0, -1, 0]
    assert group(graph).tolist() == [-1] * 6
    assert group(sparse.csr_array((0, 0))).tolist() == []


def test_a_mistake_in_the_code_would_be_caught(monkeypatch):
    monkeypatch.setattr("rewho.rank.grouping._Clusters._barred", lambda *pair: False)
    with pytest.raises(AssertionError, match="cannot-link was broken"):
        group(graph_of(random_distances(10, 1, 1.0)), 0.9, Constraints(NO_PAIRS, np.array([[0, 1], [2, 3], [4, 5]])))


def test_two_in_one_frame_stay_two_among_twins():
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(30), 8)
    embeddings = random.normal(size=(30, 64))[person] + 0.3 * random.normal(size=(240, 64))
    embeddings[person == 1] += embeddings[0] - embeddings[8]  # people 0 and 1 wear the same
    graph = jaccard_graph(jaccard_weights(embeddings, 10, 3))
    joined = group(graph)
    twins = joined[person < 2]
    assert len(set(twins.tolist())) < 16
    cannot = np.array([[one, 8 + one] for one in range(8)])
    parted = group(graph, known=Constraints(NO_PAIRS, cannot))
    assert all(parted[one] != parted[other] or parted[one] < 0 for one, other in cannot)
    others = person > 1
    assert np.array_equal(joined[others] - joined[others].min(), parted[others] - parted[others].min())


@pytest.mark.slow
def test_twenty_thousand_take_a_minute_at_most():
    random = np.random.default_rng(0)
    person = random.integers(0, 3000, 20_000)
    embeddings = random.normal(size=(3000, 128))[person] + random.normal(size=(20_000, 128))
    began = time.monotonic()
    found = group(jaccard_graph(jaccard_weights(embeddings, 20, 6)), known=UNCONSTRAINED)
    assert time.monotonic() - began < 60
    assert found.max() > 1000
