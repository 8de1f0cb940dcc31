"""Outputs of detectors in ONNX files: guess their kind from shapes, values and class names, and decode each kind.

What is unusual: shapes alone do not identify a kind. YOLOX and YOLOv8 have equally many boxes, and YOLOX is exported
with and without decoded boxes.

Dimensions: B images, N candidate boxes, C classes, F values per box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from rewho.core.files import parse_yaml

STRIDES = (8, 16, 32)  # pixels of the input per cell of the grids of YOLOX and YOLOv5
COCO = 80  # classes
FINAL = (6, 6 + 32, 6 + 51)  # values of a final box: corners, score, class; masks or keypoints
LARGEST_LOGARITHM = 10.0  # of a side over the stride: boxes of 176,000 pixels
LARGEST_OFFSET = 32.0  # cells between a box's centre and the cell that finds it
NAME_KEYS = ("names", "class_names", "classes", "labels", "categories", "id2label")
LONGEST_NAMES = 100_000  # characters
Arrays = NDArray[Any]
Decoded = tuple[Arrays, Arrays]  # boxes [B, N, 4] in pixels of the input, class scores [B, N, C]


@dataclass(frozen=True)
class Metadata:
    """What an ONNX file's metadata tell about its output."""

    names: Mapping[int, str]  # by class number; empty if there are none
    task: str = ""  # such as detect, segment, pose, obb
    beside: int = 0  # values per box behind the class scores: keypoints of a pose model
    end2end: bool = False  # whether the model applies NMS itself


def read_metadata(metadata: Mapping[str, str]) -> Metadata:
    """Return what an ONNX file's metadata, as Ultralytics and others write them, tell about its output."""
    names = next((found for key in NAME_KEYS if (found := _names(metadata.get(key, "")))), {})
    shape = _plain(metadata.get("kpt_shape", ""))
    points = isinstance(shape, list) and len(shape) == 2 and all(type(one) is int and 0 < one < 1000 for one in shape)
    beside = shape[0] * shape[1] if points else 0
    return Metadata(names, metadata.get("task", ""), beside, metadata.get("end2end", "").lower() == "true")


def _plain(text: str) -> Any:  # noqa: ANN401 - plain values
    """Return the value of a Python or JSON literal, which YAML reads too; None if it is not one."""
    if not text or len(text) > LONGEST_NAMES:
        return None
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _names(text: str) -> dict[int, str]:
    found = _plain(text)
    if isinstance(found, str):
        found = [name.strip() for name in found.replace("\n", ",").split(",")]
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    pairs = [(str(number), name) for number, name in items]
    if not all(number.isdigit() and len(number) < 6 and isinstance(name, str | int | float) for number, name in pairs):
        return {}
    return {int(number): str(name) for number, name in pairs}


