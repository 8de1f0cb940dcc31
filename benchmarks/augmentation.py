"""Speed of the training augmentation on one thread, beside torchvision, albumentations and OpenCV by hand.

Unusual: all sides are measured in turns within one run, round by round, so that whatever else the machine does hits
all of them. Time is the thread's own CPU time, which a busy machine inflates less than wall time; the wall time is
printed too. Images are synthetic and already decoded on both sides. Our batches end in uint8, because the network
normalises on its device; others mostly end in normalised float tensors. Like is compared with like twice: both ending
in a uint8 batch, and both in what a network's first convolution gets, ours by the network's own normalisation on the
same thread. The opponents are what a competent user takes: torchvision on tensors as well as on Pillow images,
albumentations where it is installed, and a loop of OpenCV's functions.

    uv run --with albumentations python benchmarks/augmentation.py --out augmentation.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
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
from rewho.data.augment import apply
from rewho.data.draws import POLICIES, draw
from rewho.data.views import VIEWS, View
from rewho.models.normalise import normalise_images
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
        steps.append(v2.Lambda(lambda image: v2.functional.crop(image, top, left, bottom - top, right - left)))
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


def albumentations_chain(settings: AugmentSettings, view: View, normalise: bool) -> Callable[..., object] | None:
    """Return albumentations' transforms for the same policy; None where it is not installed."""
    try:
        import albumentations as a
    except ImportError:
        return None
    height, width = view.size
    top, bottom, left, right = view.pixel_box(128, 64)
    steps = [] if view.name == "holistic" else [a.Crop(left, top, right, bottom)]
    steps += [a.Resize(height, width), a.HorizontalFlip(p=settings.flip)]
    if settings.colour:
        limits = (1 - settings.colour, 1 + settings.colour)
        steps.append(a.ColorJitter(limits, limits, limits, (0, 0), p=1))
    if settings.rotation:
        steps.append(a.Rotate(settings.rotation, cv2.INTER_LINEAR, fill=MEAN_COLOUR, p=1))
    if pad := settings.crop_padding:
        steps += [a.PadIfNeeded(height + 2 * pad, width + 2 * pad, fill=MEAN_COLOUR), a.RandomCrop(height, width)]
    if normalise:
        steps.append(a.Normalize(MEAN, STD))
    area = (settings.erase_area_low, settings.erase_area_high)
    steps.append(a.Erasing(area, (settings.erase_aspect, 1 / settings.erase_aspect), fill=0, p=settings.erase))
    chain = a.Compose(steps)
    return lambda image: chain(image=image)["image"]


def by_hand(settings: AugmentSettings, view: View, image: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """Change one image with OpenCV's functions, as a careful loop would; no colours, no rotation."""
    height, width = view.size
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < settings.flip:
        image = cv2.flip(image, 1)
    if pad := settings.crop_padding:
        image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=MEAN_COLOUR)
        top, left = rng.randint(0, 2 * pad), rng.randint(0, 2 * pad)
        image = image[top : top + height, left : left + width]
    if rng.random() < settings.erase:
        for _ in range(100):
            area = rng.uniform(settings.erase_area_low, settings.erase_area_high) * height * width
            aspect = rng.uniform(settings.erase_aspect, 1 / settings.erase_aspect)
            high, wide = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if high < height and wide < width:
                top, left = rng.randint(0, height - high), rng.randint(0, width - wide)
                image[top : top + high, left : left + wide] = MEAN_COLOUR
                break
    return image


def to_network(images: NDArray[np.uint8], mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return what the first convolution of a model gets, by the operation that `SingleViewModel` begins with."""
    return normalise_images(torch.from_numpy(images).permute(0, 3, 1, 2), mean, variance)


def contenders(policy: str, view_name: str) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each call makes one batch."""
    settings, view = POLICIES[policy], VIEWS[view_name]
    images = random_images(BATCH)
    pillow = [Image.fromarray(image) for image in images]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    to_uint8, to_float = (torchvision_chain(settings, view, normalise) for normalise in (False, True))
    rng, own = generator(1, "benchmark draws"), random.Random(1)
    mean, variance = (
        torch.tensor(values) for values in ([255 * one for one in MEAN], [(255 * one) ** 2 for one in STD])
    )

    def ours() -> NDArray[np.uint8]:
        return apply(images, view, draw(settings, BATCH, view.size, rng), settings, MEAN_COLOUR).images

    def hand() -> NDArray[np.uint8]:
        return np.stack([by_hand(settings, view, image, own) for image in images])

    found: dict[str, Callable[[], object]] = {
        "rewho, uint8": ours,
        "torchvision on Pillow, uint8": lambda: torch.stack([to_uint8(image) for image in pillow]),
        "torchvision on tensors, uint8": lambda: torch.stack([to_uint8(image) for image in tensors]),
        "rewho, floats": lambda: to_network(ours(), mean, variance),
        "torchvision on Pillow, floats": lambda: torch.stack([to_float(image) for image in pillow]),
        "torchvision on tensors, floats": lambda: torch.stack([to_float(image) for image in tensors]),
    }
    for name, normalise in (("uint8", False), ("floats", True)):
        if chain := albumentations_chain(settings, view, normalise):
            found[f"albumentations, {name}"] = lambda chain=chain: to_tensor(np.stack([chain(one) for one in images]))
    if not settings.colour:
        found["OpenCV by hand, uint8"] = hand
        found["OpenCV by hand, floats"] = lambda: to_network(hand(), mean, variance)
    return found


def to_tensor(images: NDArray[np.float32]) -> torch.Tensor:
    """Return a batch as a network takes it, without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


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
        f"{name}{beside}": row["cpu_ms"] / figures[own]["cpu_ms"]
        for name, row in figures.items()
        for own, beside in (("rewho, floats", ""), ("rewho, uint8", " as each is used"))
        if name.endswith("floats") and not name.startswith("rewho")
    }
    for name, ratio in ratios.items():
        print(f"  {name}: {ratio:.1f} times")
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
        results.append({"policy": policy, "view": view, "ms_per_image": figures, "times_rewhos": ratios})
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
