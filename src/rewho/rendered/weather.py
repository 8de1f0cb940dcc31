"""What changes from image to image of one person: folds of the clothes, outlines, light, and shadows that fall on both.

A model that sees the same folds twice would learn them by heart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.rendered.fabric import smooth_noise
from rewho.rendered.paint import Floats, Light, Patch

LARGEST_SHIFT = 0.012  # of an outline by its folds, as a share of the figure's height


@dataclass(frozen=True)
class Weather:
    """How strongly images of one place differ."""

    folds: float = 0.2  # depth of folds: share of the light that a crease takes away
    shadows: float = 0.3  # probability that a shadow falls across the scene
    depth: float = 0.5  # share of the light that the shadow takes away


def vary_light(light: Light, rng: np.random.Generator) -> Light:
    """Return the light of one image: the sun moves, and clouds pass."""
    side = float(np.clip(light.side + rng.normal(0, 0.2), -0.95, 0.95))
    return replace(light, side=side, ambient=float(np.clip(light.ambient + rng.normal(0, 0.08), 0.3, 0.9)))


def crumple(patch: Patch, rng: np.random.Generator, depth: float) -> Patch:
    """Return a painted figure with folds in its clothes, a light from above, and an uneven outline."""
    height, width = patch.owner.shape
    cells = (max(3, round(rng.uniform(8, 18))), max(3, round(rng.uniform(24, 40) * width / height)))
    long = 1 - 2 * np.abs(smooth_noise(rng, (height, width), cells))  # ridges, as cloth folds
    fine = smooth_noise(rng, (height, width), (2 * cells[0], cells[1] + 2))
    fall = np.linspace(rng.uniform(1.0, 1.2), rng.uniform(0.72, 1.0), height, dtype=np.float32)[:, None]
    lit = fall * (1 + np.float32(0.5 * depth) * long + np.float32(0.4 * depth) * fine)
    pixels = patch.pixels.copy()
    pixels[:3] *= np.maximum(lit, 0.2)
    shift = np.float32(LARGEST_SHIFT * height)
    rows, columns = np.indices((height, width), np.float32)
    columns += shift * smooth_noise(rng, (height, width), (max(3, height // 9), 4))
    rows += shift * smooth_noise(rng, (height, width), (8, 5))
    moved = cv2.remap(pixels.transpose(1, 2, 0), columns, rows, cv2.INTER_LINEAR)
    return replace(patch, pixels=np.ascontiguousarray(moved.transpose(2, 0, 1)))


def cast_shadow(canvas: Floats, rng: np.random.Generator, weather: Weather) -> None:
    """Darken a part of a scene, RGB [3, H, W], in place: the shadow of a house, or of leaves."""
    if rng.random() >= weather.shadows:
        return
    height, width = canvas.shape[1:]
    if rng.random() < 0.35:
        leaves = smooth_noise(rng, (height, width), (max(3, height // 14), max(3, width // 12))) > rng.uniform(
            -0.2, 0.3
        )
        dark = np.asarray(cv2.GaussianBlur(leaves.astype(np.float32), (0, 0), height / 100), np.float32)
    else:
        angle, sharp = rng.uniform(0, 2 * np.pi), height * rng.uniform(0.005, 0.06)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        away = (x - width * rng.uniform(0.2, 0.8)) * np.cos(angle) + (y - height * rng.uniform(0.2, 0.8)) * np.sin(
            angle
        )
        dark = _step(away / np.float32(sharp))
    sky = np.array([1.1, 1.0, 0.86], np.float32)[:, None, None]  # shadows are lit by the sky, which is blue
    canvas *= 1 - np.float32(weather.depth * rng.uniform(0.6, 1.0)) * dark[None] * sky


def _step(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 0 below -1, 1 above 1 and a line between."""
    return np.clip(values / 2 + np.float32(0.5), 0, 1)
