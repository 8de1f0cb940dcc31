"""Masks for views: a file per image, or body parts drawn from keypoints.

The mask of `data/query/0001.jpg` is `query/0001.png` in the folder of masks, or `0001.png`. The longer match is used. A
flat folder is enough if file names are unique, as in the benchmarks.

Letters: H and W height and width in pixels.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, check_name, check_range, nearest, resolve_inside
from rewho.core.files import check_regular, parse_json
from rewho.core.people import KEYPOINTS
from rewho.data.body_parts import PARTS, THICKNESS, draw_parts
from rewho.data.images import read_file

CONFIDENCE = 0.3
"""Keypoints with a lower score count as not visible. Ours: HRNet-like estimators mostly score points outside the image
lower."""

_ENDINGS = (".png", ".npy")


def _keys(name: str) -> Iterable[str]:
    """Yield the ends of a path without its ending, the longest first, in one Unicode form."""
    parts = PurePath(unicodedata.normalize("NFC", name).replace("\\", "/")).with_suffix("").parts
    return ("/".join(parts[start:]) for start in range(len(parts)))


@dataclass(frozen=True)
class MaskFiles:
    """Masks from files: PNG (grey; 0 is masked out) or NPY (uint8 or boolean [H, W]).

    Args:
        folder: Searched with its sub-folders.
        missing: For an image without a mask: `error`, or `whole` to show all of it.
    """

    folder: Path
    missing: str = "error"

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the mask of an image, resized (nearest) if its size differs; UserError if there is none."""
        files = _mask_files(self.folder)
        file = next((files[key] for key in _keys(name) if key in files), None)
        if file is None:
            return _without_mask(name, size, self.missing, f"a mask in {self.folder}", files)
        mask = _read_mask_file(file)
        if (mask.shape[0] - mask.shape[1]) * (size[0] - size[1]) < 0:
            form = "higher than wide" if size[0] > size[1] else "wider than high"
            expected = f"one that is {form}, like image {name}"
            got = f"{mask.shape[1]} x {mask.shape[0]} pixels for an image of {size[1]} x {size[0]}"
            fix = "Turn it: images are turned as their EXIF orientation says, and masks are taken as they are stored."
            raise UserError(f"mask {file}", expected=expected, got=got, fix=fix)
        if mask.shape != size:
            mask = np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        return mask

    def digest(self) -> str:
        """Return the sha256 of all masks' names and bytes."""
        digest = hashlib.sha256(self.missing.encode())
        for key, file in sorted(_mask_files(self.folder).items()):
            digest.update(key.encode("utf-8", "surrogatepass") + hashlib.sha256(read_file(file)).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class KeyPointMask:
    """Masks drawn from keypoints: the chosen body parts are shown, all else is masked out.

    Args:
        file: JSON: `{"0001.jpg": [[x, y, score], …]}`, the 17 points of `KEYPOINTS` in pixels; or CSV with the columns
            `image,point,x,y` and optionally `score`.
        parts: Names of `PARTS`.
        thickness: Thickness of a limb as a fraction of the image's height.
        confidence: Points with a lower score count as not visible.
        missing: For an image without keypoints: `error`, or `whole` to show all of it.
    """

    file: Path
    parts: tuple[str, ...]
    thickness: float = THICKNESS
    confidence: float = CONFIDENCE
    missing: str = "error"

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the mask of an image, all zeros if no part is visible; UserError if the file lacks the image."""
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
        """Return the sha256 of the file and the drawing options."""
        drawn = f"{self.parts} {self.thickness} {self.confidence} {self.missing}"
        return hashlib.sha256(drawn.encode() + read_file(self.file)).hexdigest()


def read_mask(what: str, content: object, folder: Path) -> MaskFiles | KeyPointMask:
    """Return the mask provider that a view's YAML file describes.

    Args:
        what: For messages.
        content: `{files: FOLDER}` or `{keypoints: FILE, parts: [torso, …]}`, with `missing`, and for keypoints
            `thickness` and `confidence`, optionally.
        folder: Folder of the YAML file; paths are relative to it.
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
    """Return `content` if it is a mapping with all required and no unknown keys; `what` names it in messages."""
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
    got = f"none (the nearest name is {near!r})" if near else "none"
    fix = "Name masks as images are named, or set `missing: whole` in the view's file."
    raise UserError(f"image {name}", expected=wanted, got=got, fix=fix)


@lru_cache(maxsize=16)
def _mask_files(folder: Path) -> Mapping[str, Path]:
    """Return the mask files below a folder by relative path without ending."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS) if folder.is_dir() else []
    if not files:
        got = "none" if folder.is_dir() else "no such folder"
        fix = "Give the folder relative to the view's file."
        raise UserError(f"masks in {folder}", expected=f"files that end in {' or '.join(_ENDINGS)}", got=got, fix=fix)
    named = {next(iter(_keys(file.relative_to(folder).as_posix()))): file for file in files}
    if len(named) < len(files):
        twice = next(file for file in files if file not in named.values())
        expected, fix = "one mask for each name", "Remove one of each pair, such as a PNG beside an NPY file."
        raise UserError(f"masks in {folder}", expected=expected, got=f"two for {twice.stem!r}", fix=fix)
    return named


def _read_mask_file(file: Path) -> NDArray[np.uint8]:
    """Return a mask of 0 and 255 from a grey PNG of any depth, or an NPY file of uint8 or booleans; 0 stays 0."""
    mask: object = None
    check_regular(file, what=f"mask {file}")
    try:
        if file.suffix.lower() == ".npy":
            mask = np.load(file, allow_pickle=False)
        else:
            image = cv2.imdecode(np.frombuffer(read_file(file), np.uint8), cv2.IMREAD_UNCHANGED)
            # Compared before the conversion to 8 bits: values of 16-bit masks are often small.
            mask = image if image is None or image.ndim != 2 else image != 0
    except (ValueError, OSError, EOFError, cv2.error) as error:
        got = f"{type(error).__name__}: {error}"
    else:
        if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.size and mask.dtype in (np.uint8, np.bool_):
            return np.where(mask, np.uint8(255), np.uint8(0))
        got = f"{mask.dtype} of shape {list(mask.shape)}" if isinstance(mask, np.ndarray) else "no image"
    expected = "a grey PNG image without transparency, or an NPY array of uint8 or booleans [height, width]"
    fix = "Write one value per pixel, without colours, palette or transparency: 0 is masked out."
    raise UserError(f"mask {file}", expected=expected, got=got, fix=fix)


@lru_cache(maxsize=16)
def _read_keypoints(file: Path) -> Mapping[str, NDArray[np.float64]]:
    """Return x, y and score [17, 3] of each image, by name without ending; absent points have score 0."""
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
            expected = f"[x, y, score] for each of {len(KEYPOINTS)} points, finite"
            got = f"an array of shape {list(points.shape)}"
            fix = "Write the points in COCO's order, with a score of 0 for those that were not found."
            raise UserError(f"keypoints of {name} in {file}", expected=expected, got=got, fix=fix)
    return images


def _from_csv(text: str) -> dict[str, NDArray[np.float64]]:
    images: dict[str, NDArray[np.float64]] = {}
    for row in csv.DictReader(text.splitlines()):
        points = images.setdefault(next(iter(_keys(row["image"]))), np.zeros((len(KEYPOINTS), 3)))
        number = KEYPOINTS.index(check_choice("keypoint", row["point"], KEYPOINTS))
        points[number] = float(row["x"]), float(row["y"]), float(row.get("score") or 1)
    return images
