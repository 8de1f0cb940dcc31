"""Train the teachers (FD section 3.1), one per view; finished ones are skipped, interrupted ones resume."""

from __future__ import annotations

from pathlib import Path

from rewho.core.check import UserError
from rewho.core.lock import LOCK, hold, release_locks
from rewho.core.progress import say
from rewho.core.runtime import StopRequest
from rewho.data.view_file import read_view
from rewho.data.views import View
from rewho.settings import ModelSettings, TeachersSettings, TrainSettings
from rewho.settings.fields import check
from rewho.stages import train


@release_locks
def run(settings: TeachersSettings) -> Path:
    """Train the teachers of all views in the settings; return the folder with one model folder per view."""
    check(settings)
    views = [read_view(name) for name in settings.views]
    names = [view.name for view in views]
    if not names or len(set(names)) < len(names):
        fix = "Leave --views out for the paper's seven."
        raise UserError("--views", expected="at least one view, each once", got=", ".join(names) or "none", fix=fix)
    hold(settings.out / LOCK, f"--out {settings.out}")
    with StopRequest() as stop:
        for number, (name, view) in enumerate(zip(settings.views, views, strict=True), 1):
            stop.end_if_wanted(f"{number - 1} of {len(views)} teachers are in {settings.out}")
            say(f"teacher {number} of {len(views)}: {view.name}")
            train.run(settings_of_teacher(settings, name, view))
    return settings.out


def settings_of_teacher(settings: TeachersSettings, name: str, view: View) -> TrainSettings:
    """Return the settings of one view's training."""
    holistic = view.name == "holistic"
    return TrainSettings(
        out=settings.out / view.name,
        data=settings.data,
        model=ModelSettings(
            backbone=settings.backbone,
            stride_one_at=settings.stride_one_at,
            embedding=settings.holistic_embedding if holistic else settings.partial_embedding,
            view=name,
            input_size=settings.holistic_size if holistic else settings.partial_size,
            pretrained=settings.pretrained,
        ),
        augment=settings.holistic_augment if holistic else settings.partial_augment,
        sampler=settings.sampler,
        optimizer=settings.optimizer,
        loss=settings.loss,
        engine=settings.engine,
        checkpoint=settings.checkpoint,
        epochs=settings.epochs,
        steps_per_epoch=settings.steps_per_epoch,
        evaluate_every=settings.evaluate_every,
        seed=settings.seed,
        allow_config_change=settings.allow_config_change,
    )
