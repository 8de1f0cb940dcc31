"""Views: named boxes of an image with the size they are resized to.

Borders are exact fractions of the image, because sevenths never fall on a pixel border. A crop needs whole pixels, so
its borders are rounded to the nearest pixel, halves up: views that share a border neither overlap nor leave a gap. The
erased fraction of a view is that of the exact box, computed in integers: "more than 40%" (FD section 4.1) then has one
answer, which neither rounding to rows nor floating point changes.

Letters: N images, V views, H and W height and width in pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError

IGNORE_ABOVE = Fraction(2, 5)
"""Erased fraction of a view above which its regression losses are ignored (FD section 4.1: "more than 40%")."""

LARGEST_DENOMINATOR = 10_000
"""Bound on a box's common denominators. With it and `LARGEST_SIDE`, all products below fit into 64 bits."""

LARGEST_SIDE = 10_000
"""Bound on an image's sides, in pixels."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Mask(Protocol):
    """Which pixels of an image a view shows; picklable, because worker processes use it."""

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return uint8 [H, W] for the image of that name and size, 0 where it is masked out."""

    def digest(self) -> str:
        """Return a sha256 that changes where masks do."""


@dataclass(frozen=True)
class View:
    """A box of the image and the size its content is resized to (FD section 3.1, figure 1).

    Args:
        name: Letters, digits, `-` and `_`: files are named after it.
        top: Upper border as a fraction of the image's height, 0 to 1.
        bottom: Lower border, larger than `top`.
        left: Left border as a fraction of the image's width, 0 to 1.
        right: Right border, larger than `left`.
        size: Height and width of the network's input, in pixels.
        mask: Optional provider of pixel masks, such as those of `view_masks`.

    Example:
        >>> torso = View("torso", Fraction(1, 4), Fraction(3, 4), Fraction(0), Fraction(1), size=(224, 224))
        >>> torso.pixel_box(128, 64)
        (32, 96, 0, 64)
    """

    name: str
    top: Fraction
    bottom: Fraction
    left: Fraction
    right: Fraction
    size: tuple[int, int]
    mask: Mask | None = None

    def __post_init__(self) -> None:
        what = f"view {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise UserError(
                what, expected="a name of letters, digits, - and _", got=repr(self.name), fix="Rename the view."
            )
        for axis, low, high in (("top, bottom", self.top, self.bottom), ("left, right", self.left, self.right)):
            if not 0 <= low < high <= 1 or math.lcm(low.denominator, high.denominator) > LARGEST_DENOMINATOR:
                expected = f"0 <= first < second <= 1 with a common denominator of at most {LARGEST_DENOMINATOR}"
                fix = "Give fractions of the image, such as 1/4 and 3/4, not pixels."
                raise UserError(f"{what}, {axis}", expected=expected, got=f"{low} and {high}", fix=fix)
        if len(self.size) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in self.size):
            expected = f"height and width, whole numbers from 1 to {LARGEST_SIDE}"
            fix = "Give the network's input size, such as 224, 224."
            raise UserError(f"{what}, size", expected=expected, got=str(self.size), fix=fix)

    def inputs(self) -> dict[str, str]:
        """Return what a view depends on besides its name: the digest of its masks, and a box that is not built in.

        Example:
            >>> VIEWS["up1"].inputs()
            {}
            >>> View("torso", Fraction(1, 4), Fraction(3, 4), Fraction(0), Fraction(1), (64, 32)).inputs()
            {'box of view torso': 'top 1/4, bottom 3/4, left 0, right 1, at 64 x 32'}
        """
        found = {}
        if self.name not in VIEWS:
            sides = zip(("top", "bottom", "left", "right"), box_of(self), strict=True)
            box = ", ".join(f"{side} {border}" for side, border in sides)
            found[f"box of view {self.name}"] = f"{box}, at {self.size[0]} x {self.size[1]}"
        if self.mask is not None:
            found[f"masks of view {self.name}"] = self.mask.digest()
        return found

    @property
    def least(self) -> tuple[int, int]:
        """Height and width of an image whose box is as large as the network's input.

        Example:
            >>> VIEWS["up1"].least
            (896, 224)
        """
        high, wide = self.size[0] / (self.bottom - self.top), self.size[1] / (self.right - self.left)
        return math.ceil(high), math.ceil(wide)

    def pixel_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the view's pixels in an image: (first row, end row, first column, end column), half-open.

        Borders are rounded to the nearest pixel, halves up (32.5 is 33); at least one row and column remain.

        Example:
            >>> VIEWS["mid2"].pixel_box(128, 64)
            (55, 91, 0, 64)
        """
        return (*_pixel_range(self.top, self.bottom, height), *_pixel_range(self.left, self.right, width))

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view's part of an image [H, W, ...], sharing its memory."""
        first_row, end_row, first_column, end_column = self.pixel_box(image.shape[0], image.shape[1])
        return image[first_row:end_row, first_column:end_column]

    def masked(self, image: NDArray[np.uint8], name: str, mean_colour: Sequence[float]) -> NDArray[np.uint8]:
        """Return the whole image with masked-out pixels in the mean colour; the image itself without a mask.

        Call it before cropping and flipping, so that mask and image are flipped together (FD section 3.1 names masks).

        Args:
            image: uint8 [H, W, 3].
            name: The image's name, for the mask.
            mean_colour: Red, green, blue, 0 to 255.
        """
        if self.mask is None:
            return image
        mask = self.mask(name, (image.shape[0], image.shape[1]))
        if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
            expected = f"uint8 of shape {list(image.shape[:2])}"
            got = f"{mask.dtype} of shape {list(mask.shape)}"
            fix = "Return one value per pixel of the image: 0 is masked out."
            raise UserError(f"mask of {name} for view {self.name!r}", expected=expected, got=got, fix=fix)
        fill = np.rint(np.asarray(mean_colour, np.float64)).astype(np.uint8)
        return np.where(mask[:, :, None] == 0, fill, image)


