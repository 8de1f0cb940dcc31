"""The whole path on people that do not exist: render them, train on some, find the others again.

Runs other stages, the only stage that does: each leaves its own folder, and finished ones are skipped.
"""

from __future__ import annotations

from pathlib import Path

from rewho.core.progress import Progress, say
from rewho.core.settings import (
    AugmentSettings,
    DataSettings,
    DemoSettings,
    EvaluateSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.data.synthetic import write_people
from rewho.stages import evaluate, train

TEST_IDENTITIES = 60
CAMERAS = 4


def run(settings: DemoSettings) -> Path:
    """Render, train, evaluate.

    Args:
        settings: How many people, how long, where.

    Returns:
        The report's page.
    """
    people = _render(settings)
    model = train.run(training(people, settings))
    page = evaluate.run(EvaluateSettings(model=(model,), data=(people,), out=settings.out / "report", rerank=True))
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


def training(people: Path, settings: DemoSettings) -> TrainSettings:
    """Return settings that learn rendered people from nothing within minutes on two CPU cores.

    No pre-trained weights are needed: a small network with batch normalisation learns from random weights, which
    SqueezeNet, without normalisation, does not.
    """
    return TrainSettings(
        out=settings.out / "model",
        data=DataSettings(root=people, workers=0),  # small pictures: a worker would only be in the network's way
        model=ModelSettings(backbone="resnet10t", embedding=256, input_size=(96, 48), pretrained="none"),
        augment=AugmentSettings(crop_padding=4, erase=0.3, erase_area_high=0.3),
        sampler=SamplerSettings(batch=32),
        optimizer=OptimizerSettings(learning_rate=0.05, nesterov=True, schedule="cosine", warmup_epochs=1),
        loss=LossSettings(label_smoothing=0.1),
        epochs=settings.epochs,
        evaluate_every=max(1, settings.epochs // 2),
        seed=settings.seed,
    )
