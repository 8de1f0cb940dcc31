"""Settings of trainings, teachers and distillations of a few seconds, on the rendered people of the stages' tests."""

from dataclasses import replace
from pathlib import Path

from rewho.settings import (
    BranchSettings,
    DataSettings,
    DistillSettings,
    EngineSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TeachersSettings,
    TrainSettings,
)

VIEWS = ("holistic", "up1")
CPU = EngineSettings(device="cpu", precision="32")


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
