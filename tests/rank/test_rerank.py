"""Re-ranking against golden values, against the dense form in float64, and in what memory it takes."""

import tracemalloc

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.rerank import rerank

PARAMETERS = [(20, 6), (50, 15)]


def golden_ranking(shared, size):
    given = np.load(shared / "golden" / "ranking" / f"{size}_input.npz")
    query, gallery = (ImageLabels(given[f"{side}_pid"], given[f"{side}_cam"]) for side in "qg")
    ranking = Ranking.from_embeddings(given["q_feat"], query, given["g_feat"], gallery)
    return ranking, np.load(shared / "golden" / "reranking" / f"{size}_output.npz")


def random_ranking(queries, images, people=30, dimensions=16, seed=0, junk=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(people, dimensions))
    query_people, gallery_people = random.integers(0, people, queries), random.integers(0, people, images)
    query = centres[query_people] + random.normal(size=(queries, dimensions))
    gallery = centres[gallery_people] + random.normal(size=(images, dimensions))
    gallery_people[:junk] = -1
    return Ranking.from_embeddings(query, ImageLabels(query_people), gallery, ImageLabels(gallery_people))


def distances_of(ranking):
    return ranking.source.block(np.arange(len(ranking.query)))


def dense_reranking(query, gallery, k1, k2, lambda_):
    """The dense form in float64, with matrices of all images against all."""
    images = np.concatenate([query, gallery]).astype(np.float64)
    squared = 2 - 2 * images @ images.T
    squared /= squared.max(axis=1, keepdims=True)
    order = np.argsort(squared, axis=1)

    def reciprocal(image, size):
        return [other for other in order[image, :size] if image in order[other, :size]]

    weights = np.zeros_like(squared)
    for image in range(len(images)):
        members = reciprocal(image, k1 + 1)
        joined = set(members)
        for member in members:
            half = reciprocal(member, round(k1 / 2) + 1)
            if 3 * len(set(half) & set(members)) > 2 * len(half):
                joined |= set(half)
        chosen = sorted(joined)
        raw = np.exp(-squared[image, chosen])
        weights[image, chosen] = raw / raw.sum()
    weights = weights[order[:, :k2]].mean(axis=1)
    minima = np.stack([np.minimum(row, weights[len(query) :]).sum(axis=1) for row in weights[: len(query)]])
    return (1 - lambda_) * (1 - minima / (2 - minima)) + lambda_ * squared[: len(query), len(query) :]


@pytest.mark.parametrize(("k1", "k2"), PARAMETERS)
def test_golden_distances_of_the_small_set(shared, k1, k2):
    ranking, golden = golden_ranking(shared, "small")
    assert (ranking.kept == golden["kept_gallery_index"]).all()
    key = f"k1_{k1}_k2_{k2}_lambda_0.3"
    np.testing.assert_allclose(distances_of(rerank(ranking, k1=k1, k2=k2)), golden[f"final_{key}"], rtol=0, atol=2e-6)
    with_junk = distances_of(rerank(ranking, k1=k1, k2=k2, keep_junk=True))
    stored = golden[f"final_with_junk_{key}"][:, ranking.kept]
    np.testing.assert_allclose(with_junk, stored, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("k1", "k2"), PARAMETERS)
