"""Detectors from ONNX files, as they are exported from YOLOX, YOLO-NAS, YOLOv5 to v11 and later, and the DETR family.

What is unusual: a black image goes through the model when it is opened, so that what does not fit is known before any
video is. Only the detection of people is read out of many classes, and a box counts as a person where no other class
is surer.

Dimensions: B frames, N candidate boxes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.onnx_session import OnnxSession
from rewho.core.progress import say
from rewho.settings import DetectorSettings
from rewho.video.boxes import best_first
from rewho.video.detector import weights_file
from rewho.video.onnx_model import (
    DETECTORS,
    Description,
    described,
    fit,
    input_size,
    named_output,
    normalise,
    read_description,
    shapes,
)
from rewho.video.onnx_output import FileNotes, guess, read_notes
from rewho.video.onnx_reader import OutputReader
from rewho.video.people import Frame, Person

OPTION = "detector.description"


class OnnxDetector:
    """A detector in an ONNX file.

    Args:
        settings: `weights`, `description`, `output` and the thresholds.

    Raises:
        UserError: No such file, one that cannot be opened, or an output that is not known.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        path = weights_file(settings.weights, "detector.weights", (".onnx",))
        self._model = OnnxSession(path, "detector.weights", device=settings.device, threads=settings.threads)
        self.name, self.sha256 = f"onnx:{path.name}", self._model.sha256
        content = read_description(settings.description, path, OPTION)
        self._size = input_size(content, self._model)
        seen = self._model.run(np.zeros((1, *self._size, 3), np.float32))
        notes = read_notes(self._model.metadata)
        self._description = self._describe(content, seen, notes)
        self._reader = OutputReader(seen, self._size, self._description, notes)
        self._reader.read(seen, confidence=2.0)  # scores alone: what is found in a black image need not be sound
        if self._reader.assumed and multiprocessing.parent_process() is None:
            say(f"warning: {path.name}: {self._reader.assumed}")

    def _describe(self, content: dict[str, Any], seen: Sequence[NDArray[Any]], notes: FileNotes) -> Description:
        """Return what the outputs mean, from description and settings, or else from what a black image gave."""
        named = named_output(content, self._settings.output.replace("auto", ""), OPTION)
        output = named or guess(seen, self._size, notes)
        if output not in DETECTORS:
            raise UserError(
                f"{OPTION} of {self._model.path.name}",
                expected=f"a detector whose output is known ({', '.join(DETECTORS)})",
                got=named or f"outputs of the shapes {shapes(seen)}" + f" and {len(notes.names)} class names",
                fix=f"Write `output: …` into {self._model.path.stem}.yaml beside it; see `rewho.video.onnx_model`.",
            )
        return described(content, output, self._model, OPTION)

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        if not frames:
            return []
        settings = self._settings
        fitted = [fit(frame.image, self._size, self._description) for frame in frames]
        outputs = self._model.run(normalise([image for image, _ in fitted], self._description))
        boxes, scores = self._reader.read(outputs, settings.confidence)
        back = np.stack([way for _, way in fitted])[:, None]
        boxes = (boxes - np.tile(back[..., 2:], 2)) / np.tile(back[..., :2], 2)
        return best_first(boxes, scores, settings.confidence, settings.overlap, settings.most)
