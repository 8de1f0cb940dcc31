"""The random numbers of augmentation, drawn for a whole batch at once, and the paper's policies.

Every image consumes the same count of random numbers with all settings. So one change can be switched on without
changing the draws of another, and the first images of a larger batch are drawn like those of a smaller one.

Letters: N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from rewho.settings import AugmentSettings
from rewho.settings.fields import check

PADDING = 10
"""Pixels of padding before the random crop. Ours: the usual value at 256 x 128; 4 % of the height, 8 % of the width,
about how far a detector's box is off."""

COLOUR = 0.2
"""Strength of the colour jitter. Ours: about the difference in exposure and white balance between two cameras; more
would make clothes of different colours alike, and models distinguish people mostly by colour."""

ROTATION = 10.0
"""Largest rotation in degrees. Ours: about the lean of people in images of wide-angle or tilted cameras."""

ERASE_PROBABILITY, ERASE_AREA_LOW, ERASE_AREA_HIGH, ERASE_ASPECT = 0.5, 0.02, 0.4, 0.3
"""Random erasing (Zhong et al., arXiv 1708.04896) with the usual values of public re-identification code. FD cites the
method without values."""

ERASE_ATTEMPTS = 100
"""Rectangles tried per image until one fits, as in public code. At 256 x 128, 30 % of the tries fit for a fixed area of
0.8, and 2 % for 0.99, where 1 image in 8 stays whole."""

_HOLISTIC = AugmentSettings(
    flip=0.5,
    crop_padding=PADDING,
    colour=0.0,
    rotation=0.0,
    erase=ERASE_PROBABILITY,
    erase_area_low=ERASE_AREA_LOW,
    erase_area_high=ERASE_AREA_HIGH,
    erase_aspect=ERASE_ASPECT,
    erase_fill="mean",
)

POLICIES: Mapping[str, AugmentSettings] = {
    "partial_teacher": replace(_HOLISTIC, colour=COLOUR, rotation=ROTATION),
    "holistic": _HOLISTIC,
    "final_student": replace(_HOLISTIC, crop_padding=0),
}
"""The augmentations of FD table 2: partial teachers; holistic teacher and initial student; final student. The final
student's images are neither cropped nor rotated, so that a view's box and the erased rectangle refer to the same
pixels."""

_COLUMNS = {"flip": 1, "shift": 2, "colour": 3, "angle": 1, "fill": 2, "unused": 1, "erase": 3 + 2 * ERASE_ATTEMPTS}


@dataclass(frozen=True)
class Draws:
    """All random numbers of a batch; `draws[a:b]` are the draws of images a to b.

    Args:
        size: Height and width of the network's input, to which the rectangles refer.
        flipped: Boolean [N].
        shift: int32 [N, 2]: first row and column of the crop in the padded image, 0 to twice the padding.
        colour: float64 [N, 3]: factors of brightness, contrast, saturation.
        angle: float64 [N]: rotation in degrees, anticlockwise.
        erased: int32 [N, 4]: top, left, height, width in pixels of the final image; zeros if nothing is erased.
        fill_offset: int32 [N, 2]: row and column of the fill in the tile.

    Example:
        >>> draws = draw(AugmentSettings(), 8, (256, 128), np.random.default_rng(1))
        >>> len(draws), len(draws[2:5]), bool((draws[2:5].erased == draws.erased[2:5]).all())
        (8, 3, True)
    """

    size: tuple[int, int]
    flipped: NDArray[np.bool_]
    shift: NDArray[np.int32]
    colour: NDArray[np.float64]
    angle: NDArray[np.float64]
    erased: NDArray[np.int32]
    fill_offset: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.flipped)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Draws:
        return Draws(self.size, **{field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]})


def draw(settings: AugmentSettings, count: int, size: tuple[int, int], rng: np.random.Generator) -> Draws:
    """Draw all random numbers for the augmentation of `count` images.

    Args:
        settings: Augmentations and their strengths.
        count: N, the images of the whole batch over all processes.
        size: Height and width of the network's input.
        rng: Generator, such as `generator(seed, "augment", epoch, step)`.

    Example:
        >>> draws = draw(POLICIES["final_student"], 1000, (256, 128), np.random.default_rng(1))
        >>> bool(0.45 < draws.flipped.mean() < 0.55), int(draws.shift.max()), float(draws.angle.max())
        (True, 0, 0.0)
    """
    check(settings, "augment.")
    uniform = rng.random((count, sum(_COLUMNS.values())))
    ends = np.cumsum(list(_COLUMNS.values()))[:-1]
    flip, shift, colour, angle, fill, _, erase = np.split(uniform, ends, axis=1)
    height, width = size
    return Draws(
        size=size,
        flipped=flip[:, 0] < settings.flip,
        shift=(shift * (2 * settings.crop_padding + 1)).astype(np.int32),
        colour=1 + settings.colour * (2 * colour - 1),
        angle=settings.rotation * (2 * angle[:, 0] - 1),
        erased=draw_rectangles(settings, erase, size),
        fill_offset=(fill * (height + 1, width + 1)).astype(np.int32),
    )


def draw_rectangles(
    settings: AugmentSettings, uniform: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.int32]:
    """Return erased rectangles from uniform numbers (Random Erasing, arXiv 1708.04896, algorithm 1).

    The fraction of the area is uniform between its bounds, and height/width between the aspect and its inverse; most
    rectangles are therefore upright. The first of `ERASE_ATTEMPTS` that fits into the image is used, or none.

    Args:
        settings: The four erasing settings are used. Areas keep their bounds except for rounding to whole pixels.
        uniform: [N, 3 + 2 * attempts], 0 to 1 (excluded): whether, row, column, then areas, then aspects.
        size: Height and width of the image.

    Returns:
        int32 [N, 4]: top, left, height, width; zeros if nothing is erased.
    """
    height, width = size
    areas, aspects = np.split(uniform[:, 3:], 2, axis=1)
    pixels = (settings.erase_area_low + (settings.erase_area_high - settings.erase_area_low) * areas) * height * width
    aspects = settings.erase_aspect + (1 / settings.erase_aspect - settings.erase_aspect) * aspects
    sides = np.rint(np.sqrt(np.stack([pixels * aspects, pixels / aspects], axis=2))).astype(np.int32)  # [N, tries, 2]
    fits = np.all((sides >= 1) & (sides <= size), axis=2)
    chosen = sides[np.arange(len(uniform)), np.argmax(fits, axis=1)]
    corner = (uniform[:, 1:3] * (np.array(size) - chosen + 1)).astype(np.int32)
    wanted = (uniform[:, 0] < settings.erase) & np.any(fits, axis=1)
    rectangles: NDArray[np.int32] = np.concatenate([corner, chosen], axis=1) * wanted[:, None]
    return rectangles
