"""A dressed body around a skeleton: legs, trunk, arms and head as solids, cut as the person's clothes are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rewho.rendered.skeleton import (
    CHIN,
    FOREARM,
    HAND,
    HEAD_HALF_DEPTH,
    HEAD_HALF_HEIGHT,
    HEAD_HALF_WIDTH,
    SHOULDER_HALF,
    Skeleton,
)
from rewho.rendered.solids import ARM, HEAD, SKIRT, TRUNK, Solid, ellipsoid, limb, stack


def legs(body: Skeleton) -> Iterator[Solid]:
    """Yield thighs, shins and shoes; shorts end above the knee, a skirt shows the legs."""
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


def trunk(body: Skeleton) -> Iterator[Solid]:
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
    yield stack("trunk", [(body.spine(up), width, deep) for up, width, deep in levels], "trunk", TRUNK)
    neck = (body.spine(0.8), body.spine(CHIN + 0.01))
    yield limb("neck", neck, (0.034 * size, 0.03 * size), "skin", TRUNK - 0.02)
    if person.bottom in ("skirt", "long skirt"):
        low, wider = (0.3, 1.35) if person.bottom == "skirt" else (0.12, 1.5)
        sway = 0.02 * np.sin(body.pose.phase) * body.pose.swing
        fall = ((0.56, 0.9 * hip, belly), (0.5, 1.06 * hip, belly * 1.15), (low, wider * hip, wider * belly))
        skirt = [(body.spine(up, forward=sway * (0.56 - up)), width, deep) for up, width, deep in fall]
        yield stack("skirt", skirt, "skirt", SKIRT)


def arms(body: Skeleton) -> Iterator[Solid]:
    """Yield arms: bare below a short sleeve, bare all along from a tank top."""
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


def head(body: Skeleton) -> Iterator[Solid]:
    """Yield the head, the hair that stands off it, and the hat."""
    person, middle = body.identity, body["head"]
    size = person.height
    half = (HEAD_HALF_WIDTH * size, HEAD_HALF_HEIGHT * size, HEAD_HALF_DEPTH * size)
    yield stack("head", ellipsoid(middle, half), "head", HEAD)
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
