"""What a camera does to an image: where it hangs, what it looks at, its light, its colours and its sharpness.

The place in front of a camera is painted once as a wide image at `PIXELS_PER_METRE`; every image of that camera
shows a piece of it, as with a real camera that never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.rendered.paint import Floats, Light
from rewho.rendered.place import GROUNDS, WALLS, paint_place

PIXELS_PER_METRE = 56
PLACE_SIZE = (5 * PIXELS_PER_METRE, 6 * PIXELS_PER_METRE)  # height and width of a section in pixels
HORIZON = 0.62  # where the wall ends and the ground begins, as a share of the place's height
SECTIONS = 3  # pieces of a place, side by side, each with a wall and a ground of its own


@dataclass(frozen=True)
class Camera:
    """What stays the same in every image of one camera.

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
        resolution: Pixels it has of each pixel in the image, 0 to 1 along one side.
        blur: Standard deviation of the blur in pixels of a 128-row image.
        noise: Standard deviation of the noise, of 255.
        jpeg_quality: Quality of its JPEG files.
        walls: Names of `WALLS`, one for each section of its place.
        grounds: Names of `GROUNDS`, one for each section of its place.
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
    walls: tuple[str, ...]
    grounds: tuple[str, ...]
    crowd: float

    @staticmethod
    def draw(seed: int, number: int) -> Camera:
        """Return camera `number` of the world that `seed` stands for."""
        rng = generator(seed, "camera", number)
        views = (0.0, np.pi, np.pi / 2, -np.pi / 2)  # neighbouring numbers look from different sides
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

    def place(self) -> Floats:
        """Return the painted place in front of the camera, [H, W, 3] with `SECTIONS` sections; not to be written to."""
        return _place(self.seed, self.number, self.walls, self.grounds)


@lru_cache(maxsize=32)
def _place(seed: int, number: int, walls: tuple[str, ...], grounds: tuple[str, ...]) -> Floats:
    pieces = [
        paint_place(generator(seed, "place", number, index), PLACE_SIZE, HORIZON, PIXELS_PER_METRE, wall, ground)
        for index, (wall, ground) in enumerate(zip(walls, grounds, strict=True))
    ]
    place = np.concatenate(pieces, axis=1)
    place.setflags(write=False)
    return place


def expose(camera: Camera, image: Floats, rng: np.random.Generator, drift: float = 1.0) -> NDArray[np.uint8]:
    """Return the image as the camera records it: exposure, colours, sharpness, noise.

    Args:
        camera: Whose habits are applied.
        image: [H, W, 3] RGB 0 to 255.
        rng: Draws the noise and the changes from image to image (clouds, time of day, focus).
        drift: Size of those changes; 0 for the frames of a video.
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
    noise = rng.random(image.shape, np.float32)  # evenly distributed: four times faster to draw than Gaussian noise
    noise -= 0.5
    noise *= camera.noise * 12**0.5
    noise += taken
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def _colour_matrix(camera: Camera, rng: np.random.Generator, drift: float) -> Floats:
    """Return the camera's colours as a matrix [3, 4] on (red, green, blue, 1): cast, saturation, contrast in a row."""
    gain = camera.brightness * np.exp(rng.normal(0, 0.05) * drift)
    contrast = camera.contrast * rng.uniform(1 - 0.07 * drift, 1 + 0.07 * drift)
    mix = camera.saturation * np.eye(3) + (1 - camera.saturation) / 3
    colours = contrast * gain * mix * np.asarray(camera.cast)
    return np.column_stack([colours, np.full(3, 118 * (1 - contrast))]).astype(np.float32)
