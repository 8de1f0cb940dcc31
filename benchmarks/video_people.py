"""Time per sampled frame of the whole way from a video to judged people, beside its parts measured bare.

Unusual: both sides are measured in turns within one run, with the same detector and pose model. Bare means: PyAV in
this process, decoding everything without a jump, then the detector on each frame and the pose model on the boxes that
pass the rules on size and confidence. Ours adds the process with its limits, the pipe, batches, rules and verdicts.

    python benchmarks/video_people.py --video street.mp4 --detector yolox_nano.onnx --pose pose.onnx --every 25
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import av
import numpy as np

from rewho.settings import DetectorSettings, PoseSettings, RuleSettings, SamplingSettings
from rewho.video.adapters import build_detector, build_pose
from rewho.video.detect import detect_video
from rewho.video.detector import Detector
from rewho.video.people import Frame
from rewho.video.pose import PoseEstimator
from rewho.video.rules import find_failures


def bare(path: Path, every: int, detector: Detector, pose: PoseEstimator) -> int:
    """Return how many frames were looked at, each by itself."""
    looked = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, decoded in enumerate(container.decode(stream)):
            if number % every:
                continue
            frame = Frame(number, float(decoded.time or 0), decoded.to_ndarray(format="rgb24"))
            (people,) = detector.detect([frame])
            possible = ~find_failures(people, frame.image.shape[:2], RuleSettings(), body=False).any(1)
            pose.add_keypoints([frame], [[people[at] for at in np.flatnonzero(possible)]])
            looked += 1
    return looked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True, help="ONNX file")
    parser.add_argument("--pose", type=Path, required=True, help="ONNX file")
    parser.add_argument("--every", type=int, nargs="+", default=[25, 100])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    detector = build_detector(DetectorSettings(weights=options.detector, threads=1))
    pose = build_pose(PoseSettings(weights=options.pose, threads=1))
    assert pose is not None
    print("| every | frames | bare, ms per frame | ours, ms per frame | ours / bare |\n|---|---|---|---|---|")
    for every in options.every:
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        for _ in range(options.rounds):
            started = time.perf_counter()
            count = bare(options.video, every, detector, pose)
            times["bare"].append((time.perf_counter() - started) / count)
            started = time.perf_counter()
            ours = sum(1 for _ in detect_video(options.video, detector, pose, SamplingSettings(every=every)))
            times["ours"].append((time.perf_counter() - started) / ours)
            assert ours == count
        took = {name: 1000 * statistics.median(values) for name, values in times.items()}
        print(f"| {every} | {count} | {took['bare']:.1f} | {took['ours']:.1f} | {took['ours'] / took['bare']:.2f} |")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
