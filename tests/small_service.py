"""What tests of the service share: the password of its users, and an image to upload."""

import cv2
import numpy as np

PASSWORD = "correct horse battery"
ROLES = ("viewer", "operator", "admin")
SIGHTINGS = 66
BASE = "http://127.0.0.1"


def picture(seed=1, height=96, width=48, ending=".jpg") -> bytes:
    """Return an image of coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()