def box_of(view: View) -> tuple[str, str, str, str]:
    """Return a view's top, bottom, left and right as exact text."""
    return str(view.top), str(view.bottom), str(view.left), str(view.right)


def _pixel_range(low: Fraction, high: Fraction, pixels: int) -> tuple[int, int]:
    """Round two relative borders to whole pixels, halves up, keeping at least one pixel between them."""
    first = (2 * low.numerator * pixels + low.denominator) // (2 * low.denominator)
    end = (2 * high.numerator * pixels + high.denominator) // (2 * high.denominator)
    first = min(first, pixels - 1)
    return first, max(end, first + 1)


def _band(name: str, top: Fraction, bottom: Fraction, size: tuple[int, int] = (224, 224)) -> View:
    return View(name, top, bottom, Fraction(0), Fraction(1), size)


VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        _band("holistic", Fraction(0), Fraction(1), (256, 128)),
        _band("up1", Fraction(1, 4), Fraction(2, 4)),
        _band("mid1", Fraction(2, 4), Fraction(3, 4)),
        _band("dn1", Fraction(3, 4), Fraction(1)),
        _band("up2", Fraction(1, 7), Fraction(3, 7)),
        _band("mid2", Fraction(3, 7), Fraction(5, 7)),
        _band("dn2", Fraction(5, 7), Fraction(1)),
    )
}
"""The seven views of FD figure 1, in the paper's order."""


