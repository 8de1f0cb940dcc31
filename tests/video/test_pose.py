"""Keypoints: each kind of output against points that were put into it, and the way back to the frame."""

from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import KEYPOINTS
from rewho.settings import DetectorSettings, PoseSettings
from rewho.video.adapters import build_pose
from rewho.video.onnx_pose import (
    MEDIAPIPE_TO_COCO,
    crop_box,
    decode_heatmaps,
    decode_mediapipe,
    decode_points,
    decode_simcc,
    expand_box,
    map_to_frame,
)
from rewho.video.people import Frame, Person

INPUT = (256, 192)  # height, width
POINTS = 17


@pytest.fixture
def places() -> np.ndarray:
    """Two people's keypoints in pixels of the model's input, [2, 17, 2]."""
    return np.random.default_rng(6).uniform([20, 20], [170, 230], (2, POINTS, 2))


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(7).uniform(0.2, 0.95, (2, POINTS))


def bumps(along: np.ndarray, length: int, width: float = 2.0) -> np.ndarray:
    """Return rows with a bump of height 1 at each place; pixel i covers i to i + 1."""
    return np.exp(-((np.arange(length) + 0.5 - along[..., None]) ** 2) / (2 * width**2))


def test_heat_maps(places: np.ndarray, scores: np.ndarray) -> None:
    maps = np.einsum("pky,pkx,pk->pkyx", bumps(places[..., 1] / 4, 64), bumps(places[..., 0] / 4, 48), scores)
    found, sure = decode_heatmaps([maps], INPUT, "none")
    assert np.abs(found - places).max() <= 4 * 0.26, "a quarter of a heat map's pixel"
    assert np.abs(sure - scores).max() < 0.05


def test_simcc(places: np.ndarray) -> None:
    along = [2 * bumps(places[..., 0] * 2, 384), 0.7 * bumps(places[..., 1] * 2, 512)]
    found, sure = decode_simcc(along, INPUT, "none")
    assert np.abs(found - places).max() <= 0.26
    assert sure == pytest.approx(0.7, abs=0.03), "the lower one of both"


def test_movenet_points(places: np.ndarray, scores: np.ndarray) -> None:
    raw = np.concatenate([places[..., 1:] / INPUT[0], places[..., :1] / INPUT[1], scores[..., None]], axis=2)
    found, sure = decode_points([raw[:, None]], INPUT, "none")
    assert found == pytest.approx(places, abs=1e-3)
    assert sure == pytest.approx(scores)


def test_mediapipe_points_are_coco_points(places: np.ndarray, scores: np.ndarray) -> None:
    assert len(MEDIAPIPE_TO_COCO) == len(set(MEDIAPIPE_TO_COCO)) == len(KEYPOINTS)
    raw = np.full((2, 39, 5), -7.0)
    raw[:, MEDIAPIPE_TO_COCO, :2] = places
    raw[:, MEDIAPIPE_TO_COCO, 3] = np.log(scores / (1 - scores))
    found, sure = decode_mediapipe([raw.reshape(2, -1), np.array([[1.0], [0.5]])], INPUT, "sigmoid")
    assert found == pytest.approx(places, abs=1e-3)
    assert sure == pytest.approx(scores * [[1.0], [0.5]], abs=1e-5)


@pytest.mark.parametrize("box", [(10, 20, 60, 180), (0, 0, 200, 50), (-30, 100, 40, 260), (5, 5, 5, 5)])
def test_the_cut_out_image_and_the_way_back_agree(box: tuple[float, ...]) -> None:
    """A bright spot in the frame is found in the model's input, and leads back to where it is."""
    around = expand_box(box, INPUT)
    assert (around[2] - around[0]) / (around[3] - around[1]) == pytest.approx(INPUT[1] / INPUT[0])
    assert (around[:2] <= np.array(box[:2])).all()
    assert (around[2:] >= np.array(box[2:])).all()
    frame = np.zeros((300, 300, 3), np.uint8)
    x, y = np.clip((around[:2] + around[2:]) / 2, 2, 297).astype(int)
    frame[y, x] = 255
    crop = crop_box(frame, around, INPUT).astype(float)[..., 0]
    rows, columns = np.mgrid[: INPUT[0], : INPUT[1]] + 0.5
    spot = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    back = map_to_frame(spot[None, None], np.ones((1, 1)), around[None], INPUT)[0, 0]
    assert back[:2] == pytest.approx([x + 0.5, y + 0.5], abs=0.6)


