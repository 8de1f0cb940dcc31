"""Convert a decoded frame to RGB as its file asks: square pixels, turned, mirrored, in standard dynamic range.

What is unusual: a frame that needs nothing of this keeps the decoder's pixels. High dynamic range is tone-mapped in
numpy, because PyAV's conversion to RGB ignores the transfer function.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLLOWED = "a video behind it in the same file is left out"
PQ, HLG = 16, 18
"""FFmpeg's numbers for the HDR transfer functions SMPTE ST 2084 and ARIB STD-B67."""
HDR = {PQ: "PQ", HLG: "HLG"}
BT2020 = 9  # FFmpeg's number for the wide primaries
WHITE, PEAK = 203.0, 1000.0  # cd/m²: diffuse white of HDR (ITU-R BT.2408), and what becomes the brightest pixel
BT709, UNNAMED = 1, 2  # FFmpeg's numbers for the colour matrix of high definition, and for none
BRIGHTEST = 65283  # swscale converts the white of 10-bit video to this, not to 65535
KNEE = 0.6  # of diffuse white; light below is unchanged, light above is compressed
GAMMA = 2.4  # of a display of standard dynamic range (BT.1886)
ROWS = 64  # rows that are tone-mapped at a time, so that memory does not depend on the frame
TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # linear BT.2020 to linear BT.709 (ITU-R BT.2087)


class Orientation(NamedTuple):
    """How to display a frame: first transpose it, then reverse its rows and its columns."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False


def read_orientation(frame: Any) -> Orientation:  # noqa: ANN401 - PyAV's frame
    """Return the orientation of a frame's display matrix, rounded to one of eight."""
    kinds = [getattr(entry, "type", entry) for entry in frame.side_data]  # entries are keys since PyAV 19
    found = [bytes(frame.side_data[kind]) for kind in kinds if kind.name == "DISPLAYMATRIX"]
    if not found or len(found[-1]) != 36:
        return Orientation()
    # x' = a·x + c·y and y' = b·x + d·y, with y pointing down.
    (a, b), (c, d) = np.frombuffer(found[-1], np.int32).reshape(3, 3)[:2, :2].astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, bool(b < 0), bool(c < 0))
    return Orientation(False, bool(d < 0), bool(a < 0))


def square_pixel_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height at which pixels of an aspect ratio are square; the short side grows."""
    if not aspect or aspect <= 0:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def lacks_matrix(frame: Any) -> bool:  # noqa: ANN401 - PyAV's frame
    """Return whether a frame of high definition does not name its colour matrix, so that BT.709 is assumed.

    Players do the same, from 1280 pixels of width or more than 576 of height. FFmpeg would assume BT.601, which turns
    saturated red, green and blue by up to 24 of 255 levels.
    """
    return bool(frame.colorspace == UNNAMED and not frame.format.is_rgb and (frame.width >= 1280 or frame.height > 576))


def to_rgb(frame: Any, aspect: Fraction | None = None) -> NDArray[np.uint8]:  # noqa: ANN401 - PyAV's frame
    """Return a decoded frame as uint8 RGB [H, W, 3] for display; `aspect` is width over height of one pixel."""
    width, height = square_pixel_size(frame.width, frame.height, aspect)
    size = {} if (width, height) == (frame.width, frame.height) else {"width": width, "height": height}
    size["threads"] = 1  # PyAV starts threads for each frame otherwise, and each keeps 16 MB until garbage is collected
    if frame.color_trc in HDR:
        wide = frame.to_ndarray(format="rgb48le", **size)
        image = tone_map(wide, frame.color_trc, wide_gamut=frame.color_primaries == BT2020)
    else:
        matrix = {"src_colorspace": BT709} if lacks_matrix(frame) else {}
        image = frame.to_ndarray(format="rgb24", **size, **matrix)
    wanted = read_orientation(frame)
    image = image.transpose(1, 0, 2) if wanted.transposed else image
    image = image[:: -1 if wanted.upside_down else 1, :: -1 if wanted.mirrored else 1]
    return np.ascontiguousarray(image)


def tone_map(image: NDArray[np.uint16], transfer: int, wide_gamut: bool) -> NDArray[np.uint8]:
    """Return an HDR image, uint16 RGB [H, W, 3] from 0 to `BRIGHTEST`, as uint8 RGB in BT.709 with gamma 2.4.

    Light up to 60 % of diffuse white keeps its level. Above, the largest of R, G and B follows an extended Reinhard
    curve with slope 1 at this knee, which reaches 1 at 1,000 cd/m²; the other two keep their ratio to it.
    `wide_gamut` says whether its primaries are BT.2020's.
    """
    mapped = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), ROWS):
        light = _light(transfer)[image[top : top + ROWS]]
        if transfer == HLG:  # the display's part of the curve: gamma 1.2 on luminance, for a peak of 1,000 cd/m²
            luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
            light *= (luminance**0.2)[..., None] * np.float32(PEAK / WHITE)
        if wide_gamut:
            light = np.maximum(light @ TO_BT709.T, 0)
        largest = np.maximum(light.max(-1, keepdims=True), 1e-6)
        above = np.maximum(largest - KNEE, 0) / (1 - KNEE)
        most = (PEAK / WHITE - KNEE) / (1 - KNEE)
        target = np.where(largest > KNEE, KNEE + (1 - KNEE) * above * (1 + above / most**2) / (1 + above), largest)
        coded = np.minimum(light * (target / largest), 1) ** np.float32(1 / GAMMA)
        mapped[top : top + ROWS] = np.round(255 * coded)
    return mapped


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """Return linear light for every 16-bit code: for PQ in units of diffuse white, for HLG scene light, 0 to 1."""
    code = np.minimum(np.arange(2**16) / BRIGHTEST, 1)
    if transfer == PQ:  # SMPTE ST 2084, equation 4.1
        root = code ** (32 / 2523)
        light = 10_000 / WHITE * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
    else:  # ITU-R BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)


def describe_changes(frame: Any, video: Any) -> str:  # noqa: ANN401
    """Return as text what is done to display the frames of a `VideoFile`, given its first; empty where nothing is."""
    aspect, joints, streams = video.aspect, video.joints, len(video.container.streams.video)
    wanted = read_orientation(frame)
    mirrored = wanted.transposed ^ wanted.upside_down ^ wanted.mirrored
    texts = (
        (streams > 1, f"stream {video.stream.index} of {streams} video streams"),
        (video.followed, FOLLOWED),
        (joints, f"timestamps joined at {joints} places"),
        (
            square_pixel_size(frame.width, frame.height, aspect) != (frame.width, frame.height),
            f"pixels of {aspect} made square",
        ),
        (frame.color_trc in HDR, f"tone-mapped from HDR ({HDR.get(frame.color_trc)})"),
        (lacks_matrix(frame), "colours read as BT.709"),
        (mirrored, "mirrored"),
        (wanted not in (Orientation(), Orientation(mirrored=True)), "turned"),
    )
    return "; ".join(text for applies, text in texts if applies)
