"""Speed and memory of the evaluation, beside a compiled, a vectorised and a per-query one, at Market-1501's size.

Unusual: all sides start from the same embeddings, give CMC and both mAPs, and are measured in turns within one run, so
that whatever else the machine does hits all of them. Wall time counts; CPU time, summed over threads, is printed
because a busy machine inflates it less. The compiled side is what fast-reid's Cython does, written anew in C++: NumPy
sorts the whole matrix, then one pass over each query's order; it needs a compiler, and is left out where there is none.
The per-query side is timed on a part of the queries, and scaled. Memory is the
peak of a process of its own. Two processors are meant to be free: ours uses both, the other sides hardly more than one.

    python benchmarks/evaluation.py --out evaluation.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from market_like import DIMENSIONS, Task, market_like
from rewho.core.people import JUNK
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking

MAX_RANK = 50
Figures = dict[str, float]


def ours(task: Task, precision: str = "float64") -> Figures:
    scores = evaluate(Ranking.from_embeddings(*task, precision=precision), max_rank=MAX_RANK, resamples=0)
    return {"rank_1": scores.rank(1), "rectangular": scores.mAP_rectangular, "trapezoid": scores.mAP_trapezoid}


def ranked_gallery(task: Task) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return embeddings at length 1, person ids and camera ids of the gallery without junk."""
    ranked = task.gallery.person_ids != JUNK
    gallery = task.gallery_embeddings[ranked]
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    return gallery, task.gallery.person_ids[ranked], task.gallery.cameras[ranked]


def vectorised(task: Task) -> Figures:
    """Evaluate as NumPy code usually does: argsort of the whole matrix, then cumulative sums along it."""
    gallery, people, cameras = ranked_gallery(task)
    query = task.query_embeddings / np.linalg.norm(task.query_embeddings, axis=1, keepdims=True)
    order = np.argsort(1 - query @ gallery.T, axis=1)
    same_person = people[order] == task.query.person_ids[:, None]
    left_out = same_person & (cameras[order] == task.query.cameras[:, None])
    match = same_person & ~left_out
    rank = np.cumsum(~left_out, axis=1)
    matches = np.cumsum(match, axis=1)
    total = matches[:, -1]
    valid = total > 0
    before = np.where(rank > 1, (matches - 1) / np.maximum(rank - 1, 1), 1)
    rectangular = np.where(match, matches / np.maximum(rank, 1), 0).sum(axis=1)[valid] / total[valid]
    just_before = np.where(match, before, 0).sum(axis=1)[valid] / total[valid]
    first = np.where(match, rank, rank.max() + 1).min(axis=1)[valid]
    cmc = (first[:, None] <= np.arange(1, MAX_RANK + 1)).mean(axis=0)
    trapezoid = (rectangular + just_before) / 2
    return {"rank_1": cmc[0], "rectangular": rectangular.mean(), "trapezoid": trapezoid.mean()}


PASS = r"""
#include <cstdint>
extern "C" void score(const int64_t* order, int64_t queries, int64_t images, const int64_t* people,
                      const int64_t* cameras, const int64_t* query_people, const int64_t* query_cameras,
                      int64_t* first, double* rectangular, double* trapezoid) {
    for (int64_t query = 0; query < queries; ++query) {
        const int64_t* row = order + query * images;
        int64_t rank = 0, matches = 0;
        double after = 0, both = 0;
        first[query] = -1;
        for (int64_t place = 0; place < images; ++place) {
            const bool same = people[row[place]] == query_people[query];
            if (same && cameras[row[place]] == query_cameras[query]) continue;
            if (same) {
                if (first[query] < 0) first[query] = rank;
                const double before = rank ? double(matches) / rank : 1.0, now = double(matches + 1) / (rank + 1);
                after += now;
                both += (before + now) / 2;
                ++matches;
            }
            ++rank;
        }
        rectangular[query] = matches ? after / matches : -1;
        trapezoid[query] = matches ? both / matches : -1;
    }
}
"""
"""One pass over each query's order: CMC and both average precisions."""


