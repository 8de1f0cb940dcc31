"""Fabrics: patterns of one to four colours, wrapped once around a garment.

Rows run from top to bottom, columns once around the body; column 0 is the front. A pattern that covers the whole
garment is also on its sleeves and, in a dress, on its skirt; a placed one (print, logo, block) is on the trunk alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # red, green, blue, each 0 to 255
Texture = NDArray[np.float32]  # [3, rows, columns], RGB 0 to 255
ROWS, COLUMNS = 64, 96
DOWN = (np.arange(ROWS, dtype=np.float32) + 0.5)[:, None] / ROWS  # 0 at the top, 1 at the bottom
ANGLE = (np.arange(COLUMNS, dtype=np.float32)[None, :] / COLUMNS * 2 + 1) % 2 * np.pi - np.pi  # 0 front, ±pi back
Weave = Callable[[Texture, Sequence[Colour], float, np.random.Generator], None]


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> NDArray[np.float32]:
    """Return noise [H, W] from about -1 to 1: random numbers on a grid of `cells`, enlarged to `size`."""
    coarse = rng.random(cells, dtype=np.float32) * 2 - 1
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def fill(colour: Colour) -> Texture:
    """Return a texture of one colour."""
    return np.broadcast_to(np.asarray(colour, np.float32)[:, None, None], (3, ROWS, COLUMNS)).copy()


def darken(colour: Colour, factor: float) -> Colour:
    """Return a colour times a factor."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def paint(texture: Texture, where: NDArray[np.bool_], colour: Colour) -> None:
    """Give the texels `where` [rows, columns] a colour, in place."""
    np.copyto(texture, np.asarray(colour, np.float32)[:, None, None], where=where)


