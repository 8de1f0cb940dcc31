"""Detectors from ONNX files, as they are exported from YOLOX, YOLOv5 to v11, and the DETR family.

What is unusual: the four kinds of output are four small functions from arrays to boxes and scores, for a whole batch at
once; what is left is the same for all. Only the detection of people is read out of many classes, and a box counts as a
person where no other class is surer.

Dimensions: B frames, N candidate boxes, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.settings import DetectorSettings
from rewho.video.boxes import best_first
from rewho.video.onnx_model import Description, OnnxModel, activate, as_described, fit, normalise, read_description
from rewho.video.people import Frame, Person

STRIDES = (8, 16, 32)  # pixels of the input per cell of the grids of YOLOX and YOLOv5
Arrays = NDArray[Any]
Decoded = tuple[Arrays, Arrays]  # boxes [B, N, 4] in pixels of the input, class scores [B, N, C]


def decode_yolox(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode [B, N, 5 + C] of YOLOX (section 2.1 of its paper): places relative to grid cells, sizes as logarithms.

    Args:
        outputs: The one output of the model.
        size: Height and width of the input.
    """
    raw = outputs[0].astype(np.float32)
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2).reshape(-1, 2)
        cells.append(grid)
        strides.append(np.full((len(grid), 1), stride))
    cell, stride_of = np.concatenate(cells), np.concatenate(strides)
    centre = (raw[..., :2] + cell) * stride_of
    sides = np.exp(raw[..., 2:4].clip(max=20)) * stride_of
    return _corners(centre, sides), raw[..., 5:] * raw[..., 4:5]


def decode_yolov5(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode [B, N, 5 + C] of YOLOv5: centre and size in pixels, one score for the box and one per class.

    Args:
        outputs: The model's outputs, of which the first counts.
        size: Height and width of the input.
    """
    raw = outputs[0].astype(np.float32)
    return _corners(raw[..., :2], raw[..., 2:4]), raw[..., 5:] * raw[..., 4:5]


def decode_yolov8(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode [B, 4 + C, N] of YOLOv8 and its followers: centre and size in pixels, one score per class.

    Args:
        outputs: The model's outputs, of which the first counts.
        size: Height and width of the input.
    """
    raw = outputs[0].astype(np.float32).transpose(0, 2, 1)
    return _corners(raw[..., :2], raw[..., 2:4]), raw[..., 4:]


def decode_detr(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode class scores [B, N, C] and boxes [B, N, 4] of the DETR family: centre and size as shares of the picture.

    Args:
        outputs: Both outputs, in any order; the boxes are the last one whose last side is 4.
        size: Height and width of the input.
    """
    three = [one.astype(np.float32) for one in outputs if one.ndim == 3]
    at = next(at for at in reversed(range(len(three))) if three[at].shape[2] == 4)
    boxes, scores = three[at], next(one for order, one in enumerate(three) if order != at)
    scale = np.array([size[1], size[0]], np.float32)
    return _corners(boxes[..., :2] * scale, boxes[..., 2:] * scale), scores


def _corners(centre: Arrays, sides: Arrays) -> Arrays:
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=-1)


DECODERS: dict[str, Callable[[Sequence[Arrays], tuple[int, int]], Decoded]] = {
    "yolox": decode_yolox,
    "yolov5": decode_yolov5,
    "yolov8": decode_yolov8,
    "detr": decode_detr,
}


class OnnxDetector:
    """A detector in an ONNX file.

    Args:
        settings: `weights`, `description` and the thresholds.

    Raises:
        UserError: No such file, one that cannot be opened, or an output that is not known.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        self._model = OnnxModel(settings.weights, "detector.weights", settings.device, settings.threads)
        self.name, self.sha256 = f"onnx:{self._model.path.name}", self._model.sha256
        guessed = guess_output(self._model) if settings.output == "auto" else settings.output
        self._description = read_description(settings.description, self._model.path, guessed, "detector.description")
        if self._description.output not in DECODERS:
            raise UserError(
                "detector.description", expected="a detector", got=self._description.output, fix="Write output: yolox."
            )
        self._size = self._model.size(self._description)

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        if not frames:
            return []
        fitted = [fit(frame.image, self._size, self._description) for frame in frames]
        outputs = self._model.run(normalise([image for image, _ in fitted], self._description))
        boxes, scores = decode(outputs, self._size, self._description)
        back = np.stack([way for _, way in fitted])[:, None]
        boxes = (boxes - np.tile(back[..., 2:], 2)) / np.tile(back[..., :2], 2)
        settings = self._settings
        return best_first(boxes, scores, settings.confidence, settings.overlap, settings.most)


def decode(outputs: Sequence[Arrays], size: tuple[int, int], description: Description) -> Decoded:
    """Return boxes [B, N, 4] in pixels of the input and how sure the model is of a person [B, N].

    Args:
        outputs: What the model gave.
        size: Height and width of the input.
        description: What the outputs mean.

    Raises:
        UserError: The outputs do not have the shapes that the description promises.
    """
    with as_described(outputs, "detector", description.output, "Name the right output in detector.description."):
        boxes, scores = DECODERS[description.output](outputs, size)
        scores = activate(scores, description.activation)
        person = scores[..., description.person]
    return boxes, np.where(person >= scores.max(-1), person, 0)


def guess_output(model: OnnxModel) -> str:
    """Return the kind of output that the shapes tell, or an empty text.

    YOLOX has one box per cell of its three grids, YOLOv5 three; YOLOv8 has its classes first; DETR has two outputs.
    """
    shapes = [list(shape) for shape in model.outputs.values() if len(shape) == 3]
    if len(shapes) >= 2 and any(shape[2] == 4 for shape in shapes):
        return "detr"
    if not shapes or not all(isinstance(side, int) for side in shapes[0][1:]):
        return ""
    rows, columns = shapes[0][1:]
    if rows < columns:
        return "yolov8"
    height, width = model.size(Description("yolox"))
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    return {cells: "yolox", 3 * cells: "yolov5"}.get(rows, "")
