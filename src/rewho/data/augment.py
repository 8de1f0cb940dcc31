"""Augmentation of training images, on uint8 with cv2; erased rectangles and flips are reported.

Drawing and applying are separate. `draw` draws every random number of a whole batch, one row per image; `apply` is a
function of images and draws. A process that prepares rows a to b of a global batch applies `draws[a:b]` and gets the
same bytes as a single process.

The order is: crop to the view's box, flip, colour, resize, rotation, random crop out of a padded image, random erasing.
Flip and colour come before resizing, where most images have 4 to 24 times fewer pixels. An affine colour change and
bilinear resizing commute, except for rounding and clipping at 0 and 255. Rotation and the shift of the random crop are
one warp: a corner that is rotated out of the image and shifted back in keeps its pixels.

Images stay uint8; the network normalises on its device.

Letters: N images, H and W their own height and width, h and w those of the network's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.data.draws import Draws
from rewho.data.views import View
from rewho.settings import AugmentSettings

Images = NDArray[np.uint8]
"""uint8 RGB: one image [H, W, 3] or several [N, H, W, 3]."""

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601; saturation and contrast jitter mix with this grey


@dataclass(frozen=True)
class AugmentedBatch:
    """Augmented images, with the rectangles and flips that a loss needs.

    Args:
        images: uint8 [N, h, w, 3], RGB.
        erased: int32 [N, 4]: top, left, height, width in pixels of `images` (after the flip); zeros if nothing.
        flipped: Boolean [N].
    """

    images: Images
    erased: NDArray[np.int32]
    flipped: NDArray[np.bool_]


def apply(
    images: Sequence[Images] | Images, view: View, draws: Draws, settings: AugmentSettings, mean_colour: Sequence[float]
) -> AugmentedBatch:
    """Crop a view out of each image, augment it as drawn, and resize it to the view's size.

    Args:
        images: N images, uint8 [H, W, 3], of any sizes; they are not changed.
        view: Its box and size are used; apply its mask before, see `View.masked`.
        draws: N rows, drawn with the same settings for the view's size.
        settings: The settings of the draws.
        mean_colour: Red, green, blue, 0 to 255: colour of padding, of rotated corners, and of the mean fill.

    Example:
        >>> from rewho.data.draws import POLICIES, draw
        >>> from rewho.data.views import VIEWS
        >>> settings, view = POLICIES["holistic"], VIEWS["holistic"]
        >>> draws = draw(settings, 2, view.size, np.random.default_rng(1))
        >>> batch = apply([np.zeros((128, 64, 3), np.uint8)] * 2, view, draws, settings, (124, 116, 104))
        >>> batch.images.shape, batch.erased.shape, batch.flipped.shape
        ((2, 256, 128, 3), (2, 4), (2,))
    """
    _check_draws(images, view, draws)
    colour = _whole_colour(mean_colour)
    changed = np.empty((len(draws), *view.size, 3), np.uint8)
    sources = _sources(images, view, draws, jitter=settings.colour > 0)
    if settings.rotation > 0:
        _rotate(sources, changed, draws, settings.crop_padding, colour)
    elif settings.crop_padding > 0:
        _shift(sources, changed, draws, settings.crop_padding, colour)
    else:
        _fit(sources, changed)
    erase(changed, draws.erased, fill_tile(settings.erase_fill, view.size, mean_colour), draws.fill_offset)
    return AugmentedBatch(changed, draws.erased, draws.flipped)


def resize(images: Sequence[Images] | Images, view: View) -> Images:
    """Crop a view out of each image and resize it for evaluation: uint8 [N, h, w, 3].

    Bilinear; the mean over each output pixel's area if the box is more than twice as high or wide as the output,
    because bilinear interpolation would skip pixels. (cv2 interpolates bilinearly if the other side grows.)

    Args:
        images: N images, uint8 [H, W, 3], of any sizes.
        view: Its box and size are used.

    Example:
        >>> from rewho.data.views import VIEWS
        >>> resize([np.zeros((128, 64, 3), np.uint8)], VIEWS["up1"]).shape
        (1, 224, 224, 3)
    """
    resized = np.empty((len(images), *view.size, 3), np.uint8)
    _fit((view.crop(check_image(image)) for image in images), resized)
    return resized


def erase(images: Images, erased: NDArray[np.int32], tile: Images, fill_offset: NDArray[np.int32]) -> None:
    """Overwrite the erased rectangle [N, 4] of each image with the tile's part at `fill_offset` [N, 2], in place."""
    some = np.flatnonzero(erased[:, 2])
    for row, (top, left, height, width), (tile_top, tile_left) in zip(
        some.tolist(), erased[some].tolist(), fill_offset[some].tolist(), strict=True
    ):
        piece = tile[tile_top : tile_top + height, tile_left : tile_left + width]
        images[row, top : top + height, left : left + width] = piece


def fill_tile(fill: str, size: tuple[int, int], mean_colour: Sequence[float]) -> Images:
    """Return the tile that `erase` fills rectangles from, uint8 [2h, 2w, 3]: noise, or the mean colour."""
    height, width = 2 * size[0], 2 * size[1]
    return _noise_tile(height, width) if fill == "noise" else _plain_tile(height, width, _whole_colour(mean_colour))


