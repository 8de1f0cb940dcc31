"""Hidden faces: the head is covered wherever keypoints say it is, and what covers it cannot be undone."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest

from rewho.core.runtime import generator
from rewho.crops.faces import hide_face, locate_head
from rewho.rendered import street_frames
from rewho.rendered.camera import Camera
from rewho.rendered.figure import build_figure
from rewho.rendered.image import Rendered, _draw_pose, render_person
from rewho.rendered.person import Identity

NOSE, LEFT_EAR, RIGHT_EAR = 0, 3, 4


def heads_in_the_street():
    """Yield crops of a rendered street with keypoints in pixels of the crop, heads in the image."""
    for frame, truths in street_frames(6.0, fps=4, people=8, size=(360, 640), seed=5):
        for one in truths:
            left, top, right, bottom = (round(side) for side in np.clip(one.box, 0, [640, 360, 640, 360]))
            points = np.concatenate([one.keypoints[:, :2], one.scores[:, None]], 1).astype(np.float32)
            points[:, :2] -= left, top
            head = points[:5]
            inside = (head[:, 0] > 0) & (head[:, 0] < right - left) & (head[:, 1] > 0) & (head[:, 1] < bottom - top)
            if bottom - top >= 60 and right - left >= 20 and one.visible > 0.6 and inside.all():
                yield np.ascontiguousarray(frame[top:bottom, left:right]), points


def test_every_rendered_face_is_covered_with_keypoints_and_without():
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
    assert covered / total >= 0.95, f"with keypoints {covered} of {total}"
    assert blind / total >= 0.9, f"without keypoints {blind} of {total}"


class Face(NamedTuple):
    """A rendered image of somebody who looks towards the camera, and the ellipse of the whole head in it."""

    image: Rendered
    head: np.ndarray

    def hidden_share(self, points: np.ndarray | None) -> float:
        """Return how much of the head is hidden: noise shows where anything is changed."""
        noise = np.random.default_rng(1).integers(0, 256, self.image.image.shape, np.uint8)
        return float((hide_face(noise, points) != noise).any(-1)[self.head].mean())


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    """Heads of at least 20 pixels, with hair and hat, in images as a detector cuts them."""
    found = []
    for number in range(260):
        person, camera, size = Identity.draw(3, number), Camera.draw(3, number % 6), ((320, 128), (200, 84))[number % 2]
        image = render_person(person, camera, generator(3, "faces", number), size)
        figure = build_figure(
            person, _draw_pose(camera, generator(3, "faces", number))
        )  # the same draws, the same pose
        head = np.array(next(part.box for part in figure.parts if part.name == "head")).reshape(2, 2)
        metres, pixels = np.array(figure.box).reshape(2, 2), np.array(image.box).reshape(2, 2)
        head = (head - metres[0]) * (pixels[1] - pixels[0]) / (metres[1] - metres[0]) + pixels[0]
        if head[1, 1] - head[0, 1] >= 20 and image.keypoints[0, 2] == 2:
            mask = np.zeros(size, np.uint8)
            half = np.round((head[1] - head[0]) / 2).astype(int)
            cv2.ellipse(mask, np.round(head.mean(0)).astype(int).tolist(), half.tolist(), 0, 0, 360, 1, -1)
            found.append(Face(image, mask > 0))
    assert len(found) > 100
    return found


def recall(faces: list[Face], points: list[np.ndarray | None]) -> float:
    """Return the share of faces of which at most a twentieth can be seen."""
    return float(np.mean([face.hidden_share(known) >= 0.95 for face, known in zip(faces, points, strict=True)]))


def test_faces_of_twenty_pixels_are_hidden_with_keypoints_that_are_a_little_wrong(faces):
    random = np.random.default_rng(1)
    for error in (0, 0.01):
        points = [face.image.keypoints.astype(np.float32) for face in faces]
        for face, known in zip(faces, points, strict=True):
            known[:, :2] += random.normal(0, error * face.image.image.shape[0], (17, 2))
            known[:, 2] = np.where(known[:, 2] == 2, 0.9, 0.1)
        assert recall(faces, points) >= 0.95, error


def test_faces_of_twenty_pixels_are_hidden_without_keypoints(faces):
    assert recall(faces, [None] * len(faces)) >= 0.95


def test_faces_of_twenty_pixels_are_hidden_with_the_keypoints_of_a_small_model(faces, shared):
    pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    from rewho.settings import PoseSettings
    from rewho.video.onnx_pose import OnnxPose
    from rewho.video.people import Frame, Person

    weights = shared / "data" / "weights" / "mediapipe_pose_landmark_lite.onnx"
    pose = OnnxPose(PoseSettings(weights=weights, threads=1))
    frames = [Frame(0, 0.0, face.image.image) for face in faces]
    boxes = [(0.0, 0.0, float(one.image.shape[1]), float(one.image.shape[0])) for one in frames]
    people = pose.add_keypoints(frames, [[Person(box, 1.0, None, 0)] for box in boxes])
    assert recall(faces, [found[0].keypoints for found in people]) >= 0.95


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


def test_a_head_that_is_found_too_low_hides_what_is_above_it_too():
    points = np.zeros((17, 3), np.float32)
    points[:5] = [[40, 80, 1], [44, 76, 1], [36, 76, 1], [48, 80, 1], [32, 80, 1]]
    noisy = np.random.default_rng(1).integers(0, 256, (200, 80, 3), np.uint8)
    changed = (hide_face(noisy, points) != noisy).any(-1)
    assert changed[:78, 29:52].mean() > 0.95 and changed[70:90, 32:48].mean() > 0.95
    assert not changed[120:].any()


def test_keypoints_on_a_neighbour_hide_the_upper_band_too():
    image = generator(1, "noise").integers(0, 256, (120, 40, 3), np.uint8)
    points = np.zeros((17, 3), np.float32)
    points[0] = (3, 12, 1)  # the nose of whoever stands at the left border
    changed = (hide_face(image, points) != image).any(axis=2)
    assert changed[2:24, 14:38].mean() > 0.9
    points[0] = (18, 12, 1)
    changed = (hide_face(image, points) != image).any(axis=2)
    assert not changed[2:24, 32:].any()


def test_a_head_is_looked_for_above_where_only_shoulders_are_seen():
    points = np.zeros((17, 3), np.float32)
    points[[5, 6]] = [[20, 40, 1], [60, 40, 1]]
    assert locate_head(points, (200, 80)) is None, "then the upper band is hidden"
    noisy = np.random.default_rng(1).integers(0, 256, (200, 80, 3), np.uint8)
    assert np.array_equal(hide_face(noisy, points), hide_face(noisy))
