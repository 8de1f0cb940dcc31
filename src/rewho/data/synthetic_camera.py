"""What a camera does to a picture: where it hangs, what it looks at, its light, its colours and its sharpness.

The place in front of a camera is painted once as a wide picture at `PIXELS_PER_METRE`; every picture of that camera
shows a piece of it, as with a real camera that never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.data.synthetic_clothes import smooth_noise
from rewho.data.synthetic_paint import Floats, Light

PIXELS_PER_METRE = 56
PLACE_SIZE = (5 * PIXELS_PER_METRE, 16 * PIXELS_PER_METRE)  # height and width of a painted place in pixels
HORIZON = 0.62  # where the wall ends and the ground begins, as a share of the place's height
WALLS = ("windows", "bricks", "hedge", "panels", "shop")
GROUNDS = ("paving", "asphalt", "grass", "planks")


@dataclass(frozen=True)
class Camera:
    """What stays the same in every picture of one camera.

    Args:
        number: The camera's number, from 1.
        seed: Seed of the world the camera stands in.
        yaw: Usual heading of the people it sees, in radians: 0 towards it, pi away.
        yaw_spread: Standard deviation of the heading in radians.
        elevation: How far it looks down, in radians.
        light_side: Where the light comes from, -1 left to 1 right.
        ambient: Brightness of the shade, 0 to 1.
        brightness: Factor on all channels.
        cast: Factor on red, green and blue.
        contrast: Factor on the distance from the mean.
        saturation: Factor on the distance from grey.
        resolution: Pixels it has of each pixel in the picture, 0 to 1 along one side.
        blur: Standard deviation of the blur in pixels of a 128-row picture.
        noise: Standard deviation of the noise, of 255.
        jpeg_quality: Quality of its JPEG files.
        wall: A name of `WALLS`.
        ground: A name of `GROUNDS`.
        crowd: Probability that something stands in front of a person.

    Example:
        >>> Camera.draw(1, 2) == Camera.draw(1, 2), Camera.draw(1, 2) == Camera.draw(1, 3)
        (True, False)
    """

    number: int
    seed: int
    yaw: float
    yaw_spread: float
    elevation: float
    light_side: float
    ambient: float
    brightness: float
    cast: tuple[float, float, float]
    contrast: float
    saturation: float
    resolution: float
    blur: float
    noise: float
    jpeg_quality: int
    wall: str
    ground: str
    crowd: float

    @staticmethod
    def draw(seed: int, number: int) -> Camera:
        """Return camera `number` of the world that `seed` stands for."""
        rng = generator(seed, "camera", number)
        views = (0.0, np.pi, np.pi / 2, -np.pi / 2)  # neighbouring numbers differ in side, wall and ground
        cast = 1 + rng.normal(0, 0.085, 3)
        return Camera(
            number=number,
            seed=seed,
            yaw=float(views[(number + seed) % 4] + rng.normal(0, 0.3)),
            yaw_spread=float(rng.uniform(0.35, 0.8)),
            elevation=float(rng.uniform(0.0, 0.5)),
            light_side=float(rng.uniform(-0.85, 0.85)),
            ambient=float(rng.uniform(0.4, 0.75)),
            brightness=float(np.exp(rng.normal(-0.04, 0.2))),
            cast=(float(cast[0]), float(cast[1]), float(cast[2])),
            contrast=float(rng.uniform(0.72, 1.15)),
            saturation=float(rng.uniform(0.6, 1.2)),
            resolution=float(rng.uniform(0.45, 1.0)),
            blur=float(rng.uniform(0.0, 0.9)),
            noise=float(rng.uniform(1.5, 7.0)),
            jpeg_quality=int(rng.integers(78, 95)),
            wall=WALLS[(number + seed) % len(WALLS)],
            ground=GROUNDS[(number + seed + number // len(GROUNDS)) % len(GROUNDS)],
            crowd=float(rng.uniform(0.12, 0.35)),
        )

    def light(self) -> Light:
        """Return the light on the people in front of this camera."""
        return Light(self.light_side, self.ambient)

    def place(self) -> Floats:
        """Return the painted place in front of the camera, [*PLACE_SIZE, 3]; do not write into it."""
        return _place(self.seed, self.number, self.wall, self.ground)


@lru_cache(maxsize=32)
def _place(seed: int, number: int, wall: str, ground: str) -> Floats:
    place = paint_place(generator(seed, "place", number), PLACE_SIZE, HORIZON, PIXELS_PER_METRE, wall, ground)
    place.setflags(write=False)
    return place


def expose(camera: Camera, image: Floats, rng: np.random.Generator, drift: float = 1.0) -> NDArray[np.uint8]:
    """Return the picture as the camera records it: exposure, colours, sharpness, noise.

    Args:
        camera: Whose habits are applied.
        image: [H, W, 3] RGB 0 to 255.
        rng: Draws the noise and the changes from picture to picture (clouds, time of day, focus).
        drift: Size of those changes; 0 for the frames of a video.
    """
    height, width = image.shape[:2]
    image = cv2.transform(image, _colour_matrix(camera, rng, drift))
    sharp = float(np.clip(camera.resolution * rng.uniform(1 - 0.2 * drift, 1 + 0.2 * drift), 0.3, 1.0))
    if sharp < 0.95:
        small = (max(8, round(width * sharp)), max(8, round(height * sharp)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    blur = camera.blur * rng.uniform(1 - 0.4 * drift, 1 + 0.2 * drift) * height / 128
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = rng.random(image.shape, np.float32)  # evenly distributed: four times faster to draw than Gaussian noise
    noise -= 0.5
    noise *= camera.noise * 12**0.5
    noise += image
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def _colour_matrix(camera: Camera, rng: np.random.Generator, drift: float) -> Floats:
    """Return the camera's colours as a matrix [3, 4] on (red, green, blue, 1): cast, saturation, contrast in a row."""
    gain = camera.brightness * np.exp(rng.normal(0, 0.1) * drift)
    contrast = camera.contrast * rng.uniform(1 - 0.07 * drift, 1 + 0.07 * drift)
    mix = camera.saturation * np.eye(3) + (1 - camera.saturation) / 3
    colours = contrast * gain * mix * np.asarray(camera.cast)
    return np.column_stack([colours, np.full(3, 118 * (1 - contrast))]).astype(np.float32)


