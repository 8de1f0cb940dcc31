"""Thumbnails: small JPEG images with hidden faces, the only images that a gallery stores."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.crops.faces import hide_face, hide_known_faces
from rewho.gallery.records import NewCrop

HEIGHT = 192
QUALITY = 82


def make_thumbnail(pixels: NDArray[np.uint8], crop: NewCrop) -> bytes:
    """Return the thumbnail of a crop, at most 192 pixels high, faces hidden before it is reduced."""
    hidden = hide_known_faces(pixels, crop.heads) if crop.heads else hide_face(pixels)
    height, width = hidden.shape[:2]
    if height > HEIGHT:
        size = (max(1, round(width * HEIGHT / height)), HEIGHT)
        hidden = np.asarray(cv2.resize(hidden, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(hidden, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise UserError(crop.name, expected="an image that JPEG can hold", got=str(pixels.shape), fix="Leave it out.")
    return bytes(data.tobytes())
