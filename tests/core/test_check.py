"""Values of a Python caller: what only looks like a truth value or a whole number is refused, wherever it is passed."""

import numpy as np
import pytest

import rewho
from rewho import UserError
from rewho.core.check import check_count, check_flag
from rewho.crops.export import export
from rewho.data.table import ImageTable
from rewho.embedding.embedder import embedder, load
from rewho.embedding.scoring import rank_table
from rewho.models.single_view import SingleViewModel
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.rerank import rerank
from rewho.rank.single_shot import single_gallery_shot
from rewho.settings import DeviceSettings, ModelSettings
from rewho.video.detect import detect_frames, detect_video
from rewho.video.replay_detector import ReplayDetector

IMAGE = np.full((64, 32, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def model():
    return embedder(SingleViewModel(ModelSettings(embedding=8, extra_bn="no"), (64, 32)), DeviceSettings("cpu"))


@pytest.fixture
def ranking():
    vectors = np.array([[1.0, 0], [1, 0.1], [0, 1]])
    return Ranking.from_embeddings(vectors[:1], ImageLabels([1]), vectors, ImageLabels([1, 1, 2]))


@pytest.mark.parametrize("value", ["no", "false", "", 0, 1, None, [], np.array([True]), 0.0])
def test_only_truth_values_are_truth_values(value):
    with pytest.raises(UserError, match="expected True or False"):
        check_flag("flip", value)
    assert (check_flag("flip", np.True_), check_flag("flip", np.False_), check_flag("flip", False)) == (
        True,
        False,
        False,
    )


@pytest.mark.parametrize("value", ["3", 3.0, 1.5, True, None, -1, 2**63, float("nan"), np.float64(3)])
def test_only_whole_numbers_count(value):
    with pytest.raises(UserError, match="a whole number from 0"):
        check_count("max_rank", value, 0)
    assert check_count("max_rank", np.uint8(3)) == 3


def test_no_flag_of_the_python_api_takes_what_only_counts_as_true(model, ranking, tmp_path):
    table = ImageTable("t", tmp_path, ("a.jpg", "b.jpg"), [1, 1], [0, 1], ("query", "gallery"))
    calls = [
        lambda: model.embed(IMAGE, flip="no"),
        lambda: list(model.stream([IMAGE], flip=0)),
        lambda: rank_table(model, table, flip="no"),
        lambda: rewho.evaluate(model, table, flip=None),
        lambda: load(tmp_path, branches="no"),
        lambda: evaluate(ranking, camera_pairs="no"),
        lambda: evaluate(ranking).as_dict(with_queries="no"),
        lambda: rerank(ranking, keep_junk="no"),
        lambda: ranking.top(1, with_left_out="no"),
        lambda: export(None, tmp_path / "new", "jpeg", blur_faces="no"),
        lambda: list(detect_video("a.mp4", ReplayDetector(None), None, only_possible="no")),
        lambda: list(detect_frames([], ReplayDetector(None), None, only_possible="no")),
    ]
    for number, call in enumerate(calls):
        try:
            call()
        except UserError as error:
            assert "True or False" in str(error) or (number == 4 and "model" in str(error)), number
        else:
            raise AssertionError(f"call {number} took it")


def test_no_count_of_the_python_api_takes_fractions(model, ranking, tmp_path):
    calls = [
        lambda: model.embed(IMAGE, batch=1.5),
        lambda: rewho.search(IMAGE, tmp_path, model, count="all"),
        lambda: evaluate(ranking, max_rank=1.5),
        lambda: evaluate(ranking, resamples=-1),
        lambda: evaluate(ranking, seed="one"),
        lambda: evaluate(ranking, threads=-1),
        lambda: evaluate(ranking).rank(1.5),
        lambda: rerank(ranking, k1=2.5),
        lambda: rerank(ranking, k2="6"),
        lambda: ranking.top(1.5),
        lambda: single_gallery_shot(ranking, repeats=2.5),
        lambda: list(detect_video("a.mp4", ReplayDetector(None), None, batch=0)),
    ]
    for number, call in enumerate(calls):
        try:
            call()
        except UserError as error:
            assert "a whole number from" in str(error), number
        else:
            raise AssertionError(f"call {number} took it")


@pytest.mark.parametrize("rows", [[0.5], [True], [-1], [1], ["0"], [[0]], np.array([True])])
def test_queries_are_chosen_by_their_numbers_only(ranking, rows):
    with pytest.raises(UserError, match="query rows: expected numbers from 0 to 0"):
        ranking.top(1, rows)
    assert ranking.top(1, [0]).indices.tolist() == [[0]]
    assert ranking.top(1, []).indices.shape[0] == 0


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_an_id_too_large_is_not_another_person(tmp_path, number):
    ids = np.array([1, number], np.uint64)
    with pytest.raises(UserError, match=f"below 2.63, got {number}"):
        ImageLabels(ids)
    with pytest.raises(UserError, match=f"below 2.63, got {number}"):
        ImageLabels([1, 2], ids)
    with pytest.raises(UserError, match=f"below 2.63, got {number} in row 1"):
        ImageTable("t", tmp_path, ("a.jpg", "b.jpg"), ids, [0, 1], ("query", "gallery"))
    assert ImageLabels(np.array([2**63 - 1], np.uint64)).person_ids.tolist() == [2**63 - 1]
