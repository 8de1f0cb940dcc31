"""Random changes to training images, on uint8 with cv2, reporting what was erased and what was flipped.

Unusual: drawing and applying are apart. `draw` takes a generator and draws every random number of a whole batch at
once, one row per image; `apply` is a plain function of images and draws. A process that prepares rows a to b of a
global batch applies `draws[a:b]` and gets the bytes that one process alone would have made.

The order is: crop to the view's box, flip, colour, resize, rotation, random crop out of a padded image, erasing. Flip
and colour come before resizing, where most images have 4 to 24 times fewer pixels; an affine colour change and
bilinear resizing may be swapped but for rounding and for where values are cut off at 0 and 255. Rotation and the shift
of the random crop are one warp, so that a corner that is turned out of the image and shifted back is not lost.

Images stay uint8, and the network normalises on its device. cv2's own threads are left as they are: a process that
prepares batches beside others sets `cv2.setNumThreads(1)`.

Letters: N images, H and W their own height and width, h and w those of the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.data.draws import POLICIES, Draws, draw, draw_rectangles
from rewho.data.views import View
from rewho.settings import AugmentSettings

__all__ = [
    "POLICIES",
    "AugmentedBatch",
    "Draws",
    "Images",
    "apply",
    "apply_custom",
    "colour_maps",
    "draw",
    "draw_rectangles",
    "erase",
    "fill_tile",
    "recolour",
    "resize",
]

Images = NDArray[np.uint8]
"""uint8 RGB: one image [H, W, 3] or several [N, H, W, 3]."""

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601: the grey that saturation and contrast jitter mix with


@dataclass(frozen=True)
class AugmentedBatch:
    """Images ready for the network, and what was done to them that a loss has to know.

    Args:
        images: uint8 [N, h, w, 3], RGB.
        erased: int32 [N, 4]: top, left, height, width in pixels of `images` (after the flip); zeros is nothing.
        flipped: Boolean [N].
    """

    images: Images
    erased: NDArray[np.int32]
    flipped: NDArray[np.bool_]


def apply(
    images: Sequence[Images] | Images,
    view: View,
    draws: Draws,
    settings: AugmentSettings,
    mean_colour: Sequence[float],
) -> AugmentedBatch:
    """Cut a view out of each image, change it as drawn, and resize it to the view's size.

    Args:
        images: N images, uint8 [H, W, 3], of any sizes; they are not changed.
        view: Its box and size are used; apply its mask before, see `View.masked`.
        draws: N rows, drawn with the same settings for the view's size.
        settings: The settings that the draws were drawn with.
        mean_colour: Red, green, blue, 0 to 255: colour of padding, of turned-in corners, and of the mean fill.

    Raises:
        UserError: Counts, sizes or types do not fit.

    Example:
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
        _turn(sources, changed, draws, settings.crop_padding, colour)
    elif settings.crop_padding > 0:
        _shift(sources, changed, draws, settings.crop_padding, colour)
    else:
        _fit(sources, changed)
    erase(changed, draws.erased, fill_tile(settings.erase_fill, view.size, mean_colour), draws.fill_offset)
    return AugmentedBatch(changed, draws.erased, draws.flipped)


def resize(images: Sequence[Images] | Images, view: View) -> Images:
    """Cut a view out of each image and resize it, with nothing random: for evaluation.

    Bilinear; the mean over each output pixel's area where the box is more than twice as high or as wide as the output,
    because bilinear interpolation would skip pixels there. (cv2 interpolates bilinearly if the other side grows.)

    Args:
        images: N images, uint8 [H, W, 3], of any sizes.
        view: Its box and size are used.

    Returns:
        uint8 [N, h, w, 3].

    Raises:
        UserError: An image is not uint8 RGB.

    Example:
        >>> from rewho.data.views import VIEWS
        >>> resize([np.zeros((128, 64, 3), np.uint8)], VIEWS["up1"]).shape
        (1, 224, 224, 3)
    """
    resized = np.empty((len(images), *view.size, 3), np.uint8)
    _fit((view.crop(_checked(image)) for image in images), resized)
    return resized


