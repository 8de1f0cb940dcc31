"""The rules on cameras, junk, distractors and names; the nearest images; what is refused."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.labels import ImageLabels
from rewho.rank.ranking import Ranking


def labels(people, cameras=None, names=None):
    cameras = None if cameras is None else np.array(cameras)
    return ImageLabels(np.array(people, np.int64), cameras, names)


def one_query(query, gallery, values):
    return Ranking.from_distances(np.array([values], float), query, gallery)


def test_every_rule_at_once():
    #                     match  same cam  junk  distractor  other  unknown cam  no name
    gallery = labels([7, 7, -1, 0, 8, 7, -2], [1, 0, 1, 0, 0, -1, 0])
    ranking = one_query(labels([7], [0]), gallery, [6, 0, 1, 5, 4, 3, 2])
    found = ranking.top(10)
    assert found.indices.tolist() == [[6, 5, 4, 3, 0, -1]]
    assert found.matches.tolist() == [[False, True, False, False, True, False]]
    assert found.distances.tolist() == [[2, 3, 4, 5, 6, np.inf]]
    assert not found.left_out.any()


def test_images_left_out_can_be_shown_but_junk_never():
    gallery = labels([7, 7, -1, 8], [1, 0, 1, 0])
    found = one_query(labels([7], [0]), gallery, [3, 0, 1, 2]).top(4, with_left_out=True)
    assert found.indices.tolist() == [[1, 3, 0]]
    assert found.left_out.tolist() == [[True, False, False]]
    assert found.matches.tolist() == [[False, False, True]]


def test_an_unknown_camera_leaves_nothing_out():
    for query_camera, gallery_camera in ((-1, 0), (0, -1), (-1, -1)):
        found = one_query(labels([7], [query_camera]), labels([7], [gallery_camera]), [1]).top(1)
        assert found.matches.tolist() == [[True]]


def test_another_person_from_the_same_camera_stays():
    assert one_query(labels([7], [0]), labels([8], [0]), [1]).top(1).indices.tolist() == [[0]]


def test_negative_ids_never_match_each_other():
    for person in (-1, -2, -9):
        ranking = one_query(labels([person], [0]), labels([-2, 3], [1, 1]), [1, 2])
        assert ranking.top(2).indices.tolist() == [[0, 1]]
        assert not ranking.top(2).matches.any()


def test_an_image_is_kept_out_of_its_own_ranking_by_its_name():
    pool = labels([1, 1, 2], names=("a", "b", "c"))
    embeddings = np.array([[1.0, 0], [1, 0.1], [1, 0.3]])
    ranking = Ranking.from_embeddings(embeddings, pool, embeddings, pool)
    assert ranking.top(2).indices.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert ranking.top(3, with_left_out=True).left_out.sum(axis=1).tolist() == [1, 1, 1]


def test_names_that_come_twice_are_all_kept_out():
    ranking = one_query(labels([1], names=("a",)), labels([1, 2, 1], names=("a", "b", "a")), [1, 2, 3])
    assert ranking.top(3).indices.tolist() == [[1, -1, -1]]


def test_a_block_holds_infinity_where_images_are_left_out():
    gallery = labels([7, -1, 7, 8], [1, 1, 0, 0])
    (block,) = one_query(labels([7], [0]), gallery, [1, 2, 3, 4]).map_blocks(lambda block: block, threads=1)
    assert block.distances.tolist() == [[1, np.inf, 4]]
    assert (block.match_rows.tolist(), block.match_columns.tolist()) == ([0], [0])


def test_ties_come_by_gallery_number_and_in_any_number_of_rows():
    random = np.random.default_rng(0)
    values = random.integers(0, 5, (1500, 40)).astype(float)
    ranking = Ranking.from_distances(values, labels([1] * 1500), labels([2] * 40))
    expected = np.argsort(values, axis=1, kind="stable")[:, :9]
    assert (ranking.top(9).indices == expected).all()
    rows = np.array([1400, 3, 3])
    assert (ranking.top(9, rows).indices == expected[rows]).all()
    assert ranking.top(9, np.empty(0, np.int64)).indices.shape == (0, 9)


def test_matches_agree_with_a_loop_over_all_pairs():
    random = np.random.default_rng(1)
    query = labels(random.integers(-2, 6, 700), random.integers(-1, 3, 700))
    gallery = labels(random.integers(-2, 6, 90), random.integers(-1, 3, 90))
    ranking = Ranking.from_distances(random.random((700, 90)), query, gallery)
    matches, left_out = np.zeros((700, 90), bool), np.zeros((700, 90), bool)
    for block in ranking.map_blocks(lambda block: block, threads=1):
        matches[block.rows[block.match_rows], ranking.kept[block.match_columns]] = True
        left_out[block.rows[:, None], ranking.kept] = np.isinf(block.distances)
    for row in range(700):
        for column in range(90):
            person = query.person_ids[row]
            same = person == gallery.person_ids[column] and person >= 0
            camera = query.cameras[row]
            out = same and camera == gallery.cameras[column] and camera != -1
            assert matches[row, column] == (same and not out)
            assert left_out[row, column] == out
    assert ranking.same_person().tolist() == [
        int((gallery.person_ids == person).sum()) if person >= 0 else 0 for person in query.person_ids
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_embedding_that_cannot_be_ranked_is_named(bad):
    good, names = np.ones((3, 2)), ("a.jpg", "b.jpg", "c.jpg")
    spoilt = good.copy()
    spoilt[1] = bad
    for query, gallery in ((spoilt, good), (good, spoilt)):
        with pytest.raises(UserError, match=r"embedding of b\.jpg"):
            Ranking.from_embeddings(query, labels([1, 2, 3], names=names), gallery, labels([1, -1, 3], names=names))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ranking.from_embeddings(np.ones((0, 2)), labels([]), np.ones((1, 2)), labels([1])), "query set"),
        (lambda: Ranking.from_embeddings(np.ones((1, 2)), labels([1]), np.ones((0, 2)), labels([])), "gallery"),
        (lambda: Ranking.from_embeddings(np.ones((1, 2)), labels([1]), np.ones((1, 2)), labels([-1])), "without junk"),
        (lambda: Ranking.from_embeddings(np.ones((1, 2)), labels([1]), np.ones((1, 3)), labels([1])), "dimensions"),
        (lambda: Ranking.from_embeddings(np.ones((1, 2)), labels([1, 2]), np.ones((1, 2)), labels([1])), "expected 2"),
        (lambda: Ranking.from_embeddings(np.ones(2), labels([1, 2]), np.ones((1, 2)), labels([1])), "shape"),
        (lambda: Ranking.from_distances(np.ones((1, 2)), labels([1]), labels([1])), "columns of distances"),
        (lambda: Ranking.from_distances(np.ones((2, 1)), labels([1]), labels([1])), "rows of distances: expected 1"),
        (lambda: one_query(labels([1]), labels([1]), [1]).top(0), "a whole number from 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
