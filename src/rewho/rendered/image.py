"""One rendered image of one person, cropped as a detector would, with its ground truth.

One generator draws all differences between images in a fixed order, so that equal generators give equal
images.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.people import KEYPOINTS
from rewho.rendered.camera import HORIZON, PIXELS_PER_METRE, PLACE_SIZE, Camera, expose
from rewho.rendered.figure import Figure, build_figure
from rewho.rendered.paint import Floats, composite, paint_figure, paint_shadow
from rewho.rendered.person import Identity
from rewho.rendered.scenery import paint_bush, paint_post
from rewho.rendered.skeleton import GESTURES, Pose
from rewho.rendered.weather import cast_shadow, crumple, vary_light

JITTER = 0.22  # largest distance of an image's side from the person's box, as a share of the box's height or width
NARROWEST = 0.37  # a box is widened to at least this share of its height, as detectors do with people in profile
PASSERS_BY = range(1_000_000, 1_000_096)  # numbers of the people who appear only in images of others
OBSTACLE = 1000  # first number in the owner map that is not the person


@dataclass(frozen=True)
class Rendered:
    """One image of one person with its ground truth."""

    image: NDArray[np.uint8]  # RGB [H, W, 3]
    keypoints: NDArray[np.float64]  # COCO's [17, 3]: x, y in pixels, 2 visible, 1 hidden or 0 outside of the image
    box: tuple[float, float, float, float]  # left, top, right, bottom of the whole person in pixels, perhaps outside
    visible: float  # share of the person's pixels that are in the image and not hidden, 0 to 1


@dataclass(frozen=True)
class _Scene:
    """An image while it is painted."""

    canvas: Floats
    owners: NDArray[np.int32]  # see `composite`
    camera: Camera
    rng: np.random.Generator
    scale: float  # pixels per metre
    ground: tuple[float, float]  # x and y of the ground below the person's hips


def render_person(
    identity: Identity, camera: Camera, rng: np.random.Generator, size: tuple[int, int] = (128, 64)
) -> Rendered:
    """Return one image of a person seen by a camera, cropped as a detector would.

    Args:
        identity: The person.
        camera: The camera.
        rng: Draws pose, heading, background, box jitter, obstacles and noise.
        size: Height and width of the image in pixels, each >= 16.

    Example:
        >>> from rewho.core.runtime import generator
        >>> image = render_person(Identity.draw(1, 7), Camera.draw(1, 2), generator(1, "example"))
        >>> image.image.shape, image.image.dtype.name, image.keypoints.shape
        ((128, 64, 3), 'uint8', (17, 3))
    """
    if min(size) < 16:
        got, fix = f"{size[0]} x {size[1]}", "Ask for 128 x 64 or more."
        raise UserError("size of a rendered image", expected="at least 16 x 16 pixels", got=got, fix=fix)
    figure = build_figure(identity, _draw_pose(camera, rng))
    left, top, right, bottom = _draw_crop(figure, rng)
    scale = size[0] / (bottom - top)
    ground = (-left * scale, -top * scale)
    canvas = _crop_background(camera, rng, (size[0], max(8, round((right - left) * scale))), scale, ground)
    owners = np.full(canvas.shape[1:], -1, np.int32)
    scene = _Scene(canvas, owners, camera, rng, scale, ground)
    for chance in (camera.crowd, camera.crowd / 2):
        if rng.random() < chance:
            _paint_passer_by(scene, behind=True)
    paint_shadow(canvas, figure, scale, ground)
    patch = paint_figure(figure, scale, vary_light(camera.light(), rng), ground)
    composite(canvas, crumple(patch, rng, camera.weather.folds), owners)
    if rng.random() < camera.crowd:
        _paint_obstacle(scene)
    cast_shadow(canvas, rng, camera.weather)
    factor = np.array([size[1] / canvas.shape[2], 1.0])
    image = cv2.resize(canvas.transpose(1, 2, 0), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    points = figure.keypoints[:, :2] * scale + ground
    seen, _ = visible_keypoints(figure, points, owners, 0)
    box = (np.asarray(figure.box).reshape(2, 2) * scale + ground) * factor
    whole = int((patch.owner >= 0).sum())
    return Rendered(
        image=expose(camera, np.asarray(image, np.float32), rng),
        keypoints=np.column_stack([points * factor, seen]),
        box=(float(box[0, 0]), float(box[0, 1]), float(box[1, 0]), float(box[1, 1])),
        visible=float(((owners >= 0) & (owners < OBSTACLE)).sum() / whole),
    )


def visible_keypoints(
    figure: Figure, points: NDArray[np.float64], owners: NDArray[np.int32], first: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compute the visibility of a figure's keypoints, which lie at `points` [17, 2] on the canvas.

    In the owner map that `composite` recorded, the figure's part 0 has the number `first`.

    Returns:
        COCO's visibility (2 visible, 1 hidden, 0 outside of the canvas) [17]; and whether the person's own body is seen
        at that point [17], as at the far hip of a person in profile.
    """
    depth = figure.keypoints[:, 2]
    face, body = depth[3:5].mean(), depth[[5, 6, 11, 12]].mean()
    seen, own = np.zeros(17), np.zeros(17, np.bool_)
    for index, name in enumerate(KEYPOINTS):
        column, row = int(np.floor(points[index, 0])), int(np.floor(points[index, 1]))
        if not (0 <= row < owners.shape[0] and 0 <= column < owners.shape[1]):
            continue
        owner = int(owners[row, column]) - first
        own[index] = 0 <= owner < len(figure.parts)
        part = figure.parts[owner].name if own[index] else ""
        side, joint = name.split("_") if "_" in name else ("", name)
        if joint in ("nose", "eye", "ear"):
            shown = part in ("head", "hair", "hat") and depth[index] > face - 0.02
        elif joint in ("shoulder", "hip"):
            shown = part in ("trunk", "skirt", f"{side}_arm", f"{side}_leg") and depth[index] > body - 0.08
        else:
            shown = part == f"{side}_{'arm' if joint in ('elbow', 'wrist') else 'leg'}"
        seen[index] = 2 if shown or (part == "skirt" and joint == "knee") else 1
    return seen, own


