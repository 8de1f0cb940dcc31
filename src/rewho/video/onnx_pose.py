"""Top-down pose models from ONNX files: heat maps, SimCC, MoveNet, MediaPipe.

What is unusual: each kind of output has one small function from arrays to places and scores. COCO's 17 keypoints are
selected from MediaPipe's 33.

Dimensions: P people, K keypoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.onnx_session import OnnxSession
from rewho.core.people import KEYPOINTS
from rewho.settings import PoseSettings
from rewho.video.detector import check_weights_file
from rewho.video.onnx_model import (
    POSE_MODELS,
    Description,
    activate,
    complete_description,
    explain_shape_errors,
    format_shapes,
    input_size,
    normalise,
    read_description,
    read_output_kind,
)
from rewho.video.pose import Box, TopDownPose

ROOM = 1.25  # side of the crop over the side of the box; top-down models are trained with it
MEDIAPIPE_TO_COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
MEDIAPIPE_VALUES = 5  # per point: x, y, depth, visibility, presence
OPTION = "pose.description"
FURTHEST = 4.0  # largest distance of a keypoint from the input's corner, in sides of the input
HIGHEST = 2.0  # largest value of a heat map; it is trained towards 1 and may exceed it
Arrays = NDArray[Any]
Decoded = tuple[Arrays, Arrays]  # places [P, K, 2] in pixels of the input, scores [P, K]


def decode_heatmaps(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode heat maps [P, K, H, W]: the highest pixel, moved a quarter of a pixel towards its higher neighbour.

    This is HRNet's way (Sun et al. 2019, section 4.1).
    """
    maps = activate(outputs[0].astype(np.float32), activation if activation != "softmax" else "none")
    people, points, rows, columns = maps.shape
    flat = maps.reshape(people, points, -1)
    row, column = np.divmod(flat.argmax(2), columns)
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    person, point = np.ogrid[:people, :points]
    slope_x = padded[person, point, row + 1, column + 2] - padded[person, point, row + 1, column]
    slope_y = padded[person, point, row + 2, column + 1] - padded[person, point, row, column + 1]
    places = np.stack([column + 0.25 * np.sign(slope_x), row + 0.25 * np.sign(slope_y)], axis=2) + 0.5
    return places * [size[1] / columns, size[0] / rows], flat.max(2)


