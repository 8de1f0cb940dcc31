"""The shapes a rendered person is made of: round limbs and stacks of ellipses in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.rendered.skeleton import Point

# What is painted over what, where two solids lie equally deep: metres towards the camera.
SKIRT, TRUNK, ARM, HEAD = 0.12, 0.13, 0.15, 0.15


@dataclass(frozen=True)
class Solid:
    """A piece of a person in space.

    Args:
        name: What it belongs to, such as "trunk" or "left_arm".
        points: [K, 3] lateral, up, forward in metres. Two points are a limb with round ends, more are elliptic levels
            from top to bottom.
        widths: [K] half width of each, along the lateral axis.
        depths: [K] half depth of each, along the forward axis.
        texture: What is wrapped around it, a name of `TEXTURES`.
        over: Metres by which it is sorted towards the camera.
    """

    name: str
    points: NDArray[np.float64]
    widths: NDArray[np.float64]
    depths: NDArray[np.float64]
    texture: str
    over: float


def limb(name: str, ends: tuple[Point, Point], halves: tuple[float, float], texture: str, over: float = 0.0) -> Solid:
    """Return a tapered round limb between two points."""
    radii = np.array(halves)
    return Solid(name, np.array(ends), radii, radii, texture, over)


def stack(name: str, levels: Sequence[tuple[Point, float, float]], texture: str, over: float) -> Solid:
    """Return elliptic levels: centre, half width and half depth of each, from top to bottom."""
    points, widths, depths = zip(*levels, strict=True)
    return Solid(name, np.array(points), np.array(widths), np.array(depths), texture, over)


def ellipsoid(middle: Point, half: tuple[float, float, float]) -> list[tuple[Point, float, float]]:
    """Return levels of an ellipsoid with the given half width, half height and half depth."""
    steps = np.sin(np.linspace(np.pi / 2, -np.pi / 2, 9)).tolist()
    rounds = [max(0.0, 1 - step * step) ** 0.5 for step in steps]
    up = np.array([0.0, half[1], 0.0])
    return [(middle + step * up, half[0] * r, half[2] * r) for step, r in zip(steps, rounds, strict=True)]
