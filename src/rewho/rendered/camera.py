"""Rendered cameras: their position, background, light, colours and sharpness.

The background of a camera is painted once as a wide image. Every image of that camera shows a piece of it, as with a
real camera that never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.rendered.paint import Floats, Light
from rewho.rendered.scenery import GROUNDS, WALLS, paint_place

PIXELS_PER_METRE = 56  # of the background
PLACE_SIZE = (5 * PIXELS_PER_METRE, 6 * PIXELS_PER_METRE)  # height and width of a section in pixels
HORIZON = 0.62  # row where the wall ends and the ground begins, as a share of the background's height
SECTIONS = 3  # of a background, side by side, each with its own wall and ground


@dataclass(frozen=True)
class Camera:
    """The attributes that all images of one camera share.

    Example:
        >>> Camera.draw(1, 2) == Camera.draw(1, 2), Camera.draw(1, 2) == Camera.draw(1, 3)
        (True, False)
    """

    number: int  # from 1
    seed: int
    yaw: float  # mean heading of the people it sees, in radians: 0 towards the camera, pi away
    yaw_spread: float  # standard deviation of the heading in radians
    elevation: float  # how far it looks down, in radians
    light_side: float  # where the light comes from, -1 left to 1 right
    ambient: float  # brightness of the shade, 0 to 1
    brightness: float  # factor on all channels
    cast: tuple[float, float, float]  # factor on red, green and blue
    contrast: float  # factor on the distance from the mean
    saturation: float  # factor on the distance from grey
    resolution: float  # of the camera over that of the image, 0 to 1 along one side
    blur: float  # standard deviation in pixels of a 128-row image
    noise: float  # standard deviation, of 255
    jpeg_quality: int
    walls: tuple[str, ...]  # names of `WALLS`, one per section of its background
    grounds: tuple[str, ...]  # names of `GROUNDS`, one per section of its background
    crowd: float  # probability that something stands in front of a person

    @staticmethod
    @lru_cache(maxsize=256)
    def draw(seed: int, number: int) -> Camera:
        """Return camera `number` of the world with this seed."""
        rng = generator(seed, "camera", number)
        views = (0.0, np.pi, np.pi / 2, -np.pi / 2)  # cameras with neighbouring numbers see people from other sides
        cast = 1 + rng.normal(0, 0.04, 3)
        return Camera(
            number=number,
            seed=seed,
            yaw=float(views[(number + seed) % 4] + rng.normal(0, 0.3)),
            yaw_spread=float(rng.uniform(0.35, 0.8)),
            elevation=float(rng.uniform(0.0, 0.5)),
            light_side=float(rng.uniform(-0.85, 0.85)),
            ambient=float(rng.uniform(0.4, 0.75)),
            brightness=float(np.exp(rng.normal(0.0, 0.11))),
            cast=(float(cast[0]), float(cast[1]), float(cast[2])),
            contrast=float(rng.uniform(0.84, 1.1)),
            saturation=float(rng.uniform(0.75, 1.15)),
            resolution=float(rng.uniform(0.45, 1.0)),
            blur=float(rng.uniform(0.0, 0.9)),
            noise=float(rng.uniform(1.5, 7.0)),
            jpeg_quality=int(rng.integers(78, 95)),
            walls=tuple(WALLS[(number + seed + piece) % len(WALLS)] for piece in range(SECTIONS)),
            grounds=tuple(GROUNDS[(number + seed + piece) % len(GROUNDS)] for piece in range(SECTIONS)),
            crowd=float(rng.uniform(0.12, 0.35)),
        )

    def light(self) -> Light:
        """Return the light on the people in front of this camera."""
        return Light(self.light_side, self.ambient)

    def background(self) -> Floats:
        """Return the camera's background, read-only [H, W, 3] with `SECTIONS` sections."""
        return _paint_background(self.seed, self.number, self.walls, self.grounds)


@lru_cache(maxsize=32)
def _paint_background(seed: int, number: int, walls: tuple[str, ...], grounds: tuple[str, ...]) -> Floats:
    pieces = [
        paint_place(generator(seed, "place", number, index), PLACE_SIZE, HORIZON, PIXELS_PER_METRE, wall, ground)
        for index, (wall, ground) in enumerate(zip(walls, grounds, strict=True))
    ]
    background = np.concatenate(pieces, axis=1)
    background.setflags(write=False)
    return background


def expose(camera: Camera, image: Floats, rng: np.random.Generator, drift: float = 1.0) -> NDArray[np.uint8]:
    """Return an image, RGB 0 to 255 [H, W, 3], with a camera's exposure, colours, sharpness and noise applied.

    `drift` scales the changes from image to image (clouds, time of day, focus); it is 0 within a video.
    """
    height, width = image.shape[:2]
    taken = cv2.transform(image, _colour_matrix(camera, rng, drift))
    sharp = float(np.clip(camera.resolution * rng.uniform(1 - 0.2 * drift, 1 + 0.2 * drift), 0.3, 1.0))
    if sharp < 0.95:
        small = (max(8, round(width * sharp)), max(8, round(height * sharp)))
        taken = cv2.resize(taken, small, interpolation=cv2.INTER_AREA)
        taken = cv2.resize(taken, (width, height), interpolation=cv2.INTER_LINEAR)
    blur = camera.blur * rng.uniform(1 - 0.4 * drift, 1 + 0.2 * drift) * height / 128
    if blur > 0.3:
        taken = cv2.GaussianBlur(taken, (0, 0), blur)
    noise = rng.random(image.shape, np.float32)  # uniform noise is drawn four times faster than Gaussian noise
    noise -= 0.5
    noise *= camera.noise * 12**0.5
    noise += taken
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def _colour_matrix(camera: Camera, rng: np.random.Generator, drift: float) -> Floats:
    """Return cast, saturation and contrast, applied in this order, as one matrix [3, 4] on (red, green, blue, 1)."""
    gain = camera.brightness * np.exp(rng.normal(0, 0.05) * drift)
    contrast = camera.contrast * rng.uniform(1 - 0.07 * drift, 1 + 0.07 * drift)
    mix = camera.saturation * np.eye(3) + (1 - camera.saturation) / 3
    colours = contrast * gain * mix * np.asarray(camera.cast)
    return np.column_stack([colours, np.full(3, 118 * (1 - contrast))]).astype(np.float32)
