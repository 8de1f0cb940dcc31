"""Embedding images from files against the bare forward passes of the same network in the same process.

python benchmarks/embedding.py --data DATA [--images 512] [--rounds 5] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from rewho.data.datasets import read
from rewho.embedding.embedder import Embedder, embedder
from rewho.models.single_view import SingleViewModel
from rewho.settings import EngineSettings, ModelSettings

BATCH = 64


def bare_seconds(model: Embedder, images: int) -> float:
    """Time the forward passes alone, on images that are in memory already."""
    images = torch.randint(0, 256, (BATCH, 256, 128, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, images, BATCH):
            model.model(images[: images - start])
    return time.perf_counter() - began


def embed_seconds(model: Embedder, files: list[Path]) -> float:
    """Time reading, decoding, resizing and embedding."""
    began = time.perf_counter()
    model.embed(files, flip=False, batch=BATCH)
    return time.perf_counter() - began


def main() -> None:
    """Measure both in turns and print the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = read(options.data).select("train")
    files = [table.file(row) for row in range(min(options.images, len(table)))]
    model = embedder(SingleViewModel(ModelSettings(), (256, 128)), EngineSettings(device="cpu"))
    bare_seconds(model, BATCH)
    embed_seconds(model, files[:BATCH])
    bare, whole = [], []
    for _ in range(options.rounds):
        bare.append(bare_seconds(model, len(files)))
        whole.append(embed_seconds(model, files))
    ratio = statistics.median(whole) / statistics.median(bare)
    for name, seconds in (("bare forward passes", bare), ("embed, from files", whole)):
        print(f"{name:22} {len(files) / statistics.median(seconds):8.1f} images/s")
    print(f"ratio of times {ratio:.3f} ({len(files)} images, {torch.get_num_threads()} threads)")
    if options.out:
        options.out.write_text(json.dumps({"ratio": ratio, "bare": bare, "embed": whole}, indent=1) + "\n")


if __name__ == "__main__":
    main()
