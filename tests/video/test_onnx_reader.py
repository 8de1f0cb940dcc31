"""What an ONNX detector's output is told by: every exported kind is read or refused, whatever its shapes suggest."""

from pathlib import Path

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.settings import DetectorSettings
from rewho.video.onnx_detector import OnnxDetector
from rewho.video.onnx_output import count_cells, read_metadata
from rewho.video.people import Frame

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
pytest.importorskip("onnx", reason="onnx is an extra")
from onnx_files import write_constant

SIZE = (64, 96)
CELLS = count_cells(SIZE)
FRAME = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
BOX = (10.0, 8.0, 30.0, 60.0)
CENTRE = (20.0, 34.0, 20.0, 52.0)
NAMES = {"names": "{0: 'helmet', 1: 'person', 2: 'vest'}"}


def rows(values: tuple[float, ...], count: int = CELLS, width: int = 0) -> np.ndarray:
    """Return [1, count, width] with these values in row 5, zeros elsewhere."""
    made = np.zeros((1, count, width or len(values)))
    made[0, 5, : len(values)] = values
    return made


def decoded(count: int = CELLS, width: int = 85) -> np.ndarray:
    """Return boxes in pixels, as YOLOX exports them with decode_in_inference: every row has a place and a size."""
    made = np.tile([50.0, 30.0, 12.0, 12.0], (1, count, 1))
    made = np.concatenate([made, np.zeros((1, count, width - 4))], axis=2)
    made[0, 5, :6] = [*CENTRE, 0.95, 0.9 / 0.95]
    return made


def open_file(path: Path, outputs: dict[str, np.ndarray], text: str = "", output: str = "auto", **rest) -> OnnxDetector:
    write_constant(path / "m.onnx", outputs, **rest)
    (path / "m.yaml").write_text(text or "{}")
    return OnnxDetector(DetectorSettings(weights=path / "m.onnx", output=output, threads=1))


def found(detector: OnnxDetector) -> list[tuple[tuple[float, ...], float]]:
    return [
        (tuple(round(side, 3) for side in one.box), round(one.confidence, 3)) for one in detector.detect([FRAME])[0]
    ]


