"""Settings of `rewho crop`, from video files to kept bounding boxes of people.

All thresholds of LUPerson section 3.1 are here. "Paper: 100" means that the paper gives this value; "ours" marks a
value that it does not give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import check_interval
from rewho.settings.fields import Mistake, Processes, Range, Share
from rewho.settings.training import DeviceSettings


@dataclass(frozen=True)
class SamplingSettings:
    """Which frames of a video are used.

    Args:
        by: frames (every n-th; the paper's way), seconds (one frame every t seconds) or keyframes (all keyframes;
            fastest, because nothing between them is decoded).
        every: With `by: frames`, use every n-th frame. Paper: 100.
        offset: With `by: frames`, number of the first frame used, counted from 0. Ours.
        seconds: With `by: seconds`, seconds between two frames. 4 s are 100 frames at 25 per second.
        seek: Jump to the last keyframe before the next frame used; the frames are the same without it, only slower.
    """

    by: Literal["frames", "seconds", "keyframes"] = "frames"
    every: Annotated[int, Range(1, 10**9)] = 100
    offset: Annotated[int, Range(0, 10**9)] = 0
    seconds: Annotated[float, Range(0.001, 1_000_000)] = 4.0
    seek: bool = True


@dataclass(frozen=True)
class LimitSettings:
    """Limits for one video; a video that exceeds one is rejected with the reason, and the run continues.

    Args:
        seconds: Longest time to wait for one video's decoder in all, in seconds, without the detectors' time.
        silence: Longest time in seconds without output from the decoder, after which it counts as hung.
        memory_mb: Memory limit of the decoding process in megabytes (decoding 4K takes about 500).
        megapixels: Largest frame, in millions of pixels; 8K video has 33.2.
        hours: Longest duration in hours, as the container gives it. Street walks like the paper's last up to four.
        threads: Decoder threads; 1 is best when several videos are processed at once.
    """

    seconds: Annotated[float, Range(0, above=True)] = 3600.0
    silence: Annotated[float, Range(0, above=True)] = 60.0
    memory_mb: Annotated[int, Range(1)] = 2048
    megapixels: Annotated[float, Range(0, above=True)] = 36.0
    hours: Annotated[float, Range(0, above=True)] = 8.0
    threads: Processes = 1


@dataclass(frozen=True)
class ScreenSettings:
    """Which videos are rejected as a whole (LUPerson section 3.1); each rejection has its reason.

    Args:
        duplicates_by_content: Reject a file whose bytes (sha256) were seen before.
        duplicates_by_key: Reject a video whose key (such as the platform's video id) was seen before, as in the paper.
        min_frames: Reject videos with fewer frames. Paper: 100.
        static_frames: Number of evenly spaced frames to compare; 0 compares none. Paper: 5.
        static_difference: Two frames count as the same if they differ by at most this many grey levels (0 to 255) in
            each of 64 × 36 cells. The paper says "the same", but coding noise alone is one or two levels; one distant
            person who crosses an empty street is ten and more in a few cells, and nothing on average.
        refuse_vr: Reject VR and 360-degree videos. The paper does not say how it finds them. Ours: the container says
            so (spherical or stereo metadata), or the name does (`vr_words`), or the image is twice as wide as high and
            its left border continues at its right one.
        vr_words: Words in a file name or title that mark VR videos, in any case; `360°` is read as `360 degree`. A bare
            360 is not one of them: it is often the height in pixels.
        vr_seam: Largest ratio of the difference across the seam (first to last column) to the difference of
            neighbouring columns for which a 2:1 image counts as equirectangular. A wrapped panorama has about 1,
            a street image 5 and more.
        refuse_hdr: Reject HDR videos (PQ or HLG). Otherwise their frames are tone-mapped to standard dynamic range, and
            the list of videos notes it.
        allow_cut: Keep the readable part of videos that end before their container says, or are damaged; both are
            reported.
    """

    duplicates_by_content: bool = True
    duplicates_by_key: bool = True
    min_frames: Annotated[int, Range(0)] = 100
    static_frames: Annotated[int, Range(0)] = 5
    static_difference: Annotated[float, Range(0, 255)] = 4.0
    refuse_vr: bool = True
    vr_words: tuple[str, ...] = ("vr", "vr180", "vr360", "360vr", "360 degree", "360 degrees", "equirectangular")
    vr_seam: Annotated[float, Range(0)] = 2.0
    refuse_hdr: bool = False
    allow_cut: bool = False


@dataclass(frozen=True)
class DetectorSettings(DeviceSettings):
    """The person detector.

    Args:
        kind: onnx (a file), the name of a downloaded model (`rewho models`), keypoint_rcnn (torchvision), transformers
            (RT-DETRv2, D-FINE and similar), hog (OpenCV; needs no weights, finds few people) or replay (a file of
            detections).
        weights: The ONNX file, or the .pth / .safetensors file for keypoint_rcnn.
        model: Folder or hub name for transformers, such as PekingU/rtdetr_v2_r18vd.
        description: YAML file that describes the ONNX model's input and output; by default the file beside the model
            with the ending .yaml, or else the model's output for a black image decides.
        output: Output format: yolox, yolox_decoded, yolov5, yolov8, yolonas, end2end, detr or labelled; auto reads it
            from the description, or from shapes, values and class names.
        detections: File for replay: LUPerson's published layout as JSON, or MOT's gt.txt or det.txt.
        first_frame: Number of the first frame in the detections file: 1 in MOT's and LUPerson's files, 0 in
            LUPerson-NL's.
        confidence: Detections below this confidence (0 to 1) are dropped; those between it and
            --rules.min_confidence are listed in the report.
        overlap: Of two boxes whose intersection over union exceeds this, the less confident one is dropped.
        most: Most people per frame; the most confident are kept.
        batch: Frames per forward pass.
    """

    kind: Literal[
        "onnx", "yolox-nano", "yolox-tiny", "yolox-s", "yolox-m", "keypoint_rcnn", "transformers", "hog", "replay"
    ] = "onnx"
    weights: Path | None = None
    model: str = ""
    description: Path | None = None
    output: Literal["auto", "yolox", "yolox_decoded", "yolov5", "yolov8", "yolonas", "end2end", "detr", "labelled"] = (
        "auto"
    )
    detections: Path | None = None
    first_frame: Annotated[int, Range(0)] = 1
    confidence: Share = 0.3
    overlap: Share = 0.65
    most: Annotated[int, Range(1)] = 300
    batch: Annotated[int, Range(1, 1_024)] = 8


@dataclass(frozen=True)
class PoseSettings(DeviceSettings):
    """The estimator of a person's 17 keypoints.

    Args:
        kind: onnx (a file, one person at a time), the name of a downloaded model (`rewho models`), vitpose
            (transformers), detector (keypoints of the detector or the replayed file), file (another file of detections,
            matched by overlap) or none (skip the keypoint rules).
        weights: The ONNX file.
        model: Folder or hub name for vitpose, such as usyd-community/vitpose-base-simple.
        description: YAML file that describes the ONNX model's input and output; by default the file beside the model
            with the ending .yaml, or else the model's output for a black image decides.
        keypoints: File for `kind: file`, in LUPerson's published layout as JSON.
        first_frame: Number of the first frame in that file.
        only_possible: Estimate only boxes that pass the rules on size and confidence, which saves most of the time. The
            others are listed without keypoints.
        batch: People per forward pass.
    """

    kind: Literal["onnx", "mediapipe-pose", "vitpose", "detector", "file", "none"] = "onnx"
    weights: Path | None = None
    model: str = ""
    description: Path | None = None
    keypoints: Path | None = None
    first_frame: Annotated[int, Range(0)] = 1
    only_possible: bool = True
    batch: Annotated[int, Range(1, 4_096)] = 32


@dataclass(frozen=True)
class RuleSettings:
    """Which boxes are kept (LUPerson section 3.1).

    Args:
        min_ratio: Height over width must exceed this. Paper: 1.5.
        max_ratio: Height over width must be below this. Paper: 5.
        min_confidence: The detection's confidence must exceed this. Paper: 0.72.
        min_width: The width in pixels must exceed this. Paper: 48.
        side_gap: Least distance in pixels between box and left or right border of the frame; 0 is off. Ours. A person
            cut lengthwise by that border is half a person, and pose models invent the rest, so that the keypoint rules
            pass; 2 rejects boxes that end at the border.
        clip_first: Clip the box to the frame before testing it, because the clipped image is stored. Ours.
        keypoint_score: Score from which a keypoint counts as visible, 0 to 1. Ours; 0.3 is HRNet's own threshold, in
            the middle of the gap between visible (above 0.5) and guessed (below 0.1).
        head_points: How many of nose, eyes and ears must be visible. Ours; 1, because from behind and from the side a
            head often shows one ear only.
        upper_points: How many of shoulders, elbows and wrists must be visible, one shoulder among them. Ours; 2,
            because a single point is often a hand behind somebody else.
        lower_points: How many of hips and knees must be visible. Paper: 1.
        margin: A keypoint outside the box by more than this fraction of its side counts as not visible, because it is
            not in the stored image. Ours.
    """

    min_ratio: Annotated[float, Range(0)] = 1.5
    max_ratio: Annotated[float, Range(0, 1_000_000)] = 5.0
    min_confidence: Share = 0.72
    min_width: Annotated[float, Range(0)] = 48.0
    side_gap: Annotated[float, Range(0, 1_000_000)] = 0.0
    clip_first: bool = True
    keypoint_score: Share = 0.3
    head_points: Annotated[int, Range(0, 5)] = 1
    upper_points: Annotated[int, Range(0, 6)] = 2
    lower_points: Annotated[int, Range(0, 4)] = 1
    margin: Annotated[float, Range(0)] = 0.1

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        yield from check_interval(self, "min_ratio", "max_ratio")


@dataclass(frozen=True)
class TrackingSettings:
    """How the detections of one person in neighbouring sampled frames are linked to a track.

    Args:
        kind: none, motion (a Kalman filter, overlap and assignment) or file (the ids in the file of
            --detector.kind replay, such as a tracker's output or ground truth).
        gap: Longest time in seconds between two detections of one track. A video whose sampled frames are all farther
            apart gets no tracks, with a warning.
        confident: With motion, detections of at least this confidence (0 to 1) are assigned to tracks first.
    """

    kind: Literal["none", "motion", "file"] = "none"
    gap: Annotated[float, Range(0, 3600, above=True)] = 1.0
    confident: Share = 0.5
