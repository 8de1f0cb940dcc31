"""The dressed body of a rendered person as solids around a skeleton: legs, trunk, arms, head and bag."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rewho.rendered.skeleton import CHIN, FOREARM, HAND, HEAD_HALF, SHOULDER_HALF, Skeleton
from rewho.rendered.solids import ARM, HEAD, SKIRT, TRUNK, Solid, ellipsoid, limb, stack


def build_legs(body: Skeleton) -> Iterator[Solid]:
    """Yield thighs, shins and shoes. Shorts end above the knee; below a skirt the legs are bare."""
    person = body.identity
    size = person.height * (0.4 + 0.6 * person.girth)
    trousers, short = person.bottom == "trousers", person.bottom == "shorts"
    loose = 1.12 if trousers or short else 1.0
    down = np.array([0.0, 0.007 * size, 0.0])
    for name in ("left", "right"):
        hip, knee, ankle, toe = (body[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle", "toe"))
        leg, thigh = f"{name}_leg", "leg" if trousers else "skin"
        yield limb(leg, (knee, ankle), (0.033 * size * loose, 0.022 * size * loose), thigh)
        yield limb(leg, (hip, knee), (0.046 * size * loose, 0.034 * size * loose), thigh, 0.005)
        if short:
            hem = hip + 0.82 * (knee - hip)
            yield limb(leg, (hip, hem), (0.049 * size * loose, 0.047 * size * loose), "leg", 0.01)
        heel = ankle - np.array([0.0, 0.02 * size, 0.012 * size])
        if person.shoes == "boots":
            calf = ankle + 0.35 * (knee - ankle)
            yield limb(leg, (calf, ankle), (0.032 * size, 0.029 * size), "shoe", 0.006)
        yield limb(leg, (heel - down, toe - down), (0.02 * size, 0.016 * size), "sole", 0.007)
        yield limb(leg, (heel + down, toe + down), (0.021 * size, 0.016 * size), "shoe", 0.008)


def build_trunk(body: Skeleton) -> Iterator[Solid]:
    """Yield the garment from shoulders to hips, the skirt and the neck."""
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
    yield stack("trunk", [(body.spine(up), width, deep) for up, width, deep in levels], "trunk", TRUNK)
    neck = (body.spine(0.8), body.spine(CHIN + 0.01))
    yield limb("neck", neck, (0.034 * size, 0.03 * size), "skin", TRUNK - 0.02)
    if person.bottom in ("skirt", "long skirt"):
        low, wider = (0.3, 1.35) if person.bottom == "skirt" else (0.12, 1.5)
        sway = 0.02 * np.sin(body.pose.phase) * body.pose.swing
        fall = ((0.56, 0.9 * hip, belly), (0.5, 1.06 * hip, belly * 1.15), (low, wider * hip, wider * belly))
        skirt = [(body.spine(up, forward=sway * (0.56 - up)), width, deep) for up, width, deep in fall]
        yield stack("skirt", skirt, "skirt", SKIRT)


def build_arms(body: Skeleton) -> Iterator[Solid]:
    """Yield arms: bare below a short sleeve, wholly bare with a tank top."""
    person = body.identity
    size = person.height * (0.35 + 0.65 * person.girth) * (1.1 if person.top in ("open jacket", "coat") else 1.0)
    covered = person.top in ("long sleeves", "open jacket", "coat")
    upper = "skin" if person.top == "tank top" else "sleeve"
    lower = "sleeve" if covered else "skin"
    for name in ("left", "right"):
        shoulder, elbow, wrist = (body[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        arm, tip = f"{name}_arm", wrist + (wrist - elbow) * (HAND / FOREARM)
        yield limb(arm, (wrist, tip), (0.017 * size, 0.012 * size), "skin", ARM)
        yield limb(arm, (elbow, wrist), (0.023 * size, 0.018 * size), lower, ARM + 0.005)
        if person.top == "t-shirt":
            yield limb(arm, (shoulder, elbow), (0.026 * size, 0.023 * size), "skin", ARM + 0.005)
            elbow = shoulder + 0.68 * (elbow - shoulder)
        yield limb(arm, (shoulder, elbow), (0.028 * size, 0.026 * size), upper, ARM + 0.01)


def build_head(body: Skeleton) -> Iterator[Solid]:
    """Yield the head, the hair that stands away from it, and the hat."""
    person, middle = body.identity, body["head"]
    size = person.height
    width, height, depth = HEAD_HALF
    yield stack("head", ellipsoid(middle, (width * size, height * size, depth * size)), "head", HEAD)
    if person.hair_style in ("bob", "long"):
        low = 0.868 if person.hair_style == "bob" else 0.74
        shape = ((1.004, 0.012), (0.996, 0.034), (0.975, 0.048), (0.94, 0.053), (0.89, 0.053), (low, 0.042))
        levels = [(body.spine(up, forward=-0.034 * size), wide * size, 0.9 * wide * size) for up, wide in shape]
        yield stack("hair", levels, "hair", HEAD - 0.015)
    elif person.hair_style == "ponytail":
        start = middle + np.array([0.0, 0.02, -0.06]) * size
        ends = (start, start + np.array([0.0, -0.11, -0.02]) * size)
        yield limb("hair", ends, (0.022 * size, 0.013 * size), "hair", HEAD)
    elif person.hair_style == "afro":
        ball = ellipsoid(middle + np.array([0.0, 0.012, -0.012]) * size, (0.068 * size,) * 3)
        yield stack("hair", ball, "hair", HEAD - 0.02)
    if person.hat != "none":
        yield from _hat(body)


def _hat(body: Skeleton) -> Iterator[Solid]:
    person, middle = body.identity, body["head"]
    size, tall = person.height, 0.076 if person.hat == "cap" else 0.086
    shape = ((tall, 0.35), (tall - 0.012, 0.72), (tall - 0.03, 0.98), (0.022, 1.06))
    levels = [(middle + np.array([0.0, up * size, 0.0]), 0.048 * w * size, 0.059 * w * size) for up, w in shape]
    yield stack("hat", levels, "hat", HEAD + 0.02)
    if person.hat == "cap":
        brim = (middle + np.array([0.0, 0.026, 0.045]) * size, middle + np.array([0.0, 0.02, 0.1]) * size)
        yield limb("hat", brim, (0.012 * size, 0.01 * size), "hat", HEAD)


def build_bag(body: Skeleton) -> Iterator[Solid]:
    """Yield the solids of the bag that a person carries, with its straps."""
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
    yield stack("bag", levels, "bag", TRUNK + 0.005)
    for side in (1, -1):
        top = body.spine(0.83, lateral=side * 0.55 * across, forward=0.3 * deep)
        low = body.spine(0.69, lateral=side * 0.72 * across, forward=0.9 * deep)
        yield limb("bag", (top, low), (0.012 * size, 0.012 * size), "bag", TRUNK + 0.005)


def _handbag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hand = body["left_wrist" if person.side > 0 else "right_wrist"]
    below = np.array([0.0, -size, 0.0])
    yield limb("bag", (hand + 0.04 * below, hand + 0.08 * below), (0.008 * size, 0.03 * size), "bag", ARM)
    shape = ((0.075, 0.05), (0.085, 0.056), (0.16, 0.066), (0.17, 0.062))
    levels = [(hand + down * below, 0.034 * size, long * size) for down, long in shape]
    yield stack("bag", levels, "bag", ARM + 0.02)


def _shoulder_bag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hip = person.side * 0.1 * size * person.girth
    across, deep = SHOULDER_HALF * size * person.shoulders, 0.07 * size * person.girth
    shape = ((0.548, 0.052), (0.538, 0.06), (0.452, 0.064), (0.442, 0.058))
    levels = [(body.spine(up, lateral=hip), 0.036 * size, long * size) for up, long in shape]
    yield stack("bag", levels, "bag", ARM + 0.03)
    for front in (1, -1):
        top = body.spine(0.83, lateral=-person.side * 0.5 * across, forward=front * 0.3 * deep)
        low = body.spine(0.55, lateral=hip, forward=front * deep)
        yield limb("bag", (top, low), (0.009 * size, 0.009 * size), "bag", TRUNK + 0.005)
