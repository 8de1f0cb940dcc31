"""Which boxes are kept of sequences with ground truth, and what each rule does to recall and precision.

Unusual: nothing is timed here. Every frame goes through the detector and the pose model once, with keypoints for all
boxes; then the rules are applied as they are, and with each one left out. A person is wanted who is visible enough by
the ground truth and whose true box passes the rules on size; a kept box is right that overlaps with somebody by half.

    python benchmarks/kept_boxes.py --mot mot17-mini --detector yolox_nano.onnx --pose mediapipe_pose_landmark_lite.onnx
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.settings import DetectorSettings, PoseSettings, RuleSettings
from rewho.video.adapters import build_detector, build_pose
from rewho.video.boxes import compute_iou
from rewho.video.detect import detect_frames
from rewho.video.detector import Detector
from rewho.video.people import Frame, FramePeople
from rewho.video.pose import PoseEstimator
from rewho.video.rules import apply_rules, clip_boxes, find_box_failures, rule_names

SAME = 0.5  # least overlap of a right box
OFF = {
    "ratio_not_above": {"min_ratio": -1.0},
    "ratio_not_below": {"max_ratio": 1e9},
    "confidence_not_above": {"min_confidence": -1.0},
    "width_not_above": {"min_width": -1.0},
    "head": {"head_points": 0},
    "upper_body": {"upper_points": 0},
    "lower_body": {"lower_points": 0},
    "any rule on the body": {"head_points": 0, "upper_points": 0, "lower_points": 0},
    "confidence and body": {"min_confidence": -1.0, "head_points": 0, "upper_points": 0, "lower_points": 0},
}


def read_truth(sequence: Path) -> dict[int, NDArray[np.float64]]:
    """Return [N, 5] of box and visible share per frame, pedestrians only."""
    rows = np.loadtxt(sequence / "gt" / "gt.txt", delimiter=",", ndmin=2)
    rows = rows[(rows[:, 6] == 1) & (rows[:, 7] == 1)]
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6], rows[:, 8:9]], axis=1)
    return {int(number): boxes[rows[:, 0] == number] for number in np.unique(rows[:, 0])}


def look(sequence: Path, detector: Detector, pose: PoseEstimator) -> list[FramePeople]:
    """Return the frames of a sequence with everybody in them."""
    frames = []
    for path in sorted((sequence / sequence.name).glob("*.jpg")):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        frames.append(Frame(int(path.stem) - 1, 0.0, np.asarray(image, np.uint8)))
    detector.begin(sequence / "det" / "det.mp4")  # replay looks for det.txt there
    return list(detect_frames(frames, detector, pose, RuleSettings(), only_possible=False))


def score(
    found: list[FramePeople], truth: dict[int, NDArray[np.float64]], rules: RuleSettings, visible: float
) -> Counter[str]:
    """Count wanted people, those whose box is kept, kept boxes, those that are somebody, those that are wanted."""
    counted: Counter[str] = Counter()
    for one in found:
        size = one.frame.image.shape[:2]
        true = truth.get(one.frame.number + 1, np.zeros((0, 5)))
        boxes = clip_boxes(true[:, :4], size)
        wanted = (true[:, 4] >= visible) & ~find_box_failures(boxes, np.ones(len(true)), RuleSettings()).any(1)
        judged = apply_rules([person.person for person in one.people], size, rules)
        listed = np.array([person.person.box for person in judged]).reshape(-1, 4)
        kept = clip_boxes(listed[[not person.reasons for person in judged]], size)
        shared, shared_all = compute_iou(boxes, kept), compute_iou(boxes, clip_boxes(listed, size))
        counted["wanted"] += int(wanted.sum())
        counted["wanted and detected"] += int((shared_all[wanted].max(1, initial=0) >= SAME).sum())
        counted["wanted and kept"] += int((shared[wanted].max(1, initial=0) >= SAME).sum())
        counted["detected"] += len(listed)
        counted["kept"] += len(kept)
        counted["kept and somebody"] += int((shared.max(0, initial=0) >= SAME).sum())
        counted["kept and visible"] += int((shared[true[:, 4] >= visible].max(0, initial=0) >= SAME).sum())
    return counted


def share(counted: Counter[str], part: str, whole: str) -> str:
    return f"{counted[part] / counted[whole]:.3f}" if counted[whole] else "–"


def row(name: str, counted: Counter[str]) -> str:
    return (
        f"| {name} | {counted['wanted']} | {share(counted, 'wanted and detected', 'wanted')} "
        f"| {share(counted, 'wanted and kept', 'wanted')} | {counted['kept']} "
        f"| {share(counted, 'kept and somebody', 'kept')} | {share(counted, 'kept and visible', 'kept')} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mot", type=Path, required=True, help="folder of sequences")
    parser.add_argument("--detector", default="", help="ONNX file or hog; without it, each sequence's det.txt")
    parser.add_argument("--pose", type=Path, required=True, help="ONNX file")
    parser.add_argument("--visible", type=float, default=0.7, help="least visible share of a wanted person")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    file = Path(options.detector) if options.detector.endswith(".onnx") else None
    kind = "onnx" if file else options.detector or "replay"
    detector = build_detector(DetectorSettings(kind=kind, weights=file, threads=1))
    pose = build_pose(PoseSettings(weights=options.pose, threads=1))
    assert pose is not None
    seen, truths = {}, {}
    for sequence in sorted(path for path in options.mot.iterdir() if (path / "gt" / "gt.txt").is_file()):
        seen[sequence.name], truths[sequence.name] = look(sequence, detector, pose), read_truth(sequence)
    print(
        "| sequence | wanted | detected | recall | kept | precision, anybody | precision, visible |\n"
        + "|---" * 7
        + "|"
    )
    totals: dict[str, Counter[str]] = {}
    for name, found in seen.items():
        totals[name] = score(found, truths[name], RuleSettings(), options.visible)
        print(row(name, totals[name]))
    for label, changes in {"all rules": {}, **{f"without {name}": off for name, off in OFF.items()}}.items():
        rules = replace(RuleSettings(), **changes)
        totals[label] = sum(
            (score(found, truths[name], rules, options.visible) for name, found in seen.items()), Counter()
        )
        print(row(label, totals[label]))
    reasons = Counter(
        reason for found in seen.values() for one in found for person in one.people for reason in person.reasons
    )
    alone = Counter(p.reasons[0] for found in seen.values() for one in found for p in one.people if len(p.reasons) == 1)
    print("\n| rule | boxes that fail it | that fail nothing else |\n|---|---|---|")
    for name in rule_names():
        print(f"| {name} | {reasons[name]} | {alone[name]} |")
    if options.out:
        options.out.write_text(json.dumps({"totals": totals, "reasons": reasons, "alone": alone}, indent=1))


if __name__ == "__main__":
    main()
