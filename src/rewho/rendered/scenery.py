"""Painted scenery: walls and grounds behind people, posts and bushes in front of them."""

from __future__ import annotations

import cv2
import numpy as np

from rewho.rendered.fabric import smooth_noise
from rewho.rendered.paint import Floats, Patch

WALLS = ("windows", "bricks", "hedge", "panels", "shop", "plain", "fence", "stairs")
GROUNDS = ("paving", "asphalt", "grass", "planks", "concrete", "tiles")


def paint_place(
    rng: np.random.Generator, size: tuple[int, int], horizon: float, grain: float, wall: str, ground: str
) -> Floats:
    """Return a painted wall with the ground in front of it, RGB 0 to 255 [H, W, 3].

    The ground begins at the row `horizon`, a share of the height; `grain` is in pixels per metre at the wall.
    """
    edge = round(size[0] * horizon)
    upper = _paint_wall(rng, (edge, size[1]), grain, wall)
    lower = _paint_ground(rng, (size[0] - edge, size[1]), grain, ground)
    place = np.ascontiguousarray(np.concatenate([upper, lower]))
    paint_clutter(rng, place, edge, grain)
    slow = 1 + 0.16 * smooth_noise(rng, size, (3, 9)) + 0.05 * smooth_noise(rng, size, (24, 80))
    fine = 1 + 0.04 * rng.standard_normal(size, np.float32)
    foot = 1 - 0.3 * np.exp(-np.abs(np.arange(size[0]) - edge) / (0.05 * size[0]))[:, None]
    return np.asarray(np.clip(place * (slow * fine * foot)[..., None], 0, 255), np.float32)


def _colour(rng: np.random.Generator, low: float, high: float, tint: float) -> Floats:
    """Return a random muted colour between two brightnesses."""
    return np.asarray(rng.uniform(low, high) * (1 + rng.normal(0, tint, 3)), np.float32)


