"""Settings of `rewho pretrain`.

The defaults are LUPerson's final setting (sections 4 and 5.1) where the paper gives a value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContrastAugmentSettings:
    """Random changes that make a view of a picture (LUPerson section 4.2); the defaults are its -CJ+RE, area 0.6.

    Args:
        crop_area_low: Smallest share of the picture's area that a view shows.
        crop_area_high: Largest share.
        crop_ratio_low: Smallest width/height of what a view shows.
        crop_ratio_high: Largest width/height. People are 0.375 to 0.667 wide; the paper's 0.75 to 1.333 show 44 percent
            of a person's height.
        jitter: Probability of colour jitter.
        jitter_strength: Factors of brightness, contrast, saturation go from 1 - strength to 1 + strength.
        jitter_hue: Largest turn of the hue, either way, as a share of a full turn.
        grayscale: Probability of losing all colour.
        blur: Probability of a Gaussian blur.
        blur_sigma_low: Smallest standard deviation of the blur, in pixels of the view.
        blur_sigma_high: Largest standard deviation.
        flip: Probability of a horizontal flip.
        erase: Probability that a rectangle is erased.
        erase_area_low: Smallest erased share of the view's area.
        erase_area_high: Largest erased share.
        erase_aspect: Smallest height/width of the rectangle; the largest is its inverse.
        erase_fill: mean (the pictures' mean colour, as the published code has it) or noise (as the paper says).
    """

    crop_area_low: float = 0.2
    crop_area_high: float = 1.0
    crop_ratio_low: float = 0.75
    crop_ratio_high: float = 4 / 3
    jitter: float = 0.0
    jitter_strength: float = 0.4
    jitter_hue: float = 0.1
    grayscale: float = 0.2
    blur: float = 0.5
    blur_sigma_low: float = 0.1
    blur_sigma_high: float = 2.0
    flip: float = 0.5
    erase: float = 0.5
    erase_area_low: float = 0.02
    erase_area_high: float = 0.6
    erase_aspect: float = 0.3
    erase_fill: str = "mean"
