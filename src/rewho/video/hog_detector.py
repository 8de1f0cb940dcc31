"""OpenCV's pedestrian detector: histograms of oriented gradients and a linear classifier. It needs no weights.

What is unusual: its score is a distance from the decision boundary, not a probability, and its boxes have a wide margin
around the person. Both are corrected roughly. It is good enough for a first try, not for building a data set.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.progress import say
from rewho.settings import DetectorSettings
from rewho.video.boxes import apply_nms
from rewho.video.detector import Detector
from rewho.video.people import Frame, Person

LONGEST_SIDE = 960  # pixels; larger frames are reduced, which loses people smaller than about 1/8 of the frame
BORDER_X, BORDER_Y = 0.17, 0.10  # of the box, on each side; medians over large, visible people of MOT17
WARNING = (
    "note: detector hog found 58 % of the clearly visible people of MOT17-mini, YOLOX-Nano 72 % (docs/guide/video.md); "
    "`rewho models get yolox-s` downloads a better one"
)
STEEPNESS, MIDDLE = 2.0, 0.5  # a score of .5 becomes a confidence of .5, one of 1 becomes .73, one of 1.5 becomes .88


class HogDetector(Detector):
    """Finds upright people at least about a quarter as high as the frame; uses `confidence`, `overlap` and `most`."""

    name, sha256 = "hog", ""

    def __init__(self, settings: DetectorSettings) -> None:
        if multiprocessing.parent_process() is None:
            say(WARNING)
        self._settings = settings
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))

    def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Return the people in each frame."""
        return [self._detect(frame.image) for frame in frames]

    def _detect(self, image: NDArray[np.uint8]) -> list[Person]:
        scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
        if small.shape[0] < 128 or small.shape[1] < 64:  # the detector's window
            return []
        found, scores = self._hog.detectMultiScale(small, winStride=(8, 8), padding=(16, 16), scale=1.05)
        if not len(found):
            return []
        corner, side = np.split(np.asarray(found, np.float64) / scale, 2, axis=1)
        inner = side * [BORDER_X, BORDER_Y]
        boxes = np.concatenate([corner + inner, corner + side - inner], axis=1)
        confidences = 1 / (1 + np.exp(-STEEPNESS * (np.asarray(scores, np.float64).ravel() - MIDDLE)))
        settings = self._settings
        return apply_nms(boxes[None], confidences[None], settings.confidence, settings.overlap, settings.most)[0]


load_detector = HogDetector
