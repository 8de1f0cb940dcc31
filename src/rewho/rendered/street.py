"""A rendered street: people walk past a camera, in front of and behind each other, and everything about them is known.

The frames come from a generator and need no codec. Depth is real: a walker's size, and who hides whom, follow from the
distance to the camera, so that boxes, keypoints and visible shares agree with the pixels.
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
from rewho.rendered.obstacles import paint_bush, paint_post
from rewho.rendered.paint import Floats, Patch, composite, paint_figure, paint_shadow
from rewho.rendered.person import Identity
from rewho.rendered.place import paint_place
from rewho.rendered.skeleton import Pose

Frame = NDArray[np.uint8]  # RGB [H, W, 3]

FOCAL_LENGTH = 1.9  # of the frame's height; with it a grown-up seven metres away fills half of the frame
CAMERA_HEIGHT = 2.4  # metres
EYE_LEVEL = 0.16  # row of the horizon as a share of the frame's height
WALL_DISTANCE = 13.0  # metres
NEAREST, FARTHEST = 6.0, 10.5  # metres at which walkers pass
PASSED = 2.0  # metres: whoever is nearer has passed the camera
PARTS = 1000  # numbers that each walker takes in the owner map
WALLS, GROUNDS = ("shop", "windows", "bricks"), ("paving", "asphalt")
# Scores of keypoints as a pose model gives them: it is sure of a far hip in profile, not of one behind a bush.
SCORE_VISIBLE, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN, SCORE_OUTSIDE = 0.9, 0.7, 0.2, 0.02


@dataclass(frozen=True)
class GroundTruth:
    """One person in one frame.

    Args:
        person: Number of the person, from 1; `Identity.draw(seed, person)` is who it is.
        box: Left, top, right and bottom of the whole person in pixels, also where hidden or outside of the frame.
        visible: Share of the person's pixels that can be seen in the frame, 0 to 1.
        keypoints: float64 [17, 3] of x and y in pixels and visibility (2 visible, 1 hidden, 0 outside of the frame).
        scores: float64 [17], how sure a pose model would be of each keypoint, 0 to 1.
    """

    person: int
    box: tuple[float, float, float, float]
    visible: float
    keypoints: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class _Walker:
    """Somebody who walks straight on: `passes` seconds after the start at `x`, `distance` metres from the camera."""

    identity: Identity
    passes: float
    x: float
    distance: float
    yaw: float
    speed: float
    phase: float

    def at(self, seconds: float) -> tuple[float, float, Pose]:
        """Return x and distance in metres and the pose at a moment."""
        walked = self.speed * (seconds - self.passes)
        x, distance = self.x + walked * np.sin(self.yaw), self.distance - walked * np.cos(self.yaw)
        phase = self.phase + 2 * np.pi * walked / (0.82 * self.identity.height)
        seen_from = self.yaw - np.arctan2(x, distance)
        elevation = float(np.arctan2(CAMERA_HEIGHT - 0.9, distance))
        return float(x), float(distance), Pose(float(phase), float(seen_from), elevation)


@dataclass(frozen=True)
class _Sight:
    """A walker as seen in one frame: `scale` in pixels per metre, `at` the ground below the hips in pixels."""

    number: int
    distance: float
    figure: Figure
    scale: float
    at: tuple[float, float]


@dataclass(frozen=True)
class _Street:
    """What stands still: the place, the camera, and obstacles with their distance."""

    camera: Camera
    place: Floats
    obstacles: tuple[tuple[float, Patch], ...]


def street_frames(
    seconds: float,
    fps: float = 10.0,
    people: int = 6,
    size: tuple[int, int] = (360, 640),
    seed: int = 1,
    pan: float = 0.0,
) -> Iterator[tuple[Frame, list[GroundTruth]]]:
    """Yield the frames of a street scene with what is to be seen in each.

    Args:
        seconds: Length of the scene.
        fps: Frames per second.
        people: How many people walk by, in all; persons 1, 2, … of `Identity.draw(seed, …)`.
        size: Height and width of a frame in pixels.
        seed: Which street.
        pan: How fast the camera pans to the right, in frame widths per second; 0 stands still.

    Yields:
        A frame, uint8 RGB [H, W, 3], and the people in it from far to near.

    Raises:
        UserError: A setting is out of range.

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
    return _frames(seconds, fps, people, size, seed, pan)


def _frames(
    seconds: float, fps: float, people: int, size: tuple[int, int], seed: int, pan: float
) -> Iterator[tuple[Frame, list[GroundTruth]]]:
    """Yield the frames; apart from `street_frames`, so that a wrong setting is told at the call."""
    street = _build(size, seed, pan * seconds)
    walkers = [_walker(seed, number, people, seconds) for number in range(1, people + 1)]
    for index in range(max(1, round(seconds * fps))):
        shift = round(pan * size[1] * index / fps)
        canvas, truth = _paint_frame(street, walkers, size, index / fps, shift)
        rng = generator(seed, "street frame", index)
        yield expose(street.camera, np.ascontiguousarray(canvas.transpose(1, 2, 0)), rng, drift=0.0), truth


