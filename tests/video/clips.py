"""Small videos for tests, sound and damaged in every way that came to mind, and what is known of each."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rewho.settings import SamplingSettings
from rewho.video.frames import sample_frames

SIZE = (48, 64)  # height, width


def barcode(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return an image in whose upper half the frame's number stands as 10 black and white blocks."""
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(10):
        left, right = bit * width // 10, (bit + 1) * width // 10
        image[: height // 2, left:right] = 235 if number >> bit & 1 else 20
    image[height // 2 :, : width // 2, 0] = 200  # the lower left is red, so that turned images can be told
    return image


def read_number(image: np.ndarray) -> int:
    """Return the number that stands in such an image."""
    height, width = image.shape[:2]
    bits = [image[height // 8 : height // 3, (2 * bit + 1) * width // 20].mean() > 128 for bit in range(10)]
    return sum(1 << bit for bit, one in enumerate(bits) if one)


def write_clip(
    path: Any,
    images: Iterable[np.ndarray],
    *,
    fps: int = 25,
    gop: int = 12,
    codec: str = "libx264",
    stamps: Iterable[int] | None = None,
    rotation: int = 0,
    audio: bool = False,
    title: str = "",
    late: int = 0,
    kind: str | None = None,
    aspect: Fraction | None = None,
    transfer: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video to a path or a file.

    `stamps` gives each frame's place in units of 1/1000 s, for a rate that varies; `late` is the second it starts at.
    """
    import av

    images = list(images)
    file = str(path) if isinstance(path, Path) else path
    with av.open(file, "w", format=kind) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if transfer:  # HDR: BT.2020 with this transfer function
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace = transfer, 9, 9
        if rotation:
            stream.set_display_rotation(rotation)
        # A keyframe at every change of image would fall where no test expects it.
        stream.options = {**({"sc_threshold": "0"} if codec == "libx264" else {}), **(options or {})}
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        for order, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = list(stamps)[order], Fraction(1, 1000)
            elif late:
                frame.pts, frame.time_base = late * fps + order, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            for place in range(0, int(16000 * len(images) / fps), 1024):
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                wave.sample_rate, wave.pts, wave.time_base = 16000, place, Fraction(1, 16000)
                container.mux(sound.encode(wave))
            container.mux(sound.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with sound alone."""
    import av

    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for place in range(0, int(16000 * seconds), 1024):
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            wave.sample_rate, wave.pts, wave.time_base = 16000, place, Fraction(1, 16000)
            container.mux(sound.encode(wave))
        container.mux(sound.encode(None))
    return path


def sampled(path: Path, **sampling: object) -> list[tuple[int, int, float]]:
    """Return the number that a frame claims, the one that stands in its image, and its time."""
    found = sample_frames(path, SamplingSettings(**sampling))
    return [(frame.number, read_number(frame.image), round(frame.time, 3)) for frame in found]
