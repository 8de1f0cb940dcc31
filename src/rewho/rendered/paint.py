"""Paints the parts of a figure into a patch with soft edges, shading and textures.

Parts are painted from formulas (distance to the edge, angle around the limb), not from polygons: edges are smooth at
any size, and a texture turns with the body. The patch is as large as the figure, even outside of the frame, so that the
visible share can be counted.

Images are planar here, [channels, H, W]: numpy is three times slower where the last axis has three entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.rendered.fabric import COLUMNS, ROWS
from rewho.rendered.figure import Figure

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """The light of a scene."""

    side: float = 0.3  # where it comes from: -1 the left, 0 the camera, 1 the right
    ambient: float = 0.55  # brightness of surfaces that it does not reach, 0 to 1


@dataclass(frozen=True)
class Patch:
    """A painted object and its position on the canvas, which it may exceed."""

    pixels: Floats  # [4, H, W] RGB 0 to 255, multiplied with alpha, and alpha 0 to 1
    owner: NDArray[np.int16]  # [H, W] index of the front-most part that covers more than half of the pixel, else -1
    left: int  # column of the canvas on which it begins
    top: int  # row of the canvas on which it begins


def paint_figure(figure: Figure, scale: float, light: Light, at: tuple[float, float] = (0.0, 0.0)) -> Patch:
    """Return a painted figure at `scale` pixels per metre; `at` is the ground below its hips on the canvas, in pixels.

    Example:
        >>> from rewho.rendered.figure import build_figure
        >>> from rewho.rendered.person import Identity
        >>> from rewho.rendered.skeleton import Pose
        >>> patch = paint_figure(build_figure(Identity.draw(1, 7), Pose(0.0, 0.0)), 50.0, Light())
        >>> patch.pixels.shape[0], bool(patch.pixels[3].max() == 1.0)
        (4, True)
    """
    left, top, right, bottom = (np.asarray(figure.box) * scale + np.tile(at, 2)).tolist()
    x0, y0 = int(left // 1) - 1, int(top // 1) - 1
    pixels = np.zeros((4, int(bottom // 1) + 3 - y0, int(right // 1) + 3 - x0), np.float32)
    owner = np.full(pixels.shape[1:], -1, np.int16)
    move = np.array([at[0] - x0, at[1] - y0, 0.0])
    outlines = [part.outline * scale + move for part in figure.parts]
    order, covers, shown = _measure_and_shade(figure, outlines, _windows(figure, scale, move), light)
    solid = covers > 0.5
    for index in range(len(outlines)):
        (down, across), begin, end = order[index]
        window = pixels[:, down, across]
        new, cover = shown[:, begin:end].reshape(window.shape), covers[begin:end].reshape(window.shape[1:])
        new -= window
        new *= cover
        window += new  # paints over what is there: c + (new - c) * cover
        np.copyto(owner[down, across], index, where=solid[begin:end].reshape(cover.shape))
    return Patch(pixels, owner, x0, y0)


def _windows(figure: Figure, scale: float, move: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the window of pixels that each part may cover: first row, first column, height and width [parts, 4]."""
    boxes = np.array([part.box for part in figure.parts]) * scale + np.tile(move[:2], 2)
    low, high = np.floor(boxes[:, 1::-1]).astype(np.intp) - 1, np.floor(boxes[:, :1:-1]).astype(np.intp) + 2
    return np.concatenate([low, high - low], axis=1)


def _measure_and_shade(
    figure: Figure, outlines: list[NDArray[np.float64]], windows: NDArray[np.intp], light: Light
) -> tuple[dict[int, tuple[tuple[slice, slice], int, int]], Floats, Floats]:
    """Compute the pixels of all parts in one call: a call per part and step would cost more than the arithmetic.

    Returns:
        For each part its window and the begin and end of its pixels in the two arrays; cover 0 to 1 [pixels]; shaded
        RGB 0 to 255 with an alpha of 1 [4, pixels].
    """
    limbs = [index for index, outline in enumerate(outlines) if len(outline) == 2]
    stacks = [index for index, outline in enumerate(outlines) if len(outline) > 2]
    parts = np.array(limbs + stacks)
    fields = np.concatenate(
        [
            _measure_limbs(np.array([outlines[index] for index in limbs]), windows[limbs]),
            _measure_stacks([outlines[index] for index in stacks], windows[stacks]),
        ],
        axis=1,
    )
    sizes = windows[parts, 2] * windows[parts, 3]
    textures = np.array([part.texture for part in figure.parts], np.int32)[parts].repeat(sizes)
    ends = np.cumsum(sizes)
    order = {}
    for index, begin, end in zip(parts.tolist(), (ends - sizes).tolist(), ends.tolist(), strict=True):
        top, left, height, width = windows[index].tolist()
        order[index] = (slice(top, top + height), slice(left, left + width)), begin, end
    return order, fields[0], _shade(figure, textures, fields[1], fields[2], light)