def compile_pass(folder: Path) -> Callable[[Task], Figures] | None:
    """Return the compiled side; None where there is no compiler."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    (folder / "score.cpp").write_text(PASS)
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "score.cpp", "-o", "score.so"], cwd=folder, check=True)
    score = ctypes.CDLL(str(folder / "score.so")).score

    def compiled(task: Task) -> Figures:
        gallery, people, cameras = ranked_gallery(task)
        query = task.query_embeddings / np.linalg.norm(task.query_embeddings, axis=1, keepdims=True)
        order = np.argsort(1 - query @ gallery.T, axis=1)
        count = len(query)
        first, rectangular, trapezoid = np.empty(count, np.int64), np.empty(count), np.empty(count)
        labels = [
            np.ascontiguousarray(one, np.int64) for one in (people, cameras, task.query.person_ids, task.query.cameras)
        ]
        arrays = [ctypes.c_void_p(one.ctypes.data) for one in (*labels, first, rectangular, trapezoid)]
        sizes = [ctypes.c_int64(one) for one in order.shape]
        score(ctypes.c_void_p(order.ctypes.data), *sizes, *arrays)
        valid = first >= 0
        means = {"rectangular": rectangular[valid].mean(), "trapezoid": trapezoid[valid].mean()}
        return {"rank_1": (first[valid] == 0).mean(), **means}

    return compiled


def per_query(task: Task, queries: int) -> Figures:
    """Evaluate the first queries one after the other: distances by NumPy, all else in plain Python."""
    gallery, *labels = ranked_gallery(task)
    people, cameras = (values.tolist() for values in labels)
    found = []
    for number in range(queries):
        query = task.query_embeddings[number] / np.linalg.norm(task.query_embeddings[number])
        query_person, query_camera = int(task.query.person_ids[number]), int(task.query.cameras[number])
        distances = (1 - gallery @ query).tolist()
        rank = matches = first = 0
        rectangular = trapezoid = 0.0
        for _, person, camera in sorted(zip(distances, people, cameras, strict=True)):
            if person == query_person and camera == query_camera:
                continue
            if person == query_person:
                first = first if matches else rank
                after, before = (matches + 1) / (rank + 1), matches / rank if rank else 1.0
                rectangular, trapezoid = rectangular + after, trapezoid + (after + before) / 2
                matches += 1
            rank += 1
        if matches:
            found.append((first == 0, rectangular / matches, trapezoid / matches))
    return dict(zip(("rank_1", "rectangular", "trapezoid"), np.mean(found, axis=0).tolist(), strict=True))


def timed(call: Callable[[], Figures]) -> tuple[Figures, float, float]:
    """Return what a call returns, its wall time and its CPU time, s."""
    start_wall, start_cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - start_wall, time.process_time() - start_cpu


def peak_memory_mb(side: str, script: str = __file__) -> dict[str, float]:
    """Run one side in a process of its own; return its memory with inputs only and at its peak, MiB."""
    run = subprocess.run([sys.executable, script, "--memory-of", side], check=True, capture_output=True, text=True)
    return dict(json.loads(run.stdout))


def print_memory(call: Callable[[Task], object]) -> None:
    """Print this process's memory before and after a call, MiB."""
    task = market_like()
    unit = 1024 if platform.system() == "Linux" else 1024**2
    inputs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    call(task)
    print(json.dumps({"with_inputs": inputs, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}))


def versions() -> dict[str, str]:
    """Return what the figures depend on."""
    return {"python": platform.python_version(), "numpy": np.__version__, "processors": str(os.cpu_count())}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    parser.add_argument("--python-queries", type=int, default=100, help="queries that the per-query side is timed on")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--memory-of", choices=("ours",), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of:
        print_memory(ours)
        return
    # First, because a process starts with the peak of the one that started it.
    memory = peak_memory_mb("ours")
    task = market_like()
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_pass(Path(folder))
    share = len(task.query) / options.python_queries
    sides: dict[str, tuple[Callable[[], Figures], float]] = {
        "rewho": (lambda: ours(task), 1),
        "rewho, float32 products": (lambda: ours(task, "float32"), 1),
        **({"compiled": (lambda: compiled(task), 1)} if compiled else {}),
        "vectorised": (lambda: vectorised(task), 1),
        "per query": (lambda: per_query(task, options.python_queries), share),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    figures: dict[str, Figures] = {}
    for _ in range(options.rounds):
        for name, (call, scale) in sides.items():
            figures[name], wall, cpu = timed(call)
            seconds[name].append((wall * scale, cpu * scale))
    for name, value in figures["rewho"].items():
        for other in {"vectorised", "compiled"} & set(figures):
            assert abs(value - figures[other][name]) < 1e-5, "the sides disagree"
    rows = {
        name: {
            "wall_s": statistics.median(wall for wall, _ in times),
            "cpu_s": statistics.median(cpu for _, cpu in times),
            "slower_than_rewho": statistics.median(
                wall / base for (wall, _), (base, _) in zip(times, seconds["rewho"], strict=True)
            ),
            **figures[name],
        }
        for name, times in seconds.items()
    }
    print(f"{len(task.query)} queries x {int((task.gallery.person_ids != JUNK).sum())} images, {DIMENSIONS} dimensions")
    print(f"{'':26s}{'wall s':>9s}{'CPU s':>9s}{'ratio':>8s}{'Rank-1':>9s}{'mAP rect.':>11s}{'mAP trap.':>11s}")
    for name, row in rows.items():
        print(
            f"{name:26s}{row['wall_s']:9.2f}{row['cpu_s']:9.2f}{row['slower_than_rewho']:8.1f}{row['rank_1']:9.4f}"
            f"{row['rectangular']:11.5f}{row['trapezoid']:11.5f}"
        )
    print(f"per query: timed and scored on {options.python_queries} queries, time scaled to all")
    print(f"memory: {memory['with_inputs']:.0f} MiB with inputs, {memory['peak']:.0f} MiB at the peak")
    if options.out:
        result = {"versions": versions(), "rounds": options.rounds, "sides": rows, "memory_mib": memory}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
