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
from rewho.rendered.weather import Weather

PIXELS_PER_METRE = 56  # of the background
PLACE_SIZE = (5 * PIXELS_PER_METRE, 6 * PIXELS_PER_METRE)  # height and width of a section in pixels
HORIZON = 0.62  # row where the wall ends and the ground begins, as a share of the background's height
SECTIONS = 4  # of a background, side by side, each with its own wall and ground


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
    weather: Weather  # how strongly its images differ
    brightness: float  # factor on all channels
    cast: tuple[float, float, float]  # factor on red, green and blue
    contrast: float  # factor on the distance from the mean
    saturation: float  # factor on the distance from grey
    gamma: float  # exponent of the tone curve, below 1 brightens the shadows
    haze: float  # brightness of black, of 255
    resolution: float  # of the camera over that of the image, 0 to 1 along one side
    blur: float  # standard deviation in pixels of a 128-row image
    sharpening: float  # by the camera: share of the difference from a blurred image that is added
    noise: float  # standard deviation, of 255
    video_quality: int  # JPEG quality of the video that an image was cut out of
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
        cast = np.exp(rng.normal(0, 0.045, 3))
        walls = rng.choice(WALLS, SECTIONS, replace=False).tolist()
        grounds = rng.choice(GROUNDS, SECTIONS).tolist()
        return Camera(
            number=number,
            seed=seed,
            yaw=float(views[(number + seed) % 4] + rng.normal(0, 0.3)),
            yaw_spread=float(rng.uniform(0.35, 0.8)),
            elevation=float(rng.uniform(0.0, 0.5)),
            light_side=float(rng.uniform(-0.85, 0.85)),
            ambient=float(rng.uniform(0.4, 0.8)),
            weather=Weather(
                folds=float(rng.uniform(0.08, 0.35)),
                shadows=float(rng.uniform(0.0, 0.5)),
                depth=float(rng.uniform(0.2, 0.65)),
            ),
            brightness=float(np.exp(rng.normal(0.0, 0.14))),
            cast=(float(cast[0]), float(cast[1]), float(cast[2])),
            contrast=float(rng.uniform(0.8, 1.25)),
            saturation=float(rng.uniform(0.45, 1.15)),
            gamma=float(np.exp(rng.normal(0.0, 0.17))),
            haze=float(max(0.0, rng.normal(4.0, 10.0))),
            resolution=float(rng.uniform(0.45, 1.1)),
            blur=float(rng.uniform(0.0, 0.9)),
            sharpening=float(max(0.0, rng.uniform(-0.6, 1.6))),
            noise=float(rng.uniform(0.5, 4.5)),
            video_quality=int(rng.integers(30, 92)),
            jpeg_quality=int(rng.integers(78, 95)),
            walls=tuple(walls),
            grounds=tuple(grounds),
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
    sharp = float(np.clip(camera.resolution * rng.uniform(1 - 0.25 * drift, 1 + 0.25 * drift), 0.3, 1.0))
    small = (max(8, round(width * sharp)), max(8, round(height * sharp))) if sharp < 0.95 else (width, height)
    if small != (width, height):
        taken = cv2.resize(taken, small, interpolation=cv2.INTER_AREA)
    blur = camera.blur * rng.uniform(1 - 0.5 * drift, 1 + 0.3 * drift) * small[1] / 128
    if blur > 0.3:
        taken = cv2.GaussianBlur(taken, (0, 0), blur)
    if rng.random() < 0.12 * drift:
        taken = cv2.blur(taken, (max(1, round(rng.uniform(0.01, 0.035) * small[1])), 1))  # motion
    if camera.sharpening:
        soft = cv2.GaussianBlur(taken, (0, 0), 1.1 * small[1] / 128 + 0.3)
        taken = cv2.addWeighted(taken, 1 + camera.sharpening, soft, -camera.sharpening, 0)
    np.clip(taken, 0, 255, out=taken)
    gamma = camera.gamma * float(np.exp(rng.normal(0, 0.08) * drift))
    taken = cv2.pow(taken / np.float32(255), gamma) * np.float32(255 - camera.haze) + np.float32(camera.haze)
    noise = rng.random(taken.shape, np.float32)  # uniform noise is drawn four times faster than Gaussian noise
    noise -= 0.5
    noise *= camera.noise * 12**0.5
    noise += taken
    seen = np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)
    if drift:
        quality = int(np.clip(camera.video_quality + rng.normal(0, 8), 20, 95))
        _, data = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, quality])
        seen = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    how = cv2.INTER_CUBIC if camera.sharpening else cv2.INTER_LINEAR
    return np.asarray(
        seen if small == (width, height) else cv2.resize(seen, (width, height), interpolation=how), np.uint8
    )


def _colour_matrix(camera: Camera, rng: np.random.Generator, drift: float) -> Floats:
    """Return cast, saturation and contrast, applied in this order, as one matrix [3, 4] on (red, green, blue, 1)."""
    gain = camera.brightness * np.exp(rng.normal(0, 0.08) * drift)
    contrast = camera.contrast * rng.uniform(1 - 0.1 * drift, 1 + 0.1 * drift)
    mix = camera.saturation * np.eye(3) + (1 - camera.saturation) / 3
    white = np.asarray(camera.cast) * np.exp(rng.normal(0, 0.025, 3) * drift)
    colours = contrast * gain * mix * white
    return np.column_stack([colours, np.full(3, 118 * (1 - contrast))]).astype(np.float32)
