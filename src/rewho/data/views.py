"""Views: named boxes of an image with the size they are resized to; a view is data, never a class of its own.

Unusual: a box is held as exact fractions of the image, because sevenths never fall on a pixel border. Two rules
follow. Cutting a view out needs whole pixels, so borders are rounded to the nearest one, halves up; two views that
share a border therefore neither overlap nor leave a gap. How much of a view was erased is *not* rounded: it is the
share of the exact box, in whole-number arithmetic, so that "more than 40%" (FD section 4.1) has one answer, which no
floating point decides. Rounding to rows would decide a few rectangles otherwise; the exact fraction is the rule.

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
"""Share of a view's box beyond which its regression losses are ignored (FD section 4.1: "more than 40%")."""

LARGEST_DENOMINATOR = 10_000
"""Bound on a box's common denominators: with it, and `LARGEST_SIDE`, all products below stay within 64 bits."""

LARGEST_SIDE = 10_000
"""Bound on an image's sides, in pixels; see `LARGEST_DENOMINATOR`."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Mask(Protocol):
    """Says which pixels of an image a view shows; importable by name, because other processes use it."""

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

    Raises:
        UserError: The name, a border or the size is not as described.

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
                raise UserError(
                    f"{what}, {axis}",
                    expected=f"0 <= first < second <= 1 with a common denominator of at most {LARGEST_DENOMINATOR}",
                    got=f"{low} and {high}",
                    fix="Give fractions of the image, such as 1/4 and 3/4, not pixels.",
                )
        if len(self.size) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in self.size):
            raise UserError(
                f"{what}, size",
                expected=f"height and width, whole numbers from 1 to {LARGEST_SIDE}",
                got=str(self.size),
                fix="Give the network's input size, such as 224, 224.",
            )

    def inputs(self) -> dict[str, str]:
        """Return what a view's result depends on besides its name: the digest of its masks, a box that is not built in.

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

    def pixel_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the view's rows and columns in an image: (first row, end row, first column, end column), half-open.

        Borders are rounded to the nearest pixel border, halves up (32.5 is 33); one row and column remain at least.

        Args:
            height: The image's height in pixels.
            width: The image's width in pixels.

        Example:
            >>> VIEWS["mid2"].pixel_box(128, 64)
            (55, 91, 0, 64)
        """
        return (*_pixel_range(self.top, self.bottom, height), *_pixel_range(self.left, self.right, width))

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view's part of an image [H, W, ...] as a window on the same memory, not a copy.

        Example:
            >>> VIEWS["dn1"].crop(np.zeros((128, 64, 3), np.uint8)).shape
            (32, 64, 3)
        """
        first_row, end_row, first_column, end_column = self.pixel_box(image.shape[0], image.shape[1])
        return image[first_row:end_row, first_column:end_column]

    def masked(self, image: NDArray[np.uint8], name: str, mean_colour: Sequence[float]) -> NDArray[np.uint8]:
        """Return the whole image with masked-out pixels in the mean colour; the image itself where no mask is set.

        Call it before cropping and flipping: mask and image are then turned together (FD section 3.1 names masks).

        Args:
            image: uint8 [H, W, 3].
            name: The image's name, as the mask provider knows it.
            mean_colour: Red, green, blue, 0 to 255.

        Raises:
            UserError: The mask's shape or type does not fit the image.

        Example:
            >>> VIEWS["up1"].masked(np.ones((2, 2, 3), np.uint8), "a.jpg", (9, 9, 9)).max()
            np.uint8(1)
        """
        if self.mask is None:
            return image
        mask = self.mask(name, (image.shape[0], image.shape[1]))
        if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
            raise UserError(
                f"mask of {name} for view {self.name!r}",
                expected=f"uint8 of shape {list(image.shape[:2])}",
                got=f"{mask.dtype} of shape {list(mask.shape)}",
                fix="Return one value per pixel of the image: 0 is masked out.",
            )
        fill = np.rint(np.asarray(mean_colour, np.float64)).astype(np.uint8)
        return np.where(mask[:, :, None] == 0, fill, image)


def box_of(view: View) -> tuple[str, str, str, str]:
    """Return a view's top, bottom, left and right as text that loses nothing.

    Example:
        >>> box_of(VIEWS["up2"])
        ('1/7', '3/7', '0', '1')
    """
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
    """Return the share of each view's exact box that the erased rectangle covers, 0 to 1.

    The rectangle is in pixels of the image that goes into the network, after the flip; boxes are relative to the
    unflipped image. So for flipped images the rectangle is mirrored back first, which matters only for views that
    do not span the width.

    Args:
        erased: Integers [N, 4]: top, left, height, width in pixels; all zeros is nothing erased.
        flipped: Boolean [N].
        views: V views; their boxes are used, their sizes are not.
        image_size: Height and width in pixels of the image that `erased` refers to.

    Returns:
        float64 [N, V].

    Raises:
        UserError: Shapes do not fit, or a rectangle lies outside the image.

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
    """Say whose regression losses are ignored: views erased by more than the threshold, strictly (FD section 4.1).

    Decided in whole numbers, so that a view erased by exactly 40 % is kept.

    Args:
        erased: As in `erased_share`.
        flipped: As in `erased_share`.
        views: V views.
        image_size: Height and width in pixels of the image that `erased` refers to.
        threshold: Share, 0 to 1; a float is taken as the nearest fraction with a denominator up to 100 (0.4 is 2/5).

    Returns:
        Boolean [N, V]: True where the losses of that sample and view are ignored.

    Raises:
        UserError: As in `erased_share`, or the threshold is not from 0 to 1.

    Example:
        >>> ignored(np.array([[64, 0, 26, 128]]), np.array([False]), [VIEWS["up1"]], (256, 128))  # 26 of 64 rows
        array([[ True]])
    """
    if not 0 <= threshold <= 1:
        raise UserError(
            "threshold of the erased share",
            expected="a number from 0 to 1",
            got=str(threshold),
            fix="The paper's is 2/5.",
        )
    limit = Fraction(threshold).limit_denominator(100)
    covered, whole = _areas(erased, flipped, views, image_size)
    return limit.denominator * covered > limit.numerator * whole


def _areas(
    erased: NDArray[np.integer[Any]], flipped: NDArray[np.bool_], views: Sequence[View], image_size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the erased area [N, V] and the whole area [V] of each box, as whole numbers in the same unit per view."""
    height, width = image_size
    if erased.ndim != 2 or erased.shape[1] != 4 or flipped.shape != erased.shape[:1]:
        raise UserError(
            "erased rectangles",
            expected="integers [N, 4] and flipped [N]",
            got=f"shapes {list(erased.shape)} and {list(flipped.shape)}",
            fix="Pass `erased` and `flipped` of one batch, as the augmentation returned them.",
        )
    top, left, rows, columns = erased.astype(np.int64).T
    inside = (erased >= 0).all() and (top + rows <= height).all() and (left + columns <= width).all()
    if not inside or max(height, width) > LARGEST_SIDE:
        raise UserError(
            "erased rectangles",
            expected=f"(top, left, height, width) inside an image of at most {LARGEST_SIDE} pixels a side",
            got=f"a rectangle outside the {height} x {width} image" if not inside else f"{height} x {width}",
            fix="Pass the size of the network's input, which the rectangles refer to.",
        )
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
