"""ONNX files of detectors and pose models: descriptions of them, and how pixels go in.

What is unusual: an ONNX file does not say how pixels become its input nor what its output means. A small YAML file
beside it does; without one, the values that the model gives for a black image tell the usual cases. Such a description,
with the values that YOLOX takes where none is given::

    output: yolox            # yolox, yolox_decoded, yolov5, yolov8, yolonas, end2end, detr, labelled;
                             # heatmaps, simcc, points, mediapipe
    colour: bgr              # rgb or bgr
    range: 255               # largest value of a pixel: 1 or 255
    mean: [0, 0, 0]          # taken off, in the model's colour order and range; then divided by std
    std: [1, 1, 1]
    resize: letterbox        # letterbox (keeps the proportions) or stretch
    corner: true             # letterbox: image in the upper left corner, not in the middle
    fill: 114                # letterbox: colour of the border, 0 to 255
    person: 0                # class of people, or a list of classes; where absent, by the file's own names
    classes: 80              # columns that are class scores; those behind them (masks, keypoints) are not used
    activation: none         # what the scores still need: none, sigmoid or softmax; where absent, DETR's values tell
    coordinates: pixels      # of the boxes: pixels of the input, or shares of it
    height: 416              # of the input, in pixels, where the file leaves it open; and width
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, nearest
from rewho.core.files import read_yaml
from rewho.core.onnx_session import LARGEST_SIDE, OnnxSession

DETECTORS = ("yolox", "yolox_decoded", "yolov5", "yolov8", "yolonas", "end2end", "detr", "labelled")
POSE_MODELS = ("heatmaps", "simcc", "points", "mediapipe")
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
    person: tuple[int, ...] = ()
    classes: int = 0
    activation: str = ""
    coordinates: str = "pixels"
    height: int = 0
    width: int = 0


# Detectors follow the code that exports them; pose models what their usual training recipes take.
USUAL = {
    "yolox": Description("yolox", colour="bgr", range=255.0, corner=True),
    "yolox_decoded": Description("yolox_decoded", colour="bgr", range=255.0, corner=True),
    "yolov5": Description("yolov5"),
    "yolov8": Description("yolov8"),
    "yolonas": Description("yolonas"),
    "end2end": Description("end2end"),
    "detr": Description("detr", resize="stretch", coordinates="shares"),
    "labelled": Description("labelled", resize="stretch"),
    "heatmaps": Description("heatmaps", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "simcc": Description("simcc", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "points": Description("points", range=255.0),
    "mediapipe": Description("mediapipe", activation="sigmoid"),
}


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _three(value: Any) -> bool:  # noqa: ANN401 - from YAML
    return isinstance(value, list) and len(value) == 3 and all(map(_number(-1e6, 1e6), value))


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "range": ("a number above 0, at most 255", lambda value: _number(0, 255)(value) and value > 0),
    "mean": ("three numbers", _three),
    "std": ("three numbers above 0", lambda value: _three(value) and min(value) > 0),
    "corner": ("true or false", lambda value: isinstance(value, bool)),
    "fill": ("a number from 0 to 255", _number(0, 255)),
    "person": (
        "the number of a class, or a list of such numbers",
        lambda value: (
            all(map(_whole(0, 100_000), value if isinstance(value, list) else [value])) and value not in ([], {})
        ),
    ),
    "classes": ("a whole number above 0", _whole(1, 100_000)),
    "height": (f"whole pixels, 1 to {LARGEST_SIDE}", _whole(1, LARGEST_SIDE)),
    "width": (f"whole pixels, 1 to {LARGEST_SIDE}", _whole(1, LARGEST_SIDE)),
}
"""What a field of a description may hold, for messages and as a check."""
CHOICES = {
    "output": (*DETECTORS, *POSE_MODELS),
    "colour": ("rgb", "bgr"),
    "resize": ("letterbox", "stretch"),
    "activation": ("none", "sigmoid", "softmax"),
    "coordinates": ("pixels", "shares"),
}


def read_description(given: Path | None, model: Path, option: str) -> dict[str, Any]:
    """Return the fields of the YAML file that describes a model; empty where there is no such file.

    Args:
        given: The file that was named, or None for the one beside the model.
        model: The ONNX file.
        option: Name of the option, for messages.

    Raises:
        UserError: No such file, unknown fields, or values of the wrong kind.
    """
    path, what = given or model.with_suffix(".yaml"), f"{option} {given or model.with_suffix('.yaml')}"
    if given is None and not path.exists():
        return {}
    content = read_yaml(path, what)
    if not isinstance(content, dict):
        raise UserError(what, expected="names and values", got=repr(content)[:60], fix="Write `output: yolox`.")
    for name, value in content.items():
        _check_field(what, name, value)
    if "person" in content:
        content["person"] = content["person"] if isinstance(content["person"], list) else [content["person"]]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _check_field(what: str, name: object, value: object) -> None:
    known = [field.name for field in fields(Description)]
    if name not in known:
        fix = f"Nearest: {nearest(str(name), known)}."
        raise UserError(what, expected=f"names from {', '.join(known)}", got=str(name)[:60], fix=fix)
    field = str(name)
    if field in CHOICES:
        check_choice(f"{what}: {field}", value if isinstance(value, str) else repr(value)[:60], CHOICES[field])
    elif not KINDS[field][1](value):
        fix = "Correct it; see `rewho.video.onnx_model`."
        raise UserError(f"{what}: {field}", expected=KINDS[field][0], got=repr(value)[:60], fix=fix)


def read_output_kind(content: dict[str, Any], named: str, option: str) -> str:
    """Return the kind of output that the description or the settings name; empty where neither does.

    Raises:
        UserError: They name two kinds.
    """
    described = str(content.get("output", ""))
    if named and described and named != described:
        fix = "Name it in one place, or the same in both."
        raise UserError(f"{option}: output", expected=f"{named}, as the option says", got=described, fix=fix)
    return named or described


def complete_description(content: dict[str, Any], output: str, session: OnnxSession, option: str) -> Description:
    """Return the whole description: the usual one of a kind of output, and on top what the file says.

    Raises:
        UserError: The description contradicts the model's input.
    """
    whole = replace(USUAL[output], **{**content, "output": output})
    for name, side in zip(("height", "width"), session.size, strict=True):
        if side is not None and content.get(name, side) != side:
            fix = "Delete it from the description."
            raise UserError(f"{option}: {name}", expected=f"{side}, as in the file", got=f"{content[name]}", fix=fix)
    if not session.takes_bytes:
        return whole
    if content.get("range", 255) != 255 or {"mean", "std"} & content.keys():
        raise UserError(
            f"{option} of {session.path.name}",
            expected="no mean or std, and range 255, because the model's input is of whole numbers",
            got=", ".join(name for name in ("range", "mean", "std") if name in content),
            fix="Delete them from the description.",
        )
    return replace(whole, range=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def input_size(content: dict[str, Any], session: OnnxSession) -> tuple[int, int]:
    """Return height and width of a model's input."""
    height, width = session.size
    return height or content.get("height", USUAL_SIZE), width or content.get("width", USUAL_SIZE)


