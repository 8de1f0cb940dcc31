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
from rewho.rendered.fabric import (
    ANGLE,
    COLUMNS,
    COVERING,
    DOWN,
    ROWS,
    Texture,
    darken,
    fill,
    paint,
    smooth_noise,
    weave,
)
from rewho.rendered.person import Identity

TEXTURES = ("skin", "trunk", "sleeve", "leg", "skirt", "head", "hair", "hat", "bag", "shoe", "sole", "sock")
_EVERYWHERE = np.ones((ROWS, COLUMNS), np.bool_)


@lru_cache(maxsize=256)
def build_textures(identity: Identity) -> NDArray[np.uint8]:
    """Return a person's textures in the order of `TEXTURES`, as one list of texels: RGB [3, textures * ROWS * COLUMNS].

    Example:
        >>> build_textures(Identity.draw(1, 7)).shape == (3, len(TEXTURES) * ROWS * COLUMNS)
        True
    """
    # Patterns belong to the clothes: they must not depend on who else is rendered.
    rng = generator(identity.number, "folds", round(identity.height * 1e6), round(identity.girth * 1e6))
    strands = 1 + 0.25 * smooth_noise(rng, (ROWS, COLUMNS), (4, 32))
    fabric = weave(
        identity.top_pattern, identity.top_colours[:1] + identity.top_colours[3:], identity.pattern_scale, rng
    )
    textures = {
        "skin": fill(identity.skin),
        "trunk": _draw_top(identity, fabric, rng),
        "sleeve": _draw_sleeve(identity, fabric),
        "leg": _draw_leg(identity, rng),
        "skirt": _draw_skirt(identity, fabric, rng),
        "head": _draw_head(identity),
        "hair": fill(identity.hair) * strands,
        "hat": fill(identity.hat_colour) * np.where(DOWN < 0.72, np.float32(1.0), np.float32(0.8)),
        "bag": _draw_bag(identity, rng),
        "shoe": _draw_shoe(identity),
        "sole": fill((226, 226, 222) if identity.shoes == "trainers" else (40, 36, 34)),
        "sock": fill(identity.sock_colour),
    }
    joined = np.concatenate([_soften(textures[name]).reshape(3, -1) for name in TEXTURES], axis=1)
    texels: NDArray[np.uint8] = np.clip(joined, 0, 255).astype(np.uint8)
    texels.setflags(write=False)
    return texels


def _soften(texture: Texture) -> Texture:
    """Blur the edges of patterns, across the seam too: the renderer looks up single texels, without interpolation."""
    turned = np.concatenate([texture[..., -4:], texture, texture[..., :4]], axis=2).transpose(1, 2, 0)
    soft = cv2.GaussianBlur(np.ascontiguousarray(turned), (0, 0), 1.0, sigmaY=0.7, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft[:, 4:-4].transpose(2, 0, 1), np.float32)


def _draw_top(identity: Identity, fabric: Texture, rng: np.random.Generator) -> Texture:
    """Return the top: an open jacket shows the shirt in front, a coat has buttons and a belt, others have a collar."""
    main, inner, _, second = identity.top_colours[:4]
    texture = fabric.copy()
    if identity.top == "open jacket":
        width = 0.25 + 0.5 * identity.pattern_scale
        shirt = weave(identity.inner_pattern, (inner, second, main), rng.random(), rng)
        np.copyto(texture, shirt, where=np.abs(ANGLE) < width)
        paint(texture, (np.abs(np.abs(ANGLE) - width) < 0.07) & _EVERYWHERE, darken(main, 0.6))
        return texture
    if identity.top == "coat":
        paint(texture, (np.abs(ANGLE) < 0.06) & _EVERYWHERE, darken(main, 0.6))
        paint(texture, (np.abs(DOWN - 0.52) < 0.03) & _EVERYWHERE, darken(main, 0.55))
        return texture
    match identity.collar:
        case "round":
            paint(texture, (DOWN < 0.07) & (np.abs(ANGLE) < 0.6), identity.skin)
        case "deep":
            paint(texture, (0.2 - 0.2 * np.abs(ANGLE) > DOWN) & (np.abs(ANGLE) < 0.8), identity.skin)
        case "shirt":
            paint(texture, (DOWN < 0.09) & _EVERYWHERE, darken(main, 1.15) if sum(main) < 500 else darken(main, 0.85))
            paint(texture, (0.1 - 0.25 * np.abs(ANGLE) > DOWN) & (np.abs(ANGLE) < 0.4), identity.skin)
            paint(texture, (np.abs(ANGLE) < 0.05) & _EVERYWHERE, darken(main, 0.7))
        case "zip":
            paint(texture, (np.abs(ANGLE) < 0.06) & _EVERYWHERE, darken(second, 0.8))
    if identity.belt:
        paint(texture, (DOWN > 0.955) & _EVERYWHERE, (44, 36, 32))
    return texture