def decode_yolox(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode [B, N, 5 + C] of YOLOX (section 2.1 of its paper): centres relative to grid cells, sizes as logarithms."""
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
    """Decode [B, N, 5 + C] of YOLOv5, or of YOLOX with decoded boxes: centre and size, objectness, class scores."""
    raw = outputs[0].astype(np.float32)
    return _corners(raw[..., :2], raw[..., 2:4]), raw[..., 5:] * raw[..., 4:5]


def decode_yolov8(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode [B, N, 4 + C] of YOLOv8 and later, transposed from their [B, 4 + C, N]: centre and size, class scores."""
    raw = outputs[0].astype(np.float32)
    return _corners(raw[..., :2], raw[..., 2:4]), raw[..., 4:]


def decode_boxes_and_scores(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Return boxes [B, N, 4] unchanged and class scores [B, N, C], from outputs in any order.

    Of the three-dimensional outputs, the boxes are the last whose last side is 4, the scores the first of the others.
    """
    three = [one.astype(np.float32) for one in outputs if one.ndim == 3]
    at = next(at for at in reversed(range(len(three))) if three[at].shape[2] == 4)
    scores = next(one for order, one in enumerate(three) if order != at)
    if scores.shape[1] != three[at].shape[1]:
        raise ValueError("not as many scores as boxes")
    return three[at], scores


def decode_detr(outputs: Sequence[Arrays], size: tuple[int, int]) -> Decoded:
    """Decode class scores [B, N, C] and boxes [B, N, 4] (centre and size) of the DETR family, in any order."""
    boxes, scores = decode_boxes_and_scores(outputs, size)
    return _corners(boxes[..., :2], boxes[..., 2:]), scores


def decode_labelled(outputs: Sequence[Arrays]) -> tuple[Arrays, Arrays, Arrays]:
    """Return boxes [B, N, 4] as corners, scores [B, N] and class numbers [B, N] of a model that chose a class per box.

    The output is one array [B, N, 6 or more] (corners, score, class, others), or boxes, scores and classes, unordered.
    """
    boxes = next(one for one in outputs if one.ndim == 3).astype(np.float32)
    if boxes.shape[2] > 4:
        return boxes[..., :4], boxes[..., 4], boxes[..., 5]
    flat = [one for one in outputs if one.shape == boxes.shape[:2]]
    labels = next((at for at, one in enumerate(flat) if one.dtype.kind in "iu"), None)
    if labels is None:  # both are floats: class numbers are whole, and usually larger than 1
        whole = [bool((one == np.rint(one)).all()) for one in flat]
        labels = max(range(len(flat)), key=lambda at: (whole[at], float(flat[at].max(initial=0))))
    scores = next(one for at, one in enumerate(flat) if at != labels)
    return boxes, scores.astype(np.float32), flat[labels]


def _corners(centre: Arrays, sides: Arrays) -> Arrays:
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=-1)


DECODERS: dict[str, Callable[[Sequence[Arrays], tuple[int, int]], Decoded]] = {
    "yolox": decode_yolox,
    "yolox_decoded": decode_yolov5,
    "yolov5": decode_yolov5,
    "yolov8": decode_yolov8,
    "yolonas": decode_boxes_and_scores,
    "detr": decode_detr,
}
FIRST_CLASS = {"yolox": 5, "yolox_decoded": 5, "yolov5": 5, "yolov8": 4, "yolonas": 0, "detr": 0}
"""Values of a box before its class scores."""
CHOSEN = ("end2end", "labelled")
"""Kinds whose boxes come with one class each."""


def count_cells(size: tuple[int, int]) -> int:
    """Return the total number of cells of the three grids of an input."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def put_boxes_first(raw: Arrays, size: tuple[int, int], wanted: Sequence[int]) -> Arrays:
    """Return [B, N, F] from [B, N, F] or [B, F, N]; `wanted` are the values of F that are expected."""
    first, last = raw.shape[1:]
    cells = (count_cells(size), 3 * count_cells(size))
    signs = ((first in wanted, last in wanted), (last in cells, first in cells), (last < 5, first < 5))
    transposed = next((one for one, other in signs if one != other), first < last)
    return raw.transpose(0, 2, 1) if transposed else raw


def is_raw(rows: Arrays) -> bool:
    """Return whether boxes [..., F] hold YOLOX's offsets and logarithms, not pixels."""
    sides = rows[..., 2:4]
    logarithms = sides.min(initial=0) < 0 or np.abs(rows[..., :2]).max(initial=0) <= LARGEST_OFFSET
    return bool(sides.max(initial=0) <= LARGEST_LOGARITHM and logarithms)


def is_final(rows: Arrays, size: tuple[int, int]) -> bool:
    """Return whether an output [B, N, F] is corners, score and class, and not one box per cell of the grids."""
    if rows.shape[2] not in FINAL or rows.shape[1] in (count_cells(size), 3 * count_cells(size)):
        return False
    score, label = rows[..., 4], rows[..., 5]
    shares = ((score >= 0) & (score <= 1)).all()
    return bool(shares and (rows[..., 2:4] >= rows[..., :2]).all() and (label == np.rint(label)).all())


def guess_output_kind(outputs: Sequence[Arrays], size: tuple[int, int], notes: Metadata) -> str:
    """Return the kind of the outputs for one image, guessed from shapes, values and class names; empty if unknown."""
    three = [one for one in outputs if one.ndim == 3]
    boxes = next((one for one in reversed(three) if one.shape[2] == 4), None)
    if boxes is not None and sum(one.shape == boxes.shape[:2] for one in outputs) >= 2:
        return "labelled"
    if boxes is not None and len(three) >= 2:
        return "detr" if np.abs(boxes).max(initial=0) <= 2 else "yolonas"
    return _guess_one(three[0], count_extra_values(outputs, notes), size, notes) if three else ""


def _guess_one(raw: Arrays, beside: Sequence[int], size: tuple[int, int], notes: Metadata) -> str:
    """Return the kind of a model with one main output; empty if unknown."""
    names = len(notes.names) or COCO
    widths = {first + names + more: first for more in beside for first in (4, 5)}
    rows = put_boxes_first(raw, size, list(widths))
    first = widths.get(rows.shape[2], 0)
    per_cell = {count_cells(size): 1, 3 * count_cells(size): 3}.get(rows.shape[1], 0)
    if notes.end2end or (raw.shape[2] == 6 and is_final(raw, size)):
        return "end2end"
    if notes.names or (first and per_cell):
        return {0: "", 4: "yolov8", 5: _with_objectness(rows, per_cell)}[first]
    if per_cell == 3:
        return "yolov5"
    return "yolov8" if raw.shape[1] < raw.shape[2] else "yolox" if per_cell and is_raw(rows) else ""


def _with_objectness(rows: Arrays, per_cell: int) -> str:
    """Return the kind of a model that gives objectness before the class scores."""
    if per_cell != 1 or bool((rows[..., 4] == 1).all()):  # YOLOv6 writes 1 for every box
        return "yolov5"
    return "yolox" if is_raw(rows) else "yolox_decoded"


def count_extra_values(outputs: Sequence[Arrays], notes: Metadata) -> list[int]:
    """Return how many values may follow a box's class scores: mask coefficients or keypoints, else none."""
    masks = [one.shape[1] for one in outputs if one.ndim == 4][:1]
    return [*(masks or [notes.beside] * bool(notes.beside)), 0]
