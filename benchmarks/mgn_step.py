"""A training step of MGN beside its backbone and its heads measured bare, on random tensors, in one run.

The backbone is the trunk with its three branches, forward and backward on a plain sum; the heads are the eight heads,
their classifiers and losses, forward and backward on fixed maps. Time is the process's CPU time on one thread, or
synchronised wall time on a GPU.

    python benchmarks/mgn_step.py --backbone resnet18 --size 192 64 --batch 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewho.core.settings import LossSettings, ModelSettings
from rewho.data.batches import Batch
from rewho.models.kinds import build_model
from rewho.models.mgn import STRIPES, MultipleGranularityModel
from rewho.stages.train import IdentityTask


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 64))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--embedding", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (options.size[0], options.size[1])
    settings = ModelSettings(kind="mgn", backbone=options.backbone, embedding=options.embedding)
    model = build_model(settings, size)
    assert isinstance(model, MultipleGranularityModel)
    loss = LossSettings(identity=0.125, triplet=0.2, classifier="circle", margin=0.0)
    task = IdentityTask(model, 751, loss).to(device, memory_format=torch.channels_last).train()
    images = torch.randint(0, 256, (options.batch, *size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    labels = torch.arange(options.batch, device=device) // 4
    nothing = torch.zeros(options.batch, device=device)
    batch = Batch(images, labels, labels, nothing, nothing)
    shared = model.feature_map(images)
    map_shape = model.branches[0](shared).shape
    maps = torch.randn(len(STRIPES), *map_shape, device=device).contiguous(memory_format=torch.contiguous_format)

    def backbone() -> None:
        trunk = model.feature_map(images)
        torch.stack([branch(trunk).sum() for branch in model.branches]).sum().backward()

    def heads() -> None:
        branches, model.branches = model.branches, torch.nn.ModuleList(Given(part) for part in maps)
        before, model.feature_map = model.feature_map, lambda _images: shared.detach()  # type: ignore[method-assign]
        task(batch)["total"].backward()
        model.branches, model.feature_map = branches, before  # type: ignore[method-assign]

    def whole() -> None:
        task(batch)["total"].backward()

    spent = measure({"backbone": backbone, "heads": heads, "whole": whole}, task, options.rounds, device)
    parts = spent["backbone"] + spent["heads"]
    print(f"{device}, ms per step of {options.batch} pictures, median of {options.rounds}: {spent}")
    print(f"whole / (backbone + heads) = {spent['whole'] / parts:.3f}")


class Given(torch.nn.Module):
    """A branch that answers with a given map."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = torch.nn.Parameter(answer.clone())

    def forward(self, _shared: Tensor) -> Tensor:
        """Return the map."""
        return self.answer


def measure(
    named: dict[str, Callable[[], None]], task: torch.nn.Module, rounds: int, device: torch.device
) -> dict[str, float]:
    """Time each in turns; return median milliseconds."""

    def clock() -> float:
        if device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    spent: dict[str, list[float]] = {name: [] for name in named}
    for number in range(rounds + 1):
        for name, call in named.items():
            start = clock()
            call()
            task.zero_grad(set_to_none=True)
            if number:  # the first round fills caches
                spent[name].append(1000 * (clock() - start))
    return {name: round(statistics.median(times), 1) for name, times in spent.items()}


if __name__ == "__main__":
    main()
