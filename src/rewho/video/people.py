"""The values passed between the modules of this package: frames, people in them, verdicts, probes, and failures.

Coordinates are pixels of the frame as it is shown (rotation applied), x to the right and y down, from the outer
corner of the first pixel. Frame numbers count from 0 in the order of presentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Person:
    """One detection in one frame.

    Args:
        box: Left, top, right and bottom in pixels of the frame; may reach beyond the frame.
        confidence: The detector's, 0 to 1.
        keypoints: float32 [17, 3]: x and y in pixels and score from 0 to 1, in the order of `KEYPOINTS`; None where
            no keypoints are known.
        index: Number of the detection within the frame, before any filter; gaps are normal afterwards.
        track: Number of the person's track within the video; None where it is not known.
    """

    box: tuple[float, float, float, float]
    confidence: float
    keypoints: NDArray[np.float32] | None
    index: int
    track: int | None = None


@dataclass(frozen=True)
class Verdict:
    """A detection and the names of all rules that it fails; none means keep."""

    person: Person
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Args:
        number: Position in the order of presentation, from 0.
        time: Seconds since the first frame.
        image: uint8 RGB [H, W, 3], turned as the file's rotation flag asks.
    """

    number: int
    time: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class FramePeople:
    """A frame and all detections in it, kept or not, in the detector's order."""

    frame: Frame
    people: tuple[Verdict, ...]


@dataclass(frozen=True)
class Probe:
    """What is known of a video before its frames are sampled.

    Args:
        status: ok or failed; after a failure, fields that could not be read are 0 or empty.
        reason: Empty, or one of `REASONS`.
        frames: Frames in the file, counted by packet.
        duration: Seconds from the first frame to the end of the last one.
        width: Width in pixels as shown, rotation applied.
        height: Height in pixels as shown.
        fps: Mean frames per second.
        sha256: Hash of the file's bytes; empty where the path is not a plain file.
        detail: More on the reason, as text.
        claimed: Duration in seconds that the container declares; 0 where it declares none.
        codec: Name of the video codec, such as h264.
        rotation: Degrees that the file asks to turn its frames by, counter-clockwise.
        title: Title in the container's metadata.
        marks: Marks of VR in the container's metadata, such as `spherical`.
        stillness: Largest difference in grey levels between the evenly spaced frames that were compared, in any of
            64 × 36 cells of the image; NaN where none were compared.
        changes: What is done to display its frames: turned, mirrored, tone-mapped, made square, joined.
        seam: Difference across the left and right border over that between neighbouring columns; NaN where unknown.
    """

    status: str
    reason: str
    frames: int
    duration: float
    width: int
    height: int
    fps: float
    sha256: str
    detail: str = ""
    claimed: float = 0.0
    codec: str = ""
    rotation: int = 0
    title: str = ""
    marks: tuple[str, ...] = ()
    changes: str = ""
    stillness: float = float("nan")
    seam: float = float("nan")


REASONS = {
    "not a file": "a folder, a pipe, a device, or nothing at all",
    "empty": "a file of 0 bytes",
    "not a video": "a web page, a playlist, an image, an archive, or another kind of file by its first bytes",
    "unreadable": "no allowed kind of container, or one that is broken",
    "audio only": "a container without a video stream",
    "no frames": "a video stream without a single frame that can be decoded",
    "too large": "more pixels per frame than the limit",
    "too long": "the container claims more hours than the limit",
    "cut short": "the frames end before the container says they do",
    "damaged": "a quarter of the sampled frames cannot be decoded: broken data, or another codec behind a joint",
    "time limit": "decoding took longer than the limit",
    "memory limit": "decoding asked for more memory than the limit",
    "hung": "the decoder sent nothing for too long",
    "decoder died": "the decoding process was ended by a signal or without an answer",
}
"""Every reason for which reading a video fails, and its meaning."""


class VideoFailure(Exception):  # noqa: N818 - a result of one video, not a programming error
    """A video cannot be read, or not to its end. Frames that came before the failure are valid.

    Example:
        >>> str(VideoFailure("cut short", "12.0 s of 60.0 s"))
        'cut short: 12.0 s of 60.0 s'
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)
