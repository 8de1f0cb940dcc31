"""A rendered street scene with complete ground truth: people walk past a camera and hide each other.

The size of a person, and who hides whom, follow from the distance to the camera, so that boxes, keypoints and visible
shares agree with the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import check_range
from rewho.core.runtime import generator
from rewho.rendered.camera import Camera, expose
from rewho.rendered.figure import Figure, build_figure
from rewho.rendered.image import visible_keypoints
from rewho.rendered.paint import Floats, Patch, composite, paint_figure, paint_shadow
from rewho.rendered.person import Identity
from rewho.rendered.scenery import paint_bush, paint_place, paint_post
from rewho.rendered.skeleton import Pose

Frame = NDArray[np.uint8]  # RGB [H, W, 3]

FOCAL_LENGTH = 1.9  # in frame heights: an adult seven metres away fills half of the frame
CAMERA_HEIGHT = 2.4  # metres
EYE_LEVEL = 0.16  # row of the horizon as a share of the frame's height
WALL_DISTANCE = 13.0  # metres
NEAREST, FARTHEST = 6.0, 10.5  # metres from the camera at which people cross the middle of the view
PASSED = 2.0  # metres from the camera below which a person is not painted
PARTS = 1000  # numbers reserved for each person in the owner map
WALLS, GROUNDS = ("shop", "windows", "bricks"), ("paving", "asphalt")
# Typical scores of a pose model: high for the far hip of a person in profile, low for one behind a bush.
SCORE_VISIBLE, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN, SCORE_OUTSIDE = 0.9, 0.7, 0.2, 0.02


@dataclass(frozen=True)
class GroundTruth:
    """One person in one frame."""

    person: int  # number from 1; the person is `Identity.draw(people_seed, person)`
    box: tuple[float, float, float, float]  # left, top, right, bottom of the whole person in pixels, hidden parts too
    visible: float  # share of the person's pixels that are visible in the frame, 0 to 1
    keypoints: NDArray[np.float64]  # [17, 3] x, y in pixels and 2 visible, 1 hidden or 0 outside of the frame
    scores: NDArray[np.float64]  # [17] confidence that a pose model would give each keypoint, 0 to 1


@dataclass(frozen=True)
class _Walker:
    """A person who walks straight on."""

    identity: Identity
    crosses: float  # seconds after which the person is at `x` and `distance`
    x: float  # metres from the middle of the view
    distance: float  # metres from the camera
    yaw: float
    speed: float  # metres per second
    phase: float

    def locate(self, seconds: float) -> tuple[float, float, Pose]:
        """Return x and distance in metres and the pose at a time."""
        walked = self.speed * (seconds - self.crosses)
        x, distance = self.x + walked * np.sin(self.yaw), self.distance - walked * np.cos(self.yaw)
        phase = self.phase + 2 * np.pi * walked / (0.82 * self.identity.height)
        seen_from = self.yaw - np.arctan2(x, distance)
        elevation = float(np.arctan2(CAMERA_HEIGHT - 0.9, distance))
        return float(x), float(distance), Pose(float(phase), float(seen_from), elevation)


@dataclass(frozen=True)
class _Projected:
    """A walker in one frame."""

    number: int
    distance: float
    figure: Figure
    scale: float  # pixels per metre
    at: tuple[float, float]  # the ground below the hips, in pixels


@dataclass(frozen=True)
class _Street:
    """The static part of a scene."""

    camera: Camera
    background: Floats
    obstacles: tuple[tuple[float, Patch], ...]  # with their distance


def street_frames(
    seconds: float,
    fps: float = 10.0,
    people: int = 6,
    size: tuple[int, int] = (360, 640),
    seed: int = 1,
    pan: float = 0.0,
    people_seed: int | None = None,
) -> Iterator[tuple[Frame, list[GroundTruth]]]:
    """Yield the frames of a street scene, uint8 RGB [H, W, 3], each with the people in it from far to near.

    Args:
        seconds: Length of the scene.
        fps: Frames per second.
        people: Number of people who walk by: persons 1, 2, … of `Identity.draw(people_seed, …)`.
        size: Height and width of a frame in pixels.
        seed: Of the street.
        pan: Speed at which the camera pans to the right, in frame widths per second.
        people_seed: Of the people; that of the street where None. Streets with one see the same people.

    Example:
        >>> frame, truth = next(street_frames(1.0, people=2, size=(90, 160)))
        >>> frame.shape
        (90, 160, 3)
    """
    check_range("seconds", seconds, 0.01, 3600)
    check_range("fps", fps, 0.1, 240)
    check_range("people", people, 0, 900)
    check_range("pan", pan, 0, 1)
    for side in size:
        check_range("side of a frame in pixels", side, 48, 4096)
    street = _build_street(size, seed, pan * seconds)
    cast = seed if people_seed is None else people_seed
    walkers = [_draw_walker(seed, cast, number, people, seconds) for number in range(1, people + 1)]

    def frames() -> Iterator[tuple[Frame, list[GroundTruth]]]:  # nested, so that wrong settings raise at the call
        for index in range(max(1, round(seconds * fps))):
            shift = round(pan * size[1] * index / fps)
            canvas, truth = _paint_frame(street, walkers, size, index / fps, shift)
            rng = generator(seed, "street frame", index)
            yield expose(street.camera, np.ascontiguousarray(canvas.transpose(1, 2, 0)), rng, drift=0.0), truth

    return frames()


def _draw_walker(seed: int, cast: int, number: int, people: int, seconds: float) -> _Walker:
    """Return a random walker who crosses the middle of the view once."""
    rng = generator(seed, "walker", number)
    direction = 1 if rng.random() < 0.5 else -1
    return _Walker(
        identity=Identity.draw(cast, number),
        crosses=float((number - rng.random()) / people * seconds),
        x=float(rng.uniform(-1.0, 1.0)),
        distance=float(rng.uniform(NEAREST, FARTHEST)),
        yaw=float(direction * np.pi / 2 + rng.uniform(-0.35, 0.35)),
        speed=float(rng.uniform(1.0, 1.6)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _build_street(size: tuple[int, int], seed: int, panned: float) -> _Street:
    """Return the static part of a scene, wide enough for the pan (in frame widths)."""
    rng = generator(seed, "street")
    wall, ground = WALLS[int(rng.integers(len(WALLS)))], GROUNDS[int(rng.integers(len(GROUNDS)))]
    camera = replace(Camera.draw(seed, 1), resolution=1.0, blur=0.2, noise=3.0, sharpening=0.0)
    focal = FOCAL_LENGTH * size[0]
    edge = EYE_LEVEL + FOCAL_LENGTH * CAMERA_HEIGHT / WALL_DISTANCE
    wide = (size[0], size[1] + int(np.ceil(panned * size[1])) + 1)
    place = paint_place(rng, wide, edge, focal / WALL_DISTANCE, wall, ground)
    obstacles = []
    for distance, paint, height, width in ((6.8, paint_post, 4.0, 0.16), (5.6, paint_bush, 0.9, 1.5)):
        scale = focal / distance
        at = (float(rng.uniform(0.1, 0.9)) * size[1], _ground_row(size, distance))
        obstacles.append((distance, paint(rng, (round(height * scale), round(width * scale)), at)))
    return _Street(camera, np.ascontiguousarray(place.transpose(2, 0, 1)), tuple(obstacles))


def _ground_row(size: tuple[int, int], distance: float) -> float:
    """Return the image row of the ground at a distance from the camera in metres."""
    return size[0] * (EYE_LEVEL + FOCAL_LENGTH * CAMERA_HEIGHT / distance)


def _paint_frame(
    street: _Street, walkers: list[_Walker], size: tuple[int, int], seconds: float, shift: int
) -> tuple[Floats, list[GroundTruth]]:
    """Return one frame, painted from far to near, and its ground truth."""
    canvas = street.background[:, :, shift : shift + size[1]].copy()
    owners = np.full(size, -1, np.int32)
    standing = [(distance, replace(patch, left=patch.left - shift)) for distance, patch in street.obstacles]
    walking = [
        (person.distance, person)
        for number, walker in enumerate(walkers)
        if (person := _project_walker(number, walker, size, seconds, shift)) is not None
    ]
    pixels = {}
    things: list[tuple[float, Patch | _Projected]] = [*standing, *walking]
    for _, thing in sorted(things, key=lambda pair: -pair[0]):
        if isinstance(thing, Patch):
            composite(canvas, thing, owners, len(walkers) * PARTS)
        else:
            paint_shadow(canvas, thing.figure, thing.scale, thing.at)
            patch = paint_figure(thing.figure, thing.scale, street.camera.light(), thing.at)
            composite(canvas, patch, owners, thing.number * PARTS)
            pixels[thing.number] = int((patch.owner >= 0).sum())
    seen = np.bincount(owners[owners >= 0] // PARTS, minlength=len(walkers) + 1).tolist()
    truth = [
        _ground_truth(person, walkers[person.number], owners, seen[person.number] / pixels[person.number])
        for _, person in sorted(walking, key=lambda pair: -pair[0])
        if seen[person.number]
    ]
    return canvas, truth


def _project_walker(
    number: int, walker: _Walker, size: tuple[int, int], seconds: float, shift: int
) -> _Projected | None:
    """Return a walker's place in a frame, or None where it is outside."""
    x, distance, pose = walker.locate(seconds)
    if distance < PASSED:
        return None
    scale = FOCAL_LENGTH * size[0] / distance
    at = (size[1] / 2 + x * scale - shift, _ground_row(size, distance))
    if not -scale < at[0] < size[1] + scale:
        return None
    return _Projected(number, distance, build_figure(walker.identity, pose), scale, at)


def _ground_truth(person: _Projected, walker: _Walker, owners: NDArray[np.int32], visible: float) -> GroundTruth:
    points = person.figure.keypoints[:, :2] * person.scale + person.at
    shown, own = visible_keypoints(person.figure, points, owners, person.number * PARTS)
    left, top, right, bottom = (np.asarray(person.figure.box) * person.scale + np.tile(person.at, 2)).tolist()
    hidden = np.where(own, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN)
    scores = np.where(shown == 2, SCORE_VISIBLE, np.where(shown == 1, hidden, SCORE_OUTSIDE))
    keypoints = np.column_stack([points, shown])
    return GroundTruth(walker.identity.number, (left, top, right, bottom), visible, keypoints, scores)
