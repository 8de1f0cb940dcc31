"""Your own images without labels in a CSV file: the columns path, and optionally track, time and camera.

What is unusual: a list for `rewho train`, with people, is read as well; people are ignored, and test images left out.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rewho.core.check import UserError, is_file
from rewho.core.people import UNKNOWN_CAMERA
from rewho.core.progress import say
from rewho.core.text import quantity
from rewho.data.file_lists import missing_files
from rewho.data.layouts.csv import read_cells
from rewho.data.names import MISSING
from rewho.data.table import first_three, leaves_root
from rewho.data.tracks import ImageTracks, number_tracks

TESTED = ("query", "gallery")


class ImageList(NamedTuple):
    """Images of a list: paths relative to the list's folder, and their tracks, and cameras ("" if unknown)."""

    paths: tuple[str, ...]
    tracks: ImageTracks
    cameras: tuple[str, ...]


def is_list(path: Path) -> bool:
    """Return whether a path is a CSV file."""
    return is_file(path) and path.suffix.lower() in (".csv", ".tsv")


def names_people(file: Path) -> bool:
    """Return whether a list has a column of people, so that it may be a labelled data set."""
    return "person" in read_cells(file)[0]


def read_image_list(file: Path) -> ImageList:
    """Return the images of a CSV file with the columns path and optionally track, time, camera and split.

    A track is any text; images with an empty one have no track. Times, in seconds, are needed for images with a track,
    if the column is there. Images of the splits query and gallery are left out, with a message.
    """
    header, lines = read_cells(file)
    if "path" not in header:
        got = f"no 'path' in {', '.join(header)}"
        raise UserError(f"{file}: header", expected="a column path", got=got, fix="Name the column with paths 'path'.")
    rows: list[tuple[str, str, float]] = []
    cameras: list[str] = []
    tested = 0
    for line, cells in lines:
        values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if values.get("split", "").casefold() in TESTED:
            tested += 1
            continue
        rows.append(_read_row(f"{file}, line {line}", values, "time" in header))
        camera = values.get("camera", "")
        cameras.append("" if camera in MISSING or camera == str(UNKNOWN_CAMERA) else camera)
    if tested:
        say(f"{file}: left out: {quantity(tested, 'images')} of query and gallery")
    paths = [path for path, _, _ in rows]
    if missing := missing_files(file.parent, paths):
        got = f"{len(missing):,} of {len(rows):,} that are no files: {first_three(missing)}"
        fix = "Write the paths as seen from the CSV file's own folder."
        raise UserError(str(file), expected=f"paths of images, relative to {file.parent}", got=got, fix=fix)
    if len(set(paths)) < len(paths):
        twice = sorted(path for path, count in Counter(paths).items() if count > 1)
        raise UserError(str(file), expected="each image once", got=f"twice: {first_three(twice)}", fix="Remove one.")
    tracks = number_tracks([track for _, track, _ in rows], [time for *_, time in rows])
    return ImageList(tuple(paths), tracks, tuple(cameras))


def _read_row(where: str, values: dict[str, str], timed: bool) -> tuple[str, str, float]:
    """Return path, track and time of a line."""
    path, track = values.get("path", ""), values.get("track", "")
    if leaves_root(path):
        fix = "Put the list into a folder above the images, and write paths relative to it, without '..'."
        raise UserError(where, expected="the path of an image inside the list's folder", got=repr(path), fix=fix)
    track = "" if track in MISSING else track
    if not timed or not track:
        return path, track, 0.0
    try:
        time = float(values.get("time", ""))
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        fix = "Fill it in, or leave the column out."
        raise UserError(where, expected="a time in seconds", got=repr(values.get("time", "")), fix=fix)
    return path, track, time
