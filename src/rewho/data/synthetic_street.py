"""A rendered street: people walk past a camera, in front of and behind each other, and everything about them is known.

The frames come from a generator and need no codec. Depth is real: a walker's size, and who hides whom, follow from the
distance to the camera, so that boxes, key points and visible shares agree with the pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import ASIDE
from rewho.core.check import UserError, check_range
from rewho.core.runtime import generator
from rewho.data.synthetic_camera import Camera, expose
from rewho.data.synthetic_figure import Figure, build_figure
from rewho.data.synthetic_obstacles import paint_bush, paint_post
from rewho.data.synthetic_paint import Floats, Patch, composite, paint_figure, paint_shadow
from rewho.data.synthetic_person import Identity
from rewho.data.synthetic_picture import visible_key_points
from rewho.data.synthetic_place import paint_place
from rewho.data.synthetic_skeleton import Pose

Frame = NDArray[np.uint8]  # RGB [H, W, 3]

FOCAL_LENGTH = 1.9  # of the frame's height; with it a grown-up seven metres away fills half of the frame
CAMERA_HEIGHT = 2.4  # metres
EYE_LEVEL = 0.16  # row of the horizon as a share of the frame's height
WALL_DISTANCE = 13.0  # metres
NEAREST, FARTHEST = 6.0, 10.5  # metres at which walkers pass
PARTS = 1000  # numbers that each walker takes in the owner map
DETECTABLE = 0.15  # people of whom less is visible are not in the detections file
WALLS, GROUNDS = ("shop", "windows", "bricks"), ("paving", "asphalt")
# Scores of key points as a pose model gives them: it is sure of a far hip in profile, not of one behind a bush.
SCORE_VISIBLE, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN, SCORE_OUTSIDE = 0.9, 0.7, 0.2, 0.02
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")


@dataclass(frozen=True)
class GroundTruth:
    """One person in one frame.

    Args:
        person: Number of the person, from 1; `Identity.draw(seed, person)` is who it is.
        box: Left, top, right and bottom of the whole person in pixels, also where hidden or outside of the frame.
        visible: Share of the person's pixels that can be seen in the frame, 0 to 1.
        key_points: float64 [17, 3] of x and y in pixels and visibility (2 visible, 1 hidden, 0 outside of the frame).
        scores: float64 [17], how sure a pose model would be of each key point, 0 to 1.
    """

    person: int
    box: tuple[float, float, float, float]
    visible: float
    key_points: NDArray[np.float64]
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
        shift = pan * size[1] * index / fps
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
    street: _Street, walkers: list[_Walker], size: tuple[int, int], seconds: float, shift: float
) -> tuple[Floats, list[GroundTruth]]:
    """Paint one frame from far to near and count what remains visible of everyone."""
    whole = round(shift)
    canvas = street.place[:, :, whole : whole + size[1]].copy()
    owners = np.full(size, -1, np.int32)
    things: list[tuple[float, Patch | tuple[int, Figure, float, tuple[float, float]]]] = [
        (distance, replace(patch, left=patch.left - whole)) for distance, patch in street.obstacles
    ]
    for number, walker in enumerate(walkers):
        x, distance, pose = walker.at(seconds)
        if distance < 2.0:
            continue  # has passed the camera
        scale = FOCAL_LENGTH * size[0] / distance
        at = (size[1] / 2 + x * scale - whole, _row(size, distance))
        if -scale < at[0] < size[1] + scale:
            things.append((distance, (number, build_figure(walker.identity, pose), scale, at)))
    present = []
    for _, thing in sorted(things, key=lambda pair: -pair[0]):
        if isinstance(thing, Patch):
            composite(canvas, thing, owners, len(walkers) * PARTS)
            continue
        number, figure, scale, at = thing
        paint_shadow(canvas, figure, scale, at)
        patch = paint_figure(figure, scale, street.camera.light(), at)
        composite(canvas, patch, owners, number * PARTS)
        present.append((number, figure, scale, at, int((patch.owner >= 0).sum())))
    seen = np.bincount(owners[owners >= 0] // PARTS, minlength=len(walkers))
    truth = []
    for number, figure, scale, at, pixels in present:
        if seen[number]:
            points = figure.key_points[:, :2] * scale + at
            shown, own = visible_key_points(figure, points, owners, number * PARTS)
            left, top, right, bottom = (np.asarray(figure.box) * scale + np.tile(at, 2)).tolist()
            truth.append(
                GroundTruth(
                    person=walkers[number].identity.number,
                    box=(left, top, right, bottom),
                    visible=float(seen[number] / pixels),
                    key_points=np.column_stack([points, shown]),
                    scores=_scores(shown, own),
                )
            )
    return canvas, truth


def _scores(shown: NDArray[np.float64], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    hidden = np.where(own, SCORE_BEHIND_OWN_BODY, SCORE_HIDDEN)
    return np.where(shown == 2, SCORE_VISIBLE, np.where(shown == 1, hidden, SCORE_OUTSIDE))


def write_street(
    path: Path | str,
    seconds: float,
    fps: float = 10.0,
    people: int = 6,
    size: tuple[int, int] = (360, 640),
    seed: int = 1,
    pan: float = 0.0,
) -> Path:
    """Write a street scene as a video or as a folder of pictures, with its ground truth.

    A path that ends in .mp4, .mkv, .mov or .avi becomes a video (which needs PyAV), with `NAME.detections.json` and
    `NAME.gt.txt` beside it. Any other becomes a folder as in the MOT challenge: `img1/000001.jpg`, …, `gt/gt.txt`,
    and `detections.json`. Both number the frames from 1.

    * `detections.json` has the layout that LUPerson published: for each frame number, as text, a list of
      `[object, {"bbox": [left, top, right, bottom], "conf": …, "pose": [17][2], "prob": [17][1]}]`. Boxes are clipped
      to the frame, as a detector's are; `object` is the person's number; `conf` rises with the visible share.
    * `gt.txt` has MOT's columns: frame, person, left, top, width, height, 1, class (1 is a pedestrian), visible share.
      Its boxes are those of the whole person, and everyone of whom a pixel can be seen is in it.

    Args:
        path: Where to write.
        seconds: See `street_frames`.
        fps: See `street_frames`.
        people: See `street_frames`.
        size: See `street_frames`.
        seed: See `street_frames`.
        pan: See `street_frames`.

    Returns:
        The path.

    Raises:
        UserError: There is something at that place already, a setting is out of range, or PyAV is not installed.
    """
    path = Path(path)
    if path.exists():
        raise UserError(str(path), expected="a new file or folder", got="one that is there", fix="Choose another name.")
    frames = street_frames(seconds, fps, people, size, seed, pan)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    try:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            truths = _encode(aside, frames, fps, size)
            detections, mot = path.with_suffix(".detections.json"), path.with_suffix(".gt.txt")
        else:
            truths = _save_pictures(aside, frames)
            detections, mot = aside / "detections.json", aside / "gt" / "gt.txt"
            mot.parent.mkdir()
        detections.write_text(json.dumps(_detections(truths, size)))
        mot.write_text("".join(_mot_lines(truths)))
        aside.replace(path)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        aside.unlink(missing_ok=True)
    return path


def _save_pictures(folder: Path, frames: Iterator[tuple[Frame, list[GroundTruth]]]) -> list[list[GroundTruth]]:
    """Write the frames as JPEG files and return the ground truth of each."""
    (folder / "img1").mkdir(parents=True)
    truths = []
    for number, (frame, truth) in enumerate(frames, start=1):
        done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done, "a uint8 picture can always be encoded"
        (folder / "img1" / f"{number:06d}.jpg").write_bytes(data.tobytes())
        truths.append(truth)
    return truths


def _encode(
    path: Path, frames: Iterator[tuple[Frame, list[GroundTruth]]], fps: float, size: tuple[int, int]
) -> list[list[GroundTruth]]:
    """Write the frames as a video and return the ground truth of each."""
    try:
        import av  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError(
            f"video {path.suffix}",
            expected="the PyAV library",
            got="an installation without it",
            fix="pip install rewho[video], or give a folder name: the frames are then written as pictures.",
        ) from error
    if size[0] % 2 or size[1] % 2:
        raise UserError(
            "size of a video", expected="even height and width", got=f"{size[0]} x {size[1]}", fix="Add one pixel."
        )
    truths = []
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
        for frame, truth in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            truths.append(truth)
        container.mux(stream.encode(None))
    return truths


def _detections(truths: list[list[GroundTruth]], size: tuple[int, int]) -> dict[str, list[list[Any]]]:
    """Return what a good detector and pose model would find, in LUPerson's published layout."""
    limits = np.array([size[1], size[0], size[1], size[0]], float)
    found: dict[str, list[list[Any]]] = {}
    for number, truth in enumerate(truths, start=1):
        found[str(number)] = [
            [
                one.person,
                {
                    "bbox": np.clip(one.box, 0, limits).round(2).tolist(),
                    "conf": round(0.4 + 0.59 * one.visible, 4),
                    "pose": one.key_points[:, :2].round(2).tolist(),
                    "prob": one.scores[:, None].tolist(),
                },
            ]
            for one in truth
            if one.visible >= DETECTABLE
        ]
    return found


def _mot_lines(truths: list[list[GroundTruth]]) -> Iterator[str]:
    for number, truth in enumerate(truths, start=1):
        for one in truth:
            left, top, right, bottom = one.box
            sizes = f"{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}"
            yield f"{number},{one.person},{sizes},1,1,{one.visible:.4f}\n"
