"""Where the time of a pre-training step goes, beside a bare forward and backward pass on random tensors, in one run.

Unusual: time is the process's CPU time on one thread where there is no GPU, so that a busy machine matters less. "bare"
is what cannot be saved: the query encoder forward and backward, the key encoder forward, the optimizer. The rest of a
step is what momentum contrast adds: shuffling, moving the key encoder, scores against the queue, the queue itself.
Making the views happens in worker processes; it is shown beside the step that it has to keep up with.

    python benchmarks/pretrain_step.py --backbone resnet18 --size 128 64 --batch 32 --queue 65536
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from rewho.core.runtime import generator
from rewho.core.settings import ContrastAugmentSettings, ContrastSettings, ModelSettings
from rewho.data.contrast_augment import apply_view, draw_view
from rewho.models.single_view import SingleViewModel
from rewho.pipeline.contrasting import ContrastBatch, ContrastTask


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 64))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--queue", type=int, default=65536)
    parser.add_argument("--group", type=int, default=0, help="pictures that share a batch normalisation; 0 is all")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (options.size[0], options.size[1])
    settings = ModelSettings(backbone=options.backbone, pooling="gap", head="none")
    encoder = SingleViewModel(settings, size).to(memory_format=torch.channels_last)
    task = ContrastTask(encoder, ContrastSettings(queue=options.queue, norm_group=options.group)).to(device).train()
    contrast = task.contrast
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 1e-3, momentum=0.9, weight_decay=1e-4)
    rng = generator(1, "benchmark")
    crops = [cv2.resize(rng.integers(0, 256, (24, 10, 3), np.uint8), (80, 192)) for _ in range(options.batch)]
    random = torch.randint(0, 256, (2, options.batch, *size, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3).to(device)
    order, rows = torch.rand(options.batch, device=device), torch.arange(options.batch)
    aim = F.normalize(torch.randn(options.batch, 128, device=device))

    def update(loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def bare() -> None:
        with torch.no_grad():
            keys = contrast.key_projection(contrast.key_encoder(random[1]))
        update(-(contrast.projection(contrast.encoder(random[0])) * (aim + keys)).sum())

    def whole() -> None:
        update(task(ContrastBatch(random[0], random[1], order, rows))["total"])

    def views() -> None:
        for _ in range(2):
            augment = ContrastAugmentSettings()
            apply_view(crops, draw_view(augment, options.batch, size, rng), augment, (90, 80, 80))

    report({"bare": bare, "whole": whole, "views": views}, options.rounds, options.batch, device)


def report(named: dict[str, Callable[[], None]], rounds: int, batch: int, device: torch.device) -> None:
    """Time each in turns and print what a step costs beyond the bare one."""

    def clock() -> float:
        if device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    spent: dict[str, list[float]] = {name: [] for name in named}
    for call in named.values():
        call()
    for _ in range(rounds):
        for name, call in named.items():
            start = clock()
            call()
            spent[name].append(1000 * (clock() - start))
    bare, whole, views = (statistics.median(spent[name]) for name in named)
    print(f"{device}, ms per step of {batch} pictures, median of {rounds}")
    print(f"  bare forward, backward, key forward, optimizer {bare:10.1f}")
    print(
        f"  whole step                                     {whole:10.1f}  ({100 * (whole - bare) / whole:.1f} % more)"
    )
    print(f"  both views, in a worker                        {views:10.1f}  ({100 * views / whole:.1f} % of a step)")


if __name__ == "__main__":
    main()
