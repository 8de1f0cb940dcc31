"""Settings of `crop`: from video files to kept boxes of people.

Every threshold of LUPerson section 3.1 stands here. Where the paper gives a figure the docstring says so; where it is
silent the choice is ours and the reason stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Device, Mistake, Processes, Range, Share
from rewho.settings.parts import ordered


@dataclass(frozen=True)
class SamplingSettings:
    """Which frames of a video are looked at.

    Args:
        by: frames (every n-th, the paper's way), seconds (one frame every t seconds) or keyframes (all keyframes,
            the cheapest: nothing between them is decoded).
        every: With `by: frames`, look at every n-th frame; the paper takes 100.
        offset: With `by: frames`, number of the first frame looked at, counted from 0. The paper does not give it.
        seconds: With `by: seconds`, time between two frames that are looked at. 4 s are 100 frames at 25 per second.
        seek: Jump to the keyframe before the next frame that is wanted, where one lies between; the frames are the
            same without it, only slower.
    """

    by: Literal["frames", "seconds", "keyframes"] = "frames"
    every: Annotated[int, Range(1, 10**9)] = 100
    offset: Annotated[int, Range(0, 10**9)] = 0
    seconds: Annotated[float, Range(0.001, 1_000_000)] = 4.0
    seek: bool = True


@dataclass(frozen=True)
class LimitSettings:
    """What one video may cost; whatever passes a limit is refused with the reason, and the run goes on.

    Args:
        seconds: Longest time to wait for one video's decoder in all, in seconds; the time that detectors take does not
            count.
        silence: Longest time in seconds without a sign of life from the decoder before it is taken for hung.
        memory_mb: Memory that the decoding process may allocate, in megabytes (decoding 4K takes about 500).
        megapixels: Largest frame, in millions of pixels; 8K video has 33.2.
        hours: Longest duration that a container may claim, in hours. Street walks of the paper's kind last up to four.
        threads: Threads of the decoder; 1 is best where several videos are worked on at once.
    """

    seconds: Annotated[float, Range(0, above=True)] = 3600.0
    silence: Annotated[float, Range(0, above=True)] = 60.0
    memory_mb: Annotated[int, Range(1)] = 2048
    megapixels: Annotated[float, Range(0, above=True)] = 36.0
    hours: Annotated[float, Range(0, above=True)] = 8.0
    threads: Processes = 1


@dataclass(frozen=True)
class ScreenSettings:
    """Which videos are refused as a whole (LUPerson section 3.1); each refusal has its reason.

    Args:
        duplicates_by_content: Refuse a file whose bytes (sha256) were seen before.
        duplicates_by_key: Refuse a video whose key (such as the platform's video id) was seen before, as the paper
            does.
        min_frames: Refuse videos with fewer frames; the paper takes 100.
        static_frames: How many evenly spaced frames are compared; the paper takes 5. 0 compares none.
        static_difference: Frames that differ by at most this many grey levels (0 to 255) in each of 64 × 36 cells count
            as the same. The paper says "the same", but coding noise makes one or two levels of a still image; one
            distant person who crosses an empty street makes ten and more in a few cells, and nothing on average.
        refuse_vr: Refuse VR and 360-degree videos. How the paper tells is not given; ours: the container says so
            (spherical or stereo metadata), or the name says so (`vr_words`), or the image is twice as wide as high
            and its left border continues at its right one.
        vr_words: Words in a file name or title that mark VR videos, in any case; `360°` is read as `360 degree`. A bare
            360 is not among them: it is often the height in pixels.
        vr_seam: Largest ratio of the difference across the seam (first against last column) to the difference of
            neighbouring columns for which a 2:1 image counts as equirectangular. A wrapped panorama has about 1,
            a street image 5 and more.
        refuse_hdr: Refuse HDR videos (PQ or HLG). Otherwise their frames are tone-mapped to standard dynamic range, and
            the list of videos says so.
        allow_cut: Keep what can be read of videos that end before their container says; they are reported either way.
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
class DetectorSettings:
    """What finds people in frames.

    Args:
        kind: onnx (a file), keypoint_rcnn (torchvision), transformers (RT-DETRv2, D-FINE and their like), hog (OpenCV,
            needs no weights and finds little) or replay (a file of detections).
        weights: The ONNX file, or the .pth / .safetensors file for keypoint_rcnn.
        model: Folder or hub name for transformers, such as PekingU/rtdetr_v2_r18vd.
        description: YAML file that says how the ONNX model wants its input and gives its output; empty takes the file
            beside the model with the ending .yaml, and where there is none, what the model gives for a black image
            decides.
        output: yolox, yolox_decoded, yolov5, yolov8, yolonas, end2end, detr or labelled; auto takes it from the
            description, or from shapes, values and class names.
        detections: File for replay: LUPerson's published layout as JSON, or MOT's gt.txt or det.txt.
        first_frame: Number that the detections file gives to the first frame: 1 in MOT's files and LUPerson's, 0 in
            LUPerson-NL's.
        confidence: Detections below are not even listed, 0 to 1. The rules then ask for more; those between stand in
            the report.
        overlap: Of two boxes that overlap by more than this (intersection over union) the less confident one goes.
        most: Most people in one frame, the most confident ones.
        batch: Frames that go through the detector at once.
        device: auto, cpu or cuda.
        threads: Processor threads of the detector; 0 leaves it to the library.
    """

    kind: Literal["onnx", "keypoint_rcnn", "transformers", "hog", "replay"] = "onnx"
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
    device: Device = "auto"
    threads: Processes = 0


@dataclass(frozen=True)
class PoseSettings:
    """What finds the 17 keypoints of a person.

    Args:
        kind: onnx (a file, one person at a time), vitpose (transformers), detector (what the detector or the replayed
            file gave), file (another file of detections, matched by overlap) or none (the rules on visible body parts
            are then left out).
        weights: The ONNX file.
        model: Folder or hub name for vitpose, such as usyd-community/vitpose-base-simple.
        description: YAML file that says how the ONNX model wants its input and gives its output; empty takes the file
            beside the model with the ending .yaml, and where there is none, what the model gives for a black image
            decides.
        keypoints: File for `kind: file`, in LUPerson's published layout as JSON.
        first_frame: Number that this file gives to the first frame.
        only_possible: Look only at boxes that pass the rules on size and confidence; saves most of the time. The
            others are then listed without keypoints and without reasons from them.
        batch: People that go through the model at once.
        device: auto, cpu or cuda.
        threads: Processor threads of the model; 0 leaves it to the library.
    """

    kind: Literal["onnx", "vitpose", "detector", "file", "none"] = "onnx"
    weights: Path | None = None
    model: str = ""
    description: Path | None = None
    keypoints: Path | None = None
    first_frame: Annotated[int, Range(0)] = 1
    only_possible: bool = True
    batch: Annotated[int, Range(1, 4_096)] = 32
    device: Device = "auto"
    threads: Processes = 0


@dataclass(frozen=True)
class RuleSettings:
    """Which boxes are kept (LUPerson section 3.1).

    Args:
        min_ratio: Height over width must be more; the paper takes 1.5.
        max_ratio: Height over width must be less; the paper takes 5.
        min_confidence: The detection's confidence must be more; the paper takes 0.72.
        min_width: The width in pixels must be more; the paper takes 48.
        side_gap: Least distance in pixels of the box from the left and right border of the frame; 0 asks for none. Not
            in the paper. A person whom that border cuts lengthwise is half a person, and pose models complete the
            rest, so that the rules on the body do not tell; 2 takes those whose box ends at the border.
        clip_first: Test the box as cut off at the frame's border, not as the detector gave it. Not in the paper; this
            is the image that is stored.
        keypoint_score: From this score on a keypoint is visible, 0 to 1. Not in the paper; 0.3 is what HRNet's own
            tools take, and lies in the middle of the gap between seen (above 0.5) and guessed (below 0.1).
        head_points: How many of nose, eyes and ears must be visible. Not in the paper; 1, because from behind and from
            the side often one ear is all that a head shows.
        upper_points: How many of shoulders, elbows and wrists must be visible, one shoulder among them. Not in the
            paper; 2, because one point alone is often a hand behind somebody else.
        lower_points: How many of hips and knees must be visible; the paper asks for either.
        margin: A keypoint that lies outside of the box by more than this share of its side is not visible in the
            image that is stored, and does not count. Not in the paper.
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
        """Yield what is wrong between fields."""
        yield from ordered(self, "min_ratio", "max_ratio")
