"""Speed of making two views of a picture for contrastive learning, beside torchvision's on Pillow pictures, one thread.

Unusual: as in augmentation.py all sides are timed in turns within one run, and time is the thread's own CPU time. Like
is compared with like: from decoded pictures to a uint8 batch on both sides, and to a normalised float batch on both.
torchvision appears twice: with its own blur, and with Pillow's, which MoCo's and LUPerson's code calls and is faster.

    python benchmarks/contrast_views.py --out contrast-views.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torchvision.transforms import v2

from rewho.core.runtime import generator
from rewho.core.settings import ContrastAugmentSettings
from rewho.data.contrast_augment import CONTRAST_PRESETS, apply_view, draw_view

MEAN, STD = (0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)
SIZE, BATCH = (256, 128), 64


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Return smooth noise as large as crops from street video often are, 192 x 80."""
    rng = generator(1, "benchmark pictures")
    return [cv2.resize(rng.integers(0, 256, (24, 10, 3), np.uint8), (80, 192)) for _ in range(count)]


def torchvision_chain(settings: ContrastAugmentSettings, pillow_blur: bool, normalise: bool) -> v2.Compose:
    """Return torchvision's transforms of the same policy."""
    low, high = settings.blur_sigma_low, settings.blur_sigma_high
    steps: list[Callable[..., object]] = [
        v2.RandomResizedCrop(
            SIZE,
            (settings.crop_area_low, settings.crop_area_high),
            (settings.crop_ratio_low, settings.crop_ratio_high),
        )
    ]
    if settings.jitter:
        strength = settings.jitter_strength
        jitter = v2.ColorJitter(strength, strength, strength, settings.jitter_hue)
        steps.append(v2.RandomApply([jitter], settings.jitter))
    steps.append(v2.RandomGrayscale(settings.grayscale))
    blur = v2.GaussianBlur(13, (low, high))
    if pillow_blur:
        blur = v2.Lambda(lambda picture: picture.filter(ImageFilter.GaussianBlur(random.uniform(low, high))))
    steps += [v2.RandomApply([blur], settings.blur), v2.RandomHorizontalFlip(settings.flip), v2.ToImage()]
    if normalise:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    area = (settings.erase_area_low, settings.erase_area_high)
    return v2.Compose([*steps, v2.RandomErasing(settings.erase, area, (0.3, 1 / 0.3), value=0)])


def contenders(settings: ContrastAugmentSettings) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each call makes both views of one batch."""
    images = pictures(BATCH)
    pillow = [Image.fromarray(image) for image in images]
    rng = generator(1, "benchmark draws")
    colour = tuple(255 * value for value in MEAN)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    scale, offset = 1 / (255 * std), -mean / std

    def view() -> NDArray[np.uint8]:
        return apply_view(images, draw_view(settings, BATCH, SIZE, rng), settings, colour)

    def normalised() -> torch.Tensor:
        return torch.from_numpy(view()).permute(0, 3, 1, 2).contiguous().float().mul_(scale).add_(offset)

    def theirs(pillow_blur: bool, normalise: bool) -> Callable[[], object]:
        chain = torchvision_chain(settings, pillow_blur, normalise)
        return lambda: [torch.stack([chain(picture) for picture in pillow]) for _ in range(2)]

    return {
        "rewho, uint8": lambda: (view(), view()),
        "torchvision, uint8": theirs(False, False),
        "torchvision with Pillow's blur, uint8": theirs(True, False),
        "rewho, normalised float": lambda: (normalised(), normalised()),
        "torchvision, normalised float": theirs(False, True),
        "torchvision with Pillow's blur, normalised float": theirs(True, True),
    }


def measure(named: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time each contender once per round, in turns; return the median of CPU milliseconds per view."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for call in named.values():
        call()  # fills caches
    for _ in range(rounds):
        for name, call in named.items():
            start = time.thread_time()
            call()
            times[name].append(1000 * (time.thread_time() - start) / (2 * BATCH))
    return {name: statistics.median(spent) for name, spent in times.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="batches timed per contender")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    results = {}
    for preset in ("-CJ+RE", "default"):
        figures = measure(contenders(CONTRAST_PRESETS[preset]), options.rounds)
        print(f"\n{preset}: 192 x 80 -> 256 x 128, CPU ms per view, median of {options.rounds} batches of {BATCH}")
        for name, spent in figures.items():
            ours = figures["rewho, uint8" if name.endswith("uint8") else "rewho, normalised float"]
            print(f"  {name:52s}{spent:8.3f}{spent / ours:8.1f} x")
        print(f"  as each is used: {figures['torchvision, normalised float'] / figures['rewho, uint8']:.1f} x")
        results[preset] = figures
    if options.out:
        options.out.write_text(json.dumps({"batch": BATCH, "cpu_ms_per_view": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
