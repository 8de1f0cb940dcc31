"""Time and memory of the clustering behind `rewho adapt`, on random embeddings around centres.

One size: `python benchmarks/clustering.py --images 12936 --size 2048`. How the part after the neighbour search grows:
`python benchmarks/clustering.py --images 10000 130000 --size 64 --window 2000`, each size in a process of its own; with
a window, neighbours are searched among so many images that were drawn around nearby centres, because the exact search
grows with the square.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rewho.rank.cluster_scores import silhouette
from rewho.rank.clustering import count_clusters, dbscan, jaccard_graph, neighbour_distances
from rewho.rank.distance import unit_vectors
from rewho.rank.nearest import nearest_neighbours
from rewho.rank.neighbours import (
    expanded_reciprocal_sets,
    gaussian_weights,
    half_size,
    local_query_expansion,
)
from rewho.rank.reliability import select_reliable

K1, K2 = 30, 6
IMAGES_EACH = 17  # as on Market-1501


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search_in_windows(units: Any, window: int, threads: int) -> Any:  # noqa: ANN401 - arrays
    """Return the nearest neighbours among `window` consecutive images."""
    starts = range(0, len(units), window)
    parts = [nearest_neighbours(units[at : at + window], K1, threads=threads).indices + at for at in starts]
    return np.concatenate([part for part in parts if part.shape[1] == K1])


def measure(images: int, size: int, spread: float, threads: int, window: int) -> dict[str, Any]:
    random = np.random.default_rng(1)
    centres = random.normal(size=(images // IMAGES_EACH + 1, size)).astype("f4")
    points = centres[np.sort(random.integers(len(centres), size=images))]
    points += spread * random.normal(size=points.shape).astype("f4")
    seconds, start = {}, peak_mb()

    def step(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is measured
        began, cpu = time.monotonic(), time.process_time()
        result = work()
        seconds[name] = round(time.monotonic() - began, 2)
        seconds[f"{name}, processor"] = round(time.process_time() - cpu, 2)
        return result

    units = unit_vectors(points, "float32")
    search = lambda: nearest_neighbours(units, K1, threads=threads).indices  # noqa: E731 - timed below
    indices = step("neighbours", (lambda: search_in_windows(units, window, threads)) if window else search)
    sets = step("reciprocal sets", lambda: expanded_reciprocal_sets(indices, half_size(K1)))
    weights = step("weights", lambda: local_query_expansion(gaussian_weights(sets, units), indices[:, :K2]))
    graph = step("distances", lambda: jaccard_graph(weights, threads=threads))
    labels = step("DBSCAN, three times", lambda: [dbscan(graph, eps) for eps in (0.58, 0.6, 0.62)])
    reliable = step("reliability", lambda: select_reliable(labels[1], labels[0], labels[2]))
    step("k-distances", lambda: neighbour_distances(graph))
    clustering = sum(value for name, value in seconds.items() if "processor" not in name)
    processor = sum(value for name, value in seconds.items() if "processor" in name)
    score = step("silhouette", lambda: silhouette(points, labels[1]))
    return {
        "images": images,
        "size": size,
        "pairs": int(graph.nnz // 2),
        "clusters": count_clusters(labels[1]),
        "outliers": int((labels[1] < 0).sum()),
        "reliable": reliable.clusters,
        "silhouette": score,
        "seconds": seconds,
        "clustering": round(clustering, 2),
        "after the neighbour search": round(clustering - seconds["neighbours"], 2),
        "processor": round(processor, 2),
        "processor after the neighbour search": round(processor - seconds["neighbours, processor"], 2),
        "peak MB": round(peak_mb()),
        "MB above the embeddings and libraries": round(peak_mb() - start),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[12_936])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--spread", type=float, default=1.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--window", type=int, default=0)
    options = parser.parse_args()
    if len(options.images) == 1:
        print(
            json.dumps(
                measure(options.images[0], options.size, options.spread, options.threads, options.window), indent=1
            )
        )
        return
    for images in options.images:
        words = ["--size", str(options.size), "--spread", str(options.spread), "--threads", str(options.threads)]
        words += ["--window", str(options.window)]
        subprocess.run([sys.executable, __file__, "--images", str(images), *words], check=True)


if __name__ == "__main__":
    main()
