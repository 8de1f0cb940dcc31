"""Tracks of `rewho crop --tracking.kind motion` beside a published ByteTrack, on the same boxes in the same run.

Scores are motmetrics': IDF1, MOTA and identity switches at an overlap of 0.5, all sequences of a kind together. Boxes
are MOT17's own detections, and those of rendered streets: the ground truth of everyone of whom a detector would see
enough, with places and sizes blurred and some boxes missing or false. Sampling every n-th frame shows what is left of
a track where frames are farther apart. Milliseconds are CPU time per sampled frame, of the linking alone.

    uv run --with motmetrics --with trackers python benchmarks/tracking.py --mot MOT17
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import motmetrics
import numpy as np
from numpy.typing import NDArray

from rewho.rendered.street import street_frames
from rewho.rendered.street_files import DETECTABLE
from rewho.settings import TrackingSettings
from rewho.video.boxes import compute_iou
from rewho.video.tracks import TrackLinker

Boxes = NDArray[np.float64]
SIZE = (360, 640)
FPS = 10.0
STREETS = ((21, 50, 0.0), (22, 20, 0.0), (23, 20, 0.05))  # seed, people in 30 s, pan in frame widths per second
OVERLAP = 0.5  # least intersection over union of a person and their box
BLUR, MISSING, FALSE = 0.03, 0.1, 0.3  # of a box's height; share of boxes; boxes per frame


class Sequence(NamedTuple):
    """Per frame: people [G] with boxes [G, 4], and detections [N, 4] with confidences [N]."""

    name: str
    fps: float
    frames: list[tuple[NDArray[np.int64], Boxes, Boxes, NDArray[np.float64]]]


def read_mot(folder: Path) -> Iterator[Sequence]:
    """Yield MOT17's sequences whose images are there; people are the rows that count (flag 1, class 1)."""
    for place in sorted(folder.glob("*/gt")):
        truth, found = (np.loadtxt(place.parent / name, delimiter=",") for name in ("gt/gt.txt", "det/det.txt"))
        truth = truth[(truth[:, 6] == 1) & (truth[:, 7] == 1)]
        numbers = sorted(int(path.stem) for path in place.parent.rglob("*.jpg"))
        rate = float((place.parent / "seqinfo.ini").read_text().partition("frameRate=")[2].split()[0])
        frames = []
        for number in numbers:
            people, boxes = (rows[rows[:, 0] == number] for rows in (truth, found))
            frames.append((people[:, 1].astype(np.int64), corners(people), corners(boxes), boxes[:, 6].clip(0, 1)))
        yield Sequence(place.parent.name, rate, frames)


def corners(rows: NDArray[np.float64]) -> Boxes:
    return np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)


def render_streets(seconds: float) -> Iterator[Sequence]:
    for seed, people, pan in STREETS:
        random = np.random.default_rng(seed)
        frames = []
        for _, truth in street_frames(seconds, FPS, round(people * seconds / 30), SIZE, seed, pan):
            seen = [one for one in truth if one.visible >= DETECTABLE]
            limits = np.array([*SIZE[::-1], *SIZE[::-1]], float)
            boxes = np.clip(np.array([one.box for one in seen]).reshape(-1, 4), 0, limits)
            there = (boxes[:, 2] - boxes[:, 0] > 4) & (boxes[:, 3] - boxes[:, 1] > 4)
            ids = np.array([one.person for one in seen], np.int64)[there]
            shown = np.array([one.visible for one in seen])[there]
            frames.append((ids, boxes[there], *detect(random, boxes[there], shown, limits)))
        yield Sequence(f"street {seed}", FPS, frames)


def detect(
    random: np.random.Generator, boxes: Boxes, visible: NDArray[np.float64], limits: Boxes
) -> tuple[Boxes, NDArray[np.float64]]:
    """Return what an imperfect detector would find."""
    kept = random.random(len(boxes)) >= MISSING
    found, sure = boxes[kept], 0.4 + 0.59 * visible[kept]
    found = found + random.normal(size=found.shape) * BLUR * (found[:, 3:] - found[:, 1:2])
    false = random.poisson(FALSE)
    place, height = random.random((false, 2)) * limits[:2], random.uniform(40, 150, (false, 1))
    more = np.concatenate([place, place + height * [0.4, 1.0]], axis=1)
    return np.concatenate([found, more]), np.concatenate([sure, random.uniform(0.3, 0.6, false)])


