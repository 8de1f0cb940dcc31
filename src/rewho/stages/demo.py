"""The whole path on people that do not exist: render them, train, distil what experts know, find the people again.

Runs other stages, as only `teachers` and `table` do beside it: each leaves its own folder, and finished ones are
skipped. The student sees small pictures; its teachers see larger ones, each another part of the body.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rewho.core.progress import Progress, say
from rewho.core.settings import (
    AugmentSettings,
    BranchSettings,
    DataSettings,
    DemoSettings,
    DistillSettings,
    EvaluateSettings,
    LossSettings,
    MimicSettings,
    ModelSettings,
    OptimizerSettings,
    RepresentSettings,
    SamplerSettings,
    TeachersSettings,
    TrainSettings,
)
from rewho.data.synthetic import write_people
from rewho.stages import distill, evaluate, represent, teachers, train

TEST_IDENTITIES = 60
CAMERAS = 4
VIEWS = ("holistic", "up2", "dn2")
AUGMENT = AugmentSettings(crop_padding=4, erase=0.3, erase_area_high=0.3)
OPTIMIZER = OptimizerSettings(learning_rate=0.05, nesterov=True, schedule="cosine", warmup_epochs=1)
LOSS = LossSettings(label_smoothing=0.1)


def run(settings: DemoSettings) -> Path:
    """Render, train, distil, evaluate.

    Args:
        settings: How many people, how long, where.

    Returns:
        The report's page: the student before and after the distillation.
    """
    people = _render(settings)
    before = train.run(initial_student(people, settings))
    experts = teachers.run(experts_of(people, settings))
    said = represent.run(
        RepresentSettings(teachers=(experts,), out=settings.out / "representations", data=_data(people))
    )
    after = distill.run(distillation(people, before, said, settings))
    page = evaluate.run(
        EvaluateSettings(model=(before, after), data=(people,), out=settings.out / "report", rerank=True)
    )
    say("open this page in a browser:")
    return page


def _render(settings: DemoSettings) -> Path:
    progress = Progress("render people", 0, unit="pictures")

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    folder = write_people(
        settings.out / "people",
        identities=settings.identities,
        test_identities=TEST_IDENTITIES,
        cameras=CAMERAS,
        seed=settings.seed,
        progress=show,
    )
    progress.close()
    return folder


def _data(people: Path) -> DataSettings:
    return DataSettings(root=people, workers=0)  # small pictures: a worker would only be in the network's way


def initial_student(people: Path, settings: DemoSettings) -> TrainSettings:
    """Return settings that learn rendered people from nothing within a minute on two CPU cores.

    No pre-trained weights are needed: a small network with batch normalisation learns from random weights, which
    SqueezeNet, without normalisation, does not.
    """
    return TrainSettings(
        out=settings.out / "model",
        data=_data(people),
        model=ModelSettings(backbone="resnet10t", embedding=256, input_size=(64, 32), pretrained="none"),
        augment=AUGMENT,
        sampler=SamplerSettings(batch=32),
        optimizer=OPTIMIZER,
        loss=LOSS,
        epochs=settings.epochs,
        evaluate_every=-1,  # the report scores it
        seed=settings.seed,
    )


def experts_of(people: Path, settings: DemoSettings) -> TeachersSettings:
    """Return settings of three teachers: the whole body, its upper and its lower part, in larger pictures."""
    return TeachersSettings(
        out=settings.out / "teachers",
        data=_data(people),
        views=VIEWS,
        backbone="resnet10t",
        pretrained="none",
        holistic_size=(96, 48),
        partial_size=(64, 64),
        holistic_embedding=256,
        partial_embedding=128,
        holistic_augment=AUGMENT,
        partial_augment=AUGMENT,
        sampler=SamplerSettings(batch=32),
        optimizer=OPTIMIZER,
        loss=LOSS,
        epochs=max(1, settings.epochs - 3),  # enough to know more than the student
        evaluate_every=-1,
        seed=settings.seed,
    )


def distillation(people: Path, student: Path, representations: Path, settings: DemoSettings) -> DistillSettings:
    """Return settings of a short distillation: losses are means over dimensions, so that few passes are enough."""
    return DistillSettings(
        student=student,
        representations=representations,
        out=settings.out / "distilled",
        data=_data(people),
        augment=replace(AUGMENT, crop_padding=0),
        sampler=SamplerSettings(batch=32),
        optimizer=replace(OPTIMIZER, learning_rate=0.03),
        loss=LOSS,
        mimic=MimicSettings(distance="mean"),
        branches=BranchSettings(features=128),
        epochs=settings.epochs,
        evaluate_every=-1,  # the report scores it
        seed=settings.seed,
    )
