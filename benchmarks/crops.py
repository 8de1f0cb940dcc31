"""Building a crop set: what it costs beside decoder, detector and keypoints, and what a second process gives.

One run measures, on the same video,

* bare, in processor time and in wall time: frames decoded, people found, keypoints found, nothing kept;
* whole: the same as `rewho crop` does it, with probe, screen, hash, cutting, encoding, fingerprints and the part;
* one and two worker processes on copies of the video, from start to finished set, models loaded anew in each (that
  they are copies is found only when parts are joined);
* crops read at random from the set.

Each is the best of some rounds, taken in turn, because other programs disturb one round more than the other.

Run: python benchmarks/crops.py --video FILE --detector ONNX --pose ONNX [--every 20] [--rounds 3] [--copies 4]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewho.crops.inputs import VideoTask
from rewho.crops.one_video import PartMaker
from rewho.crops.people_source import VideoPeople
from rewho.crops.shards import CropSet
from rewho.settings import (
    CropSettings,
    DetectorSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    TermsSettings,
)
from rewho.stages import crop

TERMS = TermsSettings(*(["benchmark"] * 7))


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor_seconds(work: Callable[[], object]) -> float:
    """Return how long processors are busy with a piece of work, decoding processes counted."""
    before = os.times()
    work()
    return sum(after - then for after, then in zip(os.times()[:4], before[:4], strict=True))


def overhead(settings: CropSettings, video: Path, rounds: int, place: Path) -> None:
    """Measure bare and whole on one video, in this process."""
    source = VideoPeople(settings)
    frames = sum(1 for _ in source.people(video))  # models are loaded, files are in the cache
    maker = PartMaker(place, settings, "benchmark", source, place / "aside")
    for name, measure in (("processor", processor_seconds), ("wall", seconds)):
        bare, whole = [], []
        for number in range(rounds):
            bare.append(measure(lambda: sum(1 for _ in source.people(video))))
            task = VideoTask(f"{video}", number)  # another length each round, so that each has a part of its own
            whole.append(measure(lambda task=task: maker(task)))
            shutil.rmtree(place)  # so that the next part is made, not found
        each = [1000 * min(times) / frames for times in (bare, whole)]
        print(f"{frames} frames, {name} time: bare {each[0]:.1f} ms each, whole {each[1]:.1f} ms")
        print(f"whole / bare: {each[1] / each[0]:.2f} (at most 1.25 is wanted)")


def processes(settings: CropSettings, video: Path, copies: int, rounds: int, place: Path) -> Path:
    """Measure one and two worker processes; return the last set."""
    folder = place / "videos"
    folder.mkdir()
    for number in range(copies):
        shutil.copyfile(video, folder / f"{number}{video.suffix}")
    found: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, times in found.items():
            out = place / f"crops-{number}-{workers}"
            chosen = replace(settings, videos=(folder,), out=out, workers=workers)
            times.append(seconds(lambda chosen=chosen: crop.run(chosen)))
    one, two = min(found[1]), min(found[2])
    print(f"{copies} videos: one process {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast (1.7 is wanted)")
    return out


def reading(folder: Path) -> None:
    """Measure random access."""
    crops = CropSet.open(folder)
    rows = np.random.default_rng(1).integers(0, len(crops), 5000).tolist()
    crops.bytes(0)
    encoded = seconds(lambda: [crops.bytes(row) for row in rows]) / len(rows)
    decoded = seconds(lambda: [crops[row] for row in rows[:500]]) / 500
    print(f"a crop at random: {1e6 * encoded:.1f} µs encoded, {1e6 * decoded:.0f} µs decoded")


def main() -> None:
    """Read the command line and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("video", "detector", "pose"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, default in (("every", 20), ("rounds", 3), ("copies", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    settings = CropSettings(
        terms=TERMS,
        sampling=SamplingSettings(every=given.every),
        detector=DetectorSettings(weights=given.detector, threads=1),
        pose=PoseSettings(weights=given.pose, threads=1),
        rules=RuleSettings(min_confidence=0.5),
    )
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        overhead(settings, given.video, given.rounds, place / "parts")
        if given.copies > 1:
            reading(processes(replace(settings), given.video, given.copies, given.rounds, place))


if __name__ == "__main__":
    main()
