"""Read a detector's output and check it: class columns, classes of people, scores, boxes.

What is unusual: every batch is checked, not the first one only: scores are from 0 to 1, boxes have sides and lie near
the image. Wrong decoding shows there.

Dimensions: B images, N candidate boxes, C classes, F values per box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from rewho.core.check import UserError
from rewho.video.detector import find_person_classes
from rewho.video.onnx_model import Description, activate, explain_shape_errors, format_shapes
from rewho.video.onnx_output import (
    CHOSEN,
    COCO,
    DECODERS,
    FIRST_CLASS,
    Arrays,
    Decoded,
    Metadata,
    count_extra_values,
    decode_boxes_and_scores,
    decode_labelled,
    is_final,
    is_raw,
    put_boxes_first,
)

FIX = "Name the right `output` in detector.description"
COCO_OWN_IDS = (91, 92)  # numbers of class columns with COCO's own ids, of which 1 is a person; without, with "none"
TASKS = ("", "detect", "segment", "pose")
SLACK = 0.01  # scores in half precision may slightly exceed 1
LEAST_SCORE = 0.05  # class numbers of boxes with a lower score are often filler


class OutputReader:
    """Reads boxes of people and their scores from a detector's outputs.

    Args:
        outputs: The outputs for one image, such as a black one.
        size: Height and width of the input.
        known: What the outputs mean.
        notes: The file's metadata.

    Attributes:
        assumed: A warning, if neither file nor description tell which class is a person; usually empty.
    """

    def __init__(
        self, outputs: Sequence[Arrays], size: tuple[int, int], known: Description, notes: Metadata | None = None
    ) -> None:
        self._size, self._known, self._notes = size, known, notes or Metadata({})
        self._width = known.classes or len(self._notes.names) or COCO
        self.assumed = ""
        if self._notes.task not in TASKS:
            fix = "Choose a detector; rotated boxes and classifiers are not supported."
            raise UserError("detector.weights", expected="a detector", got=f"a model for {self._notes.task}", fix=fix)
        with explain_shape_errors(outputs, "detector", known.output, f"{FIX}."):
            self._classes = self._count(outputs)
            self._known = known if known.activation else replace(known, activation=self._activation(outputs))
        self._person = self._people()

    def _rows(self, outputs: Sequence[Arrays]) -> Arrays:
        """Return [B, N, F] of a model with one main output."""
        raw = next(one for one in outputs if one.ndim == 3)
        first = FIRST_CLASS[self._known.output]
        widths = [first + self._width + one for one in count_extra_values(outputs, self._notes)]
        return put_boxes_first(raw, self._size, widths)

    def _count(self, outputs: Sequence[Arrays]) -> int:
        """Return the number of columns with class scores; 0 if each box comes with the number of its class instead.

        Raises:
            UserError: The columns do not fit the kind of output, or not the number of classes.
        """
        known, names = self._known, len(self._notes.names)
        if known.output in CHOSEN:
            decode_labelled(outputs)
            return 0
        first, beside = FIRST_CLASS[known.output], count_extra_values(outputs, self._notes)
        rows = self._rows(outputs) if first else decode_boxes_and_scores(outputs, self._size)[1]
        columns = int(rows.shape[2]) - first
        if known.classes or names:
            extra = columns - (known.classes or names)
            fits = extra >= 0 if known.classes and first else extra in (beside if first else (0, 1))
        else:
            extra = beside[0] if first and columns > beside[0] else 0
            raw = next(one for one in outputs if one.ndim == 3)
            final = raw.any() and is_final(raw, self._size)
            # COCO's 80 classes make 84 columns behind 4 values, 85 behind 5: the other width means another kind.
            fits = columns > 0 and not (first and (final or columns + first == COCO + 9 - first))
        if not fits:
            expected = f"{known.classes or names or 'some'} class scores behind the {first} values of a box"
            got = f"{columns} columns behind them, in {format_shapes(outputs)}"
            fix = (
                f"{FIX} (4 + {COCO} columns: yolov8; 5 + {COCO}: yolov5 or yolox_decoded; corners, score and class: "
                "end2end), or write `classes: N` where masks or keypoints follow N class scores."
            )
            raise UserError(f"detector output {known.output}", expected=expected, got=got, fix=fix)
        return columns - extra if first else columns

    def _activation(self, outputs: Sequence[Arrays]) -> Literal["none", "sigmoid", "softmax"]:
        """Return the activation that scores of the DETR family still need; those of others need none."""
        if self._known.output != "detr":
            return "none"
        scores = decode_boxes_and_scores(outputs, self._size)[1]
        if scores.size and scores.min() >= 0 and scores.max() <= 1:
            return "none"
        return "softmax" if self._classes == (len(self._notes.names) or COCO_OWN_IDS[0]) + 1 else "sigmoid"

    def _people(self) -> tuple[int, ...]:
        """Return the classes that are people: by description, by the file's names, or by the number of classes."""
        known, count = self._known, self._classes
        if known.person:
            if count and max(known.person) >= count:
                got, fix = f"{max(known.person)} of {count} classes", "Count classes from 0."
                raise UserError("detector.description: person", expected="a class that exists", got=got, fix=fix)
            return known.person
        if self._notes.names:
            fix = "Choose a detector of people; if one of these is a person, write `person: N` into its description."
            return find_person_classes(self._notes.names, "detector.weights", fix)
        if count in COCO_OWN_IDS:
            return (1,)
        if count not in (1, COCO):
            self.assumed = "the file names no classes; class 0 is taken as person (else write `person: N`)"
        return (0,)

    def read(self, outputs: Sequence[Arrays], confidence: float) -> tuple[Arrays, Arrays]:
        """Return boxes [B, N, 4] in pixels of the input and the scores of a person in each [B, N].

        Boxes with a score of at least `confidence` are checked.
        """
        known, height, width = self._known, *self._size
        with explain_shape_errors(outputs, "detector", known.output, f"{FIX}."):
            boxes, person = self._labelled(outputs) if known.output in CHOSEN else self._scored(outputs)
            if boxes.shape[2] != 4 or person.shape != boxes.shape[:2]:
                raise ValueError("not one score per box")
        if known.coordinates == "shares":
            boxes = boxes * np.array([width, height, width, height], np.float32)
        self._check_boxes(boxes[person >= max(confidence, 1e-6)])
        return boxes, person

    def _scored(self, outputs: Sequence[Arrays]) -> Decoded:
        known, first = self._known, FIRST_CLASS[self._known.output]
        if first:
            rows = self._rows(outputs)
            if known.output == "yolox" and not is_raw(rows):
                self._refuse("offsets and logarithms", f"pixels{_span(rows[..., :4])}", "output: yolox_decoded")
            if known.output != "yolox" and is_raw(rows) and rows[..., 2:4].min(initial=0) < -0.1:
                self._refuse("boxes in pixels", f"offsets and logarithms{_span(rows[..., :4])}", "output: yolox")
            outputs = [rows]
        boxes, scores = DECODERS[known.output](outputs, self._size)
        if first:
            scores = scores[..., : self._classes]
        scores = activate(scores, known.activation)
        self._check_scores(scores)
        person = scores[..., list(self._person)].max(-1)
        return boxes, np.where(person >= scores.max(-1), person, 0)

    def _labelled(self, outputs: Sequence[Arrays]) -> Decoded:
        boxes, scores, labels = decode_labelled(outputs)
        scores = activate(scores, self._known.activation)
        self._check_scores(scores)
        sure = labels[scores >= LEAST_SCORE]
        count = len(self._notes.names) or (COCO if not self._known.person else 0)
        if (sure != np.rint(sure)).any() or (count and sure.max(initial=0) >= count):
            expected = f"class numbers from 0 to {count - 1}" if count else "whole class numbers"
            self._refuse(expected, f"classes{_span(sure)}", "person: 1` for COCO's own ids, or `output: yolov8")
        return boxes, np.where(np.isin(labels, self._person), scores, 0)

    def _check_scores(self, scores: Arrays) -> None:
        if scores.size and not (scores.min() >= -SLACK and scores.max() <= 1 + SLACK):
            seen = "NaN" if np.isnan(scores).any() else f"values{_span(scores)}"
            write = "activation: sigmoid` for raw scores, `classes: N` where masks or keypoints follow N scores"
            expected = f"scores from 0 to 1, activation {self._known.activation}"
            self._refuse(expected, seen, f"{write}, or another `output")

    def _check_boxes(self, boxes: Arrays) -> None:
        """Refuse boxes without sides or far beyond the input, and boxes that all lie within two pixels."""
        if not len(boxes):
            return
        height, width = self._size
        low, high = boxes[:, :2], boxes[:, 2:]
        size = np.array([width, height])
        inside = (low > -size).all() and (high < 2 * size).all()  # False for NaN
        if not inside or not (high >= low).all():
            self._refuse(f"boxes in an input of {width} x {height} pixels", f"corners{_span(boxes)}", "output: …")
        if self._known.coordinates == "pixels" and boxes.max() <= 2 and min(self._size) > 8:
            self._refuse("boxes in pixels of the input", f"corners{_span(boxes)}", "coordinates: shares")

    def _refuse(self, expected: str, got: str, write: str) -> None:
        fix = f"Describe the model's output in detector.description; try `{write}`."
        raise UserError(f"detector output {self._known.output}", expected=expected, got=got, fix=fix)


def _span(values: Arrays) -> str:
    return f" from {values.min():.4g} to {values.max():.4g}" if values.size else ""
