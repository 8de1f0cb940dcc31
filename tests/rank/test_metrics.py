"""Metrics against values solved by hand, closed forms, golden values, and a slow evaluation in plain Python."""

import json
import pickle
from fractions import Fraction
from itertools import permutations
from math import comb

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from rewho.core.check import UserError
from rewho.rank.interval import bootstrap_interval
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import METRICS, evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Metric
from rewho.rank.ties import expected_first_rank

NAMES = ("rank_1", "ap_rectangular", "ap_trapezoid", "inp", "first_match")


def labels(people, cameras=None):
    return ImageLabels(np.array(people, np.int64), None if cameras is None else np.array(cameras))


def ranked(people, query_people=(7,), cameras=None, query_cameras=None, max_rank=5):
    """Evaluate one query per row against a gallery that lies in the order given."""
    values = np.tile(np.arange(len(people), dtype=float), (len(query_people), 1))
    ranking = Ranking.from_distances(values, labels(query_people, query_cameras), labels(people, cameras))
    return evaluate(ranking, max_rank=max_rank, resamples=0)


def slow_evaluation(ranking, max_rank):
    """Score every query with lists, sorting and loops; images at one distance keep the order of the gallery."""
    found = []
    query, gallery = ranking.query, ranking.gallery
    for row in range(len(query)):
        (distances,) = ranking.source.block(np.array([row]))
        person, camera = query.person_ids[row], query.cameras[row]
        ranks, rank = [], 0
        for _, index in sorted(zip(distances.tolist(), ranking.kept.tolist(), strict=True)):
            same = gallery.person_ids[index] == person and person >= 0
            if same and gallery.cameras[index] == camera and camera != -1:
                continue
            if same:
                ranks.append(rank)
            rank += 1
        if not ranks:
            found.append([float("nan")] * 5 + [0.0] * max_rank)
            continue
        number = len(ranks)
        after = sum((i + 1) / (r + 1) for i, r in enumerate(ranks)) / number
        before = sum(i / r if r else 1.0 for i, r in enumerate(ranks)) / number
        curve = [float(ranks[0] < k) for k in range(1, max_rank + 1)]
        inp = number / (ranks[-1] + 1)
        found.append([curve[0], after, (after + before) / 2, inp, ranks[0] + 1, *curve])
    return np.array(found)


def random_task(random, levels=None):
    """A task with junk, distractors, unknown cameras and people without a match; `levels` values make ties."""
    queries, images = random.integers(2, 12), random.integers(3, 60)
    people = random.integers(-2, 8, images)
    people[0] = 1
    query = labels(np.r_[1, random.integers(-1, 10, queries - 1)], np.r_[-1, random.integers(-1, 4, queries - 1)])
    shape = (queries, images)
    values = random.random(shape) if levels is None else random.integers(0, levels, shape).astype(float)
    return Ranking.from_distances(values, query, labels(people, random.integers(-1, 4, images)))


def test_one_query_by_hand():
    scores = ranked([7, 1, 7, 2, 7])
    assert scores.mAP_rectangular == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=1e-15)
    assert scores.mAP_trapezoid == pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + (2 / 4 + 3 / 5) / 2) / 3, abs=1e-15)
    assert scores.mINP == pytest.approx(3 / 5)
    assert scores.cmc.tolist() == [1, 1, 1, 1, 1]
    scores = ranked([1, 2, 7, 0])
    assert (scores.mAP_rectangular, scores.mAP_trapezoid) == (pytest.approx(1 / 3), pytest.approx(1 / 6))
    assert scores.cmc.tolist() == [0, 0, 1, 1, 1]
    assert scores.per_query.first_match.tolist() == [3]


@pytest.mark.parametrize(
    ("case", "people", "cameras", "first", "rectangular"),
    [
        ("same camera is left out", [7, 7, 1, 7], [0, 0, 0, 1], 2, 1 / 2),
        ("junk is dropped", [-1, -1, 7], [1, 1, 1], 1, 1),
        ("distractors stay", [0, 0, 7], [1, 1, 1], 3, 1 / 3),
        ("unnamed people stay", [-2, -2, 7], [1, 1, 1], 3, 1 / 3),
        ("single positive", [1, 7], [1, 1], 2, 1 / 2),
        ("gallery smaller than the curve", [7], [1], 1, 1),
        ("cameras that no query has", [1, 7], [8, 9], 2, 1 / 2),
        ("unknown camera is not the query's", [7, 1], [-1, 1], 1, 1),
    ],
)
def test_rules_by_hand(case, people, cameras, first, rectangular):
    scores = ranked(people, cameras=cameras, query_cameras=[0])
    assert scores.per_query.first_match.tolist() == [first], case
    assert scores.mAP_rectangular == pytest.approx(rectangular)
    assert scores.cmc.tolist() == [float(k >= first) for k in range(1, 6)]


