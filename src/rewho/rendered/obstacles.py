"""Things that stand in front of people: posts and bushes."""

from __future__ import annotations

import cv2
import numpy as np

from rewho.rendered.clothes import smooth_noise
from rewho.rendered.paint import Patch


def paint_post(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float]) -> Patch:
    """Paint a round post.

    Args:
        rng: Draws its colour.
        size: Height and width in pixels.
        at: x and y of its foot on the canvas.
    """
    height, width = max(2, size[0]), max(2, size[1])
    across = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    bright = 0.55 + 0.6 * np.sqrt(1 - across**2)
    base = np.asarray(rng.uniform(50, 170) * (1 + rng.normal(0, 0.12, 3)), np.float32)
    colour = np.broadcast_to(base[:, None, None] * bright, (3, height, width))
    alpha = np.ones((height, width), np.float32)
    return _patch(np.clip(colour, 0, 255), alpha, at)


def paint_bush(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float]) -> Patch:
    """Paint a bush: a heap of leafy discs.

    Args:
        rng: Draws its shape and colour.
        size: Height and width in pixels.
        at: x and y of its foot on the canvas.
    """
    height, width = max(8, size[0]), max(8, size[1])
    cover = np.zeros((height, width), np.uint8)
    for _ in range(9):
        radius = rng.uniform(0.2, 0.34) * min(height, width)
        x = rng.uniform(radius, max(width - radius, radius + 1))
        y = height - rng.uniform(0, max(height - radius, 1))
        cv2.circle(cover, (round(x), round(y)), round(radius), 255, -1, cv2.LINE_AA)
    alpha = cover.astype(np.float32) / 255
    leaf = smooth_noise(rng, (height, width), (max(2, height // 4), max(2, width // 4)))
    light = 1 - 0.4 * np.linspace(0, 1, height, dtype=np.float32)[:, None]
    base = np.array([66, 100, 48], np.float32) * np.float32(rng.uniform(0.7, 1.3))
    colour = base[:, None, None] * ((1 + 0.45 * leaf) * light)
    return _patch(np.clip(colour, 0, 255), alpha, at)


def _patch(colour: np.ndarray, alpha: np.ndarray, at: tuple[float, float]) -> Patch:
    height, width = alpha.shape
    owner = np.where(alpha > 0.5, 0, -1).astype(np.int16)
    pixels = np.concatenate([colour * alpha, alpha[None]]).astype(np.float32)
    return Patch(pixels, owner, round(at[0] - width / 2), round(at[1] - height))
