"""What a rendered person carries: a backpack, a handbag or a shoulder bag, with straps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rewho.rendered.skeleton import SHOULDER_HALF, Skeleton
from rewho.rendered.solids import ARM, TRUNK, Solid, limb, stack


def bag(body: Skeleton) -> Iterator[Solid]:
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
