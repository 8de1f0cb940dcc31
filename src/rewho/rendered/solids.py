"""The solids that a rendered person consists of: round limbs and stacks of ellipses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.rendered.skeleton import Point

# Metres by which solids are moved towards the camera before sorting: decides which of two equally deep ones wins.
SKIRT, TRUNK, ARM, HEAD = 0.12, 0.13, 0.15, 0.15


@dataclass(frozen=True)
class Solid:
    """A three-dimensional piece of a person.

    Two points are a limb with round ends; more are the centres of elliptic levels from top to bottom.
    """

    name: str  # the body part, such as "trunk" or "left_arm"
    points: NDArray[np.float64]  # [K, 3] lateral, up, forward in metres
    widths: NDArray[np.float64]  # [K] half width along the lateral axis, in metres
    depths: NDArray[np.float64]  # [K] half depth along the forward axis, in metres
    texture: str  # a name of `TEXTURES`
    over: float  # metres by which it is moved towards the camera before sorting


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
