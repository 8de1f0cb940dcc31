"""Tracks of images in files: from the file names of data sets that have them, or from a list of one's own.

A track is a series of images of one person, taken by one camera within a short time. Market-1501's file names have a
sequence and a frame, but no track: here, images of one person in one sequence of one camera are a track, which ends
where no image follows for `LONGEST_GAP`. That uses the labels of people within a camera, where a tracker would do;
nothing is said about who is whom in two cameras.

Letters: N images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MARKET_NAME = re.compile(r"(-?\d+)_c(\d+)s(\d+)_(\d+)_")  # person, camera, sequence, frame
MARKET_RATE = 25.0  # frames per second of Market-1501's cameras, by its authors
LONGEST_GAP = 10.0  # seconds without an image after which a person in Market-1501 is on another track
NO_TRACK = -1


class ImageTracks(NamedTuple):
    """Tracks of images.

    Attributes:
        numbers: int64 [N], number of the track from 0, `NO_TRACK` where none is known.
        times: float64 [N], seconds; comparable within a track.
    """

    numbers: NDArray[np.int64]
    times: NDArray[np.float64]


def find_tracks(paths: Sequence[str]) -> ImageTracks:
    """Return the tracks that Market-1501's file names tell; images with other names have none.

    Example:
        >>> names = ["0002_c1s1_000451_03.jpg", "0002_c1s1_000551_01.jpg", "0002_c1s1_009151_01.jpg", "cat.jpg"]
        >>> tracks = find_tracks(names)
        >>> tracks.numbers.tolist(), tracks.times[:2].round(2).tolist()
        ([0, 0, 1, -1], [18.04, 22.04])
    """
    found = [MARKET_NAME.match(path.rpartition("/")[2]) for path in paths]
    parts = np.array([[int(part) for part in match.groups()] if match else [0] * 4 for match in found], np.int64)
    numbers, times = np.full(len(paths), NO_TRACK, np.int64), np.zeros(len(paths))
    rows = np.flatnonzero([match is not None for match in found])
    if len(rows):
        times[rows] = parts[rows, 3] / MARKET_RATE
        order = rows[np.lexsort(parts[rows].T[::-1])]
        changed = (parts[order[1:], :3] != parts[order[:-1], :3]).any(1)
        starts = changed | (np.diff(times[order]) > LONGEST_GAP)
        numbers[order] = np.concatenate([[0], np.cumsum(starts)])
    return ImageTracks(numbers, times)


def number_tracks(names: Sequence[str], times: Sequence[float]) -> ImageTracks:
    """Return the tracks of images whose tracks have names; "" is none.

    Example:
        >>> number_tracks(["b", "", "a", "b"], [0.0, 0.0, 0.0, 1.5]).numbers.tolist()
        [1, -1, 0, 1]
    """
    ids = {name: number for number, name in enumerate(sorted({*names} - {""}))}
    numbers = np.array([ids.get(name, NO_TRACK) for name in names], np.int64).reshape(-1)
    return ImageTracks(numbers, np.array(times, np.float64).reshape(-1))
