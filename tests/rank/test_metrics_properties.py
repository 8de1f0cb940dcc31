"""What must hold of the scores of any task: bounds, perfection, and everything that must not change them.

Each property is tried on a few tasks in every run and on 1,000 in the slow one.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking

PER_QUERY = ("rank_1", "ap_rectangular", "ap_trapezoid", "inp", "first_match")
MAX_RANK = 8


class Task:
    """Embeddings and labels; small whole numbers as coordinates make many ties, other numbers none."""

    def __init__(self, queries, images, dimensions, coarse, seed):
        random = np.random.default_rng(seed)
        draw = random.normal if not coarse else lambda size: random.integers(-1, 2, size).astype(float)
        self.query, self.gallery = draw(size=(queries, dimensions)), draw(size=(images, dimensions))
        for part in (self.query, self.gallery):
            part[~part.any(axis=1)] = 1
        self.query_people, self.people = random.integers(-1, 4, queries), random.integers(-2, 4, images)
        self.query_cameras, self.cameras = random.integers(-1, 3, queries), random.integers(-1, 3, images)
        self.query_people[0] = self.people[0] = 1
        self.cameras[0] = -1
        self.random = random

    def ranking(self):
        query = ImageLabels(self.query_people, self.query_cameras)
        gallery = ImageLabels(self.people, self.cameras)
        return Ranking.from_embeddings(self.query, query, self.gallery, gallery)

    def scores(self):
        return evaluate(self.ranking(), max_rank=MAX_RANK, resamples=20)

    def matrix(self):
        found = self.scores()
        return np.stack([getattr(found.per_query, name) for name in PER_QUERY])


def scores_stay_within_bounds(task):
    scores = task.scores()
    valid = scores.per_query.valid
    for name in PER_QUERY[:4]:
        values = getattr(scores.per_query, name)
        assert (np.isnan(values) == ~valid).all()
        assert ((values[valid] >= 0) & (values[valid] <= 1 + 1e-12)).all()
    assert (scores.per_query.ap_trapezoid[valid] <= scores.per_query.ap_rectangular[valid] + 1e-12).all()
    assert (scores.per_query.first_match[valid] >= 1).all()
    assert scores.mAP_rectangular_all_queries <= scores.mAP_rectangular
    assert scores.valid_queries + scores.not_in_gallery + scores.only_left_out == scores.queries
    for low, high in scores.intervals.values():
        assert 0 <= low <= high <= 1 + 1e-12


def the_curve_rises(task):
    scores = task.scores()
    for curve in (scores.cmc, scores.cmc_all_queries):
        assert (np.diff(curve) >= -1e-12).all()
        assert ((curve >= 0) & (curve <= 1 + 1e-12)).all()
    assert (scores.cmc_all_queries <= scores.cmc + 1e-12).all()


def average_precision_is_one_only_where_all_matches_come_first(task):
    ranking = task.ranking()
    scores = task.scores().per_query
    for block in ranking.map_blocks(lambda block: block, threads=1):
        for row in np.flatnonzero(scores.valid):
            match = np.zeros(len(ranking.kept), bool)
            match[block.match_columns[block.match_rows == row]] = True
            others = block.distances[row][~match]
            perfect = not len(others) or block.distances[row][match].max() < others.min()
            for name in ("ap_rectangular", "ap_trapezoid", "inp"):
                assert (getattr(scores, name)[row] > 1 - 1e-12) == perfect


def scale_and_rotation_change_nothing(task):
    before = task.matrix()
    rotation = np.linalg.qr(task.random.normal(size=(task.query.shape[1],) * 2))[0]
    for name in ("query", "gallery"):
        part = getattr(task, name)
        setattr(task, name, np.exp(3 * task.random.normal(size=(len(part), 1))) * (part @ rotation))
    np.testing.assert_allclose(task.matrix(), before, rtol=0, atol=1e-12)


def one_more_distractor_never_helps(task):
    before = task.matrix()
    task.gallery = np.r_[task.gallery, task.random.normal(size=(1, task.gallery.shape[1]))]
    task.people, task.cameras = np.r_[task.people, task.random.choice([-2, 77])], np.r_[task.cameras, 0]
    after = task.matrix()
    valid = ~np.isnan(before[0])
    assert (np.isnan(after[0]) == ~valid).all()
    assert (after[:4, valid] <= before[:4, valid] + 1e-12).all()
    assert (after[4, valid] >= before[4, valid] - 1e-12).all()


def a_distractor_far_from_all_changes_nothing(task):
    before = task.matrix()
    far = np.zeros((1, task.gallery.shape[1] + 1))
    far[0, -1] = -1
    # A new axis: every image points up along it and the distractor down; (cos + 1) / 2 keeps the order of the others.
    task.query, task.gallery = (np.c_[part, np.linalg.norm(part, axis=1)] for part in (task.query, task.gallery))
    task.gallery = np.r_[task.gallery, far]
    task.people, task.cameras = np.r_[task.people, -2], np.r_[task.cameras, 0]
    np.testing.assert_allclose(task.matrix(), before, rtol=0, atol=1e-12)


def a_query_asked_twice_scores_the_same_twice(task):
    before = task.matrix()
    copies = task.random.integers(0, len(task.query), 3)
    task.query = np.r_[task.query, task.query[copies]]
    task.query_people = np.r_[task.query_people, task.query_people[copies]]
    task.query_cameras = np.r_[task.query_cameras, task.query_cameras[copies]]
    after = task.matrix()
    assert np.array_equal(after, np.c_[before, before[:, copies]], equal_nan=True)


def other_numbers_for_people_and_cameras_change_nothing(task):
    before = task.matrix()
    new_people, new_cameras = (10**9 + task.random.permutation(10) * 12345 for _ in range(2))
    for name, new in (
        ("query_people", new_people),
        ("people", new_people),
        ("query_cameras", new_cameras),
        ("cameras", new_cameras),
    ):
        old = getattr(task, name)
        setattr(task, name, np.where(old >= 0, new[np.maximum(old, 0)], old))
    assert np.array_equal(task.matrix(), before, equal_nan=True)


def the_order_of_storage_changes_nothing(task):
    before = task.matrix()
    rows, columns = task.random.permutation(len(task.query)), task.random.permutation(len(task.gallery))
    task.query, task.query_people, task.query_cameras = (
        part[rows] for part in (task.query, task.query_people, task.query_cameras)
    )
    task.gallery, task.people, task.cameras = (part[columns] for part in (task.gallery, task.people, task.cameras))
    np.testing.assert_allclose(task.matrix(), before[:, rows], rtol=0, atol=1e-12)


PROPERTIES = [
    scores_stay_within_bounds,
    the_curve_rises,
    average_precision_is_one_only_where_all_matches_come_first,
    scale_and_rotation_change_nothing,
    one_more_distractor_never_helps,
    a_distractor_far_from_all_changes_nothing,
    a_query_asked_twice_scores_the_same_twice,
    other_numbers_for_people_and_cameras_change_nothing,
    the_order_of_storage_changes_nothing,
]
tasks = st.builds(
    Task,
    queries=st.integers(1, 8),
    images=st.integers(1, 25),
    dimensions=st.integers(2, 6),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32),
)


def try_on(examples, check):
    settings(max_examples=examples, deadline=None, derandomize=True)(given(tasks)(check))()


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_property(check):
    try_on(60, check)


@pytest.mark.slow
@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_property_on_1000_tasks(check):
    try_on(1000, check)
