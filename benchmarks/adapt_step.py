"""What the memory of `rewho adapt` adds to a step, at the size of Market-1501: processor time of one thread.

    python benchmarks/adapt_step.py --backbone squeezenet1_1 --size 128 64

Forward pass, backward pass and optimizer of the network alone, and with memory, loss, update and the batches' decoded,
augmented images; in turns within one run. The overhead is what the second takes beyond the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rewho.data.batches import Plan
from rewho.data.views import VIEWS, View
from rewho.models.single_view import SingleViewModel
from rewho.settings import AdaptSettings, ModelSettings
from rewho.tasks.adaptation import AdaptBatch, AdaptPreparation, AdaptTask
from rewho.tasks.target import Target
from rewho.tasks.unlabelled import FileImages, JoinedImages

IMAGES, CLASSES, BATCH = 12_936, 3_000, 64


class Noise(FileImages):
    """Random images, already decoded, as `--data.memory_gb` keeps them."""

    def __init__(self) -> None:
        super().__init__(Path(), tuple(map(str, range(IMAGES))))
        self.pixels = np.random.default_rng(1).integers(0, 256, (64, 128, 64, 3), np.uint8)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.pixels[row % 64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 64))
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    size = tuple(options.size)
    holistic = VIEWS["holistic"]
    view = View("holistic", holistic.top, holistic.bottom, holistic.left, holistic.right, size)
    settings = AdaptSettings()
    architecture = ModelSettings(
        backbone=options.backbone, pooling="gap", head="bn", pretrained="none", extra_bn="no", input_size=size
    )
    model = SingleViewModel(architecture, size).to(memory_format=torch.channels_last)
    images = JoinedImages((Noise(),), "")
    target = Target(images, np.arange(IMAGES) % 6, None, None, "noise", "", {})
    task = AdaptTask(model, settings, target, 0, 16).train()
    labels = torch.arange(IMAGES) % CLASSES
    task.memory.fill(torch.randn(IMAGES, model.settings.embedding), labels)
    prepare = AdaptPreparation(images, np.arange(IMAGES), None, view, settings, (124.0, 116.0, 104.0))
    optimizer = torch.optim.Adam(model.parameters(), 1e-5, fused=True)

    def batch_of(step: int) -> AdaptBatch:
        rows = np.random.default_rng(step).integers(IMAGES, size=BATCH)
        return prepare(Plan(0, step, rows), np.arange(BATCH))

    def alone(step: int, batch: AdaptBatch) -> None:
        F.normalize(model(batch.images)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    def whole(step: int, batch: AdaptBatch) -> None:
        task(batch_of(step))["total"].backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds: dict[str, list[float]] = {"network alone": [], "whole step": []}
    for step in range(options.rounds + 1):
        batch = batch_of(step)
        for name, work in (("network alone", alone), ("whole step", whole)):
            began = time.process_time()
            work(step, batch)
            if step:  # the first round allocates
                seconds[name].append(time.process_time() - began)
    medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
    overhead = medians["whole step"] / medians["network alone"] - 1
    print(json.dumps({"backbone": options.backbone, "size": size, **medians, "overhead": round(overhead, 3)}))


if __name__ == "__main__":
    main()
