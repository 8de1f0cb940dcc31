"""Photographs as sources of crops: each is a video of one frame, whose camera is its folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewho.core.check import UserError, describe_error
from rewho.data.file_lists import CONVERTIBLE, IMAGE_ENDINGS
from rewho.data.images import decode, read_file
from rewho.settings import LimitSettings
from rewho.video.frames import OpenVideo
from rewho.video.people import Frame, Probe, VideoFailure

UNREAD = frozenset((*CONVERTIBLE, ".ppm", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"))
"""Endings of photographs that are not read, but can be converted."""


def is_photograph(path: Path | str) -> bool:
    """Return whether a path is that of a photograph, by its ending.

    Example:
        >>> is_photograph("walk/IMG_1.JPG"), is_photograph("walk.mp4")
        (True, False)
    """
    return Path(path).suffix.lower() in IMAGE_ENDINGS


def camera_of(video: Mapping[str, Any]) -> str:
    """Return what stands for the camera in the record of a video: the video, or the folder of a photograph.

    Example:
        >>> camera_of({"path": "a/b.jpg", "source": "a"}), camera_of({"path": "a/b.mp4", "source": "web"})
        ('a', 'a/b.mp4')
    """
    path = str(video["path"])
    return str(Path(path).parent) if is_photograph(path) else path


@contextlib.contextmanager
def open_photograph(path: Path, limits: LimitSettings) -> Iterator[OpenVideo]:
    """Decode a photograph, upright by its EXIF orientation; a failure is part of the result.

    Args:
        path: The file.
        limits: Its `megapixels` holds for photographs too.

    Example:
        >>> with open_photograph(Path("/nowhere.jpg"), LimitSettings()) as photograph:
        ...     photograph.probe.reason
        'unreadable'
    """
    sha256 = ""
    try:
        data = read_file(path)
        sha256 = hashlib.sha256(data).hexdigest()
        image = decode(data, str(path), pixel_limit=int(limits.megapixels * 1e6))
    except (UserError, OSError) as error:
        detail = f"expected {error.expected}, got {error.got}" if isinstance(error, UserError) else ""
        failure = VideoFailure("unreadable", detail or describe_error(error))
        yield OpenVideo(Probe("failed", failure.reason, 0, 0.0, 0, 0, 0.0, sha256, failure.detail), _fail(failure))
        return
    height, width = image.shape[:2]
    yield OpenVideo(Probe("ok", "", 1, 0.0, width, height, 0.0, sha256), iter([Frame(0, 0.0, image)]))


def _fail(failure: VideoFailure) -> Iterator[Frame]:
    raise failure
    yield
