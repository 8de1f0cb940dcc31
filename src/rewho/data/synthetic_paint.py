"""Paints the parts of a figure into a small picture with soft edges, shading and textures.

Every part is painted from formulas (distance to the edge, angle around the limb) rather than from polygons, so that
edges are smooth at any size and a texture turns with the body. The picture is as large as the figure, whether or not
that fits into a frame: the share of it that is visible can then be counted.

Pictures are planar here, [channels, H, W]: numpy is three times slower where the last axis has three entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.data.synthetic_figure import Figure, Part

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """Where the light comes from.

    Args:
        side: From the left (-1) over the camera (0) to the right (1).
        ambient: Brightness of what the light does not reach, 0 to 1.
    """

    side: float = 0.3
    ambient: float = 0.55


@dataclass(frozen=True)
class Patch:
    """Something painted, and where on the canvas it belongs.

    Args:
        pixels: [4, H, W] red, green and blue, 0 to 255 and already multiplied with alpha, and alpha, 0 to 1.
        owner: [H, W] index of the front-most part, -1 where there is none.
        left: Column of the canvas on which the patch begins; may lie outside of it.
        top: Row of the canvas on which the patch begins.
    """

    pixels: Floats
    owner: NDArray[np.int16]
    left: int
    top: int


def paint_figure(figure: Figure, scale: float, light: Light, at: tuple[float, float] = (0.0, 0.0)) -> Patch:
    """Paint a figure.

    Args:
        figure: Who, and how they stand.
        scale: Pixels per metre.
        light: Where the light comes from.
        at: x and y on the canvas, in pixels, of the ground below the figure's hips.

    Example:
        >>> from rewho.data.synthetic_figure import build_figure
        >>> from rewho.data.synthetic_person import Identity
        >>> from rewho.data.synthetic_skeleton import Pose
        >>> patch = paint_figure(build_figure(Identity.draw(1, 7), Pose(0.0, 0.0)), 50.0, Light())
        >>> patch.pixels.shape[0], bool(patch.pixels[3].max() == 1.0)
        (4, True)
    """
    left, top, right, bottom = (np.asarray(figure.box) * scale + np.tile(at, 2)).tolist()
    x0, y0 = int(left // 1) - 1, int(top // 1) - 1
    height, width = int(bottom) + 3 - y0, int(right) + 3 - x0
    pixels, owner = np.zeros((4, height, width), np.float32), np.full((height, width), -1, np.int16)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)
    move = np.array([at[0] - x0, at[1] - y0, 0.0])
    boxes = np.array([part.box for part in figure.parts]) * scale + np.tile(move[:2], 2) + (-1, -1, 2, 2)
    for index, (part, box) in enumerate(zip(figure.parts, boxes.astype(int).tolist(), strict=True)):
        down, across = slice(max(0, box[1]), box[3]), slice(max(0, box[0]), box[2])
        measure = _limb if len(part.outline) == 2 else _stack
        cover, u, v = measure(part.outline * scale + move, columns[:, across], rows[down])
        shown, window = _shade(part, u, v, light), pixels[:, down, across]
        shown -= window
        shown *= cover
        window += shown  # paints over what is there: c + (new - c) * cover
        owner[down, across][cover > 0.5] = index
    return Patch(pixels, owner, x0, y0)


def composite(canvas: Floats, patch: Patch, owners: NDArray[np.int32] | None = None, first: int = 0) -> None:
    """Paint a patch over a canvas, in place; what lies outside of the canvas is cut off.

    Args:
        canvas: [3, H, W] RGB 0 to 255.
        patch: What is painted.
        owners: [H, W] for whom each pixel was painted last; updated where the patch covers more than half.
        first: Number that part 0 of the patch gets in `owners`.
    """
    height, width = canvas.shape[1:]
    top, left = max(0, patch.top), max(0, patch.left)
    bottom, right = min(height, patch.top + patch.owner.shape[0]), min(width, patch.left + patch.owner.shape[1])
    if top >= bottom or left >= right:
        return
    there = (slice(top, bottom), slice(left, right))
    here = (slice(top - patch.top, bottom - patch.top), slice(left - patch.left, right - patch.left))
    window = canvas[:, *there]
    window *= 1 - patch.pixels[3, *here]
    window += patch.pixels[:3, *here]
    if owners is not None:
        solid = patch.pixels[3, *here] > 0.5
        owners[there][solid] = patch.owner[here][solid] + first


def _unit(values: Floats) -> Floats:
    """Clip to 0 to 1 in place; np.clip takes three times as long on arrays as small as these."""
    np.minimum(values, 1, out=values)
    return np.maximum(values, 0, out=values)


def _limb(outline: NDArray[np.float64], x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return cover, position across (-1 to 1) and position along (0 to 1) of a tapered limb with round ends."""
    (ax, ay, first), (bx, by, second) = outline.tolist()
    dx, dy = bx - ax, by - ay
    length = max(dx * dx + dy * dy, 1e-6)
    x, y = x - ax, y - ay
    along = _unit(x * (dx / length) + y * (dy / length))
    half = along * (second - first)
    half += first
    from_x, from_y = x - along * dx, y - along * dy
    from_x *= from_x
    from_y *= from_y
    from_x += from_y
    cover = half - np.sqrt(from_x, out=from_x)
    cover += 0.5
    sign = (1 if dy >= 0 else -1) / length**0.5  # + is to the right of a hanging limb
    across = x * (dy * sign) - y * (dx * sign)
    across /= np.maximum(half, 1e-3, out=half)
    return _unit(cover), across, along