def _walker(seed: int, number: int, people: int, seconds: float) -> _Walker:
    """Return the walker of a number: most cross the view, everyone passes its middle once."""
    rng = generator(seed, "walker", number)
    direction = 1 if rng.random() < 0.5 else -1
    return _Walker(
        identity=Identity.draw(seed, number),
        passes=float((number - rng.random()) / people * seconds),
        x=float(rng.uniform(-1.0, 1.0)),
        distance=float(rng.uniform(NEAREST, FARTHEST)),
        yaw=float(direction * np.pi / 2 + rng.uniform(-0.35, 0.35)),
        speed=float(rng.uniform(1.0, 1.6)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _build(size: tuple[int, int], seed: int, panned: float) -> _Street:
    """Paint what stands still, wide enough for the pan (in frame widths)."""
    rng = generator(seed, "street")
    wall, ground = WALLS[int(rng.integers(len(WALLS)))], GROUNDS[int(rng.integers(len(GROUNDS)))]
    camera = replace(Camera.draw(seed, 1), resolution=1.0, blur=0.2, noise=3.0)
    focal = FOCAL_LENGTH * size[0]
    edge = EYE_LEVEL + FOCAL_LENGTH * CAMERA_HEIGHT / WALL_DISTANCE
    wide = (size[0], size[1] + int(np.ceil(panned * size[1])) + 1)
    place = paint_place(rng, wide, edge, focal / WALL_DISTANCE, wall, ground)
    obstacles = []
    for distance, paint, height, width in ((6.8, paint_post, 4.0, 0.16), (5.6, paint_bush, 0.9, 1.5)):
        scale = focal / distance
        at = (float(rng.uniform(0.1, 0.9)) * size[1], _row(size, distance))
        obstacles.append((distance, paint(rng, (round(height * scale), round(width * scale)), at)))
    return _Street(camera, np.ascontiguousarray(place.transpose(2, 0, 1)), tuple(obstacles))


def _row(size: tuple[int, int], distance: float) -> float:
    """Return the row of the ground at a distance from the camera."""
    return size[0] * (EYE_LEVEL + FOCAL_LENGTH * CAMERA_HEIGHT / distance)


def _paint_frame(
    street: _Street, walkers: list[_Walker], size: tuple[int, int], seconds: float, shift: int
) -> tuple[Floats, list[GroundTruth]]:
    """Paint one frame from far to near and count what remains visible of everyone."""
    canvas = street.place[:, :, shift : shift + size[1]].copy()
    owners = np.full(size, -1, np.int32)
    standing = [(distance, replace(patch, left=patch.left - shift)) for distance, patch in street.obstacles]
    walking = [
        (sight.distance, sight)
        for number, walker in enumerate(walkers)
        if (sight := _sight(number, walker, size, seconds, shift)) is not None
    ]
    pixels = {}
    things: list[tuple[float, Patch | _Sight]] = [*standing, *walking]
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
        _truth(sight, walkers[sight.number], owners, seen[sight.number] / pixels[sight.number])
        for _, sight in sorted(walking, key=lambda pair: -pair[0])
        if seen[sight.number]
    ]
    return canvas, truth


def _sight(number: int, walker: _Walker, size: tuple[int, int], seconds: float, shift: int) -> _Sight | None:
    """Return where a walker is to be painted, or None if they are not near the frame."""
    x, distance, pose = walker.at(seconds)
    if distance < PASSED:
        return None
    scale = FOCAL_LENGTH * size[0] / distance
    at = (size[1] / 2 + x * scale - shift, _row(size, distance))
    if not -scale < at[0] < size[1] + scale:
        return None
    return _Sight(number, distance, build_figure(walker.identity, pose), scale, at)


def _truth(sight: _Sight, walker: _Walker, owners: NDArray[np.int32], visible: float) -> GroundTruth:
    """Return what is known about a walker in the finished frame."""
    points = sight.figure.keypoints[:, :2] * sight.scale + sight.at
    shown, own = visible_keypoints(sight.figure, points, owners, sight.number * PARTS)
    left, top, right, bottom = (np.asarray(sight.figure.box) * sight.scale + np.tile(sight.at, 2)).tolist()
    keypoints, scores = np.column_stack([points, shown]), _scores(shown, own)
    return GroundTruth(walker.identity.number, (left, top, right, bottom), visible, keypoints, scores)


def _scores(shown: NDArray[np.float64], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    hidden = np.where(own, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN)
    return np.where(shown == 2, SCORE_VISIBLE, np.where(shown == 1, hidden, SCORE_OUTSIDE))