@contextlib.contextmanager
def explain_shape_errors(outputs: Sequence[NDArray[Any]], what: str, expected: str, fix: str) -> Iterator[None]:
    """Say in plain words that outputs cannot be decoded in the way that the description promises.

    Args:
        outputs: What the model gave.
        what: The kind of model.
        expected: Whose shapes were expected.
        fix: What to do.

    Raises:
        UserError: Decoding failed for the outputs' shapes.

    Example:
        >>> with explain_shape_errors([np.zeros((1, 2))], "detector", "yolox", "Name the right output."):
        ...     np.zeros((1, 2))[:, 5]
        Traceback (most recent call last):
        ...
        rewho.core.check.UserError: detector output: expected the shapes of yolox, got [1, 2].
          Fix: Name the right output.
    """
    try:
        yield
    except UserError:
        raise
    except (IndexError, ValueError, StopIteration) as error:
        raise UserError(
            f"{what} output", expected=f"the shapes of {expected}", got=format_shapes(outputs), fix=fix
        ) from error


def format_shapes(outputs: Sequence[NDArray[Any]]) -> str:
    """Return the shapes of outputs, for messages."""
    return ", ".join(str(list(one.shape)) for one in outputs)


def finite(outputs: Sequence[NDArray[Any]], what: str) -> None:
    """Check that no output holds NaN.

    Raises:
        UserError: One does.
    """
    if any(one.dtype.kind == "f" and np.isnan(one).any() for one in outputs):
        fix = "Check range, mean and std in the description; a half precision model may need float32."
        raise UserError(f"{what} output", expected="numbers", got="NaN", fix=fix)


def normalise(images: Sequence[NDArray[np.uint8]], description: Description) -> NDArray[np.float32]:
    """Return uint8 RGB images of one size as the model's float32 input [B, H, W, 3].

    Example:
        >>> image = np.full((1, 1, 3), 255, np.uint8)
        >>> normalise([image], Description("yolov8")).tolist()
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


def resize_to_input(
    image: NDArray[np.uint8], size: tuple[int, int], description: Description
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return an image in the model's size, and what leads back: (scale x, scale y, left, top).

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
