"""Hidden faces: the head is covered wherever key points say it is, and what covers it cannot be undone."""

import cv2
import numpy as np

from rewho.data.faces import head_of, hide_face
from rewho.data.synthetic import street_frames

NOSE, LEFT_EAR, RIGHT_EAR = 0, 3, 4


def heads_in_the_street():
    """Yield crops of a rendered street with key points in pixels of the crop, heads in the picture."""
    for frame, truths in street_frames(6.0, fps=4, people=8, size=(360, 640), seed=5):
        for one in truths:
            left, top, right, bottom = (round(side) for side in np.clip(one.box, 0, [640, 360, 640, 360]))
            points = np.concatenate([one.key_points[:, :2], one.scores[:, None]], 1).astype(np.float32)
            points[:, :2] -= left, top
            head = points[:5]
            inside = (head[:, 0] > 0) & (head[:, 0] < right - left) & (head[:, 1] > 0) & (head[:, 1] < bottom - top)
            if bottom - top >= 60 and right - left >= 20 and one.visible > 0.6 and inside.all():
                yield np.ascontiguousarray(frame[top:bottom, left:right]), points


def test_every_rendered_face_is_covered_with_key_points_and_without():
    covered, blind, total = 0, 0, 0
    for crop, points in heads_in_the_street():
        marked = crop.copy()
        for x, y, _ in points[:5]:
            cv2.circle(marked, (round(float(x)), round(float(y))), 1, (255, 0, 255), -1)
        marks = np.abs(marked.astype(int) - crop).max(-1) > 40
        total += 1
        covered += not (marks & (hide_face(marked, points) == marked).all(-1)).any()
        blind += not (marks & (hide_face(marked) == marked).all(-1)).any()
    assert total > 50
    assert covered / total >= 0.95, f"with key points {covered} of {total}"
    assert blind / total >= 0.9, f"without key points {blind} of {total}"


def test_what_is_hidden_cannot_be_told_apart():
    random = np.random.default_rng(1)
    points = np.zeros((17, 3), np.float32)
    points[[0, 1, 2, 3, 4, 5, 6]] = [
        [40, 30, 1], [44, 26, 1], [36, 26, 1], [48, 30, 1], [32, 30, 1], [60, 58, 1], [20, 58, 1],
    ]  # fmt: skip
    crop = np.full((240, 80, 3), 120, np.uint8)
    faces = [random.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(2)]
    hidden = []
    for face in faces:
        one = crop.copy()
        one[22:38, 32:48] = face
        hidden.append(hide_face(one, points)[22:38, 32:48].astype(float))
    before = np.abs(faces[0].astype(float) - faces[1]).mean()
    assert np.abs(hidden[0] - hidden[1]).mean() < 0.15 * before
    assert (hide_face(crop, points)[120:] == crop[120:]).all()


def test_a_head_is_looked_for_above_where_only_shoulders_are_seen():
    points = np.zeros((17, 3), np.float32)
    points[[5, 6]] = [[20, 40, 1], [60, 40, 1]]
    assert head_of(points, (200, 80)) is None, "then the upper band is hidden"
    noisy = np.random.default_rng(1).integers(0, 256, (200, 80, 3), np.uint8)
    assert np.array_equal(hide_face(noisy, points), hide_face(noisy))
