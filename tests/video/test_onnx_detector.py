"""Detectors from ONNX files: each kind of output against boxes that were put into it, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.settings import DetectorSettings, PoseSettings
from rewho.video.boxes import compute_iou
from rewho.video.onnx_detector import OnnxDetector
from rewho.video.onnx_model import DETECTORS, POSE_MODELS, Description, activate, normalise, resize_to_input
from rewho.video.onnx_output import STRIDES, decode_yolox
from rewho.video.onnx_pose import OnnxPose
from rewho.video.onnx_reader import OutputReader
from rewho.video.people import Frame

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
pytest.importorskip("onnx", reason="onnx is an extra")
from onnx_files import write_constant, write_mean

INPUT = (64, 96)  # height, width
CLASSES = 3
# In pixels of the input; people (class 0) first, then something else that is surer to be a car than a person.
BOXES = np.array([[10.0, 8, 30, 60], [50, 4, 70, 50], [2, 2, 90, 20]])
SCORES = np.array([[0.9, 0.1, 0.0], [0.6, 0.0, 0.2], [0.5, 0.8, 0.0]])


def centres() -> np.ndarray:
    return np.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], axis=1)


def as_yolox() -> dict[str, np.ndarray]:
    """Put the boxes into cells of the three grids, as YOLOX would."""
    cells = [(INPUT[0] // stride, INPUT[1] // stride) for stride in STRIDES]
    raw = np.zeros((1, sum(rows * columns for rows, columns in cells), 5 + CLASSES))
    for order, (box, score) in enumerate(zip(centres(), SCORES, strict=True)):
        stride, (_, columns) = STRIDES[order], cells[order]
        column, row = int(box[0] // stride), int(box[1] // stride)
        place = sum(a * b for a, b in cells[:order]) + row * columns + column
        raw[0, place, :2] = box[:2] / stride - [column, row]
        raw[0, place, 2:4] = np.log(box[2:] / stride)
        raw[0, place, 4:] = [0.95, *(score / 0.95)]
    return {"output": raw}


def as_yolov5() -> dict[str, np.ndarray]:
    raw = np.zeros((1, 3 * as_yolox()["output"].shape[1], 5 + CLASSES))
    raw[0, 5:8] = np.concatenate([centres(), np.full((3, 1), 0.95), SCORES / 0.95], axis=1)
    return {"output": raw}


def as_yolov8() -> dict[str, np.ndarray]:
    raw = np.zeros((1, 4 + CLASSES, 200))
    raw[0, :, 5:8] = np.concatenate([centres(), SCORES], axis=1).T
    return {"output": raw}


def as_detr() -> dict[str, np.ndarray]:
    logits = np.full((1, 20, CLASSES), -20.0)
    logits[0, 5:8] = np.log(SCORES.clip(1e-6) / (1 - SCORES))
    boxes = np.zeros((1, 20, 4))
    boxes[0, 5:8] = centres() / [INPUT[1], INPUT[0], INPUT[1], INPUT[0]]
    return {"logits": logits, "pred_boxes": boxes}


KINDS = {"yolox": as_yolox, "yolov5": as_yolov5, "yolov8": as_yolov8, "detr": as_detr}


def frame(height: int, width: int) -> Frame:
    return Frame(0, 0.0, np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(128, 192), (100, 300), (300, 100), (64, 96)])
def test_boxes_come_out_where_they_were_put(tmp_path: Path, kind: str, height: int, width: int) -> None:
    """By the shapes alone, without a description, and through every shape of frame."""
    detector = OnnxDetector(DetectorSettings(weights=write_constant(tmp_path / "m.onnx", KINDS[kind]()), threads=1))
    people = detector.detect([frame(height, width), frame(height, width)])
    assert people[0] == people[1]
    found = people[0]
    assert [round(one.confidence, 4) for one in found] == [0.9, 0.6], "the surer class takes the third box"
    if kind == "detr":
        expected = BOXES[:2] * np.tile([width / INPUT[1], height / INPUT[0]], 2)
    else:
        scale = min(INPUT[0] / height, INPUT[1] / width)
        corner = np.zeros(2) if kind == "yolox" else (np.array(INPUT[::-1]) - np.array([width, height]) * scale) / 2
        expected = (BOXES[:2] - np.tile(corner, 2)) / scale
    places = np.array([one.box for one in found])
    assert np.abs(places - expected).max() < max(height, width) / 32
    assert all(one.keypoints is None for one in found)


def test_a_description_beside_the_file_counts(tmp_path: Path) -> None:
    path = write_constant(tmp_path / "m.onnx", as_yolov8())
    (tmp_path / "m.yaml").write_text("output: yolov8\nperson: 1\n")
    assert [
        round(one.confidence, 4) for one in OnnxDetector(DetectorSettings(weights=path)).detect([frame(64, 96)])[0]
    ] == [0.8]


def test_softmax_and_the_class_for_nobody(tmp_path: Path) -> None:
    outputs = as_detr()
    shares = np.concatenate([SCORES, 1 - SCORES.sum(1, keepdims=True)], axis=1).clip(1e-9)
    outputs["logits"] = np.full((1, 20, CLASSES + 1), -9.0)
    outputs["logits"][..., -1] = 9.0
    outputs["logits"][0, 5:7] = np.log(shares[:2])
    path = write_constant(tmp_path / "m.onnx", outputs)
    (tmp_path / "m.yaml").write_text("output: detr\nactivation: softmax\n")
    found = OnnxDetector(DetectorSettings(weights=path)).detect([frame(64, 96)])[0]
    assert [round(one.confidence, 3) for one in found] == [0.9, 0.6]


def test_colours_and_range_reach_the_model(tmp_path: Path) -> None:
    """The model gives back the mean of its channels as a box: red 80, green 60, blue 40."""
    image = np.full((64, 96, 3), (80, 60, 40), np.uint8)
    path = write_mean(tmp_path / "m.onnx", (1, 3, 64, 96))
    for text, expected in {
        "output: yolov8\nrange: 255": (80, 60, 40),
        "output: yolov8\nrange: 255\ncolour: bgr": (40, 60, 80),
        "output: yolov8\nrange: 1\nmean: [-0.5, -0.5, -0.5]\nstd: [0.1, 0.1, 0.1]": (8.137, 7.353, 6.569),
    }.items():
        (tmp_path / "m.yaml").write_text(text)
        model = OnnxDetector(DetectorSettings(weights=path))
        left, top, right, bottom = model.detect([Frame(0, 0.0, image)])[0][0].box
        assert ((left + right) / 2, (top + bottom) / 2, right - left) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output: yolo9", "yolox"),
        ("outputs: yolox", "Nearest: output"),
        ("- yolox", "names and values"),
        ("output: [", "YAML"),
        ("output: heatmaps", "a detector"),
        ("output: 5", "yolox"),
        ("output: yolov8\nrange: wide", "above 0"),
        ("output: yolov8\nrange: .nan", "above 0"),
        ("output: yolov8\nmean: 0.5", "a list, each a number"),
        ("output: yolov8\nstd: [1, 1, 0]", "each a number above 0"),
        ("output: yolov8\nstd: [1, 1]", "three numbers"),
        ("output: yolov8\ncorner: 1", "true or false"),
        ("output: yolov8\nfill: grey", "0 to 255"),
        ("output: yolov8\nperson: -1", "each a whole number from 0"),
        ("output: yolov8\nperson: []", "each a whole number"),
        ("output: yolov8\nperson: true", "each a whole number"),
        ("output: yolov8\nperson: 3", "a class that exists"),
        ("output: yolov8\nheight: 1e9", "a whole number from 0 to 8,192"),
        ("output: yolov8\nheight: 32", "64, as in the file"),
        ("1: 2", "names from"),
        ("[" * 9000, "readable YAML"),
        ("output: yolov8\ncolour: grey", "colour"),
        ("output: detr", "the shapes of detr"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write_constant(tmp_path / "m.onnx", as_yolov8())
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(UserError, match="Fix:") as refusal:
        OnnxDetector(DetectorSettings(weights=path)).detect([frame(64, 96)])
    assert message in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08" * 1000])
def test_files_that_are_no_models_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match="sound ONNX file"):
        OnnxDetector(DetectorSettings(weights=path))


def test_unknown_shapes_ask_for_a_description(tmp_path: Path) -> None:
    path = write_constant(tmp_path / "m.onnx", {"output": np.zeros((1, 500, 85))})
    with pytest.raises(UserError, match=r"m\.yaml"):
        OnnxDetector(DetectorSettings(weights=path))
    assert OnnxDetector(DetectorSettings(weights=path, output="yolov5")).detect([frame(64, 96)]) == [[]]


def test_missing_weights_are_named(tmp_path: Path) -> None:
    for weights in (None, tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(UserError, match=r"detector\.weights"):
            OnnxDetector(DetectorSettings(weights=weights))


def test_fit_leads_back() -> None:
    rng = np.random.default_rng(4)
    image = cv2.resize(rng.integers(0, 255, (9, 15, 3), np.uint8), (150, 90))
    for description in (
        Description("yolov8"),
        Description("yolox", corner=True),
        Description("detr", resize="stretch"),
    ):
        fitted, (scale_x, scale_y, left, top) = resize_to_input(image, (64, 96), description)
        x, y = np.meshgrid(np.arange(10, 140, 7), np.arange(10, 80, 7))
        there = fitted[(top + (y + 0.5) * scale_y).astype(int), (left + (x + 0.5) * scale_x).astype(int)]
        assert np.abs(there.astype(int) - image[y, x]).mean() < 12


def test_half_precision_and_extremes_stay_finite() -> None:
    raw = np.full((1, 126, 8), 1e4, np.float16)
    boxes, _ = decode_yolox([raw], INPUT)
    assert np.isfinite(boxes).all()
    assert activate(np.array([-1e9, 1e9]), "sigmoid").tolist() == pytest.approx([0, 1])
    assert normalise([np.zeros((2, 2, 3), np.uint8)], Description("yolox")).dtype == np.float32
    reader = OutputReader([np.zeros((1, 126, 85))], INPUT, Description("yolox"))
    with pytest.raises(UserError, match="the shapes of yolox"):
        reader.read([np.zeros((1, 7, 85), np.float32)], 0.3)


def test_real_people_are_found(shared: Path) -> None:
    """YOLOX-nano on photographs; boxes of two sizes of the same image agree."""
    weights = shared / "data" / "weights" / "yolox_nano_opencv_zoo.onnx"
    detector = OnnxDetector(DetectorSettings(weights=weights, threads=1, confidence=0.5))
    for path in sorted((shared / "data" / "images").glob("*.jpg")):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        found, smaller = detector.detect([Frame(0, 0.0, image), Frame(1, 0.0, half)])
        assert found, path.name
        boxes, other = np.array([one.box for one in found]), 2 * np.array([one.box for one in smaller])
        assert compute_iou(boxes[:1], other).max() > 0.85, path.name


def _arrays(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return outputs of arbitrary shapes, number types and values."""
    found = {}
    for name in "abcd"[: random.integers(1, 5)]:
        sides = random.choice([0, 1, 2, 4, 5, 6, 17, 56, 84, 85, 126], random.integers(0, 4)).tolist()
        shape = (1, *sides) if random.random() < 0.9 else ()
        kind = random.choice([np.float32, np.float16, np.int64, np.uint8, np.bool_])
        scale = random.choice([0, 1, 96, np.nan, np.inf])
        with np.errstate(invalid="ignore"):
            found[name] = (random.normal(size=shape) * scale).astype(kind)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
