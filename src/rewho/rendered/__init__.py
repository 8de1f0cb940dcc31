"""Rendered people seen by rendered cameras: the embedded default data of the demonstration and of the tests.

Nobody is in these images. A person is a set of attributes (`Identity`), a camera another (`Camera`), and each image
is drawn from a generator of its own, so that person 7 on camera 2 looks the same however many others are rendered, in
whatever order, by however many workers.
"""

from rewho.rendered.camera import Camera
from rewho.rendered.image import Rendered, render_person
from rewho.rendered.people import People, write_people
from rewho.rendered.person import Identity
from rewho.rendered.street import GroundTruth, street_frames
from rewho.rendered.street_files import write_street

__all__ = [
    "Camera",
    "GroundTruth",
    "Identity",
    "People",
    "Rendered",
    "render_person",
    "street_frames",
    "write_people",
    "write_street",
]
