"""Rendered people, and a model, teachers and representations made of them in a moment, for all tests of the stages."""

from dataclasses import replace
from pathlib import Path

import pytest

from rewho.rendered import write_people
from rewho.settings import (
    BranchSettings,
    DataSettings,
    DistillSettings,
    EngineSettings,
    ModelSettings,
    OptimizerSettings,
    RepresentSettings,
    SamplerSettings,
    TeachersSettings,
    TrainSettings,
)
from rewho.stages import represent, teachers, train

VIEWS = ("holistic", "up1")
CPU = EngineSettings(device="cpu", precision="32")


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


def quick(people: Path, out: Path, **changes) -> TrainSettings:
    """Settings of a training of a few seconds."""
    settings = {
        "out": out,
        "data": DataSettings(root=people, workers=0),
        "model": ModelSettings(embedding=16, input_size=(64, 32), pretrained="none"),
        "sampler": SamplerSettings(batch=8),
        "optimizer": OptimizerSettings(learning_rate=0.01),
        "engine": EngineSettings(device="cpu", precision="32"),
        "epochs": 2,
        "steps_per_epoch": 3,
    }
    return TrainSettings(**{**settings, **changes})


@pytest.fixture(scope="session")
def model(people, tmp_path_factory) -> Path:
    """A model folder."""
    return train.run(quick(people, tmp_path_factory.mktemp("trained") / "model"))


def teacher_settings(people, out):
    start = quick(people, out)
    return TeachersSettings(
        out=out,
        data=start.data,
        views=VIEWS,
        backbone="squeezenet1_1",
        pretrained="none",
        holistic_size=(64, 32),
        partial_size=(48, 48),
        holistic_embedding=12,
        partial_embedding=8,
        sampler=start.sampler,
        optimizer=start.optimizer,
        engine=start.engine,
        epochs=1,
        steps_per_epoch=2,
        evaluate_every=-1,
    )


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


def distilling(people, model, representations, out, **changes):
    settings = DistillSettings(
        student=model,
        representations=representations,
        out=out,
        data=DataSettings(root=people, workers=0),
        sampler=SamplerSettings(batch=8),
        branches=BranchSettings(features=16),
        engine=CPU,
        epochs=2,
        steps_per_epoch=3,
    )
    return replace(settings, **changes)
