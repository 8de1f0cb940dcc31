"""Time to reach sampled frames: jumping to keyframes, decoding everything, and PyAV bare in the same process.

Unusual: all sides are measured in turns within one run. Ours includes starting the decoding process, reading every
packet and passing frames through a pipe; PyAV bare is a loop that decodes all frames and converts the wanted ones. The
video is made up: a texture that drifts, 1280 x 720, with a keyframe every `--gop` frames.

    python benchmarks/video_frames.py --frames 750 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from rewho.core.runtime import generator
from rewho.settings import SamplingSettings
from rewho.video.frames import sample_frames


def write_video(path: Path, frames: int, gop: int) -> None:
    """Write a drifting texture."""
    rng = generator(1, "benchmark video")
    texture = cv2.resize(rng.integers(0, 256, (80, 160, 3), np.uint8), (1280 + 4 * frames, 720))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"preset": "superfast"}
        for number in range(frames):
            image = np.ascontiguousarray(texture[:, 4 * number : 4 * number + 1280])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def bare(path: Path, every: int) -> int:
    """Decode every frame and convert the wanted ones, in this process."""
    taken = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0:
                taken += frame.to_ndarray(format="rgb24").shape[0] > 0
    return taken


def ours(path: Path, every: int, seek: bool) -> int:
    """Take the same frames with `sample_frames`."""
    return sum(1 for _ in sample_frames(path, SamplingSettings(every=every, seek=seek)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=750)
    parser.add_argument("--gop", type=int, nargs="+", default=[12, 250])
    parser.add_argument("--every", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    print("| keyframe every | sampled every | PyAV bare, s | ours, all decoded | ours, jumping | jumping / bare |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for gop in options.gop:
            path = Path(folder) / f"{gop}.mp4"
            write_video(path, options.frames, gop)
            for every in options.every:
                sides: dict[str, Callable[[], int]] = {
                    "bare": lambda path=path, every=every: bare(path, every),
                    "all": lambda path=path, every=every: ours(path, every, False),
                    "jumping": lambda path=path, every=every: ours(path, every, True),
                }
                times: dict[str, list[float]] = {name: [] for name in sides}
                for _ in range(options.rounds):
                    counts = set()
                    for name, side in sides.items():
                        started = time.perf_counter()
                        counts.add(side())
                        times[name].append(time.perf_counter() - started)
                    assert len(counts) == 1, "all sides take the same frames"
                took = {name: statistics.median(values) for name, values in times.items()}
                rows.append({"gop": gop, "every": every, **took})
                print(
                    f"| {gop} | {every} | {took['bare']:.2f} | {took['all']:.2f} | {took['jumping']:.2f} "
                    f"| {took['jumping'] / took['bare']:.2f} |"
                )
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