class Ours:
    """The linker of `rewho crop`, with the time of each frame."""

    def __init__(self, fps: float, gap: float) -> None:
        self.linker = TrackLinker(TrackingSettings("motion", gap))
        self.fps, self.number = fps, 0

    def __call__(self, boxes: Boxes, confidence: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of each box's track."""
        self.number += 1
        return self.linker.link(self.number / self.fps, boxes, confidence)


class ByteTrack:
    """The ByteTrack of the library `trackers`, which starts a track at once, as ours does."""

    def __init__(self, fps: float, gap: float) -> None:
        from supervision import Detections
        from trackers import ByteTrackTracker

        self.make = Detections
        buffer = max(1, round(gap * 30))  # the library scales it by frame_rate / 30
        self.tracker = ByteTrackTracker(
            buffer, fps, track_activation_threshold=0.3, minimum_consecutive_frames=1, high_conf_det_threshold=0.5
        )

    def __call__(self, boxes: Boxes, confidence: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of each box's track, -1 where it has none."""
        if not len(boxes):
            given = self.make.empty()
        else:
            given = self.make(xyxy=boxes, confidence=confidence, class_id=np.arange(len(boxes)))
        linked = self.tracker.update(given)
        numbers = np.full(len(boxes), -1, np.int64)
        if len(linked):
            numbers[linked.class_id] = linked.tracker_id
        # The library numbers a track at its second detection; numbered at its first, as ours are, it scores better.
        for track in self.tracker.tracks:
            if track.tracker_id == -1:
                row = np.abs(boxes - track.get_state_bbox()).sum(1).argmin()
                track.tracker_id = numbers[row] = self.tracker._allocate_tracker_id()
        return numbers


def score(
    build: Callable[[float, float], Callable[[Boxes, NDArray[np.float64]], NDArray[np.int64]]],
    sequences: list[Sequence],
    every: int,
    gap: float,
) -> dict[str, float]:
    """Return a tracker's scores and its CPU milliseconds per frame."""
    accumulators, spent, count = [], 0.0, 0
    for sequence in sequences:
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        tracker = build(sequence.fps / every, gap)
        for people, truth, boxes, confidence in sequence.frames[::every]:
            began = time.process_time()
            numbers = tracker(boxes, confidence)
            spent, count = spent + time.process_time() - began, count + 1
            assert len(set(numbers[numbers >= 0].tolist())) == (numbers >= 0).sum(), "two boxes of a frame in a track"
            # A box without a track is a track of its own: the same boxes enter every score.
            alone = -1 - np.arange(len(numbers)) - 1_000 * count
            distance = 1 - compute_iou(truth, boxes)
            distance[distance > 1 - OVERLAP] = np.nan
            accumulator.update(people.tolist(), np.where(numbers >= 0, numbers, alone).tolist(), distance)
        accumulators.append(accumulator)
    host = motmetrics.metrics.create()
    wanted = ["idf1", "mota", "num_switches", "num_objects"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about motmetrics
        table: Any = host.compute_many(accumulators, metrics=wanted, generate_overall=True)
    return {**table.loc["OVERALL"].to_dict(), "ms": 1000 * spent / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mot", type=Path, help="folder of MOT17's sequences; left out without it")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each street")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--gap", type=float, default=1.0)
    options = parser.parse_args()
    kinds = {}
    if options.mot:
        kinds["MOT17"] = list(read_mot(options.mot))
    if options.seconds:
        kinds["streets"] = list(render_streets(options.seconds))
    print("| boxes | every | frames per second | tracker | IDF1 | MOTA | switches | people | ms per frame |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, sequences in kinds.items():
        rate = f"{min(one.fps for one in sequences):g} to {max(one.fps for one in sequences):g}"
        for every in options.every:
            if every > 1 and kind == "MOT17" and max(len(one.frames) for one in sequences) < 4 * every:
                continue
            for name, build in (("rewho", Ours), ("ByteTrack", ByteTrack)):
                got = score(build, sequences, every, options.gap)
                numbers = (
                    f"{got['idf1']:.3f} | {got['mota']:.3f} | {got['num_switches']:.0f} | {got['num_objects']:.0f}"
                )
                print(f"| {kind} | {every} | {rate} | {name} | {numbers} | {got['ms']:.2f} |")


if __name__ == "__main__":
    main()