def _draw_pose(camera: Camera, rng: np.random.Generator) -> Pose:
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        yaw=float(camera.yaw + rng.normal(0, camera.yaw_spread)),
        elevation=float(np.clip(camera.elevation + rng.normal(0, 0.05), 0, 0.6)),
        swing=float(rng.uniform(0.5, 1.3)) if rng.random() < 0.85 else float(rng.uniform(0.0, 0.3)),
        lean=float(rng.normal(0.04, 0.035)),
        gesture=str(rng.choice(list(GESTURES))) if rng.random() < 0.4 else "walk",
        hand=1 if rng.random() < 0.5 else -1,
    )


def _draw_crop(figure: Figure, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the crop in metres: the person's box with the jitter of a detector.

    One box in six is badly off: a foot or half of the head is missing, or much of the scene is in it.
    """
    left, top, right, bottom = figure.box
    wider = max(0.0, NARROWEST * (bottom - top) - (right - left)) / 2
    left, right = left - wider, right + wider
    spread = 0.09 if rng.random() < 1 / 6 else 0.035
    shift = np.clip(rng.normal(0.02, spread, 4), -JITTER, JITTER)
    width, height = right - left, bottom - top
    return left - shift[0] * width, top - shift[1] * height, right + shift[2] * width, bottom + shift[3] * height


def _crop_background(
    camera: Camera, rng: np.random.Generator, size: tuple[int, int], scale: float, ground: tuple[float, float]
) -> Floats:
    """Return a random piece of the camera's background, as seen around a person who stands in it."""
    grain = PIXELS_PER_METRE * rng.uniform(0.75, 1.25) / scale  # pixels of the background per pixel of the canvas
    row = PLACE_SIZE[0] * min(0.97, HORIZON + 0.06 + 0.35 * camera.elevation + rng.uniform(0, 0.14))
    column = rng.uniform(0.04, 0.96) * camera.background().shape[1]
    matrix = np.array([[grain, 0, column - grain * ground[0]], [0, grain, row - grain * ground[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    piece = cv2.warpAffine(
        camera.background(), matrix, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.ascontiguousarray(piece.transpose(2, 0, 1))


def _paint_passer_by(scene: _Scene, *, behind: bool) -> None:
    """Paint another person to one side: smaller and behind, or larger and in front."""
    camera, rng, scale, ground = scene.camera, scene.rng, scene.scale, scene.ground
    other = build_figure(Identity.draw(camera.seed, int(rng.choice(PASSERS_BY))), _draw_pose(camera, rng))
    aside = rng.uniform(0.25, 0.75) * (1 if rng.random() < 0.5 else -1)
    nearer = rng.uniform(0.45, 0.95) if behind else rng.uniform(1.05, 1.25)
    below = (-0.2 if behind else 0.12) * rng.uniform(0.5, 1.0) * scale
    at = (ground[0] + (aside if behind else np.sign(aside) * rng.uniform(0.38, 0.55)) * scale, ground[1] + below)
    patch = crumple(paint_figure(other, scale * nearer, camera.light(), at), rng, camera.weather.folds)
    composite(scene.canvas, patch, scene.owners, OBSTACLE)


def _paint_obstacle(scene: _Scene) -> None:
    """Paint another person, a post or a bush in front."""
    canvas, rng, scale, ground = scene.canvas, scene.rng, scene.scale, scene.ground
    kind = rng.random()
    aside = ground[0] + rng.uniform(0.06, 0.3) * scale * (1 if rng.random() < 0.5 else -1)
    if kind < 0.55:
        _paint_passer_by(scene, behind=False)
    elif kind < 0.8:
        size = (canvas.shape[1] * 2, round(rng.uniform(0.07, 0.16) * scale))
        composite(canvas, paint_post(rng, size, (aside, canvas.shape[1] * 1.2)), scene.owners, OBSTACLE)
    else:
        size = (round(rng.uniform(0.4, 0.8) * scale), round(rng.uniform(0.6, 1.2) * scale))
        composite(canvas, paint_bush(rng, size, (aside, ground[1] + 0.12 * scale)), scene.owners, OBSTACLE)
