"""ONNX files of detectors and pose models: opening them, and what they want and give.

What is unusual: an ONNX file does not say how pixels become its input nor what its output means. That stands in a
small YAML file beside it; without one, the shapes tell the usual cases. A model that keeps its weights in a second file
is not opened. Such a description, with the values that YOLOX takes where none is given::

    output: yolox            # yolox, yolov5, yolov8, detr; heatmaps, simcc, points, mediapipe
    colour: bgr              # rgb or bgr
    range: 255               # largest value of a pixel: 1 or 255
    mean: [0, 0, 0]          # taken off, in the model's colour order and range; then divided by std
    std: [1, 1, 1]
    resize: letterbox        # letterbox (keeps the proportions) or stretch
    corner: true             # letterbox: picture in the upper left corner, not in the middle
    fill: 114                # letterbox: colour of the border, 0 to 255
    person: 0                # class of people
    activation: none         # what the scores still need: none, sigmoid or softmax
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, nearest
from rewho.video.detect import weights_file

CHOICES = {
    "output": ("yolox", "yolov5", "yolov8", "detr", "heatmaps", "simcc", "points", "mediapipe"),
    "colour": ("rgb", "bgr"),
    "resize": ("letterbox", "stretch"),
    "activation": ("none", "sigmoid", "softmax"),
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL_SIZE = 640  # pixels; the side of a detector's input where the file leaves it open


@dataclass(frozen=True)
class Description:
    """How pixels become a model's input and what its output means; see the top of this module."""

    output: str
    colour: str = "rgb"
    range: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: str = "letterbox"
    corner: bool = False
    fill: float = 114.0
    person: int = 0
    activation: str = "none"
    height: int = 0
    width: int = 0


