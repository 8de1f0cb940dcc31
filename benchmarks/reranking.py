"""Speed and memory of k-reciprocal re-ranking, beside a dense NumPy implementation, at the size of Market-1501.

Unusual: the dense side holds several matrices of all images against all images and peaks near 10 GB; with less free
memory, pass a smaller `--share`. Both sides are measured in turns within one run and give the whole matrix of re-ranked
distances, block by block on our side; the largest difference between the two is printed.

    python benchmarks/reranking.py --out reranking.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation import peak_memory_mb, print_memory, versions
from market_like import GALLERY, JUNK_IMAGES, QUERIES, Task, market_like
from rewho.core.people import JUNK
from rewho.rank.blocks import map_row_blocks
from rewho.rank.ranking import Ranking
from rewho.rank.rerank import rerank

K1, K2, LAMBDA = 20, 6, 0.3


def ours(task: Task) -> Ranking:
    """Re-rank, and make every distance once."""
    ranking = rerank(Ranking.from_embeddings(*task), k1=K1, k2=K2, lambda_=LAMBDA)
    map_row_blocks(lambda rows: float(ranking.source.block(rows)[0, 0]), *ranking.source.shape)
    return ranking


def dense(task: Task) -> NDArray[np.float32]:
    """Re-rank with matrices of all images against all images, float32."""
    gallery = task.gallery_embeddings[task.gallery.person_ids != JUNK]
    images = np.concatenate([task.query_embeddings, gallery])
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    count, queries = len(images), len(task.query)
    distances = 2 - 2 * (images @ images.T)
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1)[:, : K1 + 1].copy()
    weights = np.zeros((count, count), np.float32)
    for image in range(count):
        members = dense_set(order, image)
        raw = np.exp(-distances[image, members])
        weights[image, members] = raw / raw.sum()
    distances = distances[:queries, queries:].copy()
    weights = np.stack([weights[order[image, :K2]].mean(axis=0) for image in range(count)])
    owners = [np.flatnonzero(weights[:, image]) for image in range(count)]
    final = np.empty_like(distances)
    for query in range(queries):
        shared = np.zeros(count, np.float32)
        for member in np.flatnonzero(weights[query]):
            who = owners[member]
            shared[who] += np.minimum(weights[query, member], weights[who, member])
        final[query] = (1 - LAMBDA) * (1 - shared / (2 - shared))[queries:] + LAMBDA * distances[query]
    return final


def dense_set(order: NDArray[np.int64], image: int) -> NDArray[np.int64]:
    """Return the expanded k-reciprocal set of one image."""

    def reciprocal(of: int, size: int) -> NDArray[np.int64]:
        nearest = order[of, :size]
        return nearest[(order[nearest, :size] == of).any(axis=1)]

    members = reciprocal(image, K1 + 1)
    joined = [members]
    for member in members:
        half = reciprocal(member, round(K1 / 2) + 1)
        if 3 * len(np.intersect1d(half, members)) > 2 * len(half):
            joined.append(half)
    return np.unique(np.concatenate(joined))


def largest_difference(ranking: Ranking, matrix: NDArray[np.float32]) -> float:
    parts = map_row_blocks(lambda rows: np.abs(ranking.source.block(rows) - matrix[rows]).max(), *matrix.shape)
    return float(max(parts))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side")
    parser.add_argument("--share", type=float, default=1.0, help="share of the queries and of the gallery")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--memory-of", choices=("ours",), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of:
        print_memory(ours)
        return
    # First, because a process starts with the peak of the one that started it.
    memory = peak_memory_mb("ours", __file__)
    sizes = [int(size * options.share) for size in (QUERIES, GALLERY, JUNK_IMAGES)]
    task = market_like(*sizes)
    seconds: dict[str, list[tuple[float, float]]] = {"rewho": [], "dense": []}
    difference = 0.0
    for _ in range(options.rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        ranking = ours(task)
        middle, middle_cpu = time.perf_counter(), time.process_time()
        matrix = dense(task)
        seconds["rewho"].append((middle - start, middle_cpu - start_cpu))
        seconds["dense"].append((time.perf_counter() - middle, time.process_time() - middle_cpu))
        difference = largest_difference(ranking, matrix)
        del matrix
    ratio = statistics.median(
        slow / fast for (slow, _), (fast, _) in zip(seconds["dense"], seconds["rewho"], strict=True)
    )
    rows = {
        name: {"wall_s": statistics.median(w for w, _ in times), "cpu_s": statistics.median(c for _, c in times)}
        for name, times in seconds.items()
    }
    print(f"{sizes[0]} queries x {sizes[1]} images, {ranking.description}")
    for name, row in rows.items():
        print(f"{name:8s} wall {row['wall_s']:8.2f} s   CPU {row['cpu_s']:8.2f} s")
    print(f"dense / rewho: {ratio:.1f}; largest difference of an entry {difference:.1e}")
    print(
        f"memory of rewho at full size: {memory['with_inputs']:.0f} MiB with inputs, {memory['peak']:.0f} at the peak"
    )
    if options.out:
        result = {"versions": versions(), "rounds": options.rounds, "sizes": sizes, "sides": rows, "ratio": ratio}
        result |= {"largest_difference": difference, "memory_mib": memory}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
