"""A posed person as flat parts: the solids around a skeleton, projected and sorted by depth.

The image's axes are x to the right and y downwards, in metres from the ground below the hips. A yaw of 0 faces the
camera; a positive yaw turns the person to their left, which is the image's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.core.people import KEYPOINTS
from rewho.rendered.body import build_arms, build_bag, build_head, build_legs, build_trunk
from rewho.rendered.clothes import TEXTURES, build_textures
from rewho.rendered.person import Identity
from rewho.rendered.skeleton import Pose, Skeleton, pose_skeleton
from rewho.rendered.solids import Solid

# Share of the depth that counts in sorting: a leg in stride must not cover coat or skirt, nor a leaning skirt a coat.
FLATTENED = {"left_leg": 0.25, "right_leg": 0.25, "trunk": 0.0, "skirt": 0.0}


@dataclass(frozen=True)
class Part:
    """The projection of a solid, in metres."""

    name: str  # the body part
    outline: NDArray[np.float64]  # [K, 3] x, y and half width; two rows are a limb, more are a stack with rising y
    texture: int  # index into `TEXTURES`
    box: tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Figure:
    """A posed person as parts sorted from far to near, in metres."""

    parts: tuple[Part, ...]
    keypoints: NDArray[np.float64]  # [17, 3] x, y and depth towards the camera, in the order of `KEYPOINTS`
    box: tuple[float, float, float, float]  # left, top, right, bottom of everything painted, bags and hats included
    yaw: float  # heading in radians
    textures: NDArray[np.uint8]  # see `build_textures`


def build_figure(identity: Identity, pose: Pose) -> Figure:
    """Return the parts of a person in a pose.

    Example:
        >>> figure = build_figure(Identity.draw(1, 7), Pose(phase=0.0, yaw=0.0))
        >>> figure.keypoints.shape, figure.box[3] - figure.box[1] > 1.4
        ((17, 3), True)
    """
    skeleton = pose_skeleton(identity, pose)
    builders = (build_legs, build_trunk, build_arms, build_head, build_bag)
    parts = _project_solids([solid for build in builders for solid in build(skeleton)], skeleton)
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    box = (min(left), min(top), max(right), max(bottom))
    joints = _project(np.array([skeleton[name] for name in KEYPOINTS]), skeleton)
    return Figure(tuple(parts), joints[:, :3], box, pose.yaw, build_textures(identity))


def _project(points: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Return x, y, depth and scale of points. Seen from above, higher points are nearer and larger."""
    pose = skeleton.pose
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    lateral, up, forward = points.T
    depth = forward * cos - lateral * sin
    larger = 1 + 0.45 * np.sin(pose.elevation) * (up / skeleton.identity.height - 0.5)
    x = (lateral * cos + forward * sin) * larger
    y = depth * np.sin(pose.elevation) - up * np.cos(pose.elevation)
    return np.column_stack([x, y, depth, larger])


def _project_solids(solids: Sequence[Solid], skeleton: Skeleton) -> list[Part]:
    """Return the projected solids, sorted from far to near."""
    cos, sin = np.cos(skeleton.pose.yaw), np.sin(skeleton.pose.yaw)
    lengths = np.array([len(solid.points) for solid in solids])
    begins = np.cumsum(lengths) - lengths
    projected = _project(np.concatenate([solid.points for solid in solids]), skeleton)
    sizes = np.concatenate([[solid.widths, solid.depths] for solid in solids], axis=1)
    half = np.hypot(sizes[0] * cos, sizes[1] * sin) * projected[:, 3]
    over = half * (lengths == 2).repeat(lengths)  # only limbs have round ends
    x, y = projected[:, 0], projected[:, 1]
    low = [np.minimum.reduceat(side, begins) for side in (x - half, y - over)]
    high = [np.maximum.reduceat(side, begins) for side in (x + half, y + over)]
    depths = np.add.reduceat(projected[:, 2], begins) / lengths
    outlines, boxes = np.column_stack([x, y, half]), np.column_stack([*low, *high]).tolist()
    found = []
    for solid, begin, length, depth, box in zip(solids, begins, lengths, depths.tolist(), boxes, strict=True):
        outline = outlines[begin : begin + length]
        order = depth * FLATTENED.get(solid.name, 1.0) + solid.over
        found.append((order, Part(solid.name, outline, TEXTURES.index(solid.texture), tuple(box))))
    return [part for _, part in sorted(found, key=lambda pair: pair[0])]
