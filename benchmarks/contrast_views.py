"""Speed of making two views of an image for contrastive learning, beside torchvision's on Pillow images, one thread.

Unusual: as in augmentation.py all sides are timed in turns within one run, and time is the thread's own CPU time. Like
is compared with like: from decoded images to a uint8 batch on both sides, to a normalised float batch on both, and
from a crop set on disk, decoding included, with what really runs in the workers. Last as each is used: rewho's batches
stay uint8, because the network normalises on its device, and the others' are normalised floats. torchvision appears
three times: with its own blur, with Pillow's, which MoCo's and LUPerson's code calls and is faster, and on tensors that
OpenCV decoded; albumentations, on OpenCV's arrays, where it is installed.

    uv run --with albumentations python benchmarks/contrast_views.py --out contrast-views.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torchvision.transforms import v2

from pretrain_step import write_crops
from rewho.core.runtime import generator
from rewho.crops.shards import CropSet
from rewho.data.batches import Plan
from rewho.data.contrast_augment import CONTRAST_PRESETS, apply_view, draw_view
from rewho.models.normalise import normalise_images
from rewho.settings import ContrastAugmentSettings
from rewho.tasks.contrast import ContrastPreparation
from rewho.tasks.unlabelled import open_images

MEAN, STD = (0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)
SIZE, BATCH = (256, 128), 64
OURS = "rewho"


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
        blur = v2.Lambda(lambda image: image.filter(ImageFilter.GaussianBlur(random.uniform(low, high))))
    steps += [v2.RandomApply([blur], settings.blur), v2.RandomHorizontalFlip(settings.flip), v2.ToImage()]
    if normalise:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    area = (settings.erase_area_low, settings.erase_area_high)
    return v2.Compose([*steps, v2.RandomErasing(settings.erase, area, (0.3, 1 / 0.3), value=0)])


def albumentations_chain(settings: ContrastAugmentSettings, normalise: bool) -> Callable[..., object] | None:
    """Return albumentations' transforms of the same policy; None where it is not installed."""
    try:
        import albumentations as a
    except ImportError:
        return None
    area, ratio = (
        (settings.crop_area_low, settings.crop_area_high),
        (settings.crop_ratio_low, settings.crop_ratio_high),
    )
    steps = [a.RandomResizedCrop(SIZE, area, ratio)]
    if settings.jitter:
        low, high = 1 - settings.jitter_strength, 1 + settings.jitter_strength
        hue = (-settings.jitter_hue, settings.jitter_hue)
        steps.append(a.ColorJitter((low, high), (low, high), (low, high), hue, p=settings.jitter))
    sigma = (settings.blur_sigma_low, settings.blur_sigma_high)
    steps += [a.ToGray(p=settings.grayscale), a.GaussianBlur((0, 0), sigma, p=settings.blur)]
    steps += [a.HorizontalFlip(p=settings.flip), *([a.Normalize(MEAN, STD)] if normalise else [])]
    erased = (settings.erase_area_low, settings.erase_area_high)
    chain = a.Compose([*steps, a.Erasing(erased, (0.3, 1 / 0.3), fill=0, p=settings.erase)])
    return lambda image: chain(image=image)["image"]


def contenders(settings: ContrastAugmentSettings, folder: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """Return what is timed, by what it starts from and gives; each call makes both views of one batch.

    Args:
        settings: The augmentation.
        folder: A crop set.
    """
    crops = CropSet.open(folder)
    images = [crops[row] for row in range(BATCH)]
    pillow = [Image.fromarray(image) for image in images]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    rng = generator(1, "benchmark draws")
    colour = tuple(255 * value for value in MEAN)
    mean, variance = 255 * torch.tensor(MEAN), (255 * torch.tensor(STD)) ** 2
    prepare, rows = ContrastPreparation(open_images([folder]), SIZE, settings, 1, colour), np.arange(BATCH)

    def view() -> NDArray[np.uint8]:
        return apply_view(images, draw_view(settings, BATCH, SIZE, rng), settings, colour)

    def normalised() -> torch.Tensor:
        return normalise_images(torch.from_numpy(view()).permute(0, 3, 1, 2), mean, variance)

    def from_disk() -> object:
        return prepare(Plan(0, 0, rows), slice(0, BATCH))

    def decoded() -> list[Image.Image]:
        return [Image.open(BytesIO(crops.bytes(row))).convert("RGB") for row in range(BATCH)]

    def opened() -> list[NDArray[np.uint8]]:
        return [cv2.cvtColor(cv2.imdecode(np.frombuffer(crops.bytes(row), np.uint8), 1), 4) for row in range(BATCH)]

    def theirs(*, normalise: bool, disk: bool = False) -> dict[str, Any]:
        def both(chain: Callable[..., object], kind: str) -> object:
            people: list[Any] = decoded() if disk and kind == "Pillow" else opened() if disk else start[kind]
            if disk and kind == "tensors":
                people = [torch.from_numpy(image).permute(2, 0, 1) for image in people]
            made = [[chain(image) for image in people] for _ in range(2)]
            return [torch.from_numpy(np.stack(one)) if kind == "arrays" else torch.stack(one) for one in made]

        start = {"Pillow": pillow, "arrays": images, "tensors": tensors}
        own, pillows = (torchvision_chain(settings, pillow_blur, normalise) for pillow_blur in (False, True))
        other = albumentations_chain(settings, normalise)
        found = {
            "torchvision": lambda: both(own, "Pillow"),
            "torchvision with Pillow's blur": lambda: both(pillows, "Pillow"),
            "torchvision on tensors": lambda: both(own, "tensors"),
        }
        return found | ({"albumentations": lambda: both(other, "arrays")} if other else {})

    return {
        "decoded images to uint8": {OURS: lambda: (view(), view()), **theirs(normalise=False)},
        "decoded images to floats": {OURS: lambda: (normalised(), normalised()), **theirs(normalise=True)},
        "crop set to uint8": {OURS: from_disk, **theirs(normalise=False, disk=True)},
        "crop set, as each is used": {OURS: from_disk, **theirs(normalise=True, disk=True)},
    }


def measure(groups: dict[str, dict[str, Callable[[], object]]], rounds: int) -> dict[str, dict[str, float]]:
    """Time each contender once per round, in turns; return the medians of CPU milliseconds per view."""
    times: dict[str, dict[str, list[float]]] = {group: {name: [] for name in calls} for group, calls in groups.items()}
    for number in range(rounds + 1):
        for group, calls in groups.items():
            for name, call in calls.items():
                start = time.thread_time()
                call()
                if number:  # the first round fills caches
                    times[group][name].append(1000 * (time.thread_time() - start) / (2 * BATCH))
    return {group: {name: statistics.median(spent) for name, spent in found.items()} for group, found in times.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="batches timed per contender")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        crops = write_crops(Path(folder), BATCH)
        for preset in ("-CJ+RE", "default"):
            results[preset] = figures = measure(contenders(CONTRAST_PRESETS[preset], crops), options.rounds)
            print(f"\n{preset}: 192 x 80 -> 256 x 128, CPU ms per view, median of {options.rounds} batches of {BATCH}")
            for group, found in figures.items():
                for name, spent in found.items():
                    print(f"  {group:28s}{name:32s}{spent:8.3f}{spent / found[OURS]:8.1f} x")
    if options.out:
        options.out.write_text(json.dumps({"batch": BATCH, "cpu_ms_per_view": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
