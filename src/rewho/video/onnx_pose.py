"""Pose models from ONNX files that look at one person at a time: heat maps, SimCC, MoveNet, MediaPipe.

What is unusual: each kind of output is one small function from arrays to places and scores; MediaPipe's 33 points are
mapped to COCO's 17, which are among them.

Dimensions: P people, K key points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.settings import PoseSettings
from rewho.video.onnx_model import Description, OnnxModel, activate, as_described, normalise, read_description
from rewho.video.people import KEY_POINTS, Frame, Person

ROOM = 1.25  # side of the picture given to the model over the side of the box: what top-down models are trained with
MEDIAPIPE_TO_COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
MEDIAPIPE_VALUES = 5  # per point: x, y, depth, visibility, presence
HEAT_PIXELS = 4  # pixels of the input per pixel of a heat map, in all usual models
Arrays = NDArray[Any]
Decoded = tuple[Arrays, Arrays]  # places [P, K, 2] in pixels of the input, scores [P, K]


def decode_heatmaps(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode heat maps [P, K, H, W]: the highest pixel, moved a quarter of a pixel towards its higher neighbour.

    That is what HRNet does (Sun et al. 2019, section 4.1).

    Args:
        outputs: The model's outputs, of which the first counts.
        size: Height and width of the input.
        activation: What the values still need.
    """
    maps = activate(outputs[0].astype(np.float32), activation if activation != "softmax" else "none")
    people, points, rows, columns = maps.shape
    flat = maps.reshape(people, points, -1)
    row, column = np.divmod(flat.argmax(2), columns)
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    who, which = np.ogrid[:people, :points]
    slope_x = padded[who, which, row + 1, column + 2] - padded[who, which, row + 1, column]
    slope_y = padded[who, which, row + 2, column + 1] - padded[who, which, row, column + 1]
    places = np.stack([column + 0.25 * np.sign(slope_x), row + 0.25 * np.sign(slope_y)], axis=2) + 0.5
    return places * [size[1] / columns, size[0] / rows], flat.max(2).clip(0, 1)