def test_queries_without_a_match_are_counted_by_reason_and_shown_in_both_averages():
    scores = ranked([7, 8, 1], [7, 8, 9, -1], [0, 0, 1], [1, 0, 0, 0])
    assert (scores.queries, scores.valid_queries, scores.not_in_gallery, scores.only_left_out) == (4, 1, 2, 1)
    assert scores.per_query.valid.tolist() == [True, False, False, False]
    assert np.isnan(scores.per_query.ap_rectangular[1:]).all()
    assert (scores.mAP_rectangular, scores.mAP_rectangular_all_queries) == (1, 0.25)
    assert (scores.mAP_trapezoid, scores.mAP_trapezoid_all_queries) == (1, 0.25)
    assert (scores.mINP, scores.mINP_all_queries) == (1, 0.25)
    assert (scores.cmc[0], scores.cmc_all_queries[0]) == (1, 0.25)


def test_no_query_with_a_match_is_refused_rather_than_scored():
    with pytest.raises(UserError, match=r"none of 2 \(1 people are not in the gallery"):
        ranked([7, 1], [7, 9], [0, 0], [0, 0])
    with pytest.raises(UserError, match="max_rank"):
        ranked([7], max_rank=0)
    for outside in (0, 6):
        with pytest.raises(UserError, match="rank: expected a whole number from 1 to 5"):
            ranked([7], max_rank=5).rank(outside)


@pytest.mark.parametrize("size", ["small", "medium"])
def test_golden_values(shared, size):
    given, wanted = (np.load(shared / "golden" / "ranking" / f"{size}_{part}.npz") for part in ("input", "output"))
    query, gallery = (ImageLabels(given[f"{side}_pid"], given[f"{side}_cam"]) for side in "qg")
    ranking = Ranking.from_embeddings(given["q_feat"], query, given["g_feat"], gallery)
    scores = evaluate(ranking, resamples=0, threads=2)
    assert (scores.per_query.valid == wanted["valid"]).all()
    first = np.where(wanted["valid"], wanted["first_hit_rank0"] + 1, np.nan)
    for name, expected in (
        ("ap_rectangular", wanted["ap_rect"]),
        ("ap_trapezoid", wanted["ap_trap"]),
        ("inp", wanted["inp"]),
        ("first_match", first),
    ):
        np.testing.assert_allclose(getattr(scores.per_query, name), expected, rtol=0, atol=1e-9)
    for name, key in (
        ("cmc", "cmc"),
        ("cmc_all_queries", "cmc_all_queries"),
        ("mAP_rectangular", "mAP_rect"),
        ("mAP_trapezoid", "mAP_trap"),
        ("mINP", "mINP"),
        ("mAP_rectangular_all_queries", "mAP_rect_all_queries"),
        ("mAP_trapezoid_all_queries", "mAP_trap_all_queries"),
    ):
        np.testing.assert_allclose(getattr(scores, name), wanted[key], rtol=0, atol=1e-9)
    if size == "small":
        (block,) = ranking.map_blocks(lambda block: block, threads=1)
        stored = wanted["cosine_distance"][:, ranking.kept]
        np.testing.assert_allclose(np.where(np.isinf(block.distances), stored, block.distances), stored, atol=1e-6)


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_a_slow_evaluation_and_with_scikit_learn(seed):
    ranking = random_task(np.random.default_rng(seed))
    scores = evaluate(ranking, max_rank=20, resamples=0)
    expected = slow_evaluation(ranking, 20)
    valid = scores.per_query.valid
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(getattr(scores.per_query, name), expected[:, column], rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.cmc, expected[valid, 5:].mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.mAP_trapezoid_all_queries, np.nansum(expected[:, 2]) / len(valid), atol=1e-12)
    for block in ranking.map_blocks(lambda block: block, threads=1):
        for row in np.flatnonzero(valid):
            inside = np.isfinite(block.distances[row])
            match = np.zeros(len(inside), bool)
            match[block.match_columns[block.match_rows == row]] = True
            step = average_precision_score(match[inside], -block.distances[row][inside])
            assert scores.per_query.ap_rectangular[row] == pytest.approx(step, abs=1e-12)


