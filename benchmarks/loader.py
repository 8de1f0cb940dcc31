"""Batches for supervised training, end to end from files, as a network gets them: rewho's loader against three others.

All read the same images with the same number of worker processes and give batches for the holistic policy at 256 x 128
(flip, crop, erasing): normalised floats, ours by the network's own first operation, which is timed too. Others decode
each image at each access with Pillow, as most repositories do, or, as a competent user does, once with OpenCV, keep the
pixels and change them with torchvision on tensors or with albumentations, where it is installed. Everybody's time
includes reading and decoding. Processor time counts the workers' too, and says more than the clock on a busy machine.

Run: uv run --with albumentations python benchmarks/loader.py --data DATA [--workers 2] [--epochs 3] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from augmentation import albumentations_chain, torchvision_chain
from rewho.data.batches import PlanStream, load_batches
from rewho.data.datasets import read
from rewho.data.draws import POLICIES
from rewho.data.images import Images
from rewho.data.table import ImageTable
from rewho.data.views import VIEWS
from rewho.models.normalise import normalise_images
from rewho.settings import SamplerSettings
from rewho.tasks.labelled import Preparation

BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
POLICY, VIEW = POLICIES["holistic"], VIEWS["holistic"]
Change = Callable[..., object]


class FromFiles(Dataset[tuple[Tensor, int]]):
    """One image at a time, decoded by Pillow."""

    def __init__(self, table: ImageTable, change: v2.Compose) -> None:
        self.files = [table.file(row) for row in range(len(table))]
        self.labels, self.change = table.labels().tolist(), change

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as image:
            return self.change(image.convert("RGB")), self.labels[row]


class Kept(Dataset[tuple[Tensor, int]]):
    """One image at a time, decoded once by OpenCV and kept in memory that the workers share."""

    def __init__(self, table: ImageTable, change: Change, *, tensors: bool) -> None:
        files = [table.file(row) for row in range(len(table))]
        self.images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
        if tensors:
            self.images = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in self.images]
        self.labels, self.change, self.tensors = table.labels().tolist(), change, tensors

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        changed = self.change(self.images[row])
        return (changed if self.tensors else torch.from_numpy(changed).permute(2, 0, 1)), self.labels[row]


def rewho_loader(table: ImageTable, workers: int, epochs: int) -> int:
    """Go through the epochs with rewho's loader; returns the number of images."""
    mean, variance = 255 * torch.tensor(MEAN), (255 * torch.tensor(STD)) ** 2
    prepare = Preparation(Images(table), table.labels(), VIEW, POLICY, 1, tuple(mean.tolist()))
    plans = PlanStream(SamplerSettings(batch=BATCH), table.labels(), seed=1, epochs=epochs)
    batches = load_batches(plans, prepare, workers=workers)
    return sum(len(normalise_images(batch.images, mean, variance)) for batch in batches)


def through(dataset: Dataset[tuple[Tensor, int]], workers: int, epochs: int) -> int:
    """Go through the epochs with a DataLoader as it comes; returns the number of images."""
    loader = DataLoader(
        dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    return sum(len(images) for _ in range(epochs) for images, _ in loader)


def opponents() -> dict[str, Callable[[ImageTable, int, int], int]]:
    """Return what is timed beside ours, by name."""
    chain = torchvision_chain(POLICY, VIEW, normalise=True)
    found = {
        "Pillow + torchvision": lambda table, *given: through(FromFiles(table, chain), *given),
        "OpenCV, kept + torchvision": lambda table, *given: through(Kept(table, chain, tensors=True), *given),
    }
    if change := albumentations_chain(POLICY, VIEW, normalise=True):
        found["OpenCV, kept + albumentations"] = lambda table, *given: through(
            Kept(table, change, tensors=False), *given
        )
    return found


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Measure all in turns and print the ratios of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=0, help="the first ones alone; 0 takes all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = read(options.data).select("train")
    table = table.rows(np.arange(min(options.images or len(table), len(table))))
    sides = {"rewho": rewho_loader, **opponents()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(options.rounds):  # forwards and backwards, because the machine's load drifts
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            wall, spent = time.perf_counter(), processor_seconds()
            images = sides[name](table, options.workers, options.epochs)
            times[name].append(((time.perf_counter() - wall) / images, (processor_seconds() - spent) / images))
    rows = {
        name: {"images_per_second": 1 / statistics.median(wall for wall, _ in found),
               "cpu_ms_per_image": 1000 * statistics.median(cpu for _, cpu in found)}
        for name, found in times.items()
    }  # fmt: skip
    print(f"{len(table):,} images, {options.epochs} epochs, {options.workers} workers")
    for name, row in rows.items():
        by_wall = rows["rewho"]["images_per_second"] / row["images_per_second"]
        by_cpu = row["cpu_ms_per_image"] / rows["rewho"]["cpu_ms_per_image"]
        figures = f"{row['images_per_second']:8.0f} images/s {row['cpu_ms_per_image']:7.3f} CPU ms per image"
        print(f"{name:30} {figures}; rewho {by_wall:.1f} times as fast, {by_cpu:.1f} in processor time")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
