"""The attributes of rendered people: build, skin, hair, clothes and bags, drawn from one random generator per person.

Palettes are short on purpose: of a hundred people about twenty wear a black top. A colour histogram alone therefore
cannot tell people apart, and a model has to learn cut, pattern, hair, shoes and bags as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rewho.core.runtime import generator

Colour = tuple[float, float, float]  # red, green, blue, each 0 to 255

# name: (colour, probability)
TOP_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((34, 34, 38), 0.20),
    "white": ((222, 222, 216), 0.17),
    "grey": ((128, 130, 134), 0.14),
    "navy": ((38, 48, 92), 0.13),
    "red": ((172, 38, 44), 0.11),
    "blue": ((66, 118, 186), 0.10),
    "green": ((70, 112, 72), 0.08),
    "beige": ((190, 160, 118), 0.07),
}
BOTTOM_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((32, 32, 36), 0.28),
    "denim": ((62, 82, 122), 0.26),
    "grey": ((104, 106, 110), 0.14),
    "khaki": ((150, 130, 96), 0.12),
    "light denim": ((128, 152, 184), 0.12),
    "brown": ((88, 62, 46), 0.08),
}
ACCENT_COLOURS: dict[str, tuple[Colour, float]] = {
    "white": ((232, 232, 228), 0.24),
    "black": ((26, 26, 28), 0.18),
    "yellow": ((224, 188, 52), 0.14),
    "red": ((190, 40, 46), 0.12),
    "turquoise": ((52, 160, 160), 0.10),
    "orange": ((220, 120, 44), 0.08),
    "pink": ((222, 140, 168), 0.07),
    "violet": ((112, 72, 148), 0.07),
}
SKIN_COLOURS: dict[str, tuple[Colour, float]] = {
    "1": ((236, 200, 174), 0.28),
    "2": ((218, 174, 140), 0.26),
    "3": ((186, 138, 102), 0.20),
    "4": ((138, 94, 66), 0.15),
    "5": ((92, 62, 46), 0.11),
}
HAIR_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((28, 24, 24), 0.38),
    "brown": ((74, 50, 36), 0.28),
    "blond": ((194, 158, 96), 0.15),
    "grey": ((158, 156, 152), 0.12),
    "red": ((136, 66, 36), 0.07),
}

HAIR_STYLES = {"short": 0.38, "bald": 0.08, "bob": 0.14, "long": 0.17, "ponytail": 0.13, "afro": 0.10}
HATS = {"none": 0.80, "cap": 0.12, "beanie": 0.08}
TOPS = {"t-shirt": 0.30, "long sleeves": 0.30, "open jacket": 0.22, "coat": 0.10, "tank top": 0.08}
TOP_PATTERNS = {
    "plain": 0.30,
    "stripes": 0.16,
    "print": 0.16,
    "upper block": 0.12,
    "checks": 0.10,
    "pinstripes": 0.06,
    "chest band": 0.10,
}
BOTTOMS = {"trousers": 0.62, "shorts": 0.16, "skirt": 0.14, "long skirt": 0.08}
BOTTOM_PATTERNS = {"plain": 0.6, "faded": 0.2, "side stripe": 0.2}
BAGS = {"none": 0.40, "backpack": 0.24, "handbag": 0.16, "shoulder bag": 0.20}
SHOES = {"trainers": 0.6, "boots": 0.2, "plain": 0.2}


@dataclass(frozen=True)
class Identity:
    """The attributes that all images of one person share.

    Example:
        >>> Identity.draw(1, 7) == Identity.draw(1, 7), Identity.draw(1, 7) == Identity.draw(1, 8)
        (True, False)
    """

    number: int  # `draw(seed, number)` always returns the same person
    height: float  # body height in metres
    girth: float  # width of trunk and limbs relative to a medium build
    shoulders: float  # shoulder width relative to the trunk's
    skin: Colour
    hair_style: str  # a name of `HAIR_STYLES`
    hair: Colour
    beard: bool  # whether a beard covers the lower face
    hat: str  # a name of `HATS`
    top: str  # a name of `TOPS`
    top_pattern: str  # a name of `TOP_PATTERNS`
    top_colours: tuple[Colour, Colour, Colour]  # main, second (pattern, or shirt under an open jacket) and sleeve
    pattern_scale: float  # size of the pattern, 0 (fine) to 1 (coarse)
    bottom: str  # a name of `BOTTOMS`
    bottom_pattern: str  # a name of `BOTTOM_PATTERNS`
    bottom_colours: tuple[Colour, Colour]  # main and second
    shoes: str  # a name of `SHOES`
    shoe_colour: Colour
    bag: str  # a name of `BAGS`
    bag_colour: Colour
    hat_colour: Colour
    side: int  # on which the bag is carried: 1 left, -1 right
    stride: float  # swing of the legs while walking, in radians

    @staticmethod
    @lru_cache(maxsize=256)
    def draw(seed: int, number: int) -> Identity:
        """Return person `number` of the world with this seed, independently of all others."""
        rng = generator(seed, "identity", number)
        first, second = _tint(rng, TOP_COLOURS), _tint(rng, ACCENT_COLOURS)
        inner = _tint(rng, TOP_COLOURS)
        top = _pick(rng, TOPS)
        colours = (first, inner if top == "open jacket" else second, second if rng.random() < 0.18 else first)
        return Identity(
            number=number,
            height=float(np.clip(rng.normal(1.72, 0.09), 1.48, 1.98)),
            girth=float(np.clip(rng.normal(1.0, 0.13), 0.76, 1.4)),
            shoulders=float(rng.uniform(0.9, 1.14)),
            skin=_tint(rng, SKIN_COLOURS),
            hair_style=_pick(rng, HAIR_STYLES),
            hair=_tint(rng, HAIR_COLOURS),
            beard=bool(rng.random() < 0.15),
            hat=_pick(rng, HATS),
            top=top,
            top_pattern=_pick(rng, TOP_PATTERNS),
            top_colours=colours,
            pattern_scale=float(rng.random()),
            bottom=_pick(rng, BOTTOMS),
            bottom_pattern=_pick(rng, BOTTOM_PATTERNS),
            bottom_colours=(_tint(rng, BOTTOM_COLOURS), _tint(rng, ACCENT_COLOURS)),
            shoes=_pick(rng, SHOES),
            shoe_colour=_tint(rng, ACCENT_COLOURS if rng.random() < 0.5 else BOTTOM_COLOURS),
            bag=_pick(rng, BAGS),
            bag_colour=_tint(rng, ACCENT_COLOURS if rng.random() < 0.5 else BOTTOM_COLOURS),
            hat_colour=_tint(rng, ACCENT_COLOURS),
            side=1 if rng.random() < 0.5 else -1,
            stride=float(rng.uniform(0.34, 0.52)),
        )


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Return a random name with a probability in proportion to its weight."""
    shares = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(shares / shares[-1], rng.random(), side="right"))]


def _tint(rng: np.random.Generator, palette: dict[str, tuple[Colour, float]], spread: float = 7.0) -> Colour:
    """Return a random colour of a palette with a small random variation."""
    colour, _ = palette[_pick(rng, {name: weight for name, (_, weight) in palette.items()})]
    red, green, blue = np.clip(np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 8, 250)
    return (round(float(red), 1), round(float(green), 1), round(float(blue), 1))
