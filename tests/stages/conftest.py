"""Rendered people, and a model, teachers and representations made of them in a moment, for all tests of the stages."""

from pathlib import Path

import pytest

from quick_settings import CPU, quick, teacher_settings
from rewho.rendered import write_people
from rewho.settings import DataSettings, RepresentSettings
from rewho.stages import represent, teachers, train


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """A data set of eight people to train on and six to find."""
    folder = tmp_path_factory.mktemp("rendered") / "people"
    return write_people(
        folder,
        identities=8,
        test_identities=6,
        cameras=3,
        images_per_camera=2,
        distractors=4,
        junk=2,
        seed=5,
        workers=0,
    )


@pytest.fixture(scope="session")
def model(people, tmp_path_factory) -> Path:
    """A model folder."""
    return train.run(quick(people, tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="session")
def experts(people, tmp_path_factory):
    """Two teachers."""
    return teachers.run(teacher_settings(people, tmp_path_factory.mktemp("experts") / "teachers"))


@pytest.fixture(scope="session")
def representations(people, experts, tmp_path_factory):
    out = tmp_path_factory.mktemp("said") / "representations"
    return represent.run(
        RepresentSettings(teachers=(experts,), out=out, data=DataSettings(root=people), engine=CPU, batch=16)
    )
