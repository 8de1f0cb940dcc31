"""The skeleton of a walking person in three dimensions; the 17 COCO keypoints are joints of it.

Axes are the body's own: lateral (to the person's left), up and forward, in metres from the ground below the hips.
Lengths follow the usual tables of human proportions, relative to body height.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from rewho.rendered.person import Identity

Point = NDArray[np.float64]  # lateral, up, forward
SIDES = ((1, "left"), (-1, "right"))

HIP, KNEE, ANKLE, SHOULDER, CHIN = 0.52, 0.275, 0.045, 0.786, 0.866
HEAD_MIDDLE, HEAD_HALF = 0.934, (0.045, 0.066, 0.056)  # half of the head's width, height and depth
UPPER_ARM, FOREARM, HAND = 0.175, 0.15, 0.05
SHOULDER_HALF, HIP_HALF = 0.096, 0.046
# What arms do apart from swinging: directions of upper arm and forearm (outwards, up, forward), and whether both do it.
GESTURES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], bool]] = {
    "phone": ((0.3, -0.9, 0.35), (-0.35, 0.8, 0.45), False),
    "strap": ((0.3, -0.9, 0.1), (-0.5, 0.75, 0.45), False),
    "point": ((0.3, -0.75, 0.6), (-0.1, -0.1, 1.0), False),
    "read": ((0.12, -0.97, 0.25), (-0.35, 0.25, 0.9), True),
    "carry": ((0.15, -0.97, 0.1), (-0.3, -0.1, 0.95), True),
    "fold": ((0.2, -0.97, 0.2), (-0.9, 0.15, 0.4), True),
    "pockets": ((0.35, -0.9, -0.2), (-0.25, -0.9, 0.4), True),
    "behind": ((0.2, -0.9, -0.4), (-0.6, -0.6, -0.5), True),
}
FACE = {"nose": (0.0, -0.012, 0.055), "eye": (0.018, 0.004, 0.047), "ear": (0.041, -0.006, 0.0)}


@dataclass(frozen=True)
class Pose:
    """The pose of a walking person at one moment, as a camera sees it; angles in radians."""

    phase: float  # of the walk; one full turn is two steps
    yaw: float  # heading: 0 towards the camera, pi/2 to the image's right, pi away
    elevation: float = 0.0  # how far the camera looks down
    swing: float = 1.0  # of arms and legs, relative to a normal walk; 0 stands still
    lean: float = 0.03  # forward
    gesture: str = "walk"  # what the arms do, "walk" or a name of `GESTURES`
    hand: int = 1  # the arm of a one-handed gesture: 1 left, -1 right


@dataclass(frozen=True)
class Skeleton:
    """The joints of one pose by name: `KEYPOINTS`, toes, head, and `middle` between the hips."""

    identity: Identity
    pose: Pose
    joints: dict[str, Point]

    def spine(self, height: float, lateral: float = 0.0, forward: float = 0.0) -> Point:
        """Return a point beside the leaning spine; `height` is a share of body height, the offsets are in metres."""
        rise, lean = (height - HIP) * self.identity.height, self.pose.lean
        return np.array([lateral, self.joints["middle"][1] + rise * cos(lean), rise * sin(lean) + forward])

    def __getitem__(self, joint: str) -> Point:
        return self.joints[joint]


def pose_skeleton(identity: Identity, pose: Pose) -> Skeleton:
    """Return the joints of a walking person: the legs swing in opposite phase, each arm against its leg."""
    joints = _leg_joints(identity, pose)
    skeleton = Skeleton(identity, pose, joints)
    for side, name in SIDES:
        joints |= _arm_joints(skeleton, side, name)
    lift = (HEAD_MIDDLE - CHIN) * (identity.head - 1)
    joints["head"] = middle = skeleton.spine(HEAD_MIDDLE + lift, forward=0.012 * identity.height)
    for name, (lateral, up, forward) in FACE.items():
        for side, prefix in ((1, "left_"), (-1, "right_")) if lateral else ((1, ""),):
            joints[prefix + name] = middle + identity.height * identity.head * np.array([side * lateral, up, forward])
    return skeleton


def _swing_forward(angle: float) -> Point:
    """Return the direction of a limb that hangs down and is swung forward by `angle` radians."""
    return np.array([0.0, -cos(angle), sin(angle)])


def _leg_joints(identity: Identity, pose: Pose) -> dict[str, Point]:
    """Return the joints of both legs, shifted so that the lower foot stands on the ground."""
    size, lowest = identity.height, 0.0
    joints: dict[str, Point] = {}
    for side, name in SIDES:
        phase = pose.phase + (0 if side > 0 else pi)
        thigh = identity.stride * pose.swing * sin(phase)
        shin = thigh - 0.06 - 0.85 * pose.swing * max(0.0, cos(phase + 0.3)) ** 2  # bends while it swings forward
        foot = 0.5 * shin if shin < 0 else 0.35 * shin
        hip = np.array([side * HIP_HALF * size * identity.girth, 0.0, 0.0])
        knee = hip + (HIP - KNEE) * size * _swing_forward(thigh)
        ankle = knee + (KNEE - ANKLE) * size * _swing_forward(shin) - np.array([0.012 * side, 0, 0])
        toe = ankle + 0.1 * size * np.array([0.12 * side, sin(foot) - 0.22, cos(foot)])
        joints |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle, f"{name}_toe": toe}
        lowest = min(lowest, ankle[1] - ANKLE * size, toe[1] - 0.02 * size)
    joints["middle"] = np.zeros(3)
    ground = np.array([0.0, -lowest, 0.0])
    return {name: joint + ground for name, joint in joints.items()}


def _arm_joints(skeleton: Skeleton, side: int, name: str) -> dict[str, Point]:
    """Return the joints of one arm; a hand that holds a bag swings less."""
    person, pose = skeleton.identity, skeleton.pose
    free = 0.35 if person.bag in ("handbag", "tote") and person.side == side else 1.0
    swing = -1.1 * person.stride * pose.swing * free * sin(pose.phase + (0 if side > 0 else pi))
    out = np.array([0.1 * side * person.girth, 0.0, 0.0])
    half = SHOULDER_HALF * person.height * person.girth**0.6 * person.shoulders
    shoulder = skeleton.spine(SHOULDER, lateral=side * half)
    if pose.gesture in GESTURES and (GESTURES[pose.gesture][2] or pose.hand == side):
        upper, lower = (np.array([side * way[0], way[1], way[2]]) for way in GESTURES[pose.gesture][:2])
        elbow = shoulder + UPPER_ARM * person.height * upper
        wrist = elbow + FOREARM * person.height * lower / np.linalg.norm(lower)
        return {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_wrist": wrist}
    elbow = shoulder + UPPER_ARM * person.height * (_swing_forward(swing - 0.06) + out)
    wrist = elbow + FOREARM * person.height * (_swing_forward(swing + 0.14 + 0.5 * max(0.0, swing) * free) + 0.4 * out)
    return {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_wrist": wrist}