def decode_simcc(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode SimCC: one row of values per keypoint along x [P, K, n·W] and one along y [P, K, n·H].

    The outputs may come in either order. The score is the lower of both maxima, as in RTMPose's code.
    """
    along_x, along_y = (activate(one.astype(np.float32), activation) for one in outputs[:2])
    if along_x.shape[2] * size[1] == along_y.shape[2] * size[0] and size[0] != size[1]:
        along_x, along_y = along_y, along_x
    x = (along_x.argmax(2) + 0.5) * size[1] / along_x.shape[2]
    y = (along_y.argmax(2) + 0.5) * size[0] / along_y.shape[2]
    return np.stack([x, y], axis=2), np.minimum(along_x.max(2), along_y.max(2)).clip(0, 1)


def decode_points(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode MoveNet's [P, 1, 17, 3]: y, x as shares of the input, and a score."""
    raw = outputs[0].astype(np.float32).reshape(len(outputs[0]), len(KEYPOINTS), 3)
    return raw[..., 1::-1] * [size[1], size[0]], activate(raw[..., 2], activation)


def decode_mediapipe(outputs: Sequence[Arrays], size: tuple[int, int], activation: str) -> Decoded:
    """Decode MediaPipe's [P, 39 · 5], of which the first 33 points are the body, to COCO's 17.

    The score is the visibility, times the confidence [P, 1] that there is a person, if the model gives one.
    """
    flat = next(one for one in outputs if one.shape[1:] == (39 * MEDIAPIPE_VALUES,)).astype(np.float32)
    raw = flat.reshape(len(flat), -1, MEDIAPIPE_VALUES)[:, MEDIAPIPE_TO_COCO]
    scores = activate(raw[..., 3], activation)
    confidence = [one for one in outputs if one.ndim == 2 and one.shape[1] == 1]
    return raw[..., :2], scores * confidence[0].astype(np.float32).clip(0, 1) if confidence else scores


DECODERS: dict[str, Callable[[Sequence[Arrays], tuple[int, int], str], Decoded]] = {
    "heatmaps": decode_heatmaps,
    "simcc": decode_simcc,
    "points": decode_points,
    "mediapipe": decode_mediapipe,
}


class OnnxPose(TopDownPose):
    """A top-down pose model in an ONNX file."""

    def __init__(self, settings: PoseSettings) -> None:
        self.batch = settings.batch
        path = check_weights_file(settings.weights, "pose.weights", (".onnx",))
        self._model = OnnxSession(path, "pose.weights", device=settings.device, threads=settings.threads)
        self.name, self.sha256 = f"onnx:{path.name}", self._model.sha256
        content = read_description(settings.description, path, OPTION)
        self._size = input_size(content, self._model)
        seen = self._model.run(np.zeros((1, *self._size, 3), np.float32))
        output = read_output_kind(content, "", OPTION) or guess_pose_output(seen)
        if output not in POSE_MODELS:
            expected = f"a pose model for one person with a known output ({', '.join(POSE_MODELS)})"
            got = output or f"outputs of the shapes {format_shapes(seen)}"
            fix = f"Write `output: …` into {path.stem}.yaml beside it. Models for several people are not supported."
            raise UserError(f"{OPTION} of {path.name}", expected=expected, got=got, fix=fix)
        self._description = complete_description(content, output, self._model, OPTION)
        decode(seen, self._size, self._description)

    def estimate(self, people: Sequence[tuple[NDArray[np.uint8], Box]]) -> list[NDArray[np.float32]]:
        """Return float32 [17, 3] in pixels of the frame for each frame image and box."""
        around = np.stack([expand_box(box, self._size) for _, box in people])
        crops = [crop_box(image, place, self._size) for (image, _), place in zip(people, around, strict=True)]
        outputs = self._model.run(normalise(crops, self._description))
        return list(map_to_frame(*decode(outputs, self._size, self._description), around, self._size))


def expand_box(box: Sequence[float], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return a box enlarged by `ROOM` and to the proportions of a height and width."""
    left, top, right, bottom = box
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    aspect = size[1] / size[0]
    half = ROOM / 2 * np.array([max(width, height * aspect), max(height, width / aspect)])
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.concatenate([centre - half, centre + half])


def crop_box(image: NDArray[np.uint8], place: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a rectangle of an image, resized to a height and width; black beyond the image."""
    left, top, right, bottom = place
    scale_x, scale_y = size[1] / (right - left), size[0] / (bottom - top)
    # warpAffine's origin is the middle of the first pixel, that of boxes its outer corner: hence the halves.
    matrix = np.array([[scale_x, 0, (0.5 - left) * scale_x - 0.5], [0, scale_y, (0.5 - top) * scale_y - 0.5]])
    return np.asarray(cv2.warpAffine(image, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR), np.uint8)


def map_to_frame(
    places: Arrays, scores: Arrays, around: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return keypoints [P, 17, 3] in pixels of the frame from places in the model's input."""
    scale = (around[:, 2:] - around[:, :2]) / [size[1], size[0]]
    moved = places * scale[:, None] + around[:, None, :2]
    return np.concatenate([moved, scores[..., None]], axis=2).astype(np.float32)


def decode(outputs: Sequence[Arrays], size: tuple[int, int], description: Description) -> Decoded:
    """Return places [P, 17, 2] in pixels of the input and scores [P, 17]."""
    fix = f"Name the right output in {OPTION}, or choose a model trained on COCO."
    with explain_shape_errors(
        outputs, "pose", f"{description.output} with {len(KEYPOINTS)} keypoints in COCO's order", fix
    ):
        places, scores = DECODERS[description.output](outputs, size, description.activation)
        if places.shape[1:] != (len(KEYPOINTS), 2):
            raise ValueError("other keypoints")
    furthest = np.abs(places / [size[1], size[0]]).max(initial=0)
    if not (furthest <= FURTHEST and scores.min(initial=0) >= -0.5 and scores.max(initial=0) <= HIGHEST):
        expected = f"places within {FURTHEST:g} sides of the input, scores from 0 to 1"
        got = f"places up to {furthest:.4g} sides, scores from {scores.min():.4g} to {scores.max():.4g}"
        fix = f"Write the right output, or `activation: sigmoid` for raw scores, into {OPTION}."
        raise UserError(f"pose output {description.output}", expected=expected, got=got, fix=fix)
    return places, scores.clip(0, 1)


def guess_pose_output(outputs: Sequence[Arrays]) -> str:
    """Return the kind of output, guessed from the shapes; empty if unknown."""
    sides = [one.shape[1:] for one in outputs]
    if (39 * MEDIAPIPE_VALUES,) in sides:
        return "mediapipe"
    if sides[0][-2:] == (len(KEYPOINTS), 3):
        return "points"
    if len(sides) == 2 and all(len(one) == 2 and one[0] == len(KEYPOINTS) for one in sides):
        return "simcc"
    return "heatmaps" if len(sides[0]) == 3 else ""
