"""Speed of the training augmentation, beside torchvision's on Pillow images, on one thread.

Unusual: all sides are measured in turns within one run, round by round, so that whatever else the machine does hits
all of them. Time is the thread's own CPU time, which a busy machine inflates less than wall time; the wall time is
printed too. Images are synthetic and already decoded on both sides. Our batches end in uint8, because the network
normalises on its device; torchvision's users mostly end in normalised float tensors. Like is compared with like twice:
both ending in a uint8 batch, and both ending in a normalised float batch, ours normalised by torch on the same thread.

    python benchmarks/augmentation.py --out augmentation.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from rewho.core.runtime import generator
from rewho.data.augment import apply, resize
from rewho.data.draws import POLICIES, draw
from rewho.data.views import VIEWS, View
from rewho.settings import AugmentSettings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEAN_COLOUR = tuple(round(255 * value) for value in MEAN)
BATCH = 64
CASES = (("holistic", "holistic"), ("final_student", "holistic"), ("partial_teacher", "up1"))


def random_images(count: int) -> list[NDArray[np.uint8]]:
    """Return smooth noise in the size of most re-identification sets, 128 x 64."""
    rng = generator(1, "benchmark pictures")
    return [cv2.resize(rng.integers(0, 256, (16, 8, 3), np.uint8), (64, 128)) for _ in range(count)]


def torchvision_chain(settings: AugmentSettings, view: View, normalise: bool) -> v2.Compose:
    """Return torchvision's transforms for the same policy, in the usual order of re-identification code."""
    top, bottom, left, right = view.pixel_box(128, 64)
    steps: list[Callable[..., object]] = []
    if view.name != "holistic":
        steps.append(v2.Lambda(lambda image: image.crop((left, top, right, bottom))))
    steps += [v2.Resize(view.size), v2.RandomHorizontalFlip(settings.flip)]
    if settings.colour:
        steps.append(v2.ColorJitter(settings.colour, settings.colour, settings.colour))
    if settings.rotation:
        steps.append(v2.RandomRotation(settings.rotation, InterpolationMode.BILINEAR, fill=MEAN_COLOUR))
    if settings.crop_padding:
        steps += [v2.Pad(settings.crop_padding, fill=MEAN_COLOUR), v2.RandomCrop(view.size)]
    steps.append(v2.ToImage())
    if normalise:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    area = (settings.erase_area_low, settings.erase_area_high)
    aspect = (settings.erase_aspect, 1 / settings.erase_aspect)
    return v2.Compose([*steps, v2.RandomErasing(settings.erase, area, aspect, value=0)])


def contenders(policy: str, view_name: str) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each call makes one batch."""
    settings, view = POLICIES[policy], VIEWS[view_name]
    images = random_images(BATCH)
    pillow = [Image.fromarray(image) for image in images]
    to_uint8, to_float = (torchvision_chain(settings, view, normalise) for normalise in (False, True))
    rng = generator(1, "benchmark draws")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    scale, offset = 1 / (255 * std), -mean / std

    def ours() -> NDArray[np.uint8]:
        return apply(images, view, draw(settings, BATCH, view.size, rng), settings, MEAN_COLOUR).images

    def ours_normalised() -> torch.Tensor:
        batch = torch.from_numpy(ours()).permute(0, 3, 1, 2).contiguous()
        return batch.float().mul_(scale).add_(offset)

    return {
        "rewho, uint8": ours,
        "torchvision, uint8": lambda: torch.stack([to_uint8(image) for image in pillow]),
        "rewho, normalised float": ours_normalised,
        "torchvision, normalised float": lambda: torch.stack([to_float(image) for image in pillow]),
        "rewho, resize only": lambda: resize(images, view),
    }


def measure(named: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Time each contender once per round, in turns; return milliseconds per image."""
    cpu: dict[str, list[float]] = {name: [] for name in named}
    wall: dict[str, list[float]] = {name: [] for name in named}
    for call in named.values():
        call()  # fills caches
    for _ in range(rounds):
        for name, call in named.items():
            start_wall, start_cpu = time.perf_counter(), time.thread_time()
            call()
            cpu[name].append(1000 * (time.thread_time() - start_cpu) / BATCH)
            wall[name].append(1000 * (time.perf_counter() - start_wall) / BATCH)
    return {
        name: {
            "cpu_ms": statistics.median(cpu[name]),
            "cpu_ms_best": min(cpu[name]),
            "wall_ms": statistics.median(wall[name]),
        }
        for name in named
    }


def report(policy: str, view: str, figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """Print one policy's table; return how many times faster ours is."""
    size = "{} x {}".format(*VIEWS[view].size)
    print(f"\n{policy}, view {view}: 128 x 64 -> {size}, ms per image, one thread, {BATCH} images a batch")
    print(f"  {'':30s}{'CPU median':>12s}{'CPU best':>12s}{'wall median':>13s}")
    for name, row in figures.items():
        print(f"  {name:30s}{row['cpu_ms']:12.3f}{row['cpu_ms_best']:12.3f}{row['wall_ms']:13.3f}")
    ratios = {
        "both uint8": figures["torchvision, uint8"]["cpu_ms"] / figures["rewho, uint8"]["cpu_ms"],
        "both normalised float": figures["torchvision, normalised float"]["cpu_ms"]
        / figures["rewho, normalised float"]["cpu_ms"],
        "each as it is used": figures["torchvision, normalised float"]["cpu_ms"] / figures["rewho, uint8"]["cpu_ms"],
    }
    print("  torchvision / rewho:", ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))
    return ratios


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="batches timed per contender")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    results = []
    for policy, view in CASES:
        figures = measure(contenders(policy, view), options.rounds)
        ratios = report(policy, view, figures)
        results.append({"policy": policy, "view": view, "ms_per_image": figures, "torchvision_over": ratios})
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
    }
    if options.out:
        options.out.write_text(json.dumps({"versions": versions, "batch": BATCH, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
