"""A posed person as flat parts in an image: solids around a skeleton, turned, tilted and sorted by depth.

The image's axes are x to the right and y downwards, in metres from the ground below the hips. A yaw of 0 faces the
camera; a positive yaw turns the person to their left, which is the image's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.core.people import KEYPOINTS
from rewho.rendered.bags import bag
from rewho.rendered.body import arms, head, legs, trunk
from rewho.rendered.clothes import TEXTURES, wardrobe
from rewho.rendered.person import Identity
from rewho.rendered.skeleton import Pose, Skeleton, pose_skeleton
from rewho.rendered.solids import Solid

# Sorted by this share of their depth: a stride must not reach over coat or skirt, nor a leaning skirt over a coat.
FLATTENED = {"left_leg": 0.25, "right_leg": 0.25, "trunk": 0.0, "skirt": 0.0}


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
    """A posed person as parts sorted from far to near, with keypoints, all in metres.

    Args:
        parts: To be painted in this order.
        keypoints: [17, 3] of x, y and depth towards the camera, in the order of `KEYPOINTS`.
        box: Left, top, right and bottom of everything that is painted, bags and hats included.
        yaw: Heading in radians.
        textures: What the person wears, as `wardrobe` returns it.
    """

    parts: tuple[Part, ...]
    keypoints: NDArray[np.float64]
    box: tuple[float, float, float, float]
    yaw: float
    textures: NDArray[np.uint8]


def build_figure(identity: Identity, pose: Pose) -> Figure:
    """Pose a person and return the parts to paint.

    Example:
        >>> figure = build_figure(Identity.draw(1, 7), Pose(phase=0.0, yaw=0.0))
        >>> figure.keypoints.shape, figure.box[3] - figure.box[1] > 1.4
        ((17, 3), True)
    """
    skeleton = pose_skeleton(identity, pose)
    solids = [*legs(skeleton), *trunk(skeleton), *arms(skeleton), *head(skeleton), *bag(skeleton)]
    parts = _look_at(solids, skeleton)
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    box = (min(left), min(top), max(right), max(bottom))
    joints = _put(np.array([skeleton[name] for name in KEYPOINTS]), skeleton)
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