def apply_custom(
    images: Sequence[Images] | Images,
    view: View,
    draws: Draws,
    change: Callable[[Images, np.random.Generator], Images],
) -> AugmentedBatch:
    """Use a change of the user's own in place of ours: an albumentations pipeline, a torchvision transform, a function.

    It is called once per image with the resized view, uint8 [h, w, 3], which it may overwrite, and a generator of
    that image alone, from which all its randomness should come; it returns an image of the same shape and type.
    Nothing is reported as erased or flipped. Where a loss needs to know (distillation masks erased views), use `apply`,
    or change the images that `apply` returned.

    Args:
        images: N images, uint8 [H, W, 3], of any sizes.
        view: Its box and size are used.
        draws: N rows; only their seeds are used.
        change: The callable.

    Raises:
        UserError: The callable returned something else than an image of the same shape and type.

    Example:
        >>> from rewho.data.views import VIEWS
        >>> def darker(image, rng):
        ...     return (image * rng.uniform(0.5, 1)).astype(np.uint8)
        >>> draws = draw(POLICIES["holistic"], 1, (256, 128), np.random.default_rng(1))
        >>> batch = apply_custom([np.full((128, 64, 3), 200, np.uint8)], VIEWS["holistic"], draws, darker)
        >>> bool(100 <= batch.images.max() < 200)
        True
    """
    _check_draws(images, view, draws)
    images = resize(images, view)
    for image, seed in zip(images, draws.seeds.tolist(), strict=True):
        changed = change(image, generator(seed, "custom augmentation"))
        if getattr(changed, "dtype", None) != np.uint8 or changed.shape != image.shape:
            raise UserError(
                "custom augmentation",
                expected=f"a uint8 array of shape {list(image.shape)} in return",
                got=f"{type(changed).__name__} {getattr(changed, 'dtype', '')} {getattr(changed, 'shape', '')}",
                fix="Return the changed image; the network normalises it later.",
            )
        image[...] = changed
    return AugmentedBatch(images, np.zeros((len(draws), 4), np.int32), np.zeros(len(draws), np.bool_))


def erase(images: Images, erased: NDArray[np.int32], tile: Images, fill_offset: NDArray[np.int32]) -> None:
    """Overwrite a rectangle of each image, in place, with a piece of the tile.

    Args:
        images: uint8 [N, h, w, 3].
        erased: int32 [N, 4]: top, left, height, width; zeros leave the image whole.
        tile: uint8 [2h, 2w, 3]: what to fill with.
        fill_offset: int32 [N, 2]: row and column in the tile, at most h and w.

    Example:
        >>> images = np.zeros((1, 4, 4, 3), np.uint8)
        >>> erase(images, np.array([[1, 1, 2, 2]]), np.ones((8, 8, 3), np.uint8), np.array([[0, 0]]))
        >>> int(images.sum())
        12
    """
    some = np.flatnonzero(erased[:, 2])
    for row, (top, left, height, width), (tile_top, tile_left) in zip(
        some.tolist(), erased[some].tolist(), fill_offset[some].tolist(), strict=True
    ):
        piece = tile[tile_top : tile_top + height, tile_left : tile_left + width]
        images[row, top : top + height, left : left + width] = piece


def fill_tile(fill: str, size: tuple[int, int], mean_colour: Sequence[float]) -> Images:
    """Return what `erase` fills images of a size with, [2h, 2w, 3]: noise, or the mean colour.

    Example:
        >>> fill_tile("mean", (1, 1), (90, 80, 70))[0, 0].tolist()
        [90, 80, 70]
    """
    height, width = 2 * size[0], 2 * size[1]
    return _noise_tile(height, width) if fill == "noise" else _plain_tile(height, width, _whole_colour(mean_colour))


