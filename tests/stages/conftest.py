"""Rendered people and a model trained on them for a moment, for all tests of the stages."""

from pathlib import Path

import pytest

from rewho.core.settings import (
    DataSettings,
    EngineSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.data.synthetic import write_people
from rewho.stages import train


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