def test_ties_are_scored_at_the_mean_over_all_orders():
    random = np.random.default_rng(3)
    for _ in range(4):
        people = np.r_[1, random.integers(0, 3, 5)]
        values = random.integers(0, 3, (3, 6)).astype(float)
        query = labels([1, 2, 1])
        scores = evaluate(Ranking.from_distances(values, query, labels(people)), max_rank=6, resamples=0)
        each = []
        for order in permutations(range(6)):
            shuffled = Ranking.from_distances(values[:, order], query, labels(people[list(order)]))
            each.append(slow_evaluation(shuffled, 6))
        mean = np.mean(each, axis=0)
        for column, name in enumerate(NAMES):
            np.testing.assert_allclose(getattr(scores.per_query, name), mean[:, column], rtol=0, atol=1e-12)
        np.testing.assert_allclose(scores.cmc_all_queries, mean[:, 5:].mean(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["half precision", "few values", "copies", "no ties"])
def test_the_order_of_storage_changes_nothing(kind):
    random = np.random.default_rng(4)
    query, gallery = random.normal(size=(40, 30)), random.normal(size=(300, 30))
    if kind == "half precision":
        query, gallery = (np.repeat(part[::2], 2, axis=0).astype(np.float16) for part in (query, gallery))
    elif kind == "few values":
        query, gallery = np.sign(query[:, :3]), np.sign(gallery[:, :3])
    elif kind == "copies":
        gallery = gallery[random.integers(0, 10, 300)]
    people, query_people = random.integers(-1, 15, 300), random.integers(0, 15, 40)
    cameras, query_cameras = random.integers(0, 4, 300), random.integers(0, 4, 40)

    def score(rows, columns):
        query_labels = labels(query_people[rows], query_cameras[rows])
        ranking = Ranking.from_embeddings(
            query[rows], query_labels, gallery[columns], labels(people[columns], cameras[columns])
        )
        scores = evaluate(ranking, resamples=0)
        per_query = np.stack([getattr(scores.per_query, name)[np.argsort(rows)] for name in NAMES])
        return np.concatenate([per_query.ravel(), scores.cmc, [scores.mAP_rectangular, scores.mAP_trapezoid]])

    first = score(np.arange(40), np.arange(300))
    for _ in range(30):
        again = score(random.permutation(40), random.permutation(300))
        np.testing.assert_allclose(again, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("images", "matches"), [(1, 1), (5, 2), (60, 60), (400, 7)])
def test_constant_embeddings_score_what_chance_scores(images, matches):
    people = np.r_[np.ones(matches, int), np.full(images - matches, 2)]
    vector = np.random.default_rng(5).normal(size=17)
    ranking = Ranking.from_embeddings(
        np.tile(vector, (3, 1)), labels([1] * 3), np.tile(vector, (images, 1)), labels(people)
    )
    scores = evaluate(ranking, max_rank=10, resamples=0)
    share = Fraction(matches, images)
    rho = Fraction(matches - 1, max(images - 1, 1))
    rectangular = share / matches * sum((1 + place * rho) / (place + 1) for place in range(images))
    before = share / matches * (1 + sum((place * rho) / place for place in range(1, images)))
    assert scores.mAP_rectangular == pytest.approx(float(rectangular), abs=1e-14)
    assert scores.mAP_trapezoid == pytest.approx(float((rectangular + before) / 2), abs=1e-14)
    missed = [Fraction(comb(images - matches, k), comb(images, k)) if k <= images else 0 for k in range(1, 11)]
    np.testing.assert_allclose(scores.cmc, [float(1 - miss) for miss in missed], rtol=0, atol=1e-14)
    last = sum(Fraction(comb(place - 1, matches - 1), place) for place in range(1, images + 1))
    assert scores.mINP == pytest.approx(float(matches * last / comb(images, matches)), abs=1e-14)


def test_camera_pairs_are_the_scores_of_smaller_galleries():
    random = np.random.default_rng(6)
    values = random.integers(0, 30, (60, 200)).astype(float)
    query = labels(random.integers(0, 9, 60), random.integers(-1, 3, 60))
    gallery = labels(random.integers(-1, 9, 200), random.integers(-1, 4, 200))
    scores = evaluate(Ranking.from_distances(values, query, gallery), camera_pairs=True, resamples=0)
    found = {(pair.query_camera, pair.gallery_camera): pair for pair in scores.camera_pairs}
    assert len(found) == len(scores.camera_pairs)
    for camera in (-1, 0, 1, 2, 3):
        inside = gallery.cameras == camera
        part = labels(gallery.person_ids[inside], gallery.cameras[inside])
        alone = evaluate(Ranking.from_distances(values[:, inside], query, part), resamples=0).per_query
        for query_camera in (-1, 0, 1, 2):
            chosen = alone.valid & (query.cameras == query_camera)
            if not chosen.any():
                assert (query_camera, camera) not in found
                continue
            pair = found[query_camera, camera]
            assert pair.valid_queries == chosen.sum()
            assert pair.rank_1 == pytest.approx(alone.rank_1[chosen].mean(), abs=1e-14)
            assert pair.mAP_rectangular == pytest.approx(alone.ap_rectangular[chosen].mean(), abs=1e-14)
            assert pair.mAP_trapezoid == pytest.approx(alone.ap_trapezoid[chosen].mean(), abs=1e-14)
    assert (0, 0) not in found
    assert (-1, -1) in found


def test_blocks_and_threads_change_nothing(monkeypatch):
    ranking = random_task(np.random.default_rng(7), levels=5)
    whole = evaluate(ranking, threads=1)
    monkeypatch.setattr("rewho.rank.blocks.MOST_ROWS", 2)
    assert json.dumps(evaluate(ranking, threads=3).as_dict(with_queries=True)) == json.dumps(
        whole.as_dict(with_queries=True)
    )


def test_intervals_hold_the_scores_and_resample_people():
    random = np.random.default_rng(8)
    query, gallery = labels(np.repeat(np.arange(20), 10)), labels(np.repeat(np.arange(20), 5))
    centres, scatter = random.normal(size=(20, 8)), np.repeat([0.1, 2.0], 10)[:, None]  # easy and hard people

    def embed(people):
        return centres[people] + scatter[people] * random.normal(size=(len(people), 8))

    ranking = Ranking.from_embeddings(embed(query.person_ids), query, embed(gallery.person_ids), gallery)
    scores = evaluate(ranking)
    for name, value in (("rank_1", scores.rank(1)), ("mAP_rectangular", scores.mAP_rectangular)):
        low, high = scores.intervals[name]
        column = scores.per_query.rank_1 if name == "rank_1" else scores.per_query.ap_rectangular
        single = np.diff(bootstrap_interval(column[:, None], np.arange(200)), axis=0)[0, 0]
        assert 0 <= low < value < high <= 1
        assert high - low > 1.5 * single
    assert scores.people == 20
    assert "(95 % over 20 people: " in scores.line()
    assert evaluate(ranking, resamples=0).intervals == {}


def test_one_person_has_no_interval_and_a_line_says_so():
    query, gallery = labels([7, 7, 8]), labels([7, 9])
    scores = evaluate(Ranking.from_distances(np.array([[0.1, 0.2], [0.2, 0.1], [0.1, 0.1]]), query, gallery))
    assert (scores.people, scores.intervals) == (1, {})
    assert "mAP 75.00 rectangular (one person, so no interval), " in scores.line()
    assert scores.line().endswith("; 2 queries, 1 without a match")


def test_the_dictionary_is_json():
    scores = ranked([7, 1], [7, 9], max_rank=10)
    found = json.loads(json.dumps(scores.as_dict(with_queries=True), allow_nan=False))
    assert found["rank_1"] == found["rank_5"] == found["rank_10"] == 1
    assert "rank_20" not in found
    assert found["per_query"]["ap_rectangular"] == [1, None]
    assert found["description"] == "given distances"
    assert found["not_in_gallery"] == 1
    with_all = evaluate(random_task(np.random.default_rng(0)), camera_pairs=True, resamples=9).as_dict()
    assert set(json.loads(json.dumps(with_all))["intervals"]) == {"rank_1", "mAP_rectangular", "mAP_trapezoid"}
    assert {"query_camera", "mAP_trapezoid"} <= set(with_all["camera_pairs"][0])


def test_a_metric_of_a_users_own_is_one_entry_and_is_listed_everywhere():
    explanation = "Mean of 1 / rank of the first match."
    reciprocal = Metric(
        "MRR", "reciprocal_rank", "MRR", explanation, lambda matches: 1 / expected_first_rank(matches.first), True
    )
    scores = evaluate(random_task(np.random.default_rng(0)), camera_pairs=True, metrics=(*METRICS, reciprocal))
    first = scores.per_query.first_match
    assert pytest.approx(np.nansum(1 / first) / scores.valid_queries) == scores.MRR
    assert scores.MRR_all_queries < scores.MRR
    low, high = scores.intervals["MRR"]
    assert low < scores.MRR < high
    assert scores.per_query.reciprocal_rank.tolist() == pytest.approx((1 / first).tolist(), nan_ok=True)
    assert scores.as_dict()["camera_pairs"][0]["MRR"] == scores.camera_pairs[0].MRR
    assert list(scores.headlines())[-1] == ("MRR", scores.MRR, low, high, explanation)
    with pytest.raises(AttributeError, match="no score 'mAp'; it has rank_1, mAP_rectangular"):
        _ = scores.mAp
    assert pickle.loads(pickle.dumps(scores.camera_pairs[0])) == scores.camera_pairs[0]