def test_any_output_is_read_or_refused_in_words(tmp_path: Path, seed: int) -> None:
    """Outputs drawn at random, and kinds that they are not: never another error, never a box out of the image."""
    random = np.random.default_rng(seed)
    frames = [Frame(0, 0.0, random.integers(0, 255, (90, 120, 3), np.uint8))]
    for _ in range(12):
        path = write_constant(tmp_path / "m.onnx", _arrays(random), ("N", 3, 64, 96))
        for output in ("auto", *random.choice(DETECTORS, 2)):
            try:
                (people,) = OnnxDetector(DetectorSettings(weights=path, output=str(output))).detect(frames)
            except UserError:
                continue
            assert all(np.isfinite(one.box).all() and 0 <= one.confidence <= 1.01 for one in people)
        for output in POSE_MODELS:
            path.with_suffix(".yaml").write_text(f"output: {output}\n")
            try:
                (points,) = OnnxPose(PoseSettings(weights=path)).estimate([(frames[0].image, (10.0, 10.0, 50.0, 80.0))])
            except UserError:
                continue
            assert points.shape == (17, 3) and np.isfinite(points).all()
        path.with_suffix(".yaml").unlink()


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        ({"a": np.zeros((1, 4, 126), np.bool_)}, "auto"),
        ({"a": np.zeros((1, 4, 56, 6)), "b": np.zeros((1, 126, 0, 56)), "c": np.zeros((1, 1, 84), np.bool_)}, "yolox"),
        ({"a": np.float32(3)}, "yolov8"),
    ],
)
def test_outputs_that_once_ended_in_numpys_errors(tmp_path: Path, outputs: dict, output: str) -> None:
    path = write_constant(tmp_path / "m.onnx", {name: np.asarray(one) for name, one in outputs.items()})
    with pytest.raises(UserError, match="detector"):
        OnnxDetector(DetectorSettings(weights=path, output=output)).detect(
            [Frame(0, 0.0, np.ones((9, 9, 3), np.uint8))]
        )
