"""A posed person as flat parts in a picture: solids around a skeleton, turned, tilted and sorted by depth.

The picture's axes are x to the right and y downwards, in metres from the ground below the hips. A yaw of 0 faces the
camera; a positive yaw turns the person to their left, which is the picture's right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.data.synthetic_clothes import TEXTURES, wardrobe
from rewho.data.synthetic_person import Identity
from rewho.data.synthetic_skeleton import (
    CHIN,
    COCO_KEY_POINTS,
    FOREARM,
    HAND,
    HEAD_HALF_DEPTH,
    HEAD_HALF_HEIGHT,
    HEAD_HALF_WIDTH,
    SHOULDER_HALF,
    Point,
    Pose,
    Skeleton,
    pose_skeleton,
)

# What is painted over what, where two solids lie equally deep: metres towards the camera.
SKIRT, TRUNK, ARM, HEAD = 0.12, 0.13, 0.15, 0.15
# Sorted by this share of their depth: a stride must not reach over coat or skirt, nor a leaning skirt over a coat.
FLATTENED = {"left_leg": 0.25, "right_leg": 0.25, "trunk": 0.0, "skirt": 0.0}


@dataclass(frozen=True)
class Solid:
    """A piece of a person in space.

    Args:
        name: What it belongs to, such as "trunk" or "left_arm".
        points: [K, 3] lateral, up, forward in metres. Two points are a limb with round ends, more are elliptic levels
            from top to bottom.
        widths: [K] half width of each, along the lateral axis.
        depths: [K] half depth of each, along the forward axis.
        texture: What is wrapped around it, a name of `TEXTURES`.
        over: Metres by which it is sorted towards the camera.
    """

    name: str
    points: NDArray[np.float64]
    widths: NDArray[np.float64]
    depths: NDArray[np.float64]
    texture: str
    over: float


@dataclass(frozen=True)
class Part:
    """A solid as the camera sees it.

    Args:
        name: What it belongs to.
        outline: [K, 3] of x, y and half width in metres; two rows are a limb, more are a stack with rising y.
        texture: Number of what is wrapped around it, in the order of `TEXTURES`.
        box: Left, top, right and bottom in metres.
    """

    name: str
    outline: NDArray[np.float64]
    texture: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Figure:
    """A posed person as parts sorted from far to near, with key points, all in metres.

    Args:
        parts: To be painted in this order.
        key_points: [17, 3] of x, y and depth towards the camera, in the order of `COCO_KEY_POINTS`.
        box: Left, top, right and bottom of everything that is painted, bags and hats included.
        yaw: Heading in radians.
        textures: What the person wears, as `wardrobe` returns it.
    """

    parts: tuple[Part, ...]
    key_points: NDArray[np.float64]
    box: tuple[float, float, float, float]
    yaw: float
    textures: NDArray[np.uint8]


def build_figure(identity: Identity, pose: Pose) -> Figure:
    """Pose a person and return the parts to paint.

    Example:
        >>> figure = build_figure(Identity.draw(1, 7), Pose(phase=0.0, yaw=0.0))
        >>> figure.key_points.shape, figure.box[3] - figure.box[1] > 1.4
        ((17, 3), True)
    """
    skeleton = pose_skeleton(identity, pose)
    solids = [*_legs(skeleton), *_trunk(skeleton), *_arms(skeleton), *_head(skeleton), *_bag(skeleton)]
    parts = _look_at(solids, skeleton)
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    box = (min(left), min(top), max(right), max(bottom))
    joints = _put(np.array([skeleton[name] for name in COCO_KEY_POINTS]), skeleton)
    return Figure(tuple(parts), joints[:, :3], box, pose.yaw, wardrobe(identity))


def _put(points: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Return x, y, depth and enlargement of points; from above, what is higher up is nearer and larger."""
    pose = skeleton.pose
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    lateral, up, forward = points.T
    depth = forward * cos - lateral * sin
    larger = 1 + 0.45 * np.sin(pose.elevation) * (up / skeleton.identity.height - 0.5)
    x = (lateral * cos + forward * sin) * larger
    y = depth * np.sin(pose.elevation) - up * np.cos(pose.elevation)
    return np.column_stack([x, y, depth, larger])