def test_a_file_with_constant_points_gives_them_for_each_person(tmp_path: Path) -> None:
    """From the ONNX file to the frame: the middle of the input is the middle of each box; batches change nothing."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    pytest.importorskip("onnx", reason="onnx is an extra")
    from onnx_files import write_constant

    raw = np.zeros((1, 1, 17, 3))
    raw[..., :2], raw[..., 2] = 0.5, 0.8
    path = write_constant(tmp_path / "pose.onnx", {"output": raw}, (1, 192, 192, 3))
    frames = [Frame(number, 0.0, np.zeros((100, 200, 3), np.uint8)) for number in range(3)]
    boxes = [[(10, 10, 30, 60), (50, 0, 90, 100)], [], [(100, 20, 130, 90)]]
    people = [[Person(box, 0.9, None, at) for at, box in enumerate(some)] for some in boxes]
    for batch in (1, 2, 10):
        found = build_pose(PoseSettings(weights=path, batch=batch)).add_keypoints(frames, people)
        assert [len(some) for some in found] == [2, 0, 1]
        for one, before in zip(chain(*found), chain(*people), strict=True):
            assert (one.box, one.index, one.confidence) == (before.box, before.index, before.confidence)
            left, top, right, bottom = one.box
            expected = np.tile([(left + right) / 2, (top + bottom) / 2, 0.8], (17, 1))
            assert one.keypoints == pytest.approx(expected, abs=1e-4)
            assert one.keypoints.dtype == np.float32


def test_models_that_are_no_pose_models_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    pytest.importorskip("onnx", reason="onnx is an extra")
    from onnx_files import write_constant

    person = [[Person((10, 10, 30, 60), 0.9, None, 0)]]
    frames = [Frame(0, 0.0, np.zeros((100, 200, 3), np.uint8))]
    for name, shape, message in (("three", (1, 5, 6), "description"), ("maps", (1, 33, 64, 48), "17 keypoints")):
        path = write_constant(tmp_path / f"{name}.onnx", {"output": np.zeros(shape)}, (1, 3, 256, 192))
        with pytest.raises(UserError, match=message):
            build_pose(PoseSettings(weights=path)).add_keypoints(frames, person)


def test_wrong_settings_are_refused() -> None:
    for wrong in (PoseSettings(kind="hrnet"), PoseSettings(), PoseSettings(batch=0), PoseSettings(kind="vitpose")):
        with pytest.raises(UserError, match="pose"):
            build_pose(wrong)
    assert build_pose(PoseSettings(kind="none")) is None


def test_a_real_person_stands_upright(shared: Path) -> None:
    """YOLOX-nano and MediaPipe on a photograph: head above shoulders above hips above knees, left is left."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    from rewho.video.adapters import build_detector

    weights = shared / "data" / "weights"
    detector = build_detector(DetectorSettings(weights=weights / "yolox_nano_opencv_zoo.onnx", threads=1))
    pose = build_pose(PoseSettings(weights=weights / "mediapipe_pose_landmark_lite.onnx", threads=1))
    image = cv2.cvtColor(cv2.imread(str(shared / "data" / "images" / "bus.jpg")), cv2.COLOR_BGR2RGB)
    frame = Frame(0, 0.0, image)
    (people,) = pose.add_keypoints([frame], detector.detect([frame]))
    sure = [one for one in people if one.confidence > 0.7]
    assert len(sure) >= 2
    for person in sure[:2]:
        heights = person.keypoints[:, 1]
        assert heights[:5].mean() < heights[5:7].mean() < heights[11:13].mean() < heights[13:15].mean()
        left, top, right, bottom = person.box
        inside = (person.keypoints[:, :2] > [left - 20, top - 20]) & (
            person.keypoints[:, :2] < [right + 20, bottom + 20]
        )
        assert inside.all(1).mean() > 0.8
