"""Two random views of an image for contrastive learning: crop, colour, blur, flip and erasing, on uint8 with cv2.

As in `augment.py`, a process applies its rows of the draws of the whole batch. Colour jitter, hue, grayscale and flip
come before resizing, because the crop mostly has fewer pixels than the view; they are linear, so only rounding differs.
A hue change is a rotation about the grey axis (YIQ), so that all of the colour jitter is one affine map of RGB.

Letters: N images, H and W their own height and width, h and w those of a view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.data.augment import Images, check_image, colour_maps, erase, fill_tile, recolour
from rewho.data.draws import ERASE_ATTEMPTS, draw_rectangles
from rewho.settings import AugmentSettings, ContrastAugmentSettings
from rewho.settings.fields import check

CROP_ATTEMPTS = 10
"""Crops tried per image until one fits, as in torchvision; if none fits, the largest allowed one in the middle."""

_FINAL = ContrastAugmentSettings()
_PLAIN = replace(_FINAL, jitter=0.8, erase=0.0)

CONTRAST_PRESETS: Mapping[str, ContrastAugmentSettings] = {
    "default": _PLAIN,
    "+RE": replace(_PLAIN, erase=0.5),
    "-GS": replace(_PLAIN, grayscale=0.0),
    "-GB": replace(_PLAIN, blur=0.0),
    "-CJ": replace(_PLAIN, jitter=0.0),
    "-CJ+RE": _FINAL,
    "area 0": replace(_FINAL, erase=0.0),
    "area 0.2": replace(_FINAL, erase_area_high=0.2),
    "area 0.4": replace(_FINAL, erase_area_high=0.4),
    "area 0.6": _FINAL,
    "area 0.8": replace(_FINAL, erase_area_high=0.8),
    "person": replace(_FINAL, crop_ratio_low=0.375, crop_ratio_high=2 / 3),
}
"""LUPerson's tables 2 and 3, and "person": views of a person's shape, which is ours. The paper does not state the area
of +RE; here it is that of -CJ+RE."""

_COLUMNS = {
    "areas": CROP_ATTEMPTS,
    "ratios": CROP_ATTEMPTS,
    "corner": 2,
    "jittered": 1,
    "colour": 4,
    "grey": 1,
    "blurred": 1,
    "flipped": 1,
    "fill": 2,
    "erase": 3 + 2 * ERASE_ATTEMPTS,
}

# Luma and two chroma axes of NTSC's YIQ (FCC 1953); a hue turn rotates the two.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True)
class ContrastDraws:
    """All random numbers of one view of each image; `draws[a:b]` are the draws of images a to b.

    Args:
        size: Height and width of a view.
        areas: float64 [N, 10], uniform numbers that areas of tried crops are made from.
        ratios: float64 [N, 10], the same for their width/height.
        corner: float64 [N, 2], uniform numbers for where the crop is.
        colour_map: float64 [N, 3, 4], see `augment.colour_maps`.
        jittered: Boolean [N].
        grey: Boolean [N].
        sigma: float64 [N], standard deviation of the blur; 0 is none.
        flipped: Boolean [N].
        erased: int32 [N, 4]: top, left, height, width in pixels of the view; zeros where nothing is erased.
        fill_offset: int32 [N, 2]: where in the tile of noise the fill is taken from.
    """

    size: tuple[int, int]
    areas: NDArray[np.float64]
    ratios: NDArray[np.float64]
    corner: NDArray[np.float64]
    colour_map: NDArray[np.float64]
    jittered: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    sigma: NDArray[np.float64]
    flipped: NDArray[np.bool_]
    erased: NDArray[np.int32]
    fill_offset: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.flipped)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> ContrastDraws:
        return ContrastDraws(self.size, **{field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]})


def draw_view(
    settings: ContrastAugmentSettings, count: int, size: tuple[int, int], rng: np.random.Generator
) -> ContrastDraws:
    """Draw everything random about one view of `count` images; call it twice for two views.

    Args:
        settings: Which changes, and how strong.
        count: N, the images of the whole batch over all processes.
        size: Height and width of a view.
        rng: Generator, such as `generator(seed, "query view", epoch, step)`.

    Example:
        >>> draws = draw_view(ContrastAugmentSettings(), 1000, (256, 128), np.random.default_rng(1))
        >>> bool(0.15 < draws.grey.mean() < 0.25), bool(0.45 < (draws.sigma > 0).mean() < 0.55), draws.jittered.any()
        (True, True, np.False_)
    """
    check(settings, "augment.")
    uniform = rng.random((count, sum(_COLUMNS.values())))
    parts = dict(zip(_COLUMNS, np.split(uniform, np.cumsum(list(_COLUMNS.values()))[:-1], axis=1), strict=True))
    factors = 1 + settings.jitter_strength * (2 * parts["colour"][:, :3] - 1)
    sigma = settings.blur_sigma_low + (settings.blur_sigma_high - settings.blur_sigma_low) * (
        parts["blurred"][:, 0] / max(settings.blur, 1e-12)
    )
    height, width = size
    erasing = AugmentSettings(
        erase=settings.erase,
        erase_area_low=settings.erase_area_low,
        erase_area_high=settings.erase_area_high,
        erase_aspect=settings.erase_aspect,
    )
    return ContrastDraws(
        size=size,
        areas=parts["areas"],
        ratios=parts["ratios"],
        corner=parts["corner"],
        colour_map=turned(colour_maps(factors), settings.jitter_hue * (2 * parts["colour"][:, 3] - 1)),
        jittered=parts["jittered"][:, 0] < settings.jitter,
        grey=parts["grey"][:, 0] < settings.grayscale,
        sigma=np.where(parts["blurred"][:, 0] < settings.blur, sigma, 0.0),
        flipped=parts["flipped"][:, 0] < settings.flip,
        erased=draw_rectangles(erasing, parts["erase"], size),
        fill_offset=(parts["fill"] * (height + 1, width + 1)).astype(np.int32),
    )


def turned(maps: NDArray[np.float64], turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return affine colour maps [N, 3, 4] preceded by a hue rotation; `turns` [N] are fractions of a full turn."""
    angle = -2 * math.pi * turns  # the chroma axes are clockwise
    rotation = np.zeros((len(turns), 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = np.cos(angle)
    rotation[:, 2, 1] = np.sin(angle)
    rotation[:, 1, 2] = -rotation[:, 2, 1]
    return np.concatenate([maps[:, :, :3] @ (_RGB @ rotation @ _YIQ), maps[:, :, 3:]], axis=2)


def crop_boxes(settings: ContrastAugmentSettings, draws: ContrastDraws, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the crop of each image, int64 [N, 4]: top, left, height, width (torchvision's RandomResizedCrop).

    The fraction of the area is uniform, the logarithm of width/height too; the first of ten tries that fits is used.
    `sizes` [N, 2] are the images' heights and widths.
    """
    low, high = settings.crop_ratio_low, settings.crop_ratio_high
    share = settings.crop_area_low + (settings.crop_area_high - settings.crop_area_low) * draws.areas
    pixels = share * sizes.prod(axis=1)[:, None]
    ratios = low * (high / low) ** draws.ratios
    tried = np.rint(np.sqrt(np.stack([pixels / ratios, pixels * ratios], axis=2))).astype(np.int64)  # [N, tries, 2]
    fits = np.all((tried >= 1) & (tried <= sizes[:, None]), axis=2)
    chosen = tried[np.arange(len(sizes)), np.argmax(fits, axis=1)]
    corner = (draws.corner * (sizes - chosen + 1)).astype(np.int64)
    none = ~fits.any(axis=1)
    if none.any():
        height, width = sizes[none].T
        largest = np.stack(
            [np.minimum(height, np.rint(width / low)), np.minimum(width, np.rint(height * high))], axis=1
        )
        chosen[none] = np.maximum(largest, 1).astype(np.int64)
        corner[none] = (sizes[none] - chosen[none]) // 2
    return np.concatenate([corner, chosen], axis=1)


def apply_view(
    images: Sequence[Images], draws: ContrastDraws, settings: ContrastAugmentSettings, mean_colour: Sequence[float]
) -> Images:
    """Return the drawn view of each image, uint8 [N, h, w, 3].

    Args:
        images: N images, uint8 RGB [H, W, 3], of any sizes; they are not changed.
        draws: N rows, drawn with the same settings.
        settings: The settings of the draws.
        mean_colour: Red, green, blue, 0 to 255: colour of the mean fill.

    Example:
        >>> settings = ContrastAugmentSettings()
        >>> draws = draw_view(settings, 2, (256, 128), np.random.default_rng(1))
        >>> apply_view([np.zeros((128, 64, 3), np.uint8)] * 2, draws, settings, (90, 80, 80)).shape
        (2, 256, 128, 3)
    """
    if len(images) != len(draws):
        raise UserError(
            "draws", expected=f"{len(images)} rows", got=f"{len(draws)}", fix="Draw with the batch's length."
        )
    for image in images:
        check_image(image)
    boxes = crop_boxes(settings, draws, np.array([image.shape[:2] for image in images]))
    views = np.empty((len(images), *draws.size, 3), np.uint8)
    rows = zip(images, views, boxes.tolist(), draws.flipped.tolist(), draws.jittered.tolist(), strict=True)
    for row, (image, view, (top, left, height, width), flip, jitter) in enumerate(rows):
        source = image[top : top + height, left : left + width]
        if flip:
            source = cast("Images", cv2.flip(source, 1))
        if jitter:
            source = recolour(np.ascontiguousarray(source), draws.colour_map[row])
        _finish(source, view, bool(draws.grey[row]), float(draws.sigma[row]))
    tile = fill_tile(settings.erase_fill, draws.size, mean_colour)
    erase(views, draws.erased, tile, draws.fill_offset)
    return views


def _finish(source: Images, view: Images, grey: bool, sigma: float) -> None:
    """Resize into the view, blurred and grey if drawn; a grey image is processed as one channel."""
    height, width = view.shape[:2]
    shrinks = source.shape[0] > 2 * height or source.shape[1] > 2 * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if grey:
        single: Any = cv2.resize(cv2.cvtColor(source, cv2.COLOR_RGB2GRAY), (width, height), interpolation=interpolation)
        if sigma:
            single = _blurred(single, sigma)
        cv2.cvtColor(single, cv2.COLOR_GRAY2RGB, dst=view)
    elif sigma:
        sharp: Any = cv2.resize(source, (width, height), interpolation=interpolation)
        _blurred(sharp, sigma, view)
    else:
        cv2.resize(source, (width, height), dst=view, interpolation=interpolation)


def _blurred(image: Images, sigma: float, into: Images | None = None) -> Images:
    side = 2 * math.ceil(3 * sigma) + 1
    return cast("Images", cv2.GaussianBlur(image, (side, side), sigma, dst=into, borderType=cv2.BORDER_REPLICATE))