EIGHT = rows((*CENTRE, 0.9), width=84)
YOLO_NAS = {"boxes": rows(BOX), "scores": rows((0.9,), width=80)}
READ = {
    "decoded YOLOX": ({"output": decoded()}, {}),
    "YOLOv6, objectness 1": ({"output": np.where(np.arange(85) == 4, 1.0, rows((*CENTRE, 1, 0.9), width=85))}, {}),
    "YOLOv8": ({"output": EIGHT.transpose(0, 2, 1)}, {}),
    "YOLOv8, transposed": ({"output": EIGHT}, {}),
    "YOLOv8, names": ({"output": rows((*CENTRE, 0, 0.9, 0), 200)}, NAMES),
    "YOLOv5, names": ({"output": rows((*CENTRE, 0.9, 0, 1.0, 0), 200)}, NAMES),
    "masks": ({"output": rows((*CENTRE, 0.9), width=116), "masks": np.zeros((1, 32, 16, 24))}, {}),
    "YOLOv5 masks": (
        {"output": rows((*CENTRE, 0.9, 1.0), 3 * CELLS, 117), "masks": np.zeros((1, 32, 16, 24))},
        {},
    ),
    "keypoints": (
        {"output": rows((*CENTRE, 0.9, *([30.0] * 51))).transpose(0, 2, 1)},
        {"names": "{0: 'person'}", "task": "pose", "kpt_shape": "[17, 3]"},
    ),
    "YOLO-NAS": (YOLO_NAS, {}),
    "DETR with shares": (
        {"boxes": rows((20 / 96, 34 / 64, 20 / 96, 52 / 64), 30), "scores": rows((0.9,), 30, 80)},
        {},
    ),
    "COCO's own ids": (
        {"dets": rows((20 / 96, 34 / 64, 20 / 96, 52 / 64), 30), "labels": rows((0, 0.9), 30, 91)},
        {},
    ),
    "end to end": ({"output": rows((*BOX, 0.9, 0.0), 300)}, {}),
    "end to end, one name": ({"output": rows((*BOX, 0.9, 0.0), 300)}, {"names": "{0: 'person'}"}),
    "end to end, two names": ({"output": rows((*BOX, 0.9, 1.0), 300)}, {"names": "{0: 'car', 1: 'person'}"}),
    "YOLOv5, one name": ({"output": rows((*CENTRE, 0.9, 1.0))}, {"names": "{0: 'person'}"}),
    "YOLOv8, two names": ({"output": rows((*CENTRE, 0.0, 0.9))}, {"names": "{0: 'car', 1: 'person'}"}),
    "end to end, names": ({"output": rows((*BOX, 0.9, 1.0), 300)}, NAMES),
    "labelled": (
        {"labels": np.zeros((1, 30), np.int64), "boxes": rows(BOX, 30), "scores": rows((0.9,), 30)[..., 0]},
        {},
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_every_kind_is_told_by_values_and_names(tmp_path: Path, kind: str) -> None:
    outputs, metadata = READ[kind]
    detector = open_file(tmp_path, outputs, metadata=metadata)
    assert found(detector) == [(BOX, 0.9)]


REFUSED = {
    "decoded YOLOX as yolox": ({"o": decoded()}, "yolox", {}, "output: yolox_decoded"),
    "YOLOX as yolov8": ({"o": decoded()}, "yolov8", {}, "class scores"),
    "raw YOLOX as decoded": ({"o": rows((0.5, 0.2, -1.5, 0.3), width=85)}, "yolox_decoded", {}, "output: yolox`"),
    "YOLOv8 as yolov5": ({"o": EIGHT.transpose(0, 2, 1)}, "yolov5", {}, "class scores"),
    "YOLO-NAS as detr": (YOLO_NAS, "detr", {}, "boxes in an input of 96 x 64"),
    "end to end as yolov8": ({"o": rows((*BOX, 0.9, 1.0), 300)}, "yolov8", {}, "end2end"),
    "keypoints without a word": (
        {"o": rows((*CENTRE, 0.9, *([30.0] * 51))).transpose(0, 2, 1)},
        "yolov8",
        {},
        "classes: N",
    ),
    "raw scores": ({"o": rows((*CENTRE, 4.2), width=84)}, "auto", {}, "activation: sigmoid"),
    "shares": ({"o": rows((0.2, 0.5, 0.2, 0.8, 0.9), width=84)}, "yolov8", {}, "coordinates: shares"),
    "absurd boxes": ({"o": rows((2e9, 2e9, 3e9, 3e9, 0.9), width=84)}, "yolov8", {}, "from 5e+08 to 3.5e+09"),
    "NaN": ({"o": np.full((1, CELLS, 84), np.nan)}, "yolov8", {}, "NaN"),
    "NaN boxes": ({"o": rows((np.nan, 1, 1, 1, 0.9), width=84)}, "yolov8", {}, "boxes in an input"),
    "helmets": ({"o": rows((*CENTRE, 0.9, 0), 200)}, "auto", {"names": "['helmet', 'vest']"}, "0: helmet, 1: vest"),
    "other number of names": ({"o": rows((*CENTRE, 0.9), width=84)}, "yolov8", NAMES, "3 class scores"),
    "turned boxes": ({"o": rows((*CENTRE, 0, 0.9, 0, 0.3))}, "yolov8", {**NAMES, "task": "obb"}, "a model for obb"),
    "classes beyond the names": ({"o": rows((*BOX, 0.9, 7.0), 300)}, "auto", NAMES, "from 0 to 2"),
    "COCO's own ids, chosen": ({"o": rows((*BOX, 0.9, 90.0), 300)}, "auto", {}, "person: 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_people_is_refused_with_what_to_write(tmp_path: Path, kind: str) -> None:
    outputs, output, metadata, message = REFUSED[kind]
    with pytest.raises(UserError, match="Fix:") as refusal:
        open_file(tmp_path, outputs, output=output, metadata=metadata).detect([FRAME])
    assert message in str(refusal.value)


def test_a_description_settles_what_the_file_leaves_open(tmp_path: Path) -> None:
    points = rows((*CENTRE, 0.9, *([30.0] * 51)))
    assert found(open_file(tmp_path, {"o": points}, "output: yolov8\nclasses: 1")) == [(BOX, 0.9)]
    shares = rows((20 / 96, 34 / 64, 20 / 96, 52 / 64, 0.9), width=84)
    assert found(open_file(tmp_path, {"o": shares}, "output: yolov8\ncoordinates: shares")) == [(BOX, 0.9)]
    two = rows((*CENTRE, 0.2, 0.1, 0.9), 200)
    assert found(open_file(tmp_path, {"o": two}, "output: yolov8\nperson: [0, 2]", metadata=NAMES)) == [(BOX, 0.9)]
    with pytest.raises(UserError, match="expected yolov5, as the option says, got yolov8"):
        open_file(tmp_path, {"o": two}, "output: yolov8", output="yolov5")


def test_an_assumed_class_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_file(tmp_path, {"o": rows((*CENTRE, 0.9, 0, 0), 200)}, "output: yolov8")
    assert "class 0 is taken as person" in capsys.readouterr().err
    open_file(tmp_path, {"o": EIGHT})
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"names": '["person", "car"]'}, {0: "person", 1: "car"}),
        ({"classes": "person, car"}, {0: "person", 1: "car"}),
        ({"id2label": '{"1": "person"}'}, {1: "person"}),
        ({"names": "{0: [1]}"}, {}),
        ({"names": "{person: 0}"}, {}),
        ({"names": "[" * 5000}, {}),
        ({"names": "x" * 200_000}, {}),
        ({"names": "5"}, {}),
    ],
)
def test_class_names_are_read_as_they_are_written(metadata: dict[str, str], names: dict[int, str]) -> None:
    assert read_metadata(metadata).names == names
