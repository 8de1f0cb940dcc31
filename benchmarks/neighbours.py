"""The neighbour search of re-ranking and clustering, which computes one triangle, beside a search of the whole matrix.

Both are measured in turns within one run: as re-ranking searches Market-1501, and as clustering searches its training
part. The whole matrix is searched a block of rows at a time in as many threads, and every product is computed twice.

    python benchmarks/neighbours.py --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rewho.rank.blocks import map_row_blocks
from rewho.rank.distance import EmbeddingDistances, smallest
from rewho.rank.nearest import nearest_neighbours

CASES = (("re-ranking", 19_281, 256, 21), ("clustering", 12_936, 2048, 30))
EACH = 17  # images of a person


def whole(embeddings: NDArray[np.float32], k: int, threads: int) -> NDArray[np.int64]:
    """Return the k nearest images of every image, from every entry of the matrix."""
    source = EmbeddingDistances(embeddings, embeddings, "cosine", "float32")

    def search(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        distances = source.block(rows)
        distances.max(axis=1)
        distances[np.arange(len(rows)), rows] = -1
        return smallest(distances, k)[0]

    return np.concatenate(map_row_blocks(search, *source.shape, threads))


def triangle(embeddings: NDArray[np.float32], k: int, threads: int) -> NDArray[np.int64]:
    """Return the same from one triangle."""
    return nearest_neighbours(embeddings, k, threads=threads).indices


def people(images: int, size: int) -> NDArray[np.float32]:
    """Return embeddings around the centres of people."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(images // EACH + 1, size))
    points = centres[np.sort(random.integers(len(centres), size=images))] + 1.2 * random.normal(size=(images, size))
    return points.astype(np.float32)


def timed(work: Callable[[], NDArray[np.int64]]) -> tuple[NDArray[np.int64], float, float]:
    """Return a result, the seconds on the wall and those of the processor."""
    began, cpu = time.perf_counter(), time.process_time()
    return work(), time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(
        "| search | images | dimensions | wall, s | processor, s | ratio of processor time |\n|---|---|---|---|---|---|"
    )
    for name, images, size, k in CASES:
        embeddings = people(images, size)
        times: dict[str, list[tuple[float, float]]] = {"whole matrix": [], "one triangle": []}
        for _ in range(options.rounds):
            first, *taken = timed(partial(whole, embeddings, k, options.threads))
            times["whole matrix"].append((taken[0], taken[1]))
            second, *taken = timed(partial(triangle, embeddings, k, options.threads))
            times["one triangle"].append((taken[0], taken[1]))
        middle = {
            side: [statistics.median(column) for column in zip(*found, strict=True)] for side, found in times.items()
        }
        for side, (wall, cpu) in middle.items():
            ratio = middle["whole matrix"][1] / cpu
            print(f"| {name}, {side} | {images:,} | {size:,} | {wall:.2f} | {cpu:.2f} | {ratio:.2f} |")
        print(f"{name}: {(first == second).mean():.6f} of the neighbours are the same", flush=True)


if __name__ == "__main__":
    main()
