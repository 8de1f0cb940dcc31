"""Textures of a rendered body: rows run from top to bottom, columns once around the body, column 0 is the front.

A texture does not depend on the view. The renderer looks up the angle that faces the camera, so a print on the chest
disappears when the person turns round.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.rendered.person import Colour, Identity

Texture = NDArray[np.float32]  # [3, rows, columns], RGB 0 to 255
ROWS, COLUMNS = 48, 64
_V = (np.arange(ROWS, dtype=np.float32) + 0.5)[:, None] / ROWS  # 0 at the top, 1 at the bottom
_ANGLE = (np.arange(COLUMNS, dtype=np.float32)[None, :] / COLUMNS * 2 + 1) % 2 * np.pi - np.pi  # 0 front, ±pi back


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> NDArray[np.float32]:
    """Return noise [H, W] from about -1 to 1: random numbers on a grid of `cells`, enlarged to `size`."""
    coarse = rng.random(cells, dtype=np.float32) * 2 - 1
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


TEXTURES = ("skin", "trunk", "sleeve", "leg", "skirt", "head", "hair", "hat", "bag", "shoe", "sole")


@lru_cache(maxsize=256)
def build_textures(identity: Identity) -> NDArray[np.uint8]:
    """Return a person's textures in the order of `TEXTURES`, as one list of texels: RGB [3, textures * ROWS * COLUMNS].

    Example:
        >>> build_textures(Identity.draw(1, 7)).shape == (3, len(TEXTURES) * ROWS * COLUMNS)
        True
    """
    # Folds belong to the clothes: they must not depend on who else is rendered.
    rng = generator(identity.number, "folds", round(identity.height * 1e6), round(identity.girth * 1e6))
    folds = 1 + 0.07 * smooth_noise(rng, (ROWS, COLUMNS), (7, 10))
    strands = 1 + 0.16 * smooth_noise(rng, (ROWS, COLUMNS), (3, 24))
    textures = {
        "skin": _fill(identity.skin),
        "trunk": _draw_top(identity) * folds,
        "sleeve": _draw_sleeve(identity) * folds,
        "leg": _draw_leg(identity) * folds,
        "skirt": _draw_skirt(identity) * folds,
        "head": _draw_head(identity),
        "hair": _fill(identity.hair) * strands,
        "hat": _fill(identity.hat_colour) * np.where(_V < 0.72, np.float32(1.0), np.float32(0.8)),
        "bag": _draw_bag(identity) * folds,
        "shoe": _fill(identity.shoe_colour),
        "sole": _fill((226, 226, 222) if identity.shoes == "trainers" else (40, 36, 34)),
    }
    joined = np.concatenate([_soften(textures[name]).reshape(3, -1) for name in TEXTURES], axis=1)
    texels: NDArray[np.uint8] = np.clip(joined, 0, 255).astype(np.uint8)
    texels.setflags(write=False)
    return texels


def _soften(texture: Texture) -> Texture:
    """Blur the edges of patterns, across the seam too: the renderer looks up single texels, without interpolation."""
    turned = np.concatenate([texture[..., -4:], texture, texture[..., :4]], axis=2).transpose(1, 2, 0)
    soft = cv2.GaussianBlur(np.ascontiguousarray(turned), (0, 0), 1.1, sigmaY=0.7, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft[:, 4:-4].transpose(2, 0, 1), np.float32)


def _fill(colour: Colour) -> Texture:
    return np.broadcast_to(np.asarray(colour, np.float32)[:, None, None], (3, ROWS, COLUMNS)).copy()


def _darken(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _paint(texture: Texture, where: NDArray[np.bool_], colour: Colour) -> None:
    np.copyto(texture, np.asarray(colour, np.float32)[:, None, None], where=where)


def _draw_top(identity: Identity) -> Texture:
    """Return the top: an open jacket shows the shirt in front, a coat has buttons and a belt, others have a pattern."""
    main, second, _ = identity.top_colours
    texture = _fill(main)
    if identity.top == "open jacket":
        width = 0.35 + 0.4 * identity.pattern_scale
        _paint(texture, np.abs(_ANGLE) < width, second)
        _paint(texture, (np.abs(np.abs(_ANGLE) - width) < 0.07), _darken(main, 0.6))
        return texture
    _draw_pattern(texture, identity)
    if identity.top == "coat":
        _paint(texture, np.abs(_ANGLE) < 0.06, _darken(main, 0.6))
        _paint(texture, (np.abs(_V - 0.52) < 0.03), _darken(main, 0.55))
    else:
        _paint(texture, (_V < 0.07) & (np.abs(_ANGLE) < 0.6), identity.skin)  # neckline
    return texture


def _draw_pattern(texture: Texture, identity: Identity) -> None:
    second = identity.top_colours[1]
    coarse = identity.pattern_scale
    bands = 10 - round(6 * coarse)
    match identity.top_pattern:
        case "stripes":
            _paint(texture, (_V * bands) % 1 < 0.42, second)
        case "pinstripes":
            _paint(texture, (_ANGLE / np.pi * (bands + 4)) % 1 < 0.3, second)
        case "checks":
            across, along = (_ANGLE / np.pi * bands) % 1 < 0.5, (_V * bands) % 1 < 0.5
            texture *= np.where(across ^ along, np.float32(1.0), np.float32(0.72))
            _paint(texture, across & along, second)
        case "upper block":
            _paint(texture, 0.3 + 0.25 * coarse > _V, second)
        case "chest band":
            _paint(texture, np.abs(_V - 0.38) < 0.06 + 0.07 * coarse, second)
        case "print":
            _draw_print(texture, identity)


def _draw_print(texture: Texture, identity: Identity) -> None:
    """Draw a disc, a bar or a triangle on the chest, and perhaps a bar on the back."""
    second = identity.top_colours[1]
    size, shape = 0.28 + 0.3 * identity.pattern_scale, int(identity.pattern_scale * 997) % 3
    x, y = _ANGLE / (size * 2.6), (_V - 0.4) / (size * 0.55)
    if shape == 0:
        _paint(texture, x**2 + y**2 < 1, second)
    elif shape == 1:
        _paint(texture, (np.abs(x) < 1) & (np.abs(y) < 0.6), second)
    else:
        _paint(texture, (np.abs(x) < (y + 1) / 2) & (y < 1), second)
    if int(identity.pattern_scale * 7919) % 2:
        _paint(texture, (np.abs(_ANGLE) > np.pi - 0.8) & (np.abs(_V - 0.3) < 0.09), second)


def _draw_sleeve(identity: Identity) -> Texture:
    main, second, sleeve = identity.top_colours
    texture = _fill(sleeve)
    if identity.top_pattern == "stripes" and identity.top not in ("open jacket", "coat") and sleeve == main:
        _paint(texture, (_V * (10 - round(6 * identity.pattern_scale))) % 1 < 0.42, second)
    if identity.top in ("long sleeves", "coat"):
        _paint(texture, _V > 0.95, _darken(sleeve, 0.7))  # cuff
    return texture


def _draw_leg(identity: Identity) -> Texture:
    main, second = identity.bottom_colours
    texture = _fill(main)
    if identity.bottom_pattern == "faded":
        texture += 60 * np.exp(-((_V - 0.35) ** 2) / 0.04) * np.exp(-(_ANGLE**2) / 0.5)
    elif identity.bottom_pattern == "side stripe":
        _paint(texture, np.abs(np.abs(_ANGLE) - np.pi / 2) < 0.32, second)
    return texture


def _draw_skirt(identity: Identity) -> Texture:
    main, second = identity.bottom_colours
    texture = _fill(main)
    if identity.bottom_pattern == "side stripe":
        _paint(texture, _V > 0.86, second)
    elif identity.bottom_pattern == "faded":
        texture *= 1 + 0.25 * np.sign(np.sin(_ANGLE * 9))  # pleats
    return texture


def _draw_bag(identity: Identity) -> Texture:
    texture = _fill(identity.bag_colour)
    dark = _darken(identity.bag_colour, 0.6)
    _paint(texture, np.abs(_V - 0.45) < 0.035, dark)
    _paint(texture, (_V > 0.55) & (np.abs(np.abs(_ANGLE) - np.pi) < 0.7), _darken(dark, 1.3))
    return texture


def _draw_head(identity: Identity) -> Texture:
    """Return the head: the face in front, hair above and behind, down to where the style ends."""
    texture = _fill(identity.skin)
    red, green, blue = identity.skin
    _paint(texture, (np.abs(np.abs(_ANGLE) - 0.42) < 0.17) & (np.abs(_V - 0.5) < 0.035), (40, 32, 30))  # eyes
    _paint(texture, (np.abs(_ANGLE) < 0.13) & (np.abs(_V - 0.6) < 0.06), (red * 0.88, green * 0.84, blue * 0.82))
    _paint(texture, (np.abs(_ANGLE) < 0.32) & (np.abs(_V - 0.77) < 0.025), (red * 0.72, green * 0.5, blue * 0.5))
    if identity.beard:
        _paint(texture, (np.abs(_ANGLE) < 1.35) & (_V > 0.68) & ((np.abs(_ANGLE) > 0.4) | (_V > 0.8)), identity.hair)
    if identity.hair_style != "bald":
        low = 0.85 if identity.hair_style in ("bob", "long", "afro") else 0.7
        line = np.where(np.abs(_ANGLE) < 0.95, 0.3, np.where(np.abs(_ANGLE) < 1.7, low - 0.22, low))
        _paint(texture, line > _V, identity.hair)
    return texture