def _stack(outline: NDArray[np.float64], x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return cover, position across (-1 to 1) and position along (0 to 1) of a stack of levels."""
    levels, rows = outline[:, 1], y[:, 0]
    middle = np.interp(rows, levels, outline[:, 0]).astype(np.float32)[:, None]
    half = np.interp(rows, levels, outline[:, 2]).astype(np.float32)[:, None]
    # The distance to a slanting edge is shorter than the distance along the row.
    slant = np.diff(half, axis=0, append=half[-1:])
    offset = x - middle
    cover = half - np.abs(offset)
    cover /= np.sqrt(1 + slant * slant)
    cover += 0.5
    ends = _unit(np.minimum(y - float(levels[0]), float(levels[-1]) - y) + np.float32(0.5))
    offset /= np.maximum(half, 1e-3)
    along = _unit((y - float(levels[0])) / max(float(levels[-1] - levels[0]), 1e-6))
    return _unit(cover) * ends, offset, np.broadcast_to(along, offset.shape)


def _shade(part: Part, across: Floats, along: Floats, light: Light) -> Floats:
    """Return the lit colour of each pixel of a part, [4, H, W] with an alpha of 1."""
    np.minimum(across, 1, out=across)
    sine = np.maximum(across, -1, out=across)
    lit = np.sqrt(1 - sine * sine)  # how far the surface faces the camera
    lit *= (1 - light.side**2) ** 0.5
    lit += sine * light.side
    np.maximum(lit, 0, out=lit)
    lit *= 1.12 - light.ambient
    lit += light.ambient
    shown = np.empty((4, *across.shape), np.float32)
    shown[3] = 1
    rows, columns = part.texture.shape[1:]
    if rows == 1:
        np.multiply(part.texture, lit, out=shown[:3])
        return shown
    # Counted from the body's front, the surface seen at `across` lies at asin(across) - yaw.
    angle = np.arcsin(sine, out=sine)
    angle += 6 * np.pi - part.turn % (2 * np.pi)
    angle *= columns / (2 * np.pi)
    where = angle.astype(np.int32)
    where %= columns
    where += np.minimum((along * rows).astype(np.int32), rows - 1) * columns
    np.multiply(part.texture.reshape(3, -1).take(where, axis=1), lit, out=shown[:3])
    return shown