def _look_at(solids: Sequence[Solid], skeleton: Skeleton) -> list[Part]:
    """Return the solids as the camera sees them, from far to near."""
    cos, sin = np.cos(skeleton.pose.yaw), np.sin(skeleton.pose.yaw)
    lengths = np.array([len(solid.points) for solid in solids])
    begins = np.cumsum(lengths) - lengths
    put = _put(np.concatenate([solid.points for solid in solids]), skeleton)
    sizes = np.concatenate([[solid.widths, solid.depths] for solid in solids], axis=1)
    half = np.hypot(sizes[0] * cos, sizes[1] * sin) * put[:, 3]
    over = half * (lengths == 2).repeat(lengths)  # only limbs have round ends
    x, y = put[:, 0], put[:, 1]
    low = [np.minimum.reduceat(side, begins) for side in (x - half, y - over)]
    high = [np.maximum.reduceat(side, begins) for side in (x + half, y + over)]
    depths = np.add.reduceat(put[:, 2], begins) / lengths
    outlines, boxes = np.column_stack([x, y, half]), np.column_stack([*low, *high]).tolist()
    found = []
    for solid, begin, length, depth, box in zip(solids, begins, lengths, depths.tolist(), boxes, strict=True):
        outline = outlines[begin : begin + length]
        order = depth * FLATTENED.get(solid.name, 1.0) + solid.over
        found.append((order, Part(solid.name, outline, TEXTURES.index(solid.texture), tuple(box))))
    return [part for _, part in sorted(found, key=lambda pair: pair[0])]


def _limb(name: str, ends: tuple[Point, Point], halves: tuple[float, float], texture: str, over: float = 0.0) -> Solid:
    """Return a tapered round limb between two points."""
    radii = np.array(halves)
    return Solid(name, np.array(ends), radii, radii, texture, over)


def _stack(name: str, levels: Sequence[tuple[Point, float, float]], texture: str, over: float) -> Solid:
    """Return elliptic levels: centre, half width and half depth of each, from top to bottom."""
    points, widths, depths = zip(*levels, strict=True)
    return Solid(name, np.array(points), np.array(widths), np.array(depths), texture, over)


