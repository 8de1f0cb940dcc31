"""A training small enough to be cut at every step: rendered noise, a network with batch norm and dropout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rewho.core.runtime import generator
from rewho.data.batches import Batch, PlanStream, load_batches
from rewho.settings import (
    CheckpointSettings,
    EngineSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.training.engine import Engine, launch
from rewho.training.loop import Training, train
from rewho.training.optim import build_optimizer
from rewho.training.state import State

IMAGES, IDENTITIES, EPOCHS, STEPS = 40, 5, 4, 40
LABELS = np.arange(IMAGES) % IDENTITIES


def settings(folder: Path, **changes) -> TrainSettings:
    """Settings of a 40-step run that saves after every step and keeps every checkpoint."""
    start = TrainSettings(
        out=folder,
        sampler=SamplerSettings(batch=4),
        optimizer=OptimizerSettings(learning_rate=0.05, warmup_epochs=1, schedule="cosine"),
        checkpoint=CheckpointSettings(every_steps=1, keep=1000),
        engine=EngineSettings(device="cpu", precision="32"),
        epochs=EPOCHS,
        evaluate_every=2,
    )
    return replace(start, **changes)


class Prepare:
    """Images that depend on the row, and noise that depends on the place in the training."""

    def __call__(self, plan, part):
        noise = generator(1, "augment", plan.epoch, plan.step).integers(0, 60, (len(plan.rows), 8, 4, 3))
        rows = plan.rows[part]
        images = np.stack([generator(1, "picture", int(row)).integers(0, 190, (8, 4, 3)) for row in rows])
        images = torch.from_numpy((images + noise[part]).astype(np.uint8)).permute(0, 3, 1, 2)
        count = len(rows)
        return Batch(
            images,
            torch.from_numpy(LABELS[rows]),
            torch.from_numpy(rows),
            torch.zeros(count, 4, dtype=torch.int32),
            torch.zeros(count, dtype=torch.bool),
        )


class ToyTask(nn.Module):
    """Convolution, batch norm, dropout, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(8, IDENTITIES)

    def forward(self, batch):
        maps = self.backbone(batch.images.float() / 255)
        return {"total": F.cross_entropy(self.classifier(maps.amax(dim=(2, 3))), batch.labels)}


def make(run: TrainSettings, engine: Engine, evaluate=None, task: nn.Module | None = None, spoil=None) -> Training:
    """Build a training from scratch, as a new process would; `spoil` may change a batch by its number."""
    torch.manual_seed(7)
    task = task or ToyTask()
    plans = PlanStream(run.sampler, LABELS, run.seed, run.epochs)
    score = evaluate or (lambda stop: {"mAP": -float(task.classifier.weight.detach().sum())})

    def batches(start):
        loaded = load_batches(
            replace(plans, start=start),
            Prepare(),
            workers=run.data.workers,
            rank=engine.fabric.global_rank,
            world=engine.fabric.world_size,
        )
        for number, batch in enumerate(loaded, start):
            yield spoil(number, batch) if spoil else batch

    return Training(
        task=task,
        optimizer=build_optimizer(task.backbone, [task.classifier], run.optimizer),
        epoch_length=plans.epoch_length(),
        batches=batches,
        settings=run,
        folder=run.out,
        evaluate=score,
        keep_best=lambda: None,
        names=lambda batch: [f"image-{int(row)}.jpg" for row in batch.rows],
        pretrained=[task.backbone],
    )


def run(run_settings: TrainSettings, **options) -> State:
    """Train to the end, or from the newest checkpoint to the end."""
    engine = launch(run_settings.engine)
    return train(make(run_settings, engine, **options), engine)