def colour_maps(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one affine map of RGB per image: saturation, then contrast, then brightness.

    Contrast is around the image's mean grey, which saturation does not change; multiply the last column by it. The
    three together clip values at 0 and 255 once instead of three times.

    Args:
        factors: [N, 3]: brightness, contrast, saturation; 1 changes nothing.

    Returns:
        float64 [N, 3, 4].
    """
    brightness, contrast, saturation = factors.T[:, :, None, None]
    mix = brightness * contrast * ((1 - saturation) * np.array(_GREY) + saturation * np.eye(3))
    offset = np.broadcast_to(brightness * (1 - contrast), (len(factors), 3, 1))
    return np.concatenate([mix, offset], axis=2)


def recolour(image: Images, colour_map: NDArray[np.float64]) -> Images:
    """Apply one of `colour_maps` to an image [H, W, 3]; values are rounded and clipped at 0 and 255."""
    red, green, blue, _ = cv2.mean(image)
    matrix = colour_map.copy()
    matrix[:, 3] *= _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
    return cast("Images", cv2.transform(image, matrix))


def _sources(images: Sequence[Images] | Images, view: View, draws: Draws, jitter: bool) -> Iterator[Images]:
    """Yield each image's view, flipped and recoloured as drawn, in its own resolution."""
    maps = colour_maps(draws.colour) if jitter else [None] * len(draws)
    for image, flip, colour_map in zip(images, draws.flipped.tolist(), maps, strict=True):
        source = view.crop(check_image(image))
        if flip:
            source = cast("Images", cv2.flip(source, 1))
        yield source if colour_map is None else recolour(source, colour_map)


def _fit(sources: Iterator[Images], images: Images) -> None:
    for image, source in zip(images, sources, strict=True):
        _resize_into(image, source)


def _shift(sources: Iterator[Images], images: Images, draws: Draws, padding: int, colour: tuple[int, ...]) -> None:
    """Resize each source into the middle of a padded canvas, and crop it as drawn."""
    height, width = draws.size
    canvas = _plain_tile(height + 2 * padding, width + 2 * padding, colour).copy()
    inside = canvas[padding : padding + height, padding : padding + width]
    for image, source, (top, left) in zip(images, sources, draws.shift.tolist(), strict=True):
        _resize_into(inside, source)
        image[...] = canvas[top : top + height, left : left + width]


def _rotate(sources: Iterator[Images], images: Images, draws: Draws, padding: int, colour: tuple[int, ...]) -> None:
    """Resize each source; rotate it about its middle and shift it to the drawn crop in one warp."""
    height, width = draws.size
    middle = ((width - 1) / 2, (height - 1) / 2)
    resized = np.empty((height, width, 3), np.uint8)
    for image, source, (top, left), angle in zip(
        images, sources, draws.shift.tolist(), draws.angle.tolist(), strict=True
    ):
        _resize_into(resized, source)
        matrix = cv2.getRotationMatrix2D(middle, angle, 1)
        matrix[:, 2] += (padding - left, padding - top)
        cv2.warpAffine(resized, matrix, (width, height), dst=image, flags=cv2.INTER_LINEAR, borderValue=colour)


def _resize_into(target: Images, source: Images) -> None:
    """Resize the source into the target; cv2 writes in place, because type and size match."""
    height, width = target.shape[:2]
    shrinks = source.shape[0] > 2 * height or source.shape[1] > 2 * width
    cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@lru_cache(maxsize=4)
def _noise_tile(height: int, width: int) -> Images:
    """Return noise [height, width, 3], the same in every process; each rectangle is filled from a drawn offset."""
    return generator(0, "erase noise").integers(0, 256, (height, width, 3), np.uint8)


@lru_cache(maxsize=8)
def _plain_tile(height: int, width: int, colour: tuple[int, ...]) -> Images:
    """Return [height, width, 3] of one colour; copying from it is 20 times faster than filling with a colour."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def check_image(image: Images) -> Images:
    """Return the image if it is uint8 RGB; otherwise cv2 would write into a new array instead of the target."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        got = f"{image.dtype} of shape {list(image.shape)}"
        fix = "Decode images to RGB with 8 bits per channel."
        raise UserError("image", expected="a uint8 array of shape [height, width, 3]", got=got, fix=fix)
    return image


def _check_draws(images: Sequence[Images] | Images, view: View, draws: Draws) -> None:
    if len(images) != len(draws) or draws.size != view.size:
        expected = f"{len(images)} rows for images of {view.size[0]} x {view.size[1]}"
        got = f"{len(draws)} rows for {draws.size[0]} x {draws.size[1]}"
        fix = "Draw with the batch's length and the view's size."
        raise UserError("draws", expected=expected, got=got, fix=fix)


def _whole_colour(mean_colour: Sequence[float]) -> tuple[int, ...]:
    """Return a colour in whole numbers, 0 to 255; refuse one from 0 to 1."""
    values = [float(value) for value in mean_colour]
    if len(values) != 3 or not all(0 <= value <= 255 for value in values) or 0 < max(values) < 1:
        fix = "Multiply a mean that was given from 0 to 1 by 255."
        raise UserError("mean colour", expected="red, green, blue from 0 to 255", got=str(values), fix=fix)
    return tuple(round(value) for value in values)
