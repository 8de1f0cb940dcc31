"""Detect the people of a video: frames, detector, keypoints and rules as one stream.

What is unusual: frames pass in batches, but only one batch is in memory at a time. Frames that came before a failure
are yielded before the failure is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from rewho.core.check import check_count, check_flag
from rewho.core.progress import say
from rewho.settings import LimitSettings, RuleSettings, SamplingSettings
from rewho.video.detector import Detector
from rewho.video.frames import sample_frames
from rewho.video.people import Frame, FramePeople, Person, VideoFailure
from rewho.video.pose import PoseEstimator
from rewho.video.replay_detector import ReplayDetector
from rewho.video.rules import apply_rules, find_failures


def detect_video(
    path: Path | str,
    detector: Detector,
    pose: PoseEstimator | None,
    sampling: SamplingSettings | None = None,
    limits: LimitSettings | None = None,
    rules: RuleSettings | None = None,
    batch: int = 8,
    only_possible: bool = True,
    frames: Iterator[Frame] | None = None,
) -> Iterator[FramePeople]:
    """Yield the sampled frames of a video with all people found in them and the rules that each fails.

    Args:
        path: The video.
        detector: Finds people.
        pose: Finds keypoints; None switches the rules on the body off.
        sampling: Which frames.
        limits: Limits on time, memory and frame size.
        rules: Which boxes are kept.
        batch: Frames per call of the detector; so many are held in memory.
        only_possible: Find keypoints only for boxes that pass the rules on size and confidence.
        frames: The sampled frames, if the video is open already (`open_video`).

    Example:
        >>> list(detect_video("/dev/null", ReplayDetector(None), None))
        Traceback (most recent call last):
        ...
        rewho.video.people.VideoFailure: not a file: a pipe, socket or device
    """
    rules, batch = rules or RuleSettings(), check_count("batch", batch)
    check_flag("only_possible", only_possible)
    frames = sample_frames(path, sampling, limits) if frames is None else frames
    begun, failure, sampled, detected = False, None, 0, 0
    while True:
        waiting: list[Frame] = []
        try:
            for frame in islice(frames, batch):
                waiting.append(frame)
        except VideoFailure as error:
            failure = error
        if waiting and not begun:  # only now: a file that is not a video must not fail for missing detections
            begun = True
            for part in (detector, pose):
                if part is not None:
                    part.begin(Path(path))
        if waiting:
            for found in detect_frames(waiting, detector, pose, rules, only_possible):
                sampled, detected = sampled + 1, detected + len(found.people)
                yield found
        if failure is not None:
            raise failure
        if len(waiting) < batch:
            _warn(Path(path), detector, sampled, detected)
            return


def _warn(path: Path, detector: Detector, sampled: int, detected: int) -> None:
    """Warn if no frame of a video had a person, or if a file of detections does not match the video."""
    notes: list[str] = []
    likely = "the model may need another input (range, colour) or another class (person), or a lower confidence"
    if isinstance(detector, ReplayDetector):
        notes = detector.notes()
        likely = "the file may number frames otherwise (--detector.first_frame), or be for another video"
    if sampled and not detected:
        notes.insert(0, f"{detector.name} found nobody in any of {sampled:,} frames: {likely}")
    for note in notes:
        say(f"warning: {path}: {note}")


def detect_frames(
    frames: Sequence[Frame],
    detector: Detector,
    pose: PoseEstimator | None,
    rules: RuleSettings | None = None,
    only_possible: bool = True,
) -> Iterator[FramePeople]:
    """Yield frames, such as images, with all people found in them and the rules that each fails; see `detect_video`.

    Example:
        >>> frame = Frame(0, 0.0, np.zeros((36, 64, 3), np.uint8))
        >>> [found.people for found in detect_frames([frame], ReplayDetector(None), None)]
        [()]
    """
    rules = rules or RuleSettings()
    check_flag("only_possible", only_possible)
    people = detector.detect(frames)
    if pose is not None:
        people = _with_keypoints(frames, people, pose, rules, only_possible)
    for frame, found in zip(frames, people, strict=True):
        yield FramePeople(frame, apply_rules(found, frame.image.shape[:2], rules, body=pose is not None))


def _with_keypoints(
    frames: Sequence[Frame], people: list[list[Person]], pose: PoseEstimator, rules: RuleSettings, only_possible: bool
) -> list[list[Person]]:
    """Return all people, with keypoints for those that can still pass, or for all."""
    if not only_possible:
        return pose.add_keypoints(frames, people)
    possible = [
        np.flatnonzero(~find_failures(found, frame.image.shape[:2], rules, body=False).any(1))
        for frame, found in zip(frames, people, strict=True)
    ]
    chosen = [[found[at] for at in some] for found, some in zip(people, possible, strict=True)]
    complete = [list(found) for found in people]
    for found, some, known in zip(complete, possible, pose.add_keypoints(frames, chosen), strict=True):
        for at, person in zip(some, known, strict=True):
            found[at] = person
    return complete
