"""Rendered images of people: same draw, same image; the ground truth agrees with the pixels; people differ."""

from dataclasses import replace

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import KEYPOINTS
from rewho.core.runtime import generator
from rewho.rendered import Camera, Identity, render_person
from rewho.rendered.figure import build_figure
from rewho.rendered.image import JITTER, NARROWEST
from rewho.rendered.paint import Light, composite, paint_figure
from rewho.rendered.person import TOP_COLOURS
from rewho.rendered.skeleton import Pose


def shoot(person: int, camera: int, index: int = 0, seed: int = 1, size: tuple[int, int] = (128, 64)):
    identity, lens = Identity.draw(seed, person), Camera.draw(seed, camera)
    return render_person(identity, lens, generator(seed, "picture", person, camera, index), size)


@pytest.fixture(scope="module")
def many():
    """Sixty images of twenty people on six cameras."""
    return [(camera, shoot(person, camera)) for person in range(1, 11) for camera in range(1, 7)]


def test_same_draw_same_image_and_other_draws_others():
    first, again = shoot(7, 2), shoot(7, 2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.keypoints, again.keypoints)
    for other in (shoot(7, 2, index=1), shoot(8, 2), shoot(7, 3), shoot(7, 2, seed=2)):
        assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (384, 128), (64, 48)])
def test_image_has_the_size_asked_for(size):
    assert shoot(3, 1, size=size).image.shape == (*size, 3)


def test_a_size_too_small_is_refused():
    with pytest.raises(UserError, match="16 x 16"):
        shoot(1, 1, size=(128, 8))


def test_keypoints_lie_in_the_box_and_some_are_visible(many):
    for _, image in many:
        left, top, right, bottom = image.box
        x, y, seen = image.keypoints.T
        assert (x >= left - 0.01).all() and (x <= right + 0.01).all()
        assert (y >= top - 0.01).all() and (y <= bottom + 0.01).all()
        assert set(seen) <= {0.0, 1.0, 2.0}
    assert np.mean([(image.keypoints[:, 2] == 2).mean() for _, image in many]) > 0.5


def test_keypoints_outside_of_the_image_are_the_ones_marked_zero(many):
    for _, image in many:
        x, y, seen = image.keypoints.T
        height, width = image.image.shape[:2]
        outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
        assert (seen[outside] == 0).all()
        assert (seen[~outside] > 0).all()


def test_box_is_missed_by_no_more_than_the_jitter_and_not_always_by_the_same(many):
    tops = []
    for _, image in many:
        left, top, right, bottom = image.box
        rows, columns = image.image.shape[:2]
        height, width = bottom - top, right - left
        assert abs(top) <= JITTER * height + 0.01
        assert abs(rows - bottom) <= JITTER * height + 0.01
        pixel = columns / rows  # the image may be squeezed: the narrowest box is a share of the height before that
        widest = max(width, NARROWEST * height * pixel * 4)
        assert -JITTER * widest <= left <= widest
        assert -JITTER * widest <= columns - right <= widest
        tops.append(top)
    assert np.std(tops) > 1.5


def test_some_people_are_partly_hidden_and_most_are_not(many):
    visible = np.array([image.visible for _, image in many])
    assert ((visible > 0) & (visible <= 1)).all()
    assert 0.02 < (visible < 0.8).mean() < 0.4


def test_front_shows_the_face_and_back_does_not():
    nose, left_shoulder, right_shoulder = (
        KEYPOINTS.index(name) for name in ("nose", "left_shoulder", "right_shoulder")
    )
    front = build_figure(Identity.draw(1, 7), Pose(phase=0.3, yaw=0.0)).keypoints
    back = build_figure(Identity.draw(1, 7), Pose(phase=0.3, yaw=np.pi)).keypoints
    assert front[nose, 2] > 0 > back[nose, 2]
    assert front[left_shoulder, 0] > front[right_shoulder, 0], "facing us, their left is on our right"
    assert back[left_shoulder, 0] < back[right_shoulder, 0]


@pytest.mark.parametrize("number", range(1, 13))
def test_a_figure_covers_exactly_its_box(number):
    figure = build_figure(Identity.draw(3, number), Pose(phase=number * 0.7, yaw=number * 0.9, elevation=0.2))
    at, scale = (100.3, 220.6), 110.0
    patch = paint_figure(figure, scale, Light(), at)
    canvas = np.zeros((3, 260, 200), np.float32)
    empty = np.full((260, 200), -1, np.int32)
    composite(canvas, patch, empty)
    rows, columns = np.nonzero(empty >= 0)
    painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(painted - (np.asarray(figure.box) * scale + np.tile(at, 2))).max() < 2


@pytest.mark.parametrize(("left", "top"), [(-1000, 0), (-10, -10), (30, 25), (-5, 35), (1000, 1000)])
def test_a_patch_is_cut_off_where_the_canvas_ends(left, top):
    patch = paint_figure(build_figure(Identity.draw(1, 1), Pose(0.0, 0.0)), 60.0, Light(), (0.0, 0.0))
    canvas, wide = np.zeros((3, 40, 40), np.float32), np.zeros((3, 400, 400), np.float32)
    composite(canvas, replace(patch, left=left, top=top))
    composite(wide, replace(patch, left=left + 200, top=top + 200))
    assert np.array_equal(canvas, wide[:, 200:240, 200:240])


def test_people_differ_in_everything_and_share_garment_colours():
    people = [Identity.draw(1, number) for number in range(1, 121)]
    for name in ("hair_style", "hat", "top", "top_pattern", "bottom", "bag", "shoes", "beard", "side"):
        assert len({getattr(one, name) for one in people}) > 1, name
    assert np.ptp([one.height for one in people]) > 0.2
    black = np.array(TOP_COLOURS["black"][0])
    alike = sum(np.abs(np.array(one.top_colours[0]) - black).max() < 30 for one in people)
    assert 12 < alike < 48, "about a fifth wears black"
    assert len(set(people)) == 120


def test_cameras_differ_in_view_light_and_sharpness(many):
    def spread(measure) -> tuple[float, float]:
        """Return between-camera and expected deviation of the mean of a measure."""
        values = np.array([[measure(one) for camera, one in many if camera == number] for number in range(1, 7)])
        return float(values.mean(axis=1).std()), float((values.std(axis=1) / np.sqrt(values.shape[1])).mean())

    def roughness(one) -> float:
        grey = one.image.mean(axis=2)
        return float(np.abs(np.diff(grey, axis=1)).mean())

    for measure in (lambda one: one.image.mean(), roughness, lambda one: one.keypoints[0, 2] == 2):
        between, expected = spread(measure)
        assert between > 1.8 * expected
