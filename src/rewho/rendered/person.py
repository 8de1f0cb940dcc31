"""The attributes of rendered people: build, skin, hair, clothes and bags, drawn from one random generator per person.

Dark and muted colours are frequent on purpose: of a hundred people about twenty wear a black top. A colour histogram
alone therefore cannot tell people apart, and a model has to learn cut, pattern, hair, shoes and bags as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rewho.core.runtime import generator
from rewho.rendered.fabric import Colour

# name: (colour, probability)
TOP_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((34, 34, 38), 0.19),
    "white": ((224, 224, 220), 0.17),
    "grey": ((128, 130, 134), 0.09),
    "dark grey": ((72, 74, 80), 0.08),
    "navy": ((38, 46, 84), 0.09),
    "red": ((172, 38, 44), 0.06),
    "blue": ((66, 108, 176), 0.06),
    "light blue": ((150, 182, 214), 0.05),
    "green": ((62, 110, 70), 0.04),
    "olive": ((92, 94, 62), 0.03),
    "beige": ((196, 176, 142), 0.04),
    "pink": ((222, 146, 166), 0.04),
    "yellow": ((222, 190, 62), 0.03),
    "violet": ((108, 76, 140), 0.03),
}
BOTTOM_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((32, 32, 36), 0.30),
    "denim": ((58, 74, 110), 0.22),
    "dark grey": ((66, 68, 74), 0.12),
    "grey": ((116, 118, 122), 0.08),
    "khaki": ((158, 140, 108), 0.11),
    "light denim": ((124, 148, 180), 0.08),
    "brown": ((88, 66, 50), 0.05),
    "white": ((214, 214, 210), 0.04),
}
ACCENT_COLOURS: dict[str, tuple[Colour, float]] = {
    "white": ((228, 228, 224), 0.24),
    "black": ((28, 28, 30), 0.22),
    "grey": ((130, 130, 132), 0.08),
    "navy": ((36, 46, 92), 0.08),
    "yellow": ((222, 186, 58), 0.08),
    "red": ((186, 42, 48), 0.09),
    "turquoise": ((52, 156, 158), 0.06),
    "orange": ((218, 122, 52), 0.05),
    "pink": ((222, 140, 168), 0.05),
    "violet": ((110, 74, 146), 0.05),
}
SHOE_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((32, 30, 30), 0.40),
    "white": ((216, 214, 210), 0.26),
    "brown": ((92, 66, 48), 0.14),
    "grey": ((120, 120, 122), 0.12),
    "blue": ((52, 84, 140), 0.04),
    "red": ((170, 50, 52), 0.04),
}
SKIN_COLOURS: dict[str, tuple[Colour, float]] = {
    "1": ((228, 190, 164), 0.26),
    "2": ((212, 168, 136), 0.28),
    "3": ((182, 136, 104), 0.22),
    "4": ((136, 96, 70), 0.14),
    "5": ((88, 62, 48), 0.10),
}
HAIR_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((26, 22, 22), 0.52),
    "brown": ((66, 46, 36), 0.26),
    "blond": ((178, 146, 96), 0.09),
    "grey": ((150, 148, 146), 0.09),
    "red": ((120, 64, 40), 0.04),
}

HAIR_STYLES = {"short": 0.46, "bald": 0.05, "bob": 0.14, "long": 0.18, "ponytail": 0.12, "afro": 0.05}
HATS = {"none": 0.86, "cap": 0.09, "beanie": 0.05}
TOPS = {"t-shirt": 0.42, "long sleeves": 0.20, "open jacket": 0.15, "coat": 0.07, "tank top": 0.07, "hoodie": 0.09}
TOP_PATTERNS = {
    "plain": 0.32,
    "mottled": 0.05,
    "stripes": 0.09,
    "pinstripes": 0.04,
    "plaid": 0.07,
    "checks": 0.03,
    "dots": 0.03,
    "flowers": 0.05,
    "camouflage": 0.02,
    "fading": 0.02,
    "block": 0.05,
    "band": 0.04,
    "panels": 0.03,
    "print": 0.08,
    "logo": 0.04,
    "lettering": 0.04,
}
COLLARS = {"none": 0.1, "round": 0.35, "deep": 0.15, "shirt": 0.28, "zip": 0.12}
BOTTOMS = {"trousers": 0.48, "tights": 0.08, "shorts": 0.23, "skirt": 0.09, "long skirt": 0.04, "dress": 0.08}
BOTTOM_PATTERNS = {
    "plain": 0.6,
    "faded": 0.12,
    "side stripe": 0.07,
    "ripped": 0.03,
    "mottled": 0.06,
    "plaid": 0.05,
    "flowers": 0.03,
    "camouflage": 0.02,
    "dots": 0.02,
}
BAGS = {"none": 0.46, "backpack": 0.22, "handbag": 0.10, "shoulder bag": 0.15, "tote": 0.07}
BAG_PATTERNS = {"plain": 0.7, "mottled": 0.1, "plaid": 0.05, "band": 0.1, "flowers": 0.05}
SHOES = {"trainers": 0.55, "boots": 0.1, "plain": 0.2, "sandals": 0.15}
GLASSES = {"none": 0.75, "clear": 0.17, "dark": 0.08}


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
    belly: float  # depth of the belly relative to a flat one's
    head: float  # size of the head relative to the usual one
    skin: Colour
    hair_style: str  # a name of `HAIR_STYLES`
    hair: Colour
    hair_length: float  # of long hair, 0 (shoulders) to 1 (waist)
    fringe: float  # how far the hair covers the forehead, 0 to 1
    beard: bool  # whether a beard covers the lower face
    glasses: str  # a name of `GLASSES`
    hat: str  # a name of `HATS`
    top: str  # a name of `TOPS`
    top_pattern: str  # a name of `TOP_PATTERNS`
    inner_pattern: str  # of the shirt under an open jacket, a name of `TOP_PATTERNS`
    top_colours: tuple[Colour, ...]  # main, shirt under an open jacket, sleeve, and three more of patterns
    pattern_scale: float  # size of the pattern, 0 (fine) to 1 (coarse)
    collar: str  # a name of `COLLARS`
    belt: bool  # whether a belt closes a tucked top
    top_length: float  # height of the top's hem, as a share of body height
    sleeve_length: float  # of a t-shirt, as a share of the upper arm
    loose: float  # width of the clothes relative to close-fitting ones
    bottom: str  # a name of `BOTTOMS`
    bottom_pattern: str  # a name of `BOTTOM_PATTERNS`
    bottom_colours: tuple[Colour, ...]  # main and two of patterns
    bottom_length: float  # of shorts, skirt and dress, 0 (short) to 1 (long)
    shoes: str  # a name of `SHOES`
    shoe_colour: Colour
    socks: float  # height of visible socks as a share of the shin, 0 none
    sock_colour: Colour
    bag: str  # a name of `BAGS`
    bag_colour: Colour
    bag_pattern: str  # a name of `BAG_PATTERNS`
    bag_size: float  # relative to a medium one
    hat_colour: Colour
    side: int  # on which the bag is carried: 1 left, -1 right
    stride: float  # swing of the legs while walking, in radians

    @staticmethod
    @lru_cache(maxsize=256)
    def draw(seed: int, number: int) -> Identity:
        """Return person `number` of the world with this seed, independently of all others."""
        rng = generator(seed, "identity", number)
        first, second = _tint(rng, TOP_COLOURS), _tint(rng, ACCENT_COLOURS)
        inner, sleeve = _tint(rng, TOP_COLOURS), second if rng.random() < 0.08 else first
        top, child = _pick(rng, TOPS), rng.random() < 0.03
        more = (_tint(rng, TOP_COLOURS), _tint(rng, ACCENT_COLOURS))
        build = float(np.clip(np.exp(rng.normal(0.0, 0.15)), 0.72, 1.5))
        height = float(np.clip(rng.normal(1.69, 0.09), 1.48, 1.98))
        return Identity(
            number=number,
            height=height * 0.75 if child else height,
            girth=build,
            shoulders=float(rng.uniform(0.86, 1.14)),
            belly=float(np.exp(rng.normal(0.0, 0.16) + (0.2 if build > 1.15 else 0))),
            head=float(rng.uniform(0.94, 1.1) + (0.2 if child else 0)),
            **_draw_head(rng),
            top=top,
            top_pattern=_pick(rng, TOP_PATTERNS),
            inner_pattern=_pick(rng, TOP_PATTERNS),
            top_colours=(first, inner, sleeve, second, *more),
            pattern_scale=float(rng.random()),
            collar=_pick(rng, COLLARS),
            belt=bool(rng.random() < 0.2),
            top_length=float(rng.uniform(0.43, 0.52)),
            sleeve_length=float(rng.uniform(0.45, 1.0)),
            loose=float(rng.uniform(0.96, 1.28)),
            **_draw_below(rng),
            side=1 if rng.random() < 0.5 else -1,
            stride=float(rng.uniform(0.3, 0.58)),
        )


def _draw_head(rng: np.random.Generator) -> dict[str, Any]:
    """Return random skin, hair, beard, glasses and hat."""
    return {
        "skin": _tint(rng, SKIN_COLOURS),
        "hair_style": _pick(rng, HAIR_STYLES),
        "hair": _tint(rng, HAIR_COLOURS),
        "hair_length": float(rng.random()),
        "fringe": float(rng.random()),
        "beard": bool(rng.random() < 0.1),
        "glasses": _pick(rng, GLASSES),
        "hat": _pick(rng, HATS),
    }


def _draw_below(rng: np.random.Generator) -> dict[str, Any]:
    """Return what is worn below the waist, and the bag."""
    return {
        "bottom": _pick(rng, BOTTOMS),
        "bottom_pattern": _pick(rng, BOTTOM_PATTERNS),
        "bottom_colours": (_tint(rng, BOTTOM_COLOURS), _tint(rng, ACCENT_COLOURS), _tint(rng, BOTTOM_COLOURS)),
        "bottom_length": float(rng.random()),
        "shoes": _pick(rng, SHOES),
        "shoe_colour": _tint(rng, ACCENT_COLOURS if rng.random() < 0.15 else SHOE_COLOURS),
        "socks": float(rng.uniform(0.15, 0.6)) if rng.random() < 0.4 else 0.0,
        "sock_colour": _tint(rng, SHOE_COLOURS),
        "bag": _pick(rng, BAGS),
        "bag_colour": _tint(rng, ACCENT_COLOURS if rng.random() < 0.45 else BOTTOM_COLOURS),
        "bag_pattern": _pick(rng, BAG_PATTERNS),
        "bag_size": float(rng.uniform(0.75, 1.25)),
        "hat_colour": _tint(rng, ACCENT_COLOURS),
    }


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Return a random name with a probability in proportion to its weight."""
    shares = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(shares / shares[-1], rng.random(), side="right"))]


def _tint(rng: np.random.Generator, palette: dict[str, tuple[Colour, float]], spread: float = 9.0) -> Colour:
    """Return a random colour of a palette with a small random variation; bright colours vary more than dark ones."""
    colour, _ = palette[_pick(rng, {name: weight for name, (_, weight) in palette.items()})]
    vivid = 1 + (max(colour) - min(colour)) / 60
    moved = np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2 * vivid, 3)
    red, green, blue = np.clip(moved, 8, 250)
    return (round(float(red), 1), round(float(green), 1), round(float(blue), 1))
