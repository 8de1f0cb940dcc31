"""Batches for supervised training, end to end from files: rewho's loader against PIL with torchvision.v2.

Both read the same images with the same number of worker processes and give batches for the holistic policy at
256 x 128 (flip, crop, erasing). rewho's time includes reading and decoding everything into memory at the start.

Run: python benchmarks/loader.py --data DATA [--workers 2] [--epochs 3] [--rounds 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from rewho.data.batches import PlanStream, load_batches
from rewho.data.datasets import read
from rewho.data.draws import POLICIES
from rewho.data.images import Images
from rewho.data.table import ImageTable
from rewho.data.views import VIEWS
from rewho.settings import SamplerSettings
from rewho.tasks.labelled import Preparation

BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Conventional(Dataset[tuple[Tensor, int]]):
    """One image at a time, as most repositories do it."""

    def __init__(self, table: ImageTable) -> None:
        self.files = [table.file(row) for row in range(len(table))]
        self.labels = table.labels().tolist()
        self.change = v2.Compose(
            [
                v2.Resize((256, 128)),
                v2.RandomHorizontalFlip(),
                v2.Pad(10),
                v2.RandomCrop((256, 128)),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                v2.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.3)),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as image:
            return self.change(image.convert("RGB")), self.labels[row]


def rewho_loader(table: ImageTable, workers: int, epochs: int) -> int:
    """Go through the epochs with rewho's loader; returns the number of images."""
    mean = tuple(255 * value for value in MEAN)
    prepare = Preparation(Images(table), table.labels(), VIEWS["holistic"], POLICIES["holistic"], 1, mean)
    plans = PlanStream(SamplerSettings(batch=BATCH), table.labels(), seed=1, epochs=epochs)
    return sum(len(batch.images) for batch in load_batches(plans, prepare, workers=workers))


def conventional_loader(table: ImageTable, workers: int, epochs: int) -> int:
    """Go through the epochs with PIL and torchvision; returns the number of images."""
    loader = DataLoader(
        Conventional(table), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    return sum(len(images) for _ in range(epochs) for images, _ in loader)


def rate(loader: Callable[[ImageTable, int, int], int], table: ImageTable, workers: int, epochs: int) -> float:
    """Return images per second."""
    began = time.perf_counter()
    images = loader(table, workers, epochs)
    return images / (time.perf_counter() - began)


def main() -> None:
    """Measure both in turns and print the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = read(options.data).select("train")
    rates: dict[str, list[float]] = {"rewho": [], "PIL + torchvision.v2": []}
    for _ in range(options.rounds):
        rates["rewho"].append(rate(rewho_loader, table, options.workers, options.epochs))
        rates["PIL + torchvision.v2"].append(rate(conventional_loader, table, options.workers, options.epochs))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:22} {value:8.0f} images/s")
    ratio = medians["rewho"] / medians["PIL + torchvision.v2"]
    print(f"ratio {ratio:.1f} ({len(table):,} images, {options.epochs} epochs, {options.workers} workers)")
    if options.out:
        options.out.write_text(json.dumps({"images_per_second": medians, "ratio": ratio}, indent=1) + "\n")


if __name__ == "__main__":
    main()