def _paint_wall(rng: np.random.Generator, size: tuple[int, int], grain: float, kind: str) -> Floats:
    height, width = size
    wall = np.broadcast_to(_colour(rng, 40, 215, 0.045), (height, width, 3)).copy()
    y = (np.arange(height, dtype=np.float32) / grain)[:, None]
    x = (np.arange(width, dtype=np.float32) / grain)[None, :]
    if kind == "bricks":
        row = np.floor(y / 0.16)
        joint = (y % 0.16 < 0.025) | ((x + 0.2 * (row % 2)) % 0.4 < 0.03)
        wall *= np.array([1.0, 0.82, 0.75], np.float32)
        wall[joint] = wall[0, 0] * 1.35 + 12
    elif kind == "hedge":
        leaves = smooth_noise(rng, size, (max(2, height // 5), max(2, width // 5)))[..., None]
        wall[:] = np.array([70, 82, 62], np.float32) * rng.uniform(0.6, 1.2) * (1 + 0.5 * leaves)
        wall[y < 0.5 + 0.2 * np.sin(x * 2.1)] = (188, 200, 212)  # sky above it
    elif kind == "panels":
        step = rng.uniform(0.8, 1.6)
        wall *= (1 + 0.08 * np.sign(np.sin(x * 2 * np.pi / step)))[..., None]
        wall[np.broadcast_to(x % step < 0.04, (height, width))] *= 0.6
    elif kind == "fence":
        wall *= (1 + 0.4 * smooth_noise(rng, size, (max(2, height // 9), max(2, width // 9))))[..., None]
        bar = (x % rng.uniform(0.12, 0.3) < 0.04) & (y > 0.35 * height / grain)
        wall[bar | (np.abs(y - 0.4 * height / grain) < 0.05)] = _colour(rng, 30, 220, 0.05)
    elif kind == "stairs":
        wall *= (1 - 0.35 * ((y % rng.uniform(0.15, 0.3)) < 0.06) + 0 * x)[..., None]
    elif kind == "plain":
        wall *= (1 + 0.25 * smooth_noise(rng, size, (2, 5)))[..., None]
    else:
        _cut_openings(rng, wall, grain, shop=kind == "shop")
    return wall


def _cut_openings(rng: np.random.Generator, wall: Floats, grain: float, *, shop: bool) -> None:
    """Paint windows or shop fronts into a wall."""
    height, width = wall.shape[:2]
    step = rng.uniform(2.2, 3.2) if shop else rng.uniform(1.3, 2.0)
    glass, frame = _colour(rng, 40, 110, 0.12), _colour(rng, 60, 220, 0.05)
    for index in range(int(width / grain / step) + 1):
        left, right = round((index + 0.12) * step * grain), round((index + 0.82) * step * grain)
        top, bottom = (0.3, 0.93) if shop else (0.15 + 0.05 * rng.random(), 0.62)
        corner, other = (left, round(top * height)), (right, round(bottom * height))
        shade = glass * np.float32(rng.uniform(0.7, 1.5))
        cv2.rectangle(wall, corner, other, tuple(map(float, shade)), -1)
        reflection = np.array([corner, (right, corner[1]), (left, other[1])], np.int32)
        cv2.fillPoly(wall, [reflection], tuple(map(float, np.minimum(shade * 1.35 + 10, 255))), cv2.LINE_AA)
        cv2.rectangle(wall, corner, other, tuple(map(float, frame)), max(1, round(0.06 * grain)))


def _paint_ground(rng: np.random.Generator, size: tuple[int, int], grain: float, kind: str) -> Floats:
    height, width = size
    away = np.linspace(1.0, 0.4, height, dtype=np.float32)[:, None]  # perspective: lines get closer towards the wall
    x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / grain * away
    y = 2.2 * away**2 * np.ones_like(x)
    base = _colour(rng, 70, 190, 0.035)
    if kind == "grass":
        base = np.array([98, 110, 82], np.float32) * rng.uniform(0.7, 1.2)
    elif kind == "planks":
        base = base * np.array([1.07, 0.97, 0.87], np.float32)
    ground = np.broadcast_to(np.asarray(base, np.float32), (height, width, 3)).copy()
    if kind == "paving":
        side = rng.uniform(0.4, 0.8)
        ground[((x % side) < 0.04) | ((y % side) < 0.05)] *= 0.72
        ground *= (1 + 0.08 * np.sin(np.floor(x / side) * 12.9 + np.floor(y / side) * 78.2))[..., None]
    elif kind == "planks":
        ground[(y % 0.25) < 0.035] *= 0.65
    elif kind == "concrete":
        ground *= (1 + 0.12 * smooth_noise(rng, size, (5, 14)))[..., None]
        ground[np.abs(y - rng.uniform(0.4, 2.0)) < 0.02] *= 0.6
    elif kind == "tiles":
        ground *= np.asarray(np.exp(rng.normal(0, 0.07, 3)), np.float32)
        side = rng.uniform(0.15, 0.35)
        ground[((x % side) < 0.03) | ((y % side) < 0.04)] *= 0.8
    elif kind == "grass":
        ground *= (1 + 0.35 * smooth_noise(rng, size, (max(2, height // 3), max(2, width // 3))))[..., None]
    else:
        ground[np.abs(y - 1.2) < 0.1] = (214, 212, 200)  # a painted line
        ground *= (1 + 0.08 * rng.standard_normal((height, width), np.float32))[..., None]
    return ground


def paint_clutter(rng: np.random.Generator, place: Floats, edge: int, grain: float) -> None:
    """Paint what stands along a wall, [H, W, 3] in place: bicycles, cars, bollards, boards and boxes."""
    width = place.shape[1]
    for _ in range(int(rng.integers(0, max(2, round(width / grain / 0.9))))):
        colour = tuple(map(float, _colour(rng, 20, 190, 0.2 if rng.random() < 0.4 else 0.05)))
        x, foot = int(rng.integers(width)), edge + int(rng.uniform(-0.05, 0.5) * grain)
        kind = rng.random()
        if kind < 0.4:
            _paint_bicycle(place, (x, foot), grain, colour)
        elif kind < 0.55:
            _paint_car(place, (x, foot), grain, colour)
        elif kind < 0.75:
            tall, wide = rng.uniform(0.5, 2.6) * grain, rng.uniform(0.05, 0.14) * grain
            cv2.rectangle(place, (x, round(foot - tall)), (round(x + wide), foot), colour, -1)
        else:
            tall, wide, high = rng.uniform(0.3, 1.4) * grain, rng.uniform(0.3, 1.3) * grain, rng.uniform(0, 1.4) * grain
            high = high if rng.random() < 0.5 else 0.0
            cv2.rectangle(place, (x, round(foot - high - tall)), (round(x + wide), round(foot - high)), colour, -1)
            inner = tuple(map(float, _colour(rng, 60, 240, 0.15)))
            cv2.line(
                place, (x, round(foot - high - tall / 2)), (round(x + wide), round(foot - high - tall / 2)), inner, 2
            )


def _paint_bicycle(place: Floats, at: tuple[int, int], grain: float, colour: tuple[float, ...]) -> None:
    x, y = at
    radius, thin = round(0.33 * grain), max(1, round(0.03 * grain))
    middle = y - radius
    for side in (0, round(1.05 * grain)):
        cv2.circle(place, (x + side, middle), radius, (35.0, 35.0, 38.0), thin, cv2.LINE_AA)
    corners = ((0.0, 0.0), (0.35, 0.55), (0.9, 0.6), (0.5, 0.0), (0.35, 0.55), (0.3, 0.68), (0.9, 0.6), (1.05, 0.0))
    points = np.array([(x + a * grain, middle - b * grain) for a, b in corners], np.int32)
    cv2.polylines(place, [points.reshape(-1, 1, 2)], False, colour, thin + 1, cv2.LINE_AA)


def _paint_car(place: Floats, at: tuple[int, int], grain: float, colour: tuple[float, ...]) -> None:
    x, y = at
    shape = ((0, 0.25), (0.05, 0.8), (0.8, 0.9), (1.3, 1.4), (2.9, 1.4), (3.5, 0.9), (4.2, 0.75), (4.2, 0.25))
    glass = ((0.95, 0.92), (1.38, 1.32), (2.8, 1.32), (3.25, 0.92))
    for corners, paint in ((shape, colour), (glass, (50.0, 56.0, 62.0))):
        cv2.fillPoly(place, [np.array([(x + a * grain, y - b * grain) for a, b in corners], np.int32)], paint)
    for wheel in (0.8, 3.4):
        cv2.circle(
            place, (round(x + wheel * grain), round(y - 0.3 * grain)), round(0.32 * grain), (28.0, 28.0, 30.0), -1
        )


def paint_post(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float]) -> Patch:
    """Return a round post of a height and width in pixels, with its foot at x and y on the canvas."""
    height, width = max(2, size[0]), max(2, size[1])
    across = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    bright = 0.55 + 0.6 * np.sqrt(1 - across**2)
    base = np.asarray(rng.uniform(50, 170) * (1 + rng.normal(0, 0.12, 3)), np.float32)
    colour = np.broadcast_to(base[:, None, None] * bright, (3, height, width))
    alpha = np.ones((height, width), np.float32)
    return _patch(np.clip(colour, 0, 255), alpha, at)


def paint_bush(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float]) -> Patch:
    """Return a bush made of leafy discs, of a height and width in pixels, with its foot at x and y on the canvas."""
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
    base = np.array([64, 84, 52], np.float32) * np.float32(rng.uniform(0.7, 1.3))
    colour = base[:, None, None] * ((1 + 0.45 * leaf) * light)
    return _patch(np.clip(colour, 0, 255), alpha, at)


def _patch(colour: np.ndarray, alpha: np.ndarray, at: tuple[float, float]) -> Patch:
    height, width = alpha.shape
    owner = np.where(alpha > 0.5, 0, -1).astype(np.int16)
    pixels = np.concatenate([colour * alpha, alpha[None]]).astype(np.float32)
    return Patch(pixels, owner, round(at[0] - width / 2), round(at[1] - height))