def decode_simcc(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode SimCC: one row of values per key point along x [P, K, n·W] and along y [P, K, n·H].

    The score is the lower one of both maxima, as in RTMPose's own code.

    Args:
        outputs: Values along x and along y.
        size: Height and width of the input.
        activation: What the values still need.
    """
    along_x, along_y = (activate(one.astype(np.float32), activation) for one in outputs[:2])
    x = (along_x.argmax(2) + 0.5) * size[1] / along_x.shape[2]
    y = (along_y.argmax(2) + 0.5) * size[0] / along_y.shape[2]
    return np.stack([x, y], axis=2), np.minimum(along_x.max(2), along_y.max(2)).clip(0, 1)


def decode_points(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode MoveNet's [P, 1, 17, 3]: y, x as shares of the input, and a score.

    Args:
        outputs: The model's outputs, of which the first counts.
        size: Height and width of the input.
        activation: What the scores still need.
    """
    raw = outputs[0].astype(np.float32).reshape(len(outputs[0]), len(KEY_POINTS), 3)
    return raw[..., 1::-1] * [size[1], size[0]], activate(raw[..., 2], activation)


def decode_mediapipe(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode MediaPipe's [P, 39 · 5], of which the first 33 points are the body, to COCO's 17.

    The score is the visibility, times the model's own certainty that there is a person at all.

    Args:
        outputs: The points, and the certainty [P, 1] where the model gives it.
        size: Height and width of the input.
        activation: What visibilities still need.
    """
    raw = outputs[0].astype(np.float32).reshape(len(outputs[0]), -1, MEDIAPIPE_VALUES)[:, MEDIAPIPE_TO_COCO]
    scores = activate(raw[..., 3], activation)
    certain = [one for one in outputs[1:] if one.ndim == 2 and one.shape[1] == 1]
    return raw[..., :2], scores * certain[0].astype(np.float32).clip(0, 1) if certain else scores


DECODERS: dict[str, Callable[[Sequence[Arrays], tuple[int, int], str], Decoded]] = {
    "heatmaps": decode_heatmaps,
    "simcc": decode_simcc,
    "points": decode_points,
    "mediapipe": decode_mediapipe,
}


class OnnxPose:
    """A pose model in an ONNX file that looks at one person at a time.

    Args:
        settings: `weights`, `description` and `batch`.

    Raises:
        UserError: No such file, one that cannot be opened, or an output that is not known.
    """

    def __init__(self, settings: PoseSettings) -> None:
        self._settings = settings
        self._model = OnnxModel(settings.weights, "pose.weights", settings.device, settings.threads)
        self.name, self.sha256 = f"onnx:{self._model.path.name}", self._model.sha256
        self._description = read_description(
            settings.description, self._model.path, guess_output(self._model), "pose.description"
        )
        if self._description.output not in DECODERS:
            raise UserError(
                "pose.description", expected="a pose model", got=self._description.output, fix="Write output: heatmaps."
            )
        self._size = self._model.size(self._description)

    def begin(self, video: Path) -> None:
        """Prepare for a video: nothing to do."""

    def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
        """Return the people of each frame with their key points; people of several frames go through together."""
        found = [list(some) for some in people]
        flat = [(row, at) for row, some in enumerate(people) for at in range(len(some))]
        for start in range(0, len(flat), self._settings.batch):
            part = flat[start : start + self._settings.batch]
            points = self._estimate([(frames[row].image, people[row][at].box) for row, at in part])
            for (row, at), keypoints in zip(part, points, strict=True):
                found[row][at] = replace(people[row][at], keypoints=keypoints)
        return found

    def _estimate(self, seen: Sequence[tuple[NDArray[np.uint8], Sequence[float]]]) -> NDArray[np.float32]:
        """Return float32 [P, 17, 3] in pixels of the frames."""
        around = np.stack([surroundings(box, self._size) for _, box in seen])
        crops = [cut_out(image, place, self._size) for (image, _), place in zip(seen, around, strict=True)]
        outputs = self._model.run(normalise(crops, self._description))
        return to_frame(*decode(outputs, self._size, self._description), around, self._size)


def surroundings(box: Sequence[float], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the rectangle around a box that has the proportions of the model's input, and room on all sides.

    Example:
        >>> surroundings((0, 0, 40, 100), (256, 192)).tolist()
        [-26.875, -12.5, 66.875, 112.5]
    """
    left, top, right, bottom = box
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    aspect = size[1] / size[0]
    half = ROOM / 2 * np.array([max(width, height * aspect), max(height, width / aspect)])
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.concatenate([centre - half, centre + half])


def cut_out(image: NDArray[np.uint8], place: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a rectangle of a picture, in the given height and width; black beyond the picture."""
    left, top, right, bottom = place
    scale_x, scale_y = size[1] / (right - left), size[0] / (bottom - top)
    # warpAffine counts from the middle of the first pixel, boxes from its outer corner: hence the halves.
    way = np.array([[scale_x, 0, (0.5 - left) * scale_x - 0.5], [0, scale_y, (0.5 - top) * scale_y - 0.5]])
    return np.asarray(cv2.warpAffine(image, way, (size[1], size[0]), flags=cv2.INTER_LINEAR), np.uint8)


def to_frame(places: Arrays, scores: Arrays, around: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return key points [P, 17, 3] in pixels of the frame from places in the model's input."""
    scale = (around[:, 2:] - around[:, :2]) / [size[1], size[0]]
    moved = places * scale[:, None] + around[:, None, :2]
    return np.concatenate([moved, scores[..., None]], axis=2).astype(np.float32)


def decode(outputs: Sequence[Arrays], size: tuple[int, int], description: Description) -> Decoded:
    """Return places [P, 17, 2] in pixels of the input and scores [P, 17].

    Args:
        outputs: What the model gave.
        size: Height and width of the input.
        description: What the outputs mean.

    Raises:
        UserError: The outputs do not have the shapes that the description promises, or not COCO's 17 points.
    """
    fix = "Name the right output in pose.description, or take a model trained on COCO."
    with as_described(outputs, "pose", f"{description.output} with 17 key points in COCO's order", fix):
        places, scores = DECODERS[description.output](outputs, size, description.activation)
        if places.shape[1:] != (len(KEY_POINTS), 2):
            raise ValueError("other key points")
    return places, scores


def guess_output(model: OnnxModel) -> str:
    """Return the kind of output that the shapes tell, or an empty text."""
    shapes = [list(shape) for shape in model.outputs.values()]
    if any(shape[1:] == [195] for shape in shapes):
        return "mediapipe"
    if shapes[0][-2:] == [17, 3]:
        return "points"
    if len(shapes) == 2 and all(len(shape) == 3 for shape in shapes):
        return "simcc"
    return "heatmaps" if len(shapes[0]) == 4 else ""