def colour_maps(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one affine map of RGB per image: saturation, then contrast, then brightness.

    Contrast is around the image's mean grey, which saturation does not move; so the last column is to be multiplied
    with it. Doing the three at once cuts values off at 0 and 255 once, where doing one after the other does it thrice.

    Args:
        factors: [N, 3]: brightness, contrast, saturation; 1 leaves things as they are.

    Returns:
        float64 [N, 3, 4].

    Example:
        >>> colour_maps(np.array([[2.0, 0.5, 1.0]])).round(2)
        array([[[1., 0., 0., 1.],
                [0., 1., 0., 1.],
                [0., 0., 1., 1.]]])
    """
    brightness, contrast, saturation = factors.T[:, :, None, None]
    mix = brightness * contrast * ((1 - saturation) * np.array(_GREY) + saturation * np.eye(3))
    offset = np.broadcast_to(brightness * (1 - contrast), (len(factors), 3, 1))
    return np.concatenate([mix, offset], axis=2)


def recolour(image: Images, colour_map: NDArray[np.float64]) -> Images:
    """Apply one of `colour_maps` to an image [H, W, 3]; values are rounded and cut off at 0 and 255.

    Example:
        >>> brighter = colour_maps(np.array([[1.5, 1.0, 1.0]]))[0]
        >>> recolour(np.array([[[0, 100, 200]]], np.uint8), brighter)
        array([[[  0, 150, 255]]], dtype=uint8)
    """
    red, green, blue, _ = cv2.mean(image)
    matrix = colour_map.copy()
    matrix[:, 3] *= _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
    return cast("Images", cv2.transform(image, matrix))


def _sources(images: Sequence[Images] | Images, view: View, draws: Draws, jitter: bool) -> Iterator[Images]:
    """Yield each image's view, flipped and recoloured as drawn, in its own resolution."""
    maps = colour_maps(draws.colour) if jitter else [None] * len(draws)
    for image, flip, colour_map in zip(images, draws.flipped.tolist(), maps, strict=True):
        source = view.crop(_checked(image))
        if flip:
            source = cast("Images", cv2.flip(source, 1))
        yield source if colour_map is None else recolour(source, colour_map)


def _fit(sources: Iterator[Images], images: Images) -> None:
    """Resize each source into its image."""
    for image, source in zip(images, sources, strict=True):
        _resize_into(image, source)


def _shift(sources: Iterator[Images], images: Images, draws: Draws, padding: int, colour: tuple[int, ...]) -> None:
    """Resize each source into the middle of a padded canvas and take the drawn crop out of it."""
    height, width = draws.size
    canvas = _plain_tile(height + 2 * padding, width + 2 * padding, colour).copy()
    inside = canvas[padding : padding + height, padding : padding + width]
    for image, source, (top, left) in zip(images, sources, draws.shift.tolist(), strict=True):
        _resize_into(inside, source)
        image[...] = canvas[top : top + height, left : left + width]


def _turn(sources: Iterator[Images], images: Images, draws: Draws, padding: int, colour: tuple[int, ...]) -> None:
    """Resize each source, then rotate it about its middle and shift it to the drawn crop in one warp."""
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
    """Fill the target with the resized source; cv2 writes in place, because type and size are right."""
    height, width = target.shape[:2]
    shrinks = source.shape[0] > 2 * height or source.shape[1] > 2 * width
    cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@lru_cache(maxsize=4)
def _noise_tile(height: int, width: int) -> Images:
    """Return fixed noise [height, width, 3], the same in every process; erased places take a drawn part of it."""
    return generator(0, "erase noise").integers(0, 256, (height, width, 3), np.uint8)


@lru_cache(maxsize=8)
def _plain_tile(height: int, width: int, colour: tuple[int, ...]) -> Images:
    """Return [height, width, 3] of one colour: copying its rows is twenty times faster than repeating a colour."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def _checked(image: Images) -> Images:
    """Return the image if it is uint8 RGB; cv2 would otherwise write elsewhere without a word."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            "image",
            expected="a uint8 array of shape [height, width, 3]",
            got=f"{image.dtype} of shape {list(image.shape)}",
            fix="Decode images to RGB with 8 bits per channel.",
        )
    return image


def _check_draws(images: Sequence[Images] | Images, view: View, draws: Draws) -> None:
    if len(images) != len(draws) or draws.size != view.size:
        raise UserError(
            "draws",
            expected=f"{len(images)} rows for images of {view.size[0]} x {view.size[1]}",
            got=f"{len(draws)} rows for {draws.size[0]} x {draws.size[1]}",
            fix="Draw with the batch's length and the view's size.",
        )


def _whole_colour(mean_colour: Sequence[float]) -> tuple[int, ...]:
    """Round a colour to 0 to 255; refuse one that was given from 0 to 1."""
    values = [float(value) for value in mean_colour]
    if len(values) != 3 or not all(0 <= value <= 255 for value in values) or 0 < max(values) < 1:
        raise UserError(
            "mean colour",
            expected="red, green, blue from 0 to 255",
            got=str(values),
            fix="Multiply a mean that was given from 0 to 1 by 255.",
        )
    return tuple(round(value) for value in values)