def _legs(body: Skeleton) -> Iterator[Solid]:
    """Yield thighs, shins and shoes; shorts end above the knee, a skirt shows the legs."""
    person = body.identity
    size = person.height * (0.4 + 0.6 * person.girth)
    trousers, short = person.bottom == "trousers", person.bottom == "shorts"
    loose = 1.12 if trousers or short else 1.0
    down = np.array([0.0, 0.007 * size, 0.0])
    for name in ("left", "right"):
        hip, knee, ankle, toe = (body[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle", "toe"))
        leg, thigh = f"{name}_leg", "leg" if trousers else "skin"
        yield _limb(leg, (knee, ankle), (0.033 * size * loose, 0.022 * size * loose), thigh)
        yield _limb(leg, (hip, knee), (0.046 * size * loose, 0.034 * size * loose), thigh, 0.005)
        if short:
            hem = hip + 0.82 * (knee - hip)
            yield _limb(leg, (hip, hem), (0.049 * size * loose, 0.047 * size * loose), "leg", 0.01)
        heel = ankle - np.array([0.0, 0.02 * size, 0.012 * size])
        if person.shoes == "boots":
            calf = ankle + 0.35 * (knee - ankle)
            yield _limb(leg, (calf, ankle), (0.032 * size, 0.029 * size), "shoe", 0.006)
        yield _limb(leg, (heel - down, toe - down), (0.02 * size, 0.016 * size), "sole", 0.007)
        yield _limb(leg, (heel + down, toe + down), (0.021 * size, 0.016 * size), "shoe", 0.008)


def _trunk(body: Skeleton) -> Iterator[Solid]:
    """Yield what covers shoulders to hips, a skirt, and the neck."""
    person = body.identity
    size, coat = person.height, person.top == "coat"
    wide = SHOULDER_HALF * size * person.girth**0.6 * person.shoulders
    hip = 0.09 * size * person.girth
    loose = 1.1 if person.top in ("open jacket", "coat") else 1.0
    belly = 0.056 * size * person.girth**1.5 * loose
    levels = (
        (0.846, 0.32 * wide, 0.03 * size),
        (0.835, 0.6 * wide, 0.036 * size),
        (0.822, 0.92 * wide, 0.042 * size),
        (0.805, 1.14 * wide, 0.05 * size),
        (0.78, 1.18 * wide, 0.056 * size),
        (0.72, 1.04 * wide * loose, 0.066 * size * person.girth * loose),
        (0.62, (0.45 * wide + 0.42 * hip) * loose, belly),
        (0.54, hip * loose, belly * 1.05),
        (0.36 if coat else 0.475, hip * loose * (1.15 if coat else 1.02), belly * (1.3 if coat else 1.05)),
    )
    yield _stack("trunk", [(body.spine(up), width, deep) for up, width, deep in levels], "trunk", TRUNK)
    neck = (body.spine(0.8), body.spine(CHIN + 0.01))
    yield _limb("neck", neck, (0.034 * size, 0.03 * size), "skin", TRUNK - 0.02)
    if person.bottom in ("skirt", "long skirt"):
        low, wider = (0.3, 1.35) if person.bottom == "skirt" else (0.12, 1.5)
        sway = 0.02 * np.sin(body.pose.phase) * body.pose.swing
        shape = ((0.56, 0.9 * hip, belly), (0.5, 1.06 * hip, belly * 1.15), (low, wider * hip, wider * belly))
        stack = [(body.spine(up, forward=sway * (0.56 - up)), width, deep) for up, width, deep in shape]
        yield _stack("skirt", stack, "skirt", SKIRT)


def _arms(body: Skeleton) -> Iterator[Solid]:
    """Yield arms: bare below a short sleeve, bare all along from a tank top."""
    person = body.identity
    size = person.height * (0.35 + 0.65 * person.girth) * (1.1 if person.top in ("open jacket", "coat") else 1.0)
    covered = person.top in ("long sleeves", "open jacket", "coat")
    upper = "skin" if person.top == "tank top" else "sleeve"
    lower = "sleeve" if covered else "skin"
    for name in ("left", "right"):
        shoulder, elbow, wrist = (body[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        arm, tip = f"{name}_arm", wrist + (wrist - elbow) * (HAND / FOREARM)
        yield _limb(arm, (wrist, tip), (0.017 * size, 0.012 * size), "skin", ARM)
        yield _limb(arm, (elbow, wrist), (0.023 * size, 0.018 * size), lower, ARM + 0.005)
        if person.top == "t-shirt":
            yield _limb(arm, (shoulder, elbow), (0.026 * size, 0.023 * size), "skin", ARM + 0.005)
            elbow = shoulder + 0.68 * (elbow - shoulder)
        yield _limb(arm, (shoulder, elbow), (0.028 * size, 0.026 * size), upper, ARM + 0.01)


def _ellipsoid(middle: Point, half: tuple[float, float, float]) -> list[tuple[Point, float, float]]:
    """Return levels of an ellipsoid with the given half width, half height and half depth."""
    steps = np.sin(np.linspace(np.pi / 2, -np.pi / 2, 9)).tolist()
    rounds = [max(0.0, 1 - step * step) ** 0.5 for step in steps]
    up = np.array([0.0, half[1], 0.0])
    return [(middle + step * up, half[0] * r, half[2] * r) for step, r in zip(steps, rounds, strict=True)]


def _head(body: Skeleton) -> Iterator[Solid]:
    """Yield the head, the hair that stands off it, and the hat."""
    person, middle = body.identity, body["head"]
    size = person.height
    half = (HEAD_HALF_WIDTH * size, HEAD_HALF_HEIGHT * size, HEAD_HALF_DEPTH * size)
    yield _stack("head", _ellipsoid(middle, half), "head", HEAD)
    if person.hair_style in ("bob", "long"):
        low = 0.868 if person.hair_style == "bob" else 0.74
        shape = ((1.004, 0.012), (0.996, 0.034), (0.975, 0.048), (0.94, 0.053), (0.89, 0.053), (low, 0.042))
        levels = [(body.spine(up, forward=-0.008 * size), wide * size, wide * size) for up, wide in shape]
        yield _stack("hair", levels, "hair", HEAD - 0.015)
    elif person.hair_style == "ponytail":
        start = middle + np.array([0.0, 0.02, -0.06]) * size
        ends = (start, start + np.array([0.0, -0.11, -0.02]) * size)
        yield _limb("hair", ends, (0.022 * size, 0.013 * size), "hair", HEAD)
    elif person.hair_style == "afro":
        ball = _ellipsoid(middle + np.array([0.0, 0.012, -0.012]) * size, (0.068 * size,) * 3)
        yield _stack("hair", ball, "hair", HEAD - 0.02)
    if person.hat != "none":
        yield from _hat(body)


def _hat(body: Skeleton) -> Iterator[Solid]:
    person, middle = body.identity, body["head"]
    size, tall = person.height, 0.076 if person.hat == "cap" else 0.086
    shape = ((tall, 0.35), (tall - 0.012, 0.72), (tall - 0.03, 0.98), (0.022, 1.06))
    levels = [(middle + np.array([0.0, up * size, 0.0]), 0.048 * w * size, 0.059 * w * size) for up, w in shape]
    yield _stack("hat", levels, "hat", HEAD + 0.02)
    if person.hat == "cap":
        brim = (middle + np.array([0.0, 0.026, 0.045]) * size, middle + np.array([0.0, 0.02, 0.1]) * size)
        yield _limb("hat", brim, (0.012 * size, 0.01 * size), "hat", HEAD)


def _bag(body: Skeleton) -> Iterator[Solid]:
    """Yield the carried bag with its straps."""
    person = body.identity
    if person.bag == "backpack":
        yield from _backpack(body)
    elif person.bag == "handbag":
        yield from _handbag(body)
    elif person.bag == "shoulder bag":
        yield from _shoulder_bag(body)


def _backpack(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    across, deep = SHOULDER_HALF * size * person.shoulders, 0.07 * size * person.girth
    shape = (
        (0.828, 0.036, 0.02),
        (0.815, 0.06, 0.034),
        (0.78, 0.074, 0.045),
        (0.58, 0.078, 0.055),
        (0.565, 0.07, 0.05),
    )
    levels = [(body.spine(up, forward=-deep - 0.03 * size), wide * size, thick * size) for up, wide, thick in shape]
    yield _stack("bag", levels, "bag", TRUNK + 0.005)
    for side in (1, -1):
        top = body.spine(0.83, lateral=side * 0.55 * across, forward=0.3 * deep)
        low = body.spine(0.69, lateral=side * 0.72 * across, forward=0.9 * deep)
        yield _limb("bag", (top, low), (0.012 * size, 0.012 * size), "bag", TRUNK + 0.005)


def _handbag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hand = body["left_wrist" if person.side > 0 else "right_wrist"]
    below = np.array([0.0, -size, 0.0])
    yield _limb("bag", (hand + 0.04 * below, hand + 0.08 * below), (0.008 * size, 0.03 * size), "bag", ARM)
    shape = ((0.075, 0.05), (0.085, 0.056), (0.16, 0.066), (0.17, 0.062))
    levels = [(hand + down * below, 0.034 * size, long * size) for down, long in shape]
    yield _stack("bag", levels, "bag", ARM + 0.02)


def _shoulder_bag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hip = person.side * 0.1 * size * person.girth
    across, deep = SHOULDER_HALF * size * person.shoulders, 0.07 * size * person.girth
    shape = ((0.548, 0.052), (0.538, 0.06), (0.452, 0.064), (0.442, 0.058))
    levels = [(body.spine(up, lateral=hip), 0.036 * size, long * size) for up, long in shape]
    yield _stack("bag", levels, "bag", ARM + 0.03)
    for front in (1, -1):
        top = body.spine(0.83, lateral=-person.side * 0.5 * across, forward=front * 0.3 * deep)
        low = body.spine(0.55, lateral=hip, forward=front * deep)
        yield _limb("bag", (top, low), (0.009 * size, 0.009 * size), "bag", TRUNK + 0.005)
