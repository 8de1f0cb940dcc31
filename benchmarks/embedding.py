"""Embedding images from files, by each library that can compute, against the bare forward passes of torch.

Unusual: in processor time and in turns, so that other work on the machine changes little. What tracing costs at the
start is measured apart; the last column says from how many images on it pays.

    python benchmarks/embedding.py --data DATA --model starter --runtimes torch onnxruntime
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rewho.data.datasets import read
from rewho.data.images import decode
from rewho.embedding.embedder import Embedder, embedder, load, view_of
from rewho.embedding.images import resized_batches
from rewho.embedding.runtime import Runner
from rewho.models.single_view import SingleViewModel
from rewho.settings import DeviceSettings, ModelSettings

BATCH = 64


def seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def bare(model: Embedder, pixels: list[np.ndarray]) -> None:
    """Compute the forward passes alone, on images that are in memory already."""
    with torch.inference_mode():
        for batch in pixels:
            model.model(torch.from_numpy(batch).permute(0, 3, 1, 2))


def open_model(name: str, runtime: str, threads: int) -> Embedder:
    """Return a model folder, or a network with random weights on a backbone, computed by a library."""
    if Path(name).exists() or name == "starter":
        return load(name, "cpu", threads, runtime)  # type: ignore[arg-type]
    torch.manual_seed(1)
    made = embedder(SingleViewModel(ModelSettings(backbone=name, pretrained="none"), (256, 128)), DeviceSettings("cpu"))
    runner = Runner(made.model, made.device, threads, runtime)  # type: ignore[arg-type]
    return Embedder(made.model, {}, made.device, threads, runner=runner)


def main() -> None:
    """Measure all in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["starter"], help="model folders, or backbones at 256 x 128")
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnxruntime"])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = read(options.data).select("train")
    files = [table.file(row) for row in range(min(options.images, len(table)))]
    print("| model | computed by | ms per image | times as fast | start, s | largest difference | pays from |")
    print("|---|---|---|---|---|---|---|")
    for name in options.model:
        models = {runtime: open_model(name, runtime, options.threads) for runtime in options.runtimes}
        first = models[options.runtimes[0]]
        pixels = list(resized_batches(files, BATCH, view_of(first.model), decode))
        starts = {kind: seconds(lambda m=model: m.embed(files[:BATCH], flip=False)) for kind, model in models.items()}
        works: dict[str, Callable[[], object]] = {"bare forward passes of torch": lambda: bare(first, pixels)}  # noqa: B023
        works |= {kind: (lambda m=model: m.embed(files, flip=False)) for kind, model in models.items()}
        times = {kind: [] for kind in works}
        for _ in range(options.rounds):
            for kind, work in works.items():
                times[kind].append(seconds(work))
        middle = {kind: statistics.median(taken) / len(files) for kind, taken in times.items()}
        base = models["torch"].embed(files, flip=False) if "torch" in models else None
        for kind, each in middle.items():
            row = [name, kind, f"{1000 * each:.2f}", f"{middle.get('torch', each) / each:.2f}", "", "", ""]
            if kind in models and kind != "torch" and base is not None:
                found = models[kind].embed(files, flip=False)
                unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (base, found)]
                gain = middle["torch"] - each
                row[4:] = [f"{starts[kind]:.1f}", f"{np.abs(unit[0] - unit[1]).max():.0e}"]
                row += [f"{starts[kind] / (2 * gain):,.0f}" if gain > 0 else "never"]  # mirror images, too
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
