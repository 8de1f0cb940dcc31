"""Masks for views: a file per image, or drawn from keypoints as the body parts that a view shall show.

An image is known by the end of its path: the mask of `data/query/0001.jpg` is `query/0001.png` in the folder of masks,
or `0001.png`. The longer match wins, so a flat folder is enough where file names are unique, as in the benchmarks.

Letters: H and W height and width in pixels.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, check_name, check_range, nearest, resolve_inside
from rewho.core.files import parse_json
from rewho.core.people import KEYPOINTS
from rewho.data.body_parts import PARTS, THICKNESS, draw_parts
from rewho.data.images import read_file

CONFIDENCE = 0.3
"""Keypoints that the estimator is less sure of are taken as not seen. Ours: what HRNet-like estimators give to points
that lie outside the image is mostly below."""

_ENDINGS = (".png", ".npy")


def _keys(name: str) -> Iterable[str]:
    """Yield the ends of a path without its ending, the longest first."""
    parts = PurePath(name.replace("\\", "/")).with_suffix("").parts
    return ("/".join(parts[start:]) for start in range(len(parts)))


@dataclass(frozen=True)
class MaskFiles:
    """Masks from files: PNG (grey; 0 is masked out) or NPY (uint8 or boolean [H, W]).

    Args:
        folder: Searched with its sub-folders.
        missing: What an image without a mask is: `error`, or `whole`, shown as it is.
    """

    folder: Path
    missing: str = "error"

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the mask of an image; one of another size, such as a network's output, is resized to the nearest.

        Raises:
            UserError: There is none, or it is not a mask.
        """
        files = _mask_files(self.folder)
        file = next((files[key] for key in _keys(name) if key in files), None)
        if file is None:
            return _without_mask(name, size, self.missing, f"a mask in {self.folder}", files)
        mask = _read_mask_file(file)
        if mask.shape != size:
            mask = np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        return mask

    def digest(self) -> str:
        """Return the sha256 over names and bytes of all masks."""
        digest = hashlib.sha256(self.missing.encode())
        for key, file in sorted(_mask_files(self.folder).items()):
            digest.update(key.encode("utf-8", "surrogatepass") + hashlib.sha256(read_file(file)).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class KeyPointMask:
    """Masks drawn from keypoints: the chosen body parts are shown, everything else is masked out.

    Args:
        file: JSON: `{"0001.jpg": [[x, y, score], …]}`, the 17 points of `KEYPOINTS` in pixels; or CSV with the columns
            `image,point,x,y` and optionally `score`.
        parts: Names of `PARTS`.
        thickness: Thickness of a limb as a share of the image's height.
        confidence: Points with a lower score count as not seen.
        missing: What an image without keypoints is: `error`, or `whole`, shown as it is.
    """

    file: Path
    parts: tuple[str, ...]
    thickness: float = THICKNESS
    confidence: float = CONFIDENCE
    missing: str = "error"

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the mask of an image; all zeros where none of the parts was seen.

        Raises:
            UserError: The file has no such image.
        """
        images = _read_keypoints(self.file)
        points = next((images[key] for key in _keys(name) if key in images), None)
        if points is None:
            return _without_mask(name, size, self.missing, f"keypoints in {self.file}", images)
        seen = {
            point: (float(x), float(y))
            for point, (x, y, score) in zip(KEYPOINTS, points.tolist(), strict=True)
            if score >= self.confidence
        }
        return draw_parts(seen, self.parts, size, self.thickness)

    def digest(self) -> str:
        """Return the sha256 over the file and how it is drawn."""
        drawn = f"{self.parts} {self.thickness} {self.confidence} {self.missing}"
        return hashlib.sha256(drawn.encode() + read_file(self.file)).hexdigest()


def read_mask(what: str, content: object, folder: Path) -> MaskFiles | KeyPointMask:
    """Return the mask provider that a view's YAML file describes.

    Args:
        what: For messages.
        content: `{files: FOLDER}` or `{keypoints: FILE, parts: [torso, …]}`, with `missing`, and for keypoints
            `thickness` and `confidence`, where wanted.
        folder: Where the YAML file lies; paths are relative to it.

    Raises:
        UserError: Other fields, no such folder or file, or values out of range.
    """
    if not isinstance(content, dict) or "keypoints" not in content:
        fields = known_fields(what, content, ("files",), ("missing",))
        files = MaskFiles(folder / check_name(what, fields["files"]), _missing(what, fields))
        _mask_files(files.folder)
        return files
    fields = known_fields(what, content, ("keypoints", "parts"), ("thickness", "confidence", "missing"))
    named = fields["parts"] if isinstance(fields["parts"], list) else [fields["parts"]]
    parts = tuple(check_choice(f"{what}, parts", str(part), PARTS) for part in named)
    numbers = {"thickness": THICKNESS, "confidence": CONFIDENCE}
    for name, default in list(numbers.items()):
        value = fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{what}, {name}", expected="a number", got=repr(value), fix="Give a share, 0 to 1.")
        numbers[name] = check_range(f"{what}, {name}", float(value), 0, 1)
    file = resolve_inside(folder, fields["keypoints"], what)
    points = KeyPointMask(file, parts, **numbers, missing=_missing(what, fields))
    _read_keypoints(points.file)
    return points


def known_fields(
    what: str, content: object, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    """Return a mapping that has all required and no unknown keys.

    Args:
        what: What the mapping is, for the message.
        content: What a file held.
        required: Keys that have to be there.
        optional: Keys that may be.

    Raises:
        UserError: It is no mapping, a key is missing, or one is unknown; names the nearest right spelling.

    Example:
        >>> known_fields("a view", {"name": "torso"}, ("name",))
        {'name': 'torso'}
    """
    choices = [*required, *optional]
    if not isinstance(content, dict):
        got, hint = type(content).__name__, ""
    else:
        unknown = [str(key) for key in content if key not in choices]
        if not unknown and all(key in content for key in required):
            return content
        near = nearest(unknown[0], choices) if unknown else None
        got, hint = ", ".join(map(str, content)), f"Did you mean {near!r}? " if near else ""
    raise UserError(
        what, expected=f"the fields {', '.join(choices)}", got=got, fix=f"{hint}See the guide on views of your own."
    )


def _missing(what: str, fields: Mapping[str, object]) -> str:
    return check_choice(f"{what}, missing", str(fields.get("missing", "error")), ("error", "whole"))


def _without_mask(
    name: str, size: tuple[int, int], missing: str, wanted: str, there: Iterable[str]
) -> NDArray[np.uint8]:
    if missing == "whole":
        return np.full(size, 255, np.uint8)
    near = nearest(PurePath(name).stem, there)
    raise UserError(
        f"image {name}",
        expected=wanted,
        got=f"none (the nearest name is {near!r})" if near else "none",
        fix="Name masks as images are named, or set `missing: whole` in the view's file.",
    )


@lru_cache(maxsize=16)
def _mask_files(folder: Path) -> Mapping[str, Path]:
    """Return the mask files below a folder by their paths in it, without endings."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS) if folder.is_dir() else []
    if not files:
        raise UserError(
            f"masks in {folder}",
            expected=f"files that end in {' or '.join(_ENDINGS)}",
            got="none" if folder.is_dir() else "no such folder",
            fix="Give the folder relative to the view's file.",
        )
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _read_mask_file(file: Path) -> NDArray[np.uint8]:
    """Read a grey PNG of any depth, or an NPY file of uint8 or booleans; 0 is masked out, all else becomes 255."""
    mask: object = None
    try:
        if file.suffix.lower() == ".npy":
            mask = np.load(file, allow_pickle=False)
        else:
            image = cv2.imdecode(np.frombuffer(read_file(file), np.uint8), cv2.IMREAD_UNCHANGED)
            # Told apart before it is narrowed: the values of 16-bit masks are often small.
            mask = image if image is None or image.ndim != 2 else image != 0
    except (ValueError, OSError, EOFError, cv2.error) as error:
        got = f"{type(error).__name__}: {error}"
    else:
        if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.size and mask.dtype in (np.uint8, np.bool_):
            return np.where(mask, np.uint8(255), np.uint8(0))
        got = f"{mask.dtype} of shape {list(mask.shape)}" if isinstance(mask, np.ndarray) else "no image"
    raise UserError(
        f"mask {file}",
        expected="a grey PNG image without transparency, or an NPY array of uint8 or booleans [height, width]",
        got=got,
        fix="Write one value per pixel, without colours, palette or transparency: 0 is masked out.",
    )


@lru_cache(maxsize=16)
def _read_keypoints(file: Path) -> Mapping[str, NDArray[np.float64]]:
    """Return x, y and score [17, 3] of each image, by its name without the ending; absent points score 0."""
    text = read_file(file).decode("utf-8", "replace")
    try:
        if file.suffix.lower() == ".csv":
            return _from_csv(text)
        content = parse_json(text)
        images = {next(iter(_keys(name))): np.array(points, np.float64) for name, points in content.items()}
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"keypoints {file}",
            expected="JSON {image: [[x, y, score], …]}, or CSV with image,point,x,y",
            got=f"{type(error).__name__}: {error}",
            fix="See the guide on views of your own.",
        ) from error
    for name, points in images.items():
        if points.shape != (len(KEYPOINTS), 3) or not np.isfinite(points).all():
            raise UserError(
                f"keypoints of {name} in {file}",
                expected=f"[x, y, score] for each of {len(KEYPOINTS)} points, finite",
                got=f"an array of shape {list(points.shape)}",
                fix="Write the points in COCO's order, with a score of 0 for those that were not found.",
            )
    return images


def _from_csv(text: str) -> dict[str, NDArray[np.float64]]:
    images: dict[str, NDArray[np.float64]] = {}
    for row in csv.DictReader(text.splitlines()):
        points = images.setdefault(next(iter(_keys(row["image"]))), np.zeros((len(KEYPOINTS), 3)))
        number = KEYPOINTS.index(check_choice("keypoint", row["point"], KEYPOINTS))
        points[number] = float(row["x"]), float(row["y"]), float(row.get("score") or 1)
    return images