def composite(canvas: Floats, patch: Patch, owners: NDArray[np.int32] | None = None, first: int = 0) -> None:
    """Paint a patch over a canvas, RGB 0 to 255 [3, H, W], in place and clipped to the canvas.

    `owners` [H, W] holds the number of the part that was painted last on each pixel. It is updated where a part of the
    patch covers more than half of the pixel; part 0 of the patch gets the number `first`.
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
        solid = patch.owner[here] >= 0
        owners[there][solid] = patch.owner[here][solid].astype(owners.dtype) + first  # parts of a patch are int16


def paint_shadow(canvas: Floats, figure: Figure, scale: float, at: tuple[float, float]) -> None:
    """Darken the ground around a figure's feet, in place; `scale` and `at` as for `paint_figure`."""
    x, y = (figure.keypoints[15:17, :2].mean(axis=0) * scale + at).tolist()
    top, bottom = max(0, int(y - 0.3 * scale)), min(canvas.shape[1], int(y + 0.3 * scale))
    left, right = max(0, int(x - 0.9 * scale)), min(canvas.shape[2], int(x + 0.9 * scale))
    if top >= bottom or left >= right:
        return
    down = (np.arange(top, bottom, dtype=np.float32) - y) / (0.08 * scale)
    across = (np.arange(left, right, dtype=np.float32) - x) / (0.28 * scale)
    dark = np.exp(-down * down)[:, None] * np.exp(-across * across)[None, :]
    canvas[:, top:bottom, left:right] *= 1 - np.float32(0.5) * dark


def _pixels_of(windows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return, for all pixels of all windows in order, the number of the window and row and column in it."""
    sizes = windows[:, 2] * windows[:, 3]
    number = np.arange(len(windows)).repeat(sizes)
    place = np.arange(len(number)) - (np.cumsum(sizes) - sizes)[number]
    row = place // windows[:, 3][number]
    return number, row, place - row * windows[:, 3][number]


def _clip_to_unit(values: Floats) -> Floats:
    """Clip values to 0 to 1 in place; minimum and maximum are faster than `np.clip`."""
    np.minimum(values, 1, out=values)
    return np.maximum(values, 0, out=values)


def _measure_limbs(outlines: NDArray[np.float64], windows: NDArray[np.intp]) -> Floats:
    """Return cover (0 to 1), position across (-1 to 1) and along (0 to 1) of tapered limbs with round ends [3, pixels].

    `outlines` [limbs, 2, 3] has x, y and radius of both ends in pixels.
    """
    number, row, column = _pixels_of(windows)
    start, step = outlines[:, 0], outlines[:, 1] - outlines[:, 0]
    square = np.maximum((step[:, :2] ** 2).sum(axis=1), 1e-6)
    hanging = np.where(step[:, 1] >= 0, 1, -1) / np.sqrt(square)  # across is positive to the right of a hanging limb
    begin = windows[:, 1::-1] + 0.5 - start[:, :2]
    table = np.column_stack([begin, step[:, :2], step[:, :2] / square[:, None], hanging, start[:, 2], step[:, 2]])
    x, y, dx, dy, along_x, along_y, sign, first, taper = table.T.astype(np.float32).take(number, axis=1)
    x += column
    y += row
    along = _clip_to_unit(x * along_x + y * along_y)
    radius = first + along * taper
    across = (x * dy - y * dx) * sign
    x -= along * dx
    y -= along * dy
    cover = _clip_to_unit(radius - np.sqrt(x * x + y * y) + np.float32(0.5))
    return np.stack([cover, across / np.maximum(radius, 1e-3), along])


def _measure_stacks(outlines: list[NDArray[np.float64]], windows: NDArray[np.intp]) -> Floats:
    """Return the same for stacks of levels."""
    number, row, column = _pixels_of(windows)
    tables = []
    for outline, (top, left, height, _) in zip(outlines, windows.tolist(), strict=True):
        y, levels = np.arange(top, top + height) + 0.5, np.maximum.accumulate(outline[:, 1])
        middle, half = np.interp(y, levels, outline[:, 0]), np.interp(y, levels, outline[:, 2])
        slant = np.diff(half, append=half[-1:])  # a slanting edge is nearer than along the row
        ends = np.minimum(y - levels[0], levels[-1] - y) + 0.5
        along = (y - levels[0]) / max(levels[-1] - levels[0], 1e-6)
        tables.append(np.stack([left + 0.5 - middle, half, 1 / np.sqrt(1 + slant * slant), ends, along]))
    rows = row + (np.cumsum(windows[:, 2]) - windows[:, 2])[number]
    x, half, steep, ends, along = np.concatenate(tables, axis=1).astype(np.float32).take(rows, axis=1)
    x += column
    cover = _clip_to_unit((half - np.abs(x)) * steep + np.float32(0.5)) * _clip_to_unit(ends)
    return np.stack([cover, x / np.maximum(half, 1e-3), _clip_to_unit(along)])


def _shade(figure: Figure, textures: NDArray[np.int32], across: Floats, along: Floats, light: Light) -> Floats:
    """Return the shaded colour of each pixel, [4, pixels] with an alpha of 1."""
    sine = np.maximum(np.minimum(across, 1, out=across), -1, out=across)
    lit = np.sqrt(1 - sine * sine)  # how far the surface faces the camera
    lit *= (1 - light.side**2) ** 0.5
    lit += sine * light.side
    np.maximum(lit, 0, out=lit)
    lit *= 1.12 - light.ambient
    lit += light.ambient
    # Seen from the body's front, the surface at `across` lies at the angle asin(across) - yaw.
    angle = np.arcsin(sine, out=sine)
    angle += 6 * np.pi - figure.yaw % (2 * np.pi)
    angle *= COLUMNS / (2 * np.pi)
    texel = angle.astype(np.int32)
    texel %= COLUMNS
    texel += np.minimum((along * ROWS).astype(np.int32), ROWS - 1) * COLUMNS
    texel += textures * (ROWS * COLUMNS)
    shown = np.ones((4, len(lit)), np.float32)
    np.multiply(figure.textures.take(texel, axis=1), lit, out=shown[:3])
    return shown
