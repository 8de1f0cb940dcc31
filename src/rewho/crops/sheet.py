"""Contact sheets: many crops in one image, faces hidden."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.crops.faces import FACE_COLUMNS, hide_known_faces
from rewho.crops.shards import CropSet

CELL = (160, 80)  # height and width in pixels
ACROSS = 14  # cells per row
GAP = 4
PAPER = 244  # grey level


def draw_contact_sheet(crops: CropSet, most: int = 70) -> NDArray[np.uint8]:
    """Return up to `most` crops, spread evenly over the set, in rows; uint8 RGB."""
    chosen = np.unique(np.linspace(0, len(crops) - 1, min(most, len(crops))).round().astype(np.int64))
    down = max(1, -(-len(chosen) // ACROSS))
    sheet = np.full((GAP + down * (CELL[0] + GAP), GAP + ACROSS * (CELL[1] + GAP), 3), PAPER, np.uint8)
    for place, row in enumerate(chosen.tolist()):
        top, left = (GAP + step * (size + GAP) for step, size in zip(divmod(place, ACROSS), CELL, strict=True))
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