def erased_share(
    erased: NDArray[np.integer[Any]], flipped: NDArray[np.bool_], views: Sequence[View], image_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the fraction of each view's exact box that the erased rectangle covers, float64 [N, V], 0 to 1.

    The rectangle is in pixels of the network's input, after the flip; boxes are relative to the unflipped image. For
    flipped images the rectangle is mirrored back first, which matters only for views that do not span the width.

    Args:
        erased: Integers [N, 4]: top, left, height, width in pixels; zeros if nothing is erased.
        flipped: Boolean [N].
        views: V views; only their boxes are used.
        image_size: Height and width of the network's input.

    Example:
        >>> lower_half = np.array([[128, 0, 128, 128]])
        >>> erased_share(lower_half, np.array([False]), [VIEWS["holistic"], VIEWS["mid1"]], (256, 128))
        array([[0.5, 1. ]])
    """
    covered, whole = _areas(erased, flipped, views, image_size)
    return covered / whole


def ignored(
    erased: NDArray[np.integer[Any]],
    flipped: NDArray[np.bool_],
    views: Sequence[View],
    image_size: tuple[int, int],
    threshold: Fraction | float = IGNORE_ABOVE,
) -> NDArray[np.bool_]:
    """Return which regression losses are ignored, boolean [N, V]: views erased by more than the threshold (FD 4.1).

    The comparison is in integers: a view erased by exactly 40 % is not ignored. For the other arguments see
    `erased_share`.

    Args:
        erased: Integers [N, 4].
        flipped: Boolean [N].
        views: V views.
        image_size: Height and width of the network's input.
        threshold: 0 to 1; a float is converted to the nearest fraction with a denominator up to 100 (0.4 is 2/5).

    Example:
        >>> ignored(np.array([[64, 0, 26, 128]]), np.array([False]), [VIEWS["up1"]], (256, 128))  # 26 of 64 rows
        array([[ True]])
    """
    if not 0 <= threshold <= 1:
        fix = "The paper's is 2/5."
        raise UserError("threshold of the erased share", expected="a number from 0 to 1", got=str(threshold), fix=fix)
    limit = Fraction(threshold).limit_denominator(100)
    covered, whole = _areas(erased, flipped, views, image_size)
    return limit.denominator * covered > limit.numerator * whole


def _areas(
    erased: NDArray[np.integer[Any]], flipped: NDArray[np.bool_], views: Sequence[View], image_size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the erased area [N, V] and the whole area [V] of each box, as integers in one unit per view."""
    height, width = image_size
    if erased.ndim != 2 or erased.shape[1] != 4 or flipped.shape != erased.shape[:1]:
        got = f"shapes {list(erased.shape)} and {list(flipped.shape)}"
        fix = "Pass `erased` and `flipped` of one batch, as the augmentation returned them."
        raise UserError("erased rectangles", expected="integers [N, 4] and flipped [N]", got=got, fix=fix)
    top, left, rows, columns = erased.astype(np.int64).T
    inside = (erased >= 0).all() and (top + rows <= height).all() and (left + columns <= width).all()
    if not inside or max(height, width) > LARGEST_SIDE:
        expected = f"(top, left, height, width) inside an image of at most {LARGEST_SIDE} pixels a side"
        got = f"a rectangle outside the {height} x {width} image" if not inside else f"{height} x {width}"
        fix = "Pass the size of the network's input, which the rectangles refer to."
        raise UserError("erased rectangles", expected=expected, got=got, fix=fix)
    left = np.where(flipped, width - left - columns, left)
    covered_rows, whole_rows = _overlap(top, rows, [(view.top, view.bottom) for view in views], height)
    covered_columns, whole_columns = _overlap(left, columns, [(view.left, view.right) for view in views], width)
    return covered_rows * covered_columns, whole_rows * whole_columns


def _overlap(
    start: NDArray[np.int64], length: NDArray[np.int64], borders: Sequence[tuple[Fraction, Fraction]], extent: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return overlaps [N, V] and box lengths [V] along one axis, in pixels / the common denominator of each box."""
    common = [math.lcm(low.denominator, high.denominator) for low, high in borders]
    low_border, high_border = (
        np.array([int(pair[side] * unit) * extent for pair, unit in zip(borders, common, strict=True)], np.int64)
        for side in (0, 1)
    )
    units = np.array(common, np.int64)
    end = np.minimum((start + length)[:, None] * units, high_border)
    begin = np.maximum(start[:, None] * units, low_border)
    return np.maximum(end - begin, 0), high_border - low_border