def test_golden_distances_of_the_medium_set(shared, k1, k2):
    ranking, golden = golden_ranking(shared, "medium")
    key = f"k1_{k1}_k2_{k2}_lambda_0.3"
    found = distances_of(rerank(ranking, k1=k1, k2=k2))[golden[f"sample_q_{key}"], golden[f"sample_g_{key}"]]
    np.testing.assert_allclose(found, golden[f"sample_final_{key}"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("k1", "k2"), PARAMETERS)
@pytest.mark.parametrize("size", ["small", "medium"])
def test_golden_scores_lie_within_their_bounds(shared, size, k1, k2):
    ranking, golden = golden_ranking(shared, size)
    key = f"k1_{k1}_k2_{k2}_lambda_0.3"
    scores = evaluate(rerank(ranking, k1=k1, k2=k2), resamples=0)
    valid = scores.per_query.valid
    for found, name in (
        (scores.per_query.ap_rectangular[valid], "ap_rect"),
        (scores.per_query.ap_trapezoid[valid], "ap_trap"),
        (scores.cmc, "cmc"),
    ):
        low, high = golden[f"{name}_bounds_{key}"]
        if name != "cmc":
            low, high = low[valid], high[valid]
        assert ((found >= low - 1e-9) & (found <= high + 1e-9)).all()


@pytest.mark.parametrize(("k1", "k2", "lambda_"), [(20, 6, 0.3), (7, 1, 0.0), (3, 4, 0.9), (50, 15, 0.3)])
def test_sparse_and_dense_differ_by_less_than_one_in_a_million(k1, k2, lambda_):
    ranking = random_ranking(40, 300)
    dense = dense_reranking(ranking.source.query, ranking.source.gallery, k1, k2, lambda_)
    found = distances_of(rerank(ranking, k1=k1, k2=k2, lambda_=lambda_))
    np.testing.assert_allclose(found, dense, rtol=0, atol=1e-6)


def test_squared_euclidean_distances_are_reranked_as_such():
    ranking = random_ranking(30, 200)
    unit = ranking.source.query, ranking.source.gallery
    same = Ranking.from_embeddings(unit[0], ranking.query, unit[1], ranking.gallery, metric="squared_euclidean")
    np.testing.assert_allclose(distances_of(rerank(same)), distances_of(rerank(ranking)), atol=2e-6)
    assert rerank(same).description.startswith("squared euclidean + k-reciprocal(")


def test_reranked_squared_distances_of_long_vectors_do_not_change_with_a_shift():
    ranking = random_ranking(20, 150)
    moved = [
        Ranking.from_embeddings(
            ranking.source.query + shift,
            ranking.query,
            ranking.source.gallery + shift,
            ranking.gallery,
            "squared_euclidean",
        )
        for shift in (0, 1e4)
    ]
    near, far = (distances_of(rerank(one)) for one in moved)
    np.testing.assert_allclose(near, far, atol=2e-6)


def pool(people=40, images=6):
    """Every image is a query and in the gallery; names say so."""
    random = np.random.default_rng(0)
    of = np.repeat(np.arange(people), images)
    embeddings = random.normal(size=(people, 16))[of] + 0.9 * random.normal(size=(len(of), 16))
    labels = ImageLabels(of, None, tuple(f"{number}.jpg" for number in range(len(of))))
    return embeddings, labels


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean"])
def test_a_pool_is_reranked_with_each_image_once(metric):
    embeddings, labels = pool()
    ranking = Ranking.from_embeddings(embeddings, labels, embeddings, labels, metric)
    found = rerank(ranking, k1=8, k2=3)
    assert found.source.jaccard._rows.shape == (240, 240)
    assert evaluate(found).mAP_rectangular > evaluate(ranking).mAP_rectangular + 0.07


def test_a_query_among_the_gallery_counts_once_wherever_it_stands():
    embeddings, labels = pool()
    ranking = Ranking.from_embeddings(embeddings, labels, embeddings, labels)
    everything = distances_of(rerank(ranking, k1=8, k2=3))
    rows = np.array([200, 3, 77])
    few = ImageLabels(labels.person_ids[rows], None, tuple(labels.names[row] for row in rows))
    part = rerank(Ranking.from_embeddings(embeddings[rows], few, embeddings, labels), k1=8, k2=3)
    np.testing.assert_allclose(distances_of(part), everything[rows], atol=1e-6)
    new = ImageLabels(few.person_ids, None, ("a.jpg", few.names[1], "c.jpg"))
    mixed = rerank(Ranking.from_embeddings(embeddings[rows], new, embeddings, labels), k1=8, k2=3)
    assert mixed.source.jaccard._rows.shape == (3, 242)


def test_reranking_helps_on_clustered_people():
    ranking = random_ranking(100, 600, people=30)
    assert evaluate(rerank(ranking)).mAP_rectangular > evaluate(ranking).mAP_rectangular + 0.02


def test_with_lambda_one_the_order_stays():
    ranking = random_ranking(30, 200)
    assert (rerank(ranking, lambda_=1).top(200).indices == ranking.top(200).indices).all()


def test_the_parameters_are_part_of_the_description():
    ranking = random_ranking(3, 10, junk=2)
    assert rerank(ranking, k1=50, k2=15).description == "cosine + k-reciprocal(k1=50, k2=15, lambda=0.3)"
    assert rerank(ranking, keep_junk=True).description == "cosine + k-reciprocal(k1=20, k2=6, lambda=0.3, with junk)"


def test_the_rules_on_cameras_and_junk_still_hold():
    ranking = random_ranking(5, 60, people=3, junk=20)
    again = rerank(ranking)
    assert (again.kept == np.arange(20, 60)).all()
    assert again.top(60).indices.min() == 20
    assert again.query is ranking.query


def test_equal_embeddings_and_tiny_sets_are_no_trouble():
    people = ImageLabels(np.array([1, 2]))
    same = rerank(Ranking.from_embeddings(np.ones((2, 3)), people, np.ones((2, 3)), people))
    assert (distances_of(same) == distances_of(same)[0, 0]).all()
    assert evaluate(same, resamples=0).mAP_rectangular == pytest.approx(0.75)
    one = ImageLabels(np.array([1]))
    alone = Ranking.from_embeddings(np.array([[1.0, 0]]), one, np.array([[0.0, 1]]), one)
    assert np.isfinite(distances_of(rerank(alone, k1=1, k2=1))).all()


def test_memory_grows_with_the_images_and_not_with_their_square():
    ranking = random_ranking(1000, 7000, people=400, dimensions=32)
    tracemalloc.start()
    again = rerank(ranking, threads=1)
    sum(float(again.source.block(block)[0, 0]) for block in np.array_split(np.arange(1000), 50))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8000**2 * 4 / 2  # half of one float32 matrix of all images against all


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k1": 0}, "k1"),
        ({"k2": 0}, "k2"),
        ({"k1": 4, "k2": 6}, "k2: expected a whole number from 1 to 5"),
        ({"lambda_": 1.2}, "lambda"),
        ({"lambda_": "0.3"}, "lambda: expected a number from 0 to 1, got '0.3'"),
        ({"lambda_": True}, "lambda: expected a number from 0 to 1, got True"),
    ],
)
def test_bad_parameters_are_named(change, message):
    with pytest.raises(UserError, match=message):
        rerank(random_ranking(3, 10), **change)


def test_only_embeddings_can_be_reranked():
    labels = ImageLabels(np.array([1]))
    with pytest.raises(UserError, match="given distances"):
        rerank(Ranking.from_distances(np.ones((1, 1)), labels, labels))
    with pytest.raises(UserError, match="Re-rank once"):
        rerank(rerank(random_ranking(3, 10)))
