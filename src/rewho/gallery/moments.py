"""The moment of a crop in its video: the whole frame, in which everybody else, and every face, is hidden.

The gallery holds no frame. It knows where the video lay when its crops were added, and its hash: a frame is read from
the file when somebody looks, and only while the file is still the same.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, check_count
from rewho.crops.faces import Head, hide_face
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.records import WITHDRAWN, Actor
from rewho.settings import LimitSettings, SamplingSettings
from rewho.video.frames import sample_frames
from rewho.video.people import VideoFailure

COARSE = 24  # pixels across the frame that remain outside of the box: places can be recognised, people cannot
WIDEST = 1280
LIMITS = LimitSettings(seconds=60, silence=30)
_hashes: dict[tuple[str, int, int], str] = {}
_guard = threading.Lock()


def remember_videos(database: Database, source: int, videos: Mapping[str, str]) -> None:
    """Note down where the videos of a source lie now, by hash; those that are not there are left out."""
    there = {sha256: Path(path).absolute() for sha256, path in videos.items() if Path(path).is_file()}
    with database.writing() as link:
        for sha256, path in there.items():
            link.execute("INSERT OR REPLACE INTO videos VALUES (?, ?, ?)", (source, sha256, str(path)))


def find_video(database: Database, crop: int, by: Actor) -> Path | None:
    """Return the video of a crop that the user may see, if it is known where it was."""
    crop = check_count("crop", crop, 0)
    row = database.one(
        "SELECT c.frame, c.number, c.box, s.source, s.camera, s.state FROM crops c JOIN sightings s "
        "ON s.id = c.sighting WHERE c.id = ?",
        (crop,),
    )
    if row is None or not by.sees(row[4]) or row[5] == WITHDRAWN or None in row[:3]:
        return None
    frame, number = bytes(row[0]), row[1]
    for sha256, path in database.rows("SELECT sha256, path FROM videos WHERE source = ?", (row[3],)):
        if hashlib.sha256(f"{sha256}/{number}".encode()).digest() == frame:
            return Path(path) if _is_same(Path(path), sha256) else None
    return None


def _is_same(path: Path, sha256: str) -> bool:
    """Return whether a file has this hash, which is computed once for each state of the file."""
    if not path.is_file():
        return False
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns)
    with _guard:
        if key not in _hashes:
            _hashes[key] = hash_file(path)
        return _hashes[key] == sha256


def view_moment(database: Database, crop: int, by: Actor) -> bytes:
    """Return the frame of a crop as a JPEG in which everybody else is hidden; the look is in the audit.

    Raises:
        UserError: No such crop, none of a video, or the video is not there any more.
    """
    path = find_video(database, crop, by)
    if path is None:
        got = "no such crop of a video that is still where it was"
        raise UserError(f"crop {crop}", expected="a crop of a video", got=got, fix="Put the video back.")
    sighting, number, box, frame = database.one("SELECT sighting, number, box, frame FROM crops WHERE id = ?", (crop,))
    others = [
        tuple(json.loads(row[0]))
        for row in database.rows("SELECT box FROM crops WHERE frame = ? AND id <> ? AND box IS NOT NULL", (frame, crop))
    ]
    sampling = SamplingSettings(every=10**9, offset=int(number))
    try:
        pixels = next((one.image for one in sample_frames(path, sampling, LIMITS)), None)
    except VideoFailure as failure:
        fix = "Play it to see whether it is damaged."
        raise UserError(path.name, expected="a video that can be read", got=str(failure), fix=fix) from failure
    if pixels is None:
        got = f"no frame {number}"
        raise UserError(path.name, expected="the frame of the crop", got=got, fix="Put the first version of it back.")
    with database.writing():
        audit.append(database, by.who, by.purpose, "view", {"moment": crop}, sightings=[sighting])
    return _encode(hide_others(pixels, json.loads(box), others))


def hide_others(
    pixels: NDArray[np.uint8], box: tuple[float, ...], others: list[tuple[float, ...]]
) -> NDArray[np.uint8]:
    """Return a frame with low resolution outside of a box, and with hidden faces and heads of others inside it.

    Args:
        pixels: uint8 RGB [H, W, 3].
        box: Left, top, right, bottom of the person in pixels.
        others: Boxes of other people.

    Example:
        >>> frame = np.random.default_rng(1).integers(0, 256, (90, 160, 3), np.uint8)
        >>> hidden = hide_others(frame, (40, 20, 60, 70), [])
        >>> bool((hidden[50:65, 42:58] == frame[50:65, 42:58]).all()), bool(hidden[:, :30].std() < frame.std() / 3)
        (True, True)
    """
    height, width = pixels.shape[:2]
    few = (COARSE, max(1, round(COARSE * height / width)))
    coarse = cv2.resize(pixels, few, interpolation=cv2.INTER_AREA)
    hidden = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    left, top, right, bottom = (
        int(np.clip(round(side), 0, limit)) for side, limit in zip(box, (width, height) * 2, strict=True)
    )
    if right > left and bottom > top:
        heads = [
            Head((one[0] + one[2]) / 2 - left, one[1] + 0.1 * (one[3] - one[1]) - top, 0.3 * (one[2] - one[0]),
                 0.13 * (one[3] - one[1]))
            for one in others
        ]  # fmt: skip
        hidden[top:bottom, left:right] = hide_face(np.ascontiguousarray(pixels[top:bottom, left:right]), None, heads)
        cv2.rectangle(hidden, (left - 2, top - 2), (right + 1, bottom + 1), (255, 210, 0), 2)
    return hidden


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape[:2]
    if width > WIDEST:
        pixels = np.asarray(cv2.resize(pixels, (WIDEST, round(height * WIDEST / width)), interpolation=cv2.INTER_AREA))
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return bytes(data.tobytes())
