"""Rendered images of people with complete ground truth: the default data of the demo and of the tests.

No real person is shown. A person is a set of attributes (`Identity`), and so is a camera (`Camera`). Each image has a
random generator of its own: person 7 on camera 2 looks the same for every choice, order and
number of workers of the other images.
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