# The first four follow the code that exports them; the last four are what their usual training recipes take.
USUAL = {
    "yolox": Description("yolox", colour="bgr", range=255.0, corner=True),
    "yolov5": Description("yolov5"),
    "yolov8": Description("yolov8"),
    "detr": Description("detr", resize="stretch", activation="sigmoid"),
    "heatmaps": Description("heatmaps", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "simcc": Description("simcc", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "points": Description("points", range=255.0),
    "mediapipe": Description("mediapipe", activation="sigmoid"),
}


class OnnxModel:
    """An ONNX file that is ready to run.

    Args:
        path: The file.
        option: Name of the option that gave it, for messages.
        device: auto, cpu or cuda.
        threads: Processor threads; 0 leaves it to the library.

    Raises:
        UserError: onnxruntime is not installed, or the file cannot be opened.
    """

    def __init__(self, path: Path | None, option: str, device: str, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                option,
                expected="the onnxruntime library",
                got="an installation without it",
                fix="pip install rewho[detect]",
            ) from error
        self.path = weights_file(path, option, (".onnx",))
        data = self.path.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 4
        # Threads that wait in a loop take the processor from the decoder and from other workers.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        check_choice(option.partition(".")[0] + ".device", device, ("auto", "cpu", "cuda"))
        there = onnxruntime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] if device != "cpu" and "CUDAExecutionProvider" in there else []
        if device == "cuda" and not wanted:
            raise UserError(
                f"{option} on cuda",
                expected="onnxruntime with CUDA",
                got=", ".join(there),
                fix="pip install onnxruntime-gpu",
            )
        try:
            # From memory, so that the file that was hashed is the one that runs, and none beside it is read.
            self._session = onnxruntime.InferenceSession(data, settings, providers=[*wanted, "CPUExecutionProvider"])
        except Exception as error:
            raise UserError(
                option,
                expected="a sound ONNX file with its weights in it",
                got=f"{self.path}: {str(error).splitlines()[0][:200]}",
                fix="Export the model again, as one file.",
            ) from error
        first = self._session.get_inputs()[0]
        self._input, self._half = first.name, first.type == "tensor(float16)"
        self.input_shape = [side if isinstance(side, int) else None for side in first.shape]
        self.outputs = {one.name: one.shape for one in self._session.get_outputs()}
        self.channels_last = len(self.input_shape) == 4 and self.input_shape[3] == 3
        self._batch = self.input_shape[0]

    def size(self, description: Description) -> tuple[int, int]:
        """Return height and width of the model's input."""
        sides = self.input_shape[1:3] if self.channels_last else self.input_shape[2:4]
        return sides[0] or description.height or USUAL_SIZE, sides[1] or description.width or USUAL_SIZE

    def run(self, pixels: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the model's outputs for uint8-sized inputs [B, H, W, 3] that `normalise` made, as float32 arrays.

        Models with a fixed batch are run as often as it takes.
        """
        tensor = pixels if self.channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        tensor = tensor.astype(np.float16) if self._half else tensor
        size = self._batch or len(tensor)
        parts = []
        for start in range(0, len(tensor), size):
            part = tensor[start : start + size]
            full = part if len(part) == size else np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
            got = self._session.run(None, {self._input: full})
            parts.append([np.asarray(one)[: len(part)] if np.ndim(one) else np.asarray(one) for one in got])
        return [np.concatenate(column) if np.ndim(column[0]) else column[0] for column in zip(*parts, strict=True)]


def read_description(given: Path | None, model: Path, guessed: str, option: str) -> Description:
    """Return the description from a YAML file, or the usual one for what the shapes tell.

    Args:
        given: The file that was named, or None for the one beside the model.
        model: The ONNX file.
        guessed: Output that the settings name or the shapes tell; empty where they tell nothing.
        option: Name of the option, for messages.

    Raises:
        UserError: No such file, unknown names or values, or nothing tells what the output means.
    """
    path = given or model.with_suffix(".yaml")
    content: Any = {}
    if given is not None or path.is_file():
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            got = str(error).replace("\n", " ")[:200]
            raise UserError(f"{option} {path}", expected="a YAML file", got=got, fix="Check the file.") from error
    if not isinstance(content, dict):
        raise UserError(f"{option} {path}", expected="names and values", got=repr(content)[:60], fix="output: yolox")
    known = [field.name for field in fields(Description)]
    for name in content:
        if name not in known:
            near = nearest(str(name), known)
            raise UserError(
                f"{option} {path}", expected=f"names from {', '.join(known)}", got=str(name), fix=f"Nearest: {near}."
            )
    output = content.get("output", guessed)
    if not output:
        raise UserError(
            f"{option} of {model.name}",
            expected="a description, since the shapes of its output are not known",
            got="none",
            fix=f"Write {path.name} beside it, beginning with `output: yolox`; see `rewho.video.onnx_model`.",
        )
    check_choice(f"{option}: output", output, CHOICES["output"])
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
    described = replace(USUAL[output], **values)
    for name, choices in CHOICES.items():
        check_choice(f"{option}: {name}", getattr(described, name), choices)
    return described


@contextlib.contextmanager
def as_described(outputs: Sequence[NDArray[Any]], what: str, expected: str, fix: str) -> Iterator[None]:
    """Say in plain words that outputs cannot be decoded in the way that the description promises.

    Args:
        outputs: What the model gave.
        what: The kind of model.
        expected: Whose shapes were expected.
        fix: What to do.

    Raises:
        UserError: Decoding failed for the outputs' shapes.

    Example:
        >>> with as_described([np.zeros((1, 2))], "detector", "yolox", "Name the right output."):
        ...     np.zeros((1, 2))[:, 5]
        Traceback (most recent call last):
        ...
        rewho.core.check.UserError: detector output: expected the shapes of yolox, got [1, 2].
          Fix: Name the right output.
    """
    try:
        yield
    except (IndexError, ValueError, StopIteration) as error:
        shapes = ", ".join(str(list(one.shape)) for one in outputs)
        raise UserError(f"{what} output", expected=f"the shapes of {expected}", got=shapes, fix=fix) from error


def normalise(images: Sequence[NDArray[np.uint8]], description: Description) -> NDArray[np.float32]:
    """Return uint8 RGB pictures of one size as the model's float32 input [B, H, W, 3].

    Example:
        >>> picture = np.full((1, 1, 3), 255, np.uint8)
        >>> normalise([picture], Description("yolov8")).tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """
    pixels: NDArray[np.float32] = np.stack(images).astype(np.float32)
    if description.colour == "bgr":
        pixels = pixels[..., ::-1]
    if description.range != 255:
        pixels *= np.float32(description.range / 255)
    if any(description.mean) or set(description.std) != {1.0}:
        pixels -= np.asarray(description.mean, np.float32)
        pixels /= np.asarray(description.std, np.float32)
    return np.ascontiguousarray(pixels)


def fit(
    image: NDArray[np.uint8], size: tuple[int, int], description: Description
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return a picture in the model's size, and what leads back: (scale x, scale y, left, top).

    A place in the frame is (place in the input − (left, top)) / scale.

    Args:
        image: uint8 RGB [H, W, 3].
        size: Height and width of the model's input.
        description: How to resize.
    """
    height, width = image.shape[:2]
    if description.resize == "stretch":
        resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8), np.array([size[1] / width, size[0] / height, 0.0, 0.0])
    scale = min(size[0] / height, size[1] / width)
    inner = min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale)))
    top, left = (0, 0) if description.corner else ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    canvas = np.full((*size, 3), description.fill, np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = cv2.resize(image, (inner[1], inner[0]))
    return canvas, np.array([inner[1] / width, inner[0] / height, left, top])


def activate(scores: NDArray[np.floating], kind: str) -> NDArray[np.floating]:
    """Return scores as shares from 0 to 1: as they are, each by itself (sigmoid), or against each other (softmax).

    Example:
        >>> activate(np.zeros(1), "sigmoid").tolist(), activate(np.zeros(2), "softmax").tolist()
        ([0.5], [0.5, 0.5])
    """
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-scores.clip(-60, 60))))
    if kind == "softmax":
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))
    return scores
