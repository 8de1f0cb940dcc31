"""Writes a rendered street scene as a video or as images, with its ground truth in two published layouts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rewho.core.artifact import ASIDE, remove_unfinished
from rewho.core.check import UserError, install
from rewho.core.files import VIDEO_ENDINGS
from rewho.rendered.street import Frame, GroundTruth, street_frames

DETECTABLE = 0.15  # people with a smaller visible share are not in the detections file


def write_street(
    path: Path | str,
    seconds: float,
    fps: float = 10.0,
    people: int = 6,
    size: tuple[int, int] = (360, 640),
    seed: int = 1,
    pan: float = 0.0,
    people_seed: int | None = None,
) -> Path:
    """Write a street scene as a video or as a folder of images, with its ground truth, and return the path.

    A path with the ending of a video (.mp4, .mkv, …) becomes a video, which needs PyAV, with `NAME.detections.json` and
    `NAME.gt.txt` beside it. Any other becomes a folder as in the MOT challenge: `img1/000001.jpg`, …, `gt/gt.txt`,
    and `detections.json`. Both number the frames from 1. All settings are those of `street_frames`.

    * `detections.json` has the layout that LUPerson published: for each frame number, as text, a list of
      `[object, {"bbox": [left, top, right, bottom], "conf": …, "pose": [17][2], "prob": [17][1]}]`. Boxes are clipped
      to the frame, as a detector's are; `object` is the person's number; `conf` rises with the visible share.
    * `gt.txt` has MOT's columns: frame, person, left, top, width, height, 1, class (1 is a pedestrian), visible share.
      It lists everyone with at least one visible pixel; boxes are those of the whole person.
    """
    path = Path(path)
    if path.exists():
        raise UserError(str(path), expected="a new file or folder", got="one that is there", fix="Choose another name.")
    frames = street_frames(seconds, fps, people, size, seed, pan, people_seed)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent)
        if path.suffix.lower() in VIDEO_ENDINGS:
            truths = _write_video(aside, frames, fps, size)
            detections, mot = path.with_suffix(".detections.json"), path.with_suffix(".gt.txt")
        else:
            truths = _write_images(aside, frames)
            detections, mot = aside / "detections.json", aside / "gt" / "gt.txt"
            mot.parent.mkdir()
        detections.write_text(json.dumps(_detections(truths, size)))
        mot.write_text("".join(_mot_lines(truths)))
        aside.replace(path)
    except OSError as error:
        fix = "Free some space or choose another place, and call again."
        raise UserError(f"writing {path}", expected="a place to write to", got=str(error), fix=fix) from error
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        aside.unlink(missing_ok=True)
    return path


def _write_images(folder: Path, frames: Iterator[tuple[Frame, list[GroundTruth]]]) -> list[list[GroundTruth]]:
    """Write the frames as JPEG files and return their ground truth."""
    (folder / "img1").mkdir(parents=True)
    truths = []
    for number, (frame, truth) in enumerate(frames, start=1):
        done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done, "a uint8 image can always be encoded"
        (folder / "img1" / f"{number:06d}.jpg").write_bytes(data.tobytes())
        truths.append(truth)
    return truths


def _write_video(
    path: Path, frames: Iterator[tuple[Frame, list[GroundTruth]]], fps: float, size: tuple[int, int]
) -> list[list[GroundTruth]]:
    """Write the frames as a video and return the ground truth of each."""
    try:
        import av  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        fix = f"{install('video')}; or pass a folder's name: the frames are then written as images."
        raise UserError(
            f"video {path.suffix}", expected="the PyAV library", got="an installation without it", fix=fix
        ) from error
    if size[0] % 2 or size[1] % 2:
        raise UserError(
            "size of a video", expected="even height and width", got=f"{size[0]} x {size[1]}", fix="Add one pixel."
        )
    truths = []
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        try:
            stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        except ValueError as error:
            fix = "Name the file .mp4 or .mkv."
            raise UserError(
                f"video {path.suffix}", expected=f"a container that holds {codec}", got=str(error), fix=fix
            ) from error
        stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
        for frame, truth in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            truths.append(truth)
        container.mux(stream.encode(None))
    return truths


def _detections(truths: list[list[GroundTruth]], size: tuple[int, int]) -> dict[str, list[list[Any]]]:
    """Return the output of a good detector and pose model, in LUPerson's published layout."""
    limits = np.array([size[1], size[0], size[1], size[0]], float)

    def describe(person: GroundTruth) -> dict[str, Any]:
        return {
            "bbox": np.clip(person.box, 0, limits).round(2).tolist(),
            "conf": round(0.4 + 0.59 * person.visible, 4),
            "pose": person.keypoints[:, :2].round(2).tolist(),
            "prob": person.scores[:, None].tolist(),
        }

    return {
        str(number): [[person.person, describe(person)] for person in truth if person.visible >= DETECTABLE]
        for number, truth in enumerate(truths, start=1)
    }


def _mot_lines(truths: list[list[GroundTruth]]) -> Iterator[str]:
    for number, truth in enumerate(truths, start=1):
        for one in truth:
            left, top, right, bottom = one.box
            sizes = f"{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}"
            yield f"{number},{one.person},{sizes},1,1,{one.visible:.4f}\n"
