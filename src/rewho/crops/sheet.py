"""Contact sheets: many crops in one image, faces hidden."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.crops.faces import FACE_COLUMNS, hide_known_faces
from rewho.crops.shards import CropSet
from rewho.crops.tracks import CropTracks, measure_tracks

CELL = (160, 80)  # height and width in pixels
ACROSS = 14  # cells per row
GAP = 4
PAPER = 244  # grey level


def draw_contact_sheet(crops: CropSet, most: int = 70) -> NDArray[np.uint8]:
    """Return up to `most` crops, spread evenly over the set, in rows; uint8 RGB."""
    chosen = _spread(np.arange(len(crops)), most)
    return _draw_rows(crops, [chosen[start : start + ACROSS] for start in range(0, len(chosen), ACROSS)])


def draw_track_sheet(crops: CropSet, tracks: CropTracks, most: int = 8) -> NDArray[np.uint8] | None:
    """Return up to `most` tracks of several crops, one per row, in order of time; uint8 RGB. None if there are none."""
    lengths, _ = measure_tracks(tracks)
    chosen = _spread(np.flatnonzero(lengths > 1), most)
    if not len(chosen):
        return None
    members = (np.flatnonzero(tracks.numbers == number) for number in chosen)
    return _draw_rows(crops, [_spread(rows[np.argsort(tracks.times[rows], kind="stable")], ACROSS) for rows in members])


def _spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return up to `most` of some rows, evenly spread, in their order."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64))]


def _draw_rows(crops: CropSet, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.uint8]:
    """Return a sheet with the crops of each row, of at most `ACROSS`, from the left; faces hidden."""
    down = max(1, len(rows))
    sheet = np.full((GAP + down * (CELL[0] + GAP), GAP + ACROSS * (CELL[1] + GAP), 3), PAPER, np.uint8)
    for line, chosen in enumerate(rows):
        for column, row in enumerate(chosen.tolist()):
            top, left = GAP + line * (CELL[0] + GAP), GAP + column * (CELL[1] + GAP)
            crop = hide_known_faces(crops[row], crops.row(row, FACE_COLUMNS))
            sheet[top : top + CELL[0], left : left + CELL[1]] = fit_into_cell(crop)
    return sheet


def fit_into_cell(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image scaled to fit into a cell, centred on grey."""
    scale = min(CELL[0] / pixels.shape[0], CELL[1] / pixels.shape[1])
    size = (max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    cell = np.full((*CELL, 3), PAPER, np.uint8)
    top, left = (CELL[0] - size[1]) // 2, (CELL[1] - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell
