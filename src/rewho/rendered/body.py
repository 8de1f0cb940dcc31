"""The dressed body of a rendered person as solids around a skeleton: legs, trunk, arms, head and bag."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rewho.rendered.skeleton import CHIN, FOREARM, HAND, HEAD_HALF, HEAD_MIDDLE, SHOULDER_HALF, Skeleton
from rewho.rendered.solids import ARM, HEAD, SKIRT, TRUNK, Solid, ellipsoid, limb, stack

LAYERED = ("open jacket", "coat", "hoodie")  # tops that are worn over another


def build_legs(body: Skeleton) -> Iterator[Solid]:
    """Yield thighs, shins and shoes. Shorts end at the thigh or the knee; below a skirt the legs are bare."""
    person = body.identity
    size = person.height * (0.4 + 0.6 * person.girth)
    trousers, short = person.bottom in ("trousers", "tights"), person.bottom == "shorts"
    loose = person.loose if trousers and person.bottom != "tights" else 1.0
    down = np.array([0.0, 0.007 * size, 0.0])
    for name in ("left", "right"):
        hip, knee, ankle = (body[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle"))
        leg, thigh = f"{name}_leg", "leg" if trousers else "skin"
        calf = ankle + 0.68 * (knee - ankle)
        hem = 0.026 * loose**2 if trousers else 0.019
        yield limb(leg, (calf, ankle), (0.035 * size * loose, hem * size), thigh)
        yield limb(leg, (knee, calf), (0.036 * size * loose, 0.035 * size * loose), thigh, 0.003)
        yield limb(leg, (hip, knee), (0.052 * size * loose, 0.037 * size * loose), thigh, 0.005)
        if short:
            wide = 0.04 * size * person.loose**2
            end = hip + (0.45 + 0.6 * person.bottom_length) * (knee - hip)
            yield limb(leg, (hip, end), (0.053 * size * person.loose, wide + 0.004 * size), "leg", 0.01)
        if person.socks and not trousers:
            yield limb(leg, (ankle + person.socks * (calf - ankle), ankle), (0.027 * size, 0.021 * size), "sock", 0.004)
        yield from _build_shoe(body, name, size, down)


def _build_shoe(body: Skeleton, name: str, size: float, down: NDArray[np.float64]) -> Iterator[Solid]:
    knee, ankle, toe = (body[f"{name}_{joint}"] for joint in ("knee", "ankle", "toe"))
    leg, heel = f"{name}_leg", ankle - np.array([0.0, 0.02 * size, 0.012 * size])
    if body.identity.shoes == "boots":
        calf = ankle + 0.4 * (knee - ankle)
        yield limb(leg, (calf, ankle), (0.034 * size, 0.029 * size), "shoe", 0.006)
    yield limb(leg, (heel - down, toe - down), (0.019 * size, 0.015 * size), "sole", 0.007)
    yield limb(leg, (heel + down, toe + down), (0.021 * size, 0.016 * size), "shoe", 0.008)


def build_trunk(body: Skeleton) -> Iterator[Solid]:
    """Yield the garment from shoulders to hips, the skirt and the neck."""
    person = body.identity
    size, coat = person.height, person.top == "coat"
    wide = SHOULDER_HALF * size * person.girth**0.6 * person.shoulders
    hip = 0.088 * size * person.girth
    loose = person.loose * (1.08 if person.top in LAYERED else 1.0)
    belly = 0.056 * size * person.girth * person.belly * loose
    hem = 0.34 if coat else person.top_length
    levels = (
        (0.848, 0.34 * wide, 0.03 * size),
        (0.836, 0.52 * wide, 0.036 * size),
        (0.824, 0.76 * wide, 0.042 * size),
        (0.81, 0.97 * wide, 0.048 * size),
        (0.79, 1.1 * wide, 0.055 * size),
        (0.755, 1.12 * wide, 0.06 * size * person.girth),
        (0.70, 0.98 * wide * loose, 0.066 * size * person.girth * loose),
        (0.62, (0.45 * wide + 0.42 * hip) * loose, belly),
        (0.54, hip * loose, belly * 1.05),
        (hem, hip * loose * (1.15 if coat else 1.02), belly * (1.25 if coat else 1.05)),
    )
    yield stack("trunk", [(body.spine(up), width, deep) for up, width, deep in levels], "trunk", TRUNK)
    neck = (body.spine(0.8), body.spine(CHIN + 0.012))
    yield limb("neck", neck, (0.034 * size, 0.029 * size), "skin", TRUNK - 0.02)
    if person.top == "hoodie":
        hood = ellipsoid(body.spine(0.845, forward=-0.03 * size), (0.06 * size, 0.032 * size, 0.045 * size))
        yield stack("trunk", hood, "sleeve", TRUNK - 0.01)
    if person.bottom in ("skirt", "long skirt", "dress"):
        yield from _build_skirt(body, hip, belly)


def _build_skirt(body: Skeleton, hip: float, belly: float) -> Iterator[Solid]:
    person = body.identity
    low, wider = (0.14, 1.4) if person.bottom == "long skirt" else (0.4 - 0.16 * person.bottom_length, 1.1)
    wider *= 0.6 + 0.4 * person.loose**2
    sway = 0.02 * np.sin(body.pose.phase) * body.pose.swing
    fall = ((0.57, 0.86 * hip, belly), (0.52, 1.04 * hip, belly * 1.12), (low, wider * hip, wider * 1.05 * belly))
    skirt = [(body.spine(up, forward=sway * (0.56 - up)), width, deep) for up, width, deep in fall]
    yield stack("skirt", skirt, "skirt", SKIRT)


def build_arms(body: Skeleton) -> Iterator[Solid]:
    """Yield arms: bare below a short sleeve, wholly bare with a tank top."""
    person = body.identity
    size = person.height * (0.35 + 0.65 * person.girth)
    thick = person.loose * (1.05 if person.top in LAYERED else 1.0)
    covered = person.top in ("long sleeves", *LAYERED)
    upper = "skin" if person.top == "tank top" else "sleeve"
    lower = "sleeve" if covered else "skin"
    cloth = thick if covered else 1.0
    for name in ("left", "right"):
        shoulder, elbow, wrist = (body[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        arm, tip = f"{name}_arm", wrist + (wrist - elbow) * (HAND / FOREARM)
        yield limb(arm, (wrist, tip), (0.016 * size, 0.013 * size), "skin", ARM)
        yield limb(arm, (elbow, wrist), (0.023 * size * cloth, 0.018 * size * cloth), lower, ARM + 0.005)
        if person.top == "t-shirt":
            yield limb(arm, (shoulder, elbow), (0.026 * size, 0.023 * size), "skin", ARM + 0.005)
            elbow = shoulder + person.sleeve_length * (elbow - shoulder)
            cloth = thick
        yield limb(arm, (shoulder, elbow), (0.031 * size * cloth, 0.027 * size * cloth), upper, ARM + 0.01)


def build_head(body: Skeleton) -> Iterator[Solid]:
    """Yield the head, the hair that stands away from it, and the hat."""
    person, middle = body.identity, body["head"]
    size = person.height * person.head
    width, height, depth = HEAD_HALF
    yield stack("head", ellipsoid(middle, (width * size, height * size, depth * size)), "head", HEAD)
    yield from _build_hair(body, size)
    if person.hat != "none":
        yield from _hat(body)


def _build_hair(body: Skeleton, size: float) -> Iterator[Solid]:
    person, middle = body.identity, body["head"]
    if person.hair_style in ("bob", "long"):
        low = -0.066 if person.hair_style == "bob" else -0.09 - 0.16 * person.hair_length
        shape = ((0.071, 0.014), (0.062, 0.036), (0.041, 0.049), (0.006, 0.053), (-0.044, 0.051), (low, 0.042))
        top = HEAD_MIDDLE + (HEAD_MIDDLE - CHIN) * (person.head - 1)
        levels = [
            (body.spine(top + up * person.head, forward=-0.032 * size), wide * size, 0.85 * wide * size)
            for up, wide in shape
        ]
        yield stack("hair", levels, "hair", HEAD - 0.015)
    elif person.hair_style == "ponytail":
        start = middle + np.array([0.0, 0.02, -0.06]) * size
        ends = (start, start + np.array([0.0, -0.07 - 0.1 * person.hair_length, -0.02]) * size)
        yield limb("hair", ends, (0.022 * size, 0.013 * size), "hair", HEAD)
    elif person.hair_style == "afro":
        ball = ellipsoid(middle + np.array([0.0, 0.012, -0.012]) * size, (0.064 * size,) * 3)
        yield stack("hair", ball, "hair", HEAD - 0.02)
    elif person.hair_style == "short":
        cap = ellipsoid(middle + np.array([0.0, 0.014, -0.008]) * size, (0.049 * size, 0.06 * size, 0.056 * size))
        yield stack("hair", cap, "hair", HEAD - 0.02)


def _hat(body: Skeleton) -> Iterator[Solid]:
    person, middle = body.identity, body["head"]
    size, tall = person.height * person.head, 0.076 if person.hat == "cap" else 0.086
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
    elif person.bag in ("handbag", "tote"):
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
    big = person.bag_size
    levels = [
        (
            body.spine(0.828 + (up - 0.828) * big, forward=-deep - 0.03 * size * big),
            wide * size * big,
            thick * size * big,
        )
        for up, wide, thick in shape
    ]
    yield stack("bag", levels, "bag", TRUNK + 0.005)
    for side in (1, -1):
        top = body.spine(0.83, lateral=side * 0.55 * across, forward=0.3 * deep)
        low = body.spine(0.69, lateral=side * 0.72 * across, forward=0.9 * deep)
        yield limb("bag", (top, low), (0.012 * size, 0.012 * size), "bag", TRUNK + 0.005)


def _handbag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hand = body["left_wrist" if person.side > 0 else "right_wrist"]
    below = np.array([0.0, -size, 0.0])
    long, deep = (0.05, 0.26) if person.bag == "tote" else (0.06, 0.16)
    long, deep = long * person.bag_size, deep * person.bag_size
    yield limb("bag", (hand + 0.04 * below, hand + 0.08 * below), (0.008 * size, 0.03 * size), "bag", ARM)
    shape = ((0.075, 0.8), (0.085, 0.9), (deep, 1.1), (deep + 0.01, 1.0))
    levels = [(hand + down * below, 0.03 * size, wide * long * size) for down, wide in shape]
    yield stack("bag", levels, "bag", ARM + 0.02)


def _shoulder_bag(body: Skeleton) -> Iterator[Solid]:
    person, size = body.identity, body.identity.height
    hip = person.side * 0.1 * size * person.girth
    across, deep = SHOULDER_HALF * size * person.shoulders, 0.07 * size * person.girth
    shape = ((0.548, 0.052), (0.538, 0.06), (0.452, 0.064), (0.442, 0.058))
    big = person.bag_size
    levels = [(body.spine(up, lateral=hip), 0.036 * size * big, long * size * big) for up, long in shape]
    yield stack("bag", levels, "bag", ARM + 0.03)
    for front in (1, -1):
        top = body.spine(0.83, lateral=-person.side * 0.5 * across, forward=front * 0.3 * deep)
        low = body.spine(0.55, lateral=hip, forward=front * deep)
        yield limb("bag", (top, low), (0.009 * size, 0.009 * size), "bag", TRUNK + 0.005)