def paint_place(
    rng: np.random.Generator, size: tuple[int, int], horizon: float, grain: float, wall: str, ground: str
) -> Floats:
    """Paint a wall and a ground in front of it.

    Args:
        rng: Draws colours and details.
        size: Height and width in pixels.
        horizon: Row at which the ground begins, as a share of the height.
        grain: Pixels per metre at the wall.
        wall: A name of `WALLS`.
        ground: A name of `GROUNDS`.

    Returns:
        RGB 0 to 255, float32 of shape [*size, 3].
    """
    edge = round(size[0] * horizon)
    upper = _paint_wall(rng, (edge, size[1]), grain, wall)
    lower = _paint_ground(rng, (size[0] - edge, size[1]), grain, ground)
    place = np.concatenate([upper, lower])
    slow = 1 + 0.16 * smooth_noise(rng, size, (3, 9)) + 0.05 * smooth_noise(rng, size, (24, 80))
    fine = 1 + 0.04 * rng.standard_normal(size, np.float32)
    foot = 1 - 0.3 * np.exp(-np.abs(np.arange(size[0]) - edge) / (0.05 * size[0]))[:, None]
    return np.asarray(np.clip(place * (slow * fine * foot)[..., None], 0, 255), np.float32)


def _colour(rng: np.random.Generator, low: float, high: float, tint: float) -> Floats:
    """Return a muted colour between two brightnesses."""
    return np.asarray(rng.uniform(low, high) * (1 + rng.normal(0, tint, 3)), np.float32)


def _paint_wall(rng: np.random.Generator, size: tuple[int, int], grain: float, kind: str) -> Floats:
    height, width = size
    wall = np.broadcast_to(_colour(rng, 90, 200, 0.1), (height, width, 3)).copy()
    y = (np.arange(height, dtype=np.float32) / grain)[:, None]
    x = (np.arange(width, dtype=np.float32) / grain)[None, :]
    if kind == "bricks":
        row = np.floor(y / 0.16)
        joint = (y % 0.16 < 0.025) | ((x + 0.2 * (row % 2)) % 0.4 < 0.03)
        wall *= np.array([1.0, 0.72, 0.62], np.float32)
        wall[joint] = wall[0, 0] * 1.35 + 12
    elif kind == "hedge":
        leaves = smooth_noise(rng, size, (max(2, height // 5), max(2, width // 5)))[..., None]
        wall[:] = np.array([62, 92, 48], np.float32) * (1 + 0.5 * leaves)
        wall[y < 0.5 + 0.2 * np.sin(x * 2.1)] = (182, 204, 222)  # sky above it
    elif kind == "panels":
        step = rng.uniform(0.8, 1.6)
        wall *= (1 + 0.08 * np.sign(np.sin(x * 2 * np.pi / step)))[..., None]
        wall[np.broadcast_to(x % step < 0.04, (height, width))] *= 0.6
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
    away = np.linspace(1.0, 0.4, height, dtype=np.float32)[:, None]  # lines draw together towards the wall
    x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / grain * away
    y = 2.2 * away**2 * np.ones_like(x)
    base = _colour(rng, 80, 170, 0.05)
    if kind == "grass":
        base = np.array([88, 122, 62], np.float32) * rng.uniform(0.8, 1.2)
    elif kind == "planks":
        base = base * np.array([1.12, 0.95, 0.78], np.float32)
    ground = np.broadcast_to(np.asarray(base, np.float32), (height, width, 3)).copy()
    if kind == "paving":
        side = rng.uniform(0.4, 0.8)
        ground[((x % side) < 0.04) | ((y % side) < 0.05)] *= 0.72
        ground *= (1 + 0.08 * np.sin(np.floor(x / side) * 12.9 + np.floor(y / side) * 78.2))[..., None]
    elif kind == "planks":
        ground[(y % 0.25) < 0.035] *= 0.65
    elif kind == "grass":
        ground *= (1 + 0.35 * smooth_noise(rng, size, (max(2, height // 3), max(2, width // 3))))[..., None]
    else:
        ground[np.abs(y - 1.2) < 0.1] = (214, 212, 200)  # a painted line
        ground *= (1 + 0.08 * rng.standard_normal((height, width), np.float32))[..., None]
    return ground