def weave(kind: str, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> Texture:
    """Return a fabric of a kind in `FABRICS`; the first colour is the main one, `scale` is 0 (fine) to 1 (coarse).

    Example:
        >>> weave("plaid", [(200, 30, 30), (20, 20, 60)], 0.5, np.random.default_rng(1)).shape == (3, ROWS, COLUMNS)
        True
    """
    texture = fill(colours[0])
    FABRICS[kind](texture, colours, scale, rng)
    return texture


def _leave_plain(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Leave the texture in its main colour."""


def _mottle(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    cells = (round(ROWS / (1 + 2 * scale)), round(COLUMNS / (1 + 2 * scale)))
    texture *= 1 + 0.22 * smooth_noise(rng, (ROWS, COLUMNS), cells)


def _bands(colours: Sequence[Colour], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the colours [3, 64] of one repeat of a striped cloth: two to four bands of random widths."""
    edges = np.sort(rng.random(count - 1))
    which = np.searchsorted(edges, (np.arange(64) + 0.5) / 64)
    order = [0, *rng.integers(1, len(colours), count - 1).tolist()] if len(colours) > 1 else [0] * count
    return np.asarray([colours[order[band]] for band in which], np.float32).T


def _stripe(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    repeat = _bands(colours, int(rng.integers(2, 5)), rng)
    rows = ((DOWN[:, 0] * (13 - 10 * scale)) % 1 * 64).astype(np.intp)
    texture[:] = repeat[:, rows][:, :, None]


def _pinstripe(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    repeat = _bands(colours, int(rng.integers(2, 4)), rng)
    columns = (((ANGLE[0] / np.pi + 1) * (12 - round(8 * scale))) % 1 * 64).astype(np.intp)
    texture[:] = repeat[:, columns][:, None, :]


def _plaid(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    repeat, count = _bands(colours, int(rng.integers(2, 5)), rng), 11 - round(8 * scale)
    rows = ((DOWN[:, 0] * count) % 1 * 64).astype(np.intp)
    columns = (((ANGLE[0] / np.pi + 1) * count) % 1 * 64).astype(np.intp)
    texture[:] = (repeat[:, rows][:, :, None] + repeat[:, columns][:, None, :]) / 2


def _check(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    count = 12 - round(8 * scale)
    across, along = (ANGLE / np.pi * count) % 1 < 0.5, (DOWN * count) % 1 < 0.5
    texture *= np.where(across ^ along, np.float32(1.0), np.float32(rng.uniform(0.6, 0.85)))
    paint(texture, across & along, colours[-1])


def _dot(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    count = 12 - round(7 * scale)
    x, y = (ANGLE / np.pi * count) % 1 - 0.5, (DOWN * count) % 1 - 0.5
    paint(texture, x * x + y * y < rng.uniform(0.04, 0.12), colours[1])


def _scatter(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Scatter flowers: discs of the other colours."""
    canvas = np.ascontiguousarray(texture.transpose(1, 2, 0))
    radius = 1.5 + 4 * scale
    for _ in range(round(260 / radius**1.4)):
        at = (int(rng.integers(COLUMNS)), int(rng.integers(ROWS)))
        colour = colours[int(rng.integers(1, len(colours)))]
        cv2.circle(canvas, at, max(1, round(radius * rng.uniform(0.5, 1.1))), colour, -1)
    texture[:] = canvas.transpose(2, 0, 1)


def _camouflage(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    cells = (14 - round(8 * scale), 18 - round(10 * scale))
    for colour in colours[1:]:
        paint(texture, smooth_noise(rng, (ROWS, COLUMNS), cells) > 0.2, colour)


def _fade(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    share = np.clip((DOWN - scale + 0.5) * 1.4 - 0.2, 0, 1)
    texture += share * (np.asarray(colours[1], np.float32)[:, None, None] - texture)


def _block(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Give the upper or lower part another colour."""
    edge = 0.22 + 0.4 * scale
    paint(texture, edge > DOWN if rng.random() < 0.7 else edge + 0.15 < DOWN, colours[1])


def _band(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    where = np.abs(DOWN - rng.uniform(0.3, 0.5)) < 0.05 + 0.08 * scale
    paint(texture, np.broadcast_to(where, (ROWS, COLUMNS)), colours[1])


def _panel(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Give the sides another colour."""
    paint(texture, np.broadcast_to(np.abs(np.abs(ANGLE) - np.pi / 2) < 0.3 + 0.4 * scale, (ROWS, COLUMNS)), colours[1])


def _print(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Print a pattern of the other colours on the chest, and perhaps one on the back."""
    for side in (0.0, np.pi) if rng.random() < 0.35 else (0.0,):
        x = (np.abs(ANGLE) - side) / (0.35 + 0.45 * scale)
        y = (DOWN - rng.uniform(0.33, 0.45)) / (0.12 + 0.16 * scale)
        shape = int(rng.integers(4))
        inside = [x**2 + y**2, np.maximum(np.abs(x), np.abs(y)), np.abs(x) + np.abs(y), x**4 + y**4 + 0 * x][shape] < 1
        if rng.random() < 0.4:
            inside &= np.abs(x**2 + y**2 - 0.5) > 0.25
        pattern = smooth_noise(rng, (ROWS, COLUMNS), (int(rng.integers(8, 30)), int(rng.integers(8, 30))))
        paint(texture, inside, colours[1])
        paint(texture, inside & (pattern > rng.uniform(-0.1, 0.5)), colours[-1])


def _logo(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Put a small sign on one side of the chest."""
    x, y = (ANGLE - rng.choice([-0.5, 0.5])) / 0.22, (DOWN - rng.uniform(0.18, 0.3)) / (0.03 + 0.03 * scale)
    paint(texture, (x**2 + y**2 < 1) if rng.random() < 0.5 else (np.maximum(np.abs(x), np.abs(y)) < 1), colours[1])


def _letter(texture: Texture, colours: Sequence[Colour], scale: float, rng: np.random.Generator) -> None:
    """Print lines of writing on the chest or the back."""
    side, tall = 0.0 if rng.random() < 0.75 else np.pi, 0.025 + 0.06 * scale
    ink = np.repeat(rng.random((ROWS, COLUMNS // 2)) < 0.6, 2, axis=1)
    top = rng.uniform(0.22, 0.4)
    for line in range(int(rng.integers(1, 4))):
        wide = rng.uniform(0.35, 0.8)
        at = top + line * tall * 2.6
        paint(texture, ink & (np.abs(np.abs(ANGLE) - side) < wide) & (np.abs(DOWN - at) < tall), colours[1])


FABRICS: dict[str, Weave] = {
    "plain": _leave_plain,
    "mottled": _mottle,
    "stripes": _stripe,
    "pinstripes": _pinstripe,
    "plaid": _plaid,
    "checks": _check,
    "dots": _dot,
    "flowers": _scatter,
    "camouflage": _camouflage,
    "fading": _fade,
    "block": _block,
    "band": _band,
    "panels": _panel,
    "print": _print,
    "logo": _logo,
    "lettering": _letter,
}
COVERING = frozenset({"plain", "mottled", "stripes", "pinstripes", "plaid", "checks", "dots", "flowers", "camouflage"})