def _draw_sleeve(identity: Identity, fabric: Texture) -> Texture:
    main, _, sleeve = identity.top_colours[:3]
    texture = fabric.copy() if identity.top_pattern in COVERING and sleeve == main else fill(sleeve)
    if identity.top in ("long sleeves", "coat", "hoodie"):
        paint(texture, (DOWN > 0.93) & _EVERYWHERE, darken(sleeve, 0.7))  # cuff
    return texture


def _draw_leg(identity: Identity, rng: np.random.Generator) -> Texture:
    texture = _bottom_fabric(identity, rng)
    if identity.bottom_pattern == "faded":
        texture += 60 * np.exp(-((DOWN - 0.35) ** 2) / 0.04) * np.exp(-(ANGLE**2) / 0.5)
    elif identity.bottom_pattern == "side stripe":
        where = np.abs(np.abs(ANGLE) - np.pi / 2) < 0.15 + 0.25 * identity.pattern_scale
        paint(texture, where & _EVERYWHERE, identity.bottom_colours[1])
    elif identity.bottom_pattern == "ripped":
        paint(texture, (smooth_noise(rng, (ROWS, COLUMNS), (14, 14)) > 0.55) & (np.abs(ANGLE) < 1.0), identity.skin)
    return texture


def _bottom_fabric(identity: Identity, rng: np.random.Generator) -> Texture:
    kind = identity.bottom_pattern if identity.bottom_pattern in COVERING else "plain"
    return weave(kind, identity.bottom_colours, identity.pattern_scale, rng)


def _draw_skirt(identity: Identity, fabric: Texture, rng: np.random.Generator) -> Texture:
    if identity.bottom == "dress":
        return fabric.copy() if identity.top_pattern in COVERING else fill(identity.top_colours[0])
    texture = _bottom_fabric(identity, rng)
    if identity.bottom_pattern == "side stripe":
        paint(texture, (DOWN > 0.86) & _EVERYWHERE, identity.bottom_colours[1])
    elif identity.bottom_pattern == "faded":
        texture *= 1 + 0.2 * np.sign(np.sin(ANGLE * 12))  # pleats
    return texture


def _draw_bag(identity: Identity, rng: np.random.Generator) -> Texture:
    colour = identity.bag_colour
    texture = weave(identity.bag_pattern, (colour, *identity.top_colours[3:]), 0.5, rng)
    dark = darken(colour, 0.6)
    paint(texture, (np.abs(DOWN - 0.45) < 0.035) & _EVERYWHERE, dark)
    paint(texture, (DOWN > 0.55) & (np.abs(np.abs(ANGLE) - np.pi) < 0.7), darken(dark, 1.3))
    return texture


def _draw_shoe(identity: Identity) -> Texture:
    if identity.shoes != "sandals":
        return fill(identity.shoe_colour)
    texture = fill(identity.skin)
    paint(texture, ((DOWN * 3) % 1 < 0.35) & _EVERYWHERE, identity.shoe_colour)
    return texture


def _draw_head(identity: Identity) -> Texture:
    """Return the head: the face in front, hair above and behind, down to where the style ends."""
    texture = fill(identity.skin)
    red, green, blue = identity.skin
    across = np.abs(ANGLE)
    paint(texture, (across < 0.9) & (np.abs(DOWN - 0.52) < 0.07), (red * 0.82, green * 0.78, blue * 0.76))  # sockets
    paint(texture, (np.abs(across - 0.42) < 0.17) & (np.abs(DOWN - 0.5) < 0.03), (60, 48, 44))  # eyes
    paint(texture, (across < 0.13) & (np.abs(DOWN - 0.6) < 0.06), (red * 0.9, green * 0.86, blue * 0.84))
    paint(texture, (across < 0.28) & (np.abs(DOWN - 0.77) < 0.02), (red * 0.76, green * 0.58, blue * 0.56))
    paint(texture, (DOWN > 0.86) & _EVERYWHERE, (red * 0.78, green * 0.74, blue * 0.72))  # below the chin
    if identity.glasses != "none":
        lens = (30, 30, 34) if identity.glasses == "dark" else (red * 0.6, green * 0.58, blue * 0.58)
        paint(texture, (across < 1.5) & (np.abs(DOWN - 0.5) < 0.045) & (across > 0.12), lens)
    if identity.beard:
        paint(texture, (across < 1.35) & (DOWN > 0.68) & ((across > 0.4) | (DOWN > 0.8)), identity.hair)
    if identity.hair_style != "bald":
        low = 0.85 if identity.hair_style in ("bob", "long", "afro") else 0.7
        fringe = 0.26 + 0.14 * identity.fringe
        line = np.where(across < 0.95, fringe, np.where(across < 1.7, low - 0.22, low))
        paint(texture, line > DOWN, identity.hair)
    return texture
