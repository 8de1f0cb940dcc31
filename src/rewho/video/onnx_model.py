"""ONNX files of detectors and pose models: their descriptions, and the conversion of pixels to their input.

What is unusual: an ONNX file does not tell how pixels become its input, nor what its output means. A small YAML file
beside it does; without one, the output for a black image identifies the usual cases. Such a description, with the
defaults of YOLOX::

    output: yolox            # yolox, yolox_decoded, yolov5, yolov8, yolonas, end2end, detr, labelled;
                             # heatmaps, simcc, points, mediapipe
    colour: bgr              # rgb or bgr
    range: 255               # largest value of a pixel: 1 or 255
    mean: [0, 0, 0]          # subtracted, in the model's colour order and range; then divided by std
    std: [1, 1, 1]
    resize: letterbox        # letterbox (keeps the proportions) or stretch
    corner: true             # letterbox: image in the upper left corner, not in the middle
    fill: 114                # letterbox: grey level of the border, 0 to 255
    person: 0                # class of people, or a list of classes; default: by the file's class names
    classes: 80              # number of class scores; columns behind them (masks, keypoints) are ignored
    activation: none         # what the scores still need: none, sigmoid or softmax; default: by DETR's values
    coordinates: pixels      # unit of the boxes: pixels of the input, or shares of it
    height: 416              # of the input, in pixels, if the file leaves it open; width likewise
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, nearest
from rewho.core.files import read_yaml
from rewho.core.onnx_session import LARGEST_SIDE, OnnxSession
from rewho.settings.fields import Mistake, Range, build, check

DETECTORS = ("yolox", "yolox_decoded", "yolov5", "yolov8", "yolonas", "end2end", "detr", "labelled")
POSE_MODELS = ("heatmaps", "simcc", "points", "mediapipe")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL_SIZE = 640  # pixels; the side of a detector's input where the file leaves it open
Class = Range(0, 100_000)
Side = Range(0, LARGEST_SIDE)


@dataclass(frozen=True)
class Description:
    """How pixels become a model's input and what its output means; see the top of this module."""

    output: str = ""
    colour: Literal["rgb", "bgr"] = "rgb"
    range: Annotated[float, Range(0, 255, above=True)] = 1.0
    mean: Annotated[tuple[float, ...], Range(-1e6, 1e6)] = (0.0, 0.0, 0.0)
    std: Annotated[tuple[float, ...], Range(0, 1e6, above=True)] = (1.0, 1.0, 1.0)
    resize: Literal["letterbox", "stretch"] = "letterbox"
    corner: bool = False
    fill: Annotated[float, Range(0, 255)] = 114.0
    person: Annotated[tuple[int, ...], Class] = ()
    classes: Annotated[int, Class] = 0
    activation: Literal["", "none", "sigmoid", "softmax"] = ""
    coordinates: Literal["pixels", "shares"] = "pixels"
    height: Annotated[int, Side] = 0
    width: Annotated[int, Side] = 0

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong beyond single values."""
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                yield Mistake(name, "three numbers", "Give one number per colour.")


# Defaults of detectors follow the code that exports them, those of pose models their usual training recipes.
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


def read_description(given: Path | None, model: Path, option: str) -> dict[str, Any]:
    """Return the fields of the YAML file that describes a model: the given one, or the one beside it, or none."""
    path = given or model.with_suffix(".yaml")
    what, known = f"{option} {path}", [field.name for field in fields(Description)]
    if given is None and not path.exists():
        return {}
    content = read_yaml(path, what)
    if not isinstance(content, dict):
        raise UserError(what, expected="names and values", got=repr(content)[:60], fix="Write `output: yolox`.")
    for name in content:
        if name not in known:
            fix = f"Nearest: {nearest(str(name), known)}."
            raise UserError(what, expected=f"names from {', '.join(known)}", got=str(name)[:60], fix=fix)
    if "output" in content:
        check_choice(f"{what}: output", str(content["output"])[:60], (*DETECTORS, *POSE_MODELS))
    if "person" in content and (not isinstance(content["person"], list) or not content["person"]):
        content["person"] = [content["person"]]
    description = build(Description, content)
    check(description, f"{what}: ")
    return {name: getattr(description, name) for name in content}


def read_output_kind(content: dict[str, Any], named: str, option: str) -> str:
    """Return the kind of output that the description or the settings name; empty if neither does."""
    described = str(content.get("output", ""))
    if named and described and named != described:
        fix = "Name it in one place, or the same in both."
        raise UserError(f"{option}: output", expected=f"{named}, as the option says", got=described, fix=fix)
    return named or described


def complete_description(content: dict[str, Any], output: str, session: OnnxSession, option: str) -> Description:
    """Return the usual description of a kind of output, with the fields of the file in place of its own."""
    whole = replace(USUAL[output], **{**content, "output": output})
    for name, side in zip(("height", "width"), session.size, strict=True):
        if side is not None and content.get(name, side) != side:
            fix = "Delete it from the description."
            raise UserError(f"{option}: {name}", expected=f"{side}, as in the file", got=f"{content[name]}", fix=fix)
    if not session.takes_bytes:
        return whole
    if content.get("range", 255) != 255 or {"mean", "std"} & content.keys():
        expected = "no mean or std, and range 255, because the model's input is of whole numbers"
        got, fix = ", ".join(sorted({"range", "mean", "std"} & content.keys())), "Delete them from the description."
        raise UserError(f"{option} of {session.path.name}", expected=expected, got=got, fix=fix)
    return replace(whole, range=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def input_size(content: dict[str, Any], session: OnnxSession) -> tuple[int, int]:
    """Return height and width of a model's input."""
    height, width = session.size
    return height or content.get("height") or USUAL_SIZE, width or content.get("width") or USUAL_SIZE


@contextlib.contextmanager
def explain_shape_errors(outputs: Sequence[NDArray[Any]], what: str, expected: str, fix: str) -> Iterator[None]:
    """Replace numpy's errors while decoding outputs by one that says whose shapes were expected."""
    try:
        yield
    except UserError:
        raise
    except (IndexError, ValueError, TypeError, StopIteration) as error:
        expected, got = f"the shapes of {expected}", format_shapes(outputs)
        raise UserError(f"{what} output", expected=expected, got=got, fix=fix) from error


def format_shapes(outputs: Sequence[NDArray[Any]]) -> str:
    """Return the shapes of outputs, for messages."""
    return ", ".join(str(list(one.shape)) for one in outputs)


def normalise(images: Sequence[NDArray[np.uint8]], description: Description) -> NDArray[np.float32]:
    """Return uint8 RGB images of one size as the model's float32 input [B, H, W, 3]."""
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
    """Return an image resized to a height and width, and the mapping to it: (scale x, scale y, left, top).

    A point (x, y) of the input is ((x, y) − (left, top)) / scale in the image.
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
    """Return scores after sigmoid or softmax over the last axis, or unchanged."""
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-scores.clip(-60, 60))))
    if kind == "softmax":
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))
    return scores
