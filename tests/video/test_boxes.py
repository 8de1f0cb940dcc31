"""Overlap and suppression: values by hand, and a plain loop as the reference."""

import numpy as np
import pytest

from rewho.video.boxes import MOST_CANDIDATES, apply_nms, compute_iou


def test_overlap_is_symmetric_and_one_only_for_itself() -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 50, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (40, 2))], axis=1)
    shared = compute_iou(boxes, boxes)
    assert np.allclose(shared, shared.T)
    assert np.allclose(np.diag(shared), 1)
    assert compute_iou(np.zeros((1, 4)), boxes).max() == 0


def plain(boxes: np.ndarray, scores: np.ndarray, confidence: float, overlap: float) -> list[int]:
    """Suppress in a plain loop: the most confident box goes first and takes out what overlaps with it by more."""
    order = [at for at in np.argsort(-scores, kind="stable") if scores[at] >= confidence]
    kept: list[int] = []
    for at in order:
        if all(compute_iou(boxes[at : at + 1], boxes[other : other + 1])[0, 0] <= overlap for other in kept):
            kept.append(at)
    return kept


@pytest.mark.parametrize("overlap", [0.3, 0.65])
def test_a_batch_is_suppressed_as_a_plain_loop_would(overlap: float) -> None:
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 60, (3, 80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(15, 40, (3, 80, 2))], axis=2)
    scores = rng.permutation(240).reshape(3, 80) / 240
    found = apply_nms(boxes, scores, 0.25, overlap, 100)
    for frame in range(3):
        expected = plain(boxes[frame], scores[frame], 0.25, overlap)
        assert np.allclose([one.box for one in found[frame]], boxes[frame][expected])
        assert [one.index for one in found[frame]] == list(range(len(expected)))
        assert 5 < len(expected) < 60


def test_what_cannot_be_a_box_is_left_out() -> None:
    boxes = np.array([[[0.0, 0, 9, 9], [np.nan, 0, 9, 9], [20, 0, 29, 9], [40, 0, np.inf, 9]]])
    found = apply_nms(boxes, np.array([[0.9, 0.8, np.nan, 0.7]]), 0.1, 0.5, 10)[0]
    assert [one.confidence for one in found] == [pytest.approx(0.9)]
    assert apply_nms(np.zeros((2, 0, 4)), np.zeros((2, 0)), 0.1, 0.5, 10) == [[], []]


def test_numbers_are_bounded() -> None:
    many = MOST_CANDIDATES + 500
    boxes = np.tile(np.arange(many)[:, None] * [20.0, 0, 20, 0] + [0, 0, 10, 10], (1, 1, 1))
    scores = np.linspace(0.5, 0.9, many)[None]
    assert len(apply_nms(boxes, scores, 0.1, 0.5, 50)[0]) == 50
    assert len(apply_nms(boxes, scores, 0.1, 0.5, 10**6)[0]) == MOST_CANDIDATES
