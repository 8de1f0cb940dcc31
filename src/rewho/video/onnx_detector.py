"""Detectors from ONNX files, exported from YOLOX, YOLO-NAS, YOLOv5 to v11 and later, and the DETR family.

What is unusual: a black image passes through the model when it is opened, so that mismatches are found before any video
is opened. Of many classes only people are read: a box is a person if no other class has a higher score.

Dimensions: B frames, N candidate boxes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.onnx_session import OnnxSession
from rewho.core.progress import say
from rewho.settings import DetectorSettings
from rewho.video.boxes import apply_nms
from rewho.video.detector import Detector, check_weights_file
from rewho.video.onnx_model import (
    DETECTORS,
    Description,
    complete_description,
    explain_shape_errors,
    format_shapes,
    input_size,
    normalise,
    read_description,
    read_output_kind,
    resize_to_input,
)
from rewho.video.onnx_output import Metadata, guess_output_kind, read_metadata
from rewho.video.onnx_reader import OutputReader
from rewho.video.people import Frame, Person

OPTION = "detector.description"


class OnnxDetector(Detector):
    """A detector in an ONNX file."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        path = check_weights_file(settings.weights, "detector.weights", (".onnx",))
        self._model = OnnxSession(path, "detector.weights", device=settings.device, threads=settings.threads)
        self.name, self.sha256 = f"onnx:{path.name}", self._model.sha256
        content = read_description(settings.description, path, OPTION)
        self._size = input_size(content, self._model)
        seen = self._model.run(np.zeros((1, *self._size, 3), np.float32))
        notes = read_metadata(self._model.metadata)
        self._description = self._describe(content, seen, notes)
        self._reader = OutputReader(seen, self._size, self._description, notes)
        self._reader.read(seen, confidence=2.0)  # checks scores only: boxes in a black image may be arbitrary
        if self._reader.assumed and multiprocessing.parent_process() is None:
            say(f"warning: {path.name}: {self._reader.assumed}")

    def _describe(self, content: dict[str, Any], seen: Sequence[NDArray[Any]], notes: Metadata) -> Description:
        """Return what the outputs mean, from description and settings, or guessed from those for a black image."""
        named = read_output_kind(content, self._settings.output.replace("auto", ""), OPTION)
        with explain_shape_errors(seen, "detector", "a detector's", f"Name its `output` in {OPTION}."):
            output = named or guess_output_kind(seen, self._size, notes)
        if output not in DETECTORS:
            path, expected = self._model.path, f"a detector with a known output ({', '.join(DETECTORS)})"
            got = named or f"outputs of the shapes {format_shapes(seen)} and {len(notes.names)} class names"
            fix = f"Write `output: …` into {path.stem}.yaml beside it; see `rewho.video.onnx_model`."
            raise UserError(f"{OPTION} of {path.name}", expected=expected, got=got, fix=fix)
        return complete_description(content, output, self._model, OPTION)

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        if not frames:
            return []
        settings = self._settings
        fitted = [resize_to_input(frame.image, self._size, self._description) for frame in frames]
        outputs = self._model.run(normalise([image for image, _ in fitted], self._description))
        boxes, scores = self._reader.read(outputs, settings.confidence)
        back = np.stack([mapping for _, mapping in fitted])[:, None]
        boxes = (boxes - np.tile(back[..., 2:], 2)) / np.tile(back[..., :2], 2)
        return apply_nms(boxes, scores, settings.confidence, settings.overlap, settings.most)


load_detector = OnnxDetector
