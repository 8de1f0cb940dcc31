"""The API gives all that a gallery's views hold: a field that is added or renamed is not left out silently."""

import pytest

from rewho.gallery.accounts import Account
from rewho.gallery.audit import Record
from rewho.gallery.calibration import Calibration
from rewho.gallery.cases import Case
from rewho.gallery.jobs import Job
from rewho.gallery.people import Event, Person, Stay
from rewho.gallery.records import Candidate, Found, Sighting
from rewho.gallery.review import Pair
from rewho.gallery.views import Camera, CropView
from rewho.service import schemas

VIEWS = {
    Sighting: (schemas.SightingOut, {}),
    Candidate: (schemas.CandidateOut, {}),
    Found: (schemas.FoundOut, {"after": "next"}),
    CropView: (schemas.CropOut, {}),
    Camera: (schemas.CameraOut, {}),
    Person: (schemas.PersonOut, {}),
    Stay: (schemas.StayOut, {}),
    Event: (schemas.EventOut, {}),
    Case: (schemas.CaseOut, {}),
    Pair: (schemas.PairOut, {}),
    Account: (schemas.UserOut, {}),
    Record: (schemas.RecordOut, {}),
    Calibration: (schemas.CalibrationOut, {}),
    Job: (schemas.JobOut, {}),
}
OWN = {schemas.CalibrationOut: {"text"}}
KEPT_BACK = {Job: {"purpose", "arguments", "stopping"}}
"""What a view has and its description in the API does not, on purpose."""


@pytest.mark.parametrize("view", VIEWS)
def test_the_api_gives_the_fields_of_the_view(view):
    out, renamed = VIEWS[view]
    names = getattr(view, "_fields", None) or tuple(view.__dataclass_fields__)
    wanted = {renamed.get(name, name) for name in names} - KEPT_BACK.get(view, set())
    assert set(out.model_fields) - OWN.get(out, set()) == wanted
