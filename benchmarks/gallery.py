"""Time and memory of a gallery of random embeddings, beside FAISS Flat and a plain NumPy scan in the same run.

    python benchmarks/gallery.py --count 100000
    python benchmarks/gallery.py --count 1000000 --thumbnail 0
    python benchmarks/gallery.py --count 20000 --people 4000 --group

Prints one row per figure; of searches the median and the 95th percentile on the clock, and the median of processor
time, whose ratio to FAISS's is that of searches that took turns. The embeddings are those of "people" with noise, on
10 cameras, each with a mean of its own; each crop has a random thumbnail of 4 kB, so that erasure reads as many bytes
as in a real gallery.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Filters, NewCrop
from rewho.gallery.scan import Wanted, best, relative
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import ModelSettings, TermsSettings

Matrix = NDArray[np.float32]
Rows = NDArray[np.bool_]
CAMERAS = 10
BATCH = 1000


def row(what: str, value: str, unit: str = "") -> None:
    print(f"{what:58} {value:>12} {unit}", flush=True)


def spent() -> float:
    """Return the processor time of this process and of those that it started."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Timed(NamedTuple):
    """Seconds of each call, on the clock and of processor time, sorted."""

    wall: list[float]
    work: list[float]

    @property
    def median(self) -> float:
        """Median of the processor time."""
        return self.work[len(self.work) // 2]


def times(tasks: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, Timed]:
    """Return how long each call took; the tasks take turns, so that all have the same load beside them."""
    found = {name: Timed([], []) for name in tasks}
    for number in range(rounds + 1):
        for name, do in tasks.items():
            began, work = time.perf_counter(), time.process_time()
            do(number)
            if number:
                found[name].wall.append(time.perf_counter() - began)
                found[name].work.append(time.process_time() - work)
    for one in found.values():
        one.wall.sort()
        one.work.sort()
    return found


def show(what: str, found: Timed, beside: Timed | None = None) -> None:
    middle, late = found.wall[len(found.wall) // 2], found.wall[int(0.95 * (len(found.wall) - 1))]
    ratio = "" if beside is None else f", {found.median / beside.median:.2f} x FAISS"
    row(what, f"{1e3 * middle:.1f}", f"ms, p95 {1e3 * late:.1f} ms; {1e3 * found.median:.2f} ms of work{ratio}")


def make_gallery(place: Path, size: int) -> Gallery:
    torch.manual_seed(1)
    settings = ModelSettings(backbone="squeezenet1_1", embedding=size, input_size=(64, 32), pretrained="none")
    save_model(place / "model", build_model(settings, (64, 32)).eval(), ModelCard())
    terms = dict.fromkeys(TermsSettings.__dataclass_fields__, "benchmark")
    return Gallery.create(place / "gallery", place / "model", terms=terms)


def batches(count: int, size: int, people_seen: int, thumbnail: int, seed: int = 1) -> Iterator[list[Embedded]]:
    """Yield crops with embeddings and thumbnails."""
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((people_seen, size), dtype=np.float32)
    offsets = 0.7 * rng.standard_normal((CAMERAS, size), dtype=np.float32)
    for first in range(0, count, BATCH):
        numbers = np.arange(first, min(first + BATCH, count))
        noise = rng.standard_normal((len(numbers), size), dtype=np.float32)
        vectors = people[numbers % len(people)] + offsets[numbers % CAMERAS] + noise
        yield [
            Embedded(
                NewCrop(
                    f"crop-{number}", camera=f"camera {number % CAMERAS}", time=1.7e9 + 10.0 * number,
                    sha256=f"{number:064x}",
                ),
                vector,
                rng.bytes(thumbnail) or None,
            )
            for number, vector in zip(numbers.tolist(), vectors, strict=True)
        ]  # fmt: skip


def measure_adding(gallery: Gallery, count: int, size: int, people: int, thumbnail: int) -> None:
    writer = gallery.writer("benchmark", gallery.model_sha256)
    took = spent = 0.0
    for batch in batches(count, size, people, thumbnail):
        began, work = time.perf_counter(), time.process_time()
        writer.write(batch)
        took, spent = took + time.perf_counter() - began, spent + time.process_time() - work
    row("add, embedding apart, fsync per 1,000", f"{count / took:,.0f}", f"crops/s, {count / spent:,.0f} by work")


OPENING = """
import sys, time
from pathlib import Path
from rewho.gallery.gallery import Gallery
import torch

def read(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if name in line).split()[1])

before = read("VmRSS")
began, work = time.perf_counter(), time.process_time()
with Gallery(sys.argv[1]) as gallery:
    index = gallery.index()
    opened, work = time.perf_counter() - began, time.process_time() - work
    matrix = sum(part.nbytes for _, part in index.parts()) / 1024
    gallery.statistics()
    means = time.perf_counter() - began - opened
    for number in range(1, 21):
        gallery.search(sightings=[number])
    print(opened, work, means, before, matrix, read("VmRSS"), read("VmHWM"))
"""


def measure_opening(folder: Path) -> None:
    """Print time and memory of a fresh process that opens the gallery and searches."""
    done = subprocess.run([sys.executable, "-c", OPENING, folder], capture_output=True, text=True, check=True)
    opened, work, means, before, matrix, after, most = map(float, done.stdout.split())
    row("open: read and check all rows, in a fresh process", f"{opened:.2f}", f"s, {work:.2f} s of work")
    row("means of the cameras", f"{means:.2f}", "s")
    row(
        "matrix, memory above the libraries' after 20 searches",
        f"{matrix / 1024:.0f}",
        f"MB, {(after - before) / 1024:.0f} MB",
    )
    row("memory / matrix, at its most", f"{(after - before) / matrix:.2f}", f", {(most - before) / matrix:.2f}")


def measure_searching(gallery: Gallery, count: int, rounds: int, threads: int) -> None:
    """Print the time of searches, beside FAISS Flat and a NumPy scan of the same matrix."""
    import faiss

    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    index = gallery.index()
    matrix = np.empty((len(index), index.size), np.float32)
    for first, block in index.parts():
        matrix[first : first + len(block)] = block
    flat = faiss.IndexFlatIP(index.size)
    flat.add(matrix)
    asking = np.arange(rounds + 1)
    plain, queries = index.vectors(asking), relative(index, gallery.statistics().means, asking)
    cameras, latest = index.column("cameras"), np.arange(len(index)) >= 0.99 * len(index)
    asked = {
        "unfiltered": (Filters(), np.ones(len(index), bool)),
        "1 camera": (Filters(cameras=("camera 3",)), cameras == cameras[3]),
        "1 % of rows": (Filters(after=1.7e9 + 10.0 * 0.99 * count), latest),
    }
    for what, (filters, rows) in asked.items():
        given = None
        if not rows.all():
            given = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little")))

        def in_faiss(n: int, given: object = given) -> object:
            return flat.search(matrix[n : n + 1], 20, params=given)

        def in_numpy(n: int, rows: Rows = rows) -> NDArray[np.int64]:
            chosen = matrix if rows.all() else matrix[rows]
            product = chosen @ matrix[n]
            nearest = np.argpartition(-product, 20)[:20]
            return nearest[np.argsort(-product[nearest])]

        found = times({
            "Gallery.search, with its record": lambda n, f=filters: gallery.search(sightings=[1 + n], filters=f),
            "scan, float16, relative to cameras": lambda n, k=rows: relative_best(gallery, queries[n], n, k),
            "scan, float16, plain": lambda n, k=rows: best(index, Wanted(plain[n], 20), k),
            "FAISS Flat, float32": in_faiss,
            "NumPy scan, float32": in_numpy,
        }, rounds)  # fmt: skip
        for name, one in found.items():
            show(f"{name}, {what}", one, found["FAISS Flat, float32"])


def relative_best(gallery: Gallery, query: NDArray[np.float64], row: int, keep: Rows) -> object:
    index, statistics = gallery.index(), gallery.statistics()
    return best(index, Wanted(query, 20, None, statistics, int(index.column("cameras")[row])), keep)


GROUPING = """
import sys, time
from pathlib import Path
from rewho.gallery.gallery import Gallery

def read(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if name in line).split()[1])

with Gallery(sys.argv[1]) as gallery:
    gallery.statistics()
    before, began, work = read("VmRSS"), time.perf_counter(), time.process_time()
    done = gallery.group()
    print(time.perf_counter() - began, time.process_time() - work, before, read("VmHWM"), done.sightings, done.alone)
"""


def measure_grouping(folder: Path, people: int) -> None:
    """Print time, memory and purity of a proposal in a fresh process; sighting n is of person (n - 1) % people."""
    done = subprocess.run([sys.executable, "-c", GROUPING, folder], capture_output=True, text=True, check=True)
    took, work, before, most, inside, alone = map(float, done.stdout.split())
    row("group, in a fresh process", f"{took:.1f}", f"s, {work:.1f} s of work")
    row("peak memory of that process", f"{most / 1024:.0f}", f"MB, {before / 1024:.0f} with the gallery open")
    with Gallery(folder) as gallery:
        found = gallery.database.rows("SELECT person, id FROM sightings WHERE person IS NOT NULL")
    groups: dict[int, list[int]] = {}
    for person, number in found:
        groups.setdefault(person, []).append((number - 1) % people)
    pure = sum(max(Counter(members).values()) for members in groups.values())
    row("groups, sightings in them, alone", f"{len(groups):,}", f"{inside:,.0f} {alone:,.0f}")
    row("purity", f"{pure / max(1, len(found)):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--thumbnail", type=int, default=4096, help="bytes of each crop's thumbnail")
    parser.add_argument(
        "--place", type=Path, default=None, help="folder for the gallery; the system's for temporary files"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each search")
    parser.add_argument("--forget", type=int, default=100)
    parser.add_argument("--people", type=int, default=20_000, help="how many people the sightings are of")
    parser.add_argument("--group", action="store_true", help="propose people and do nothing else")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewho-gallery-", dir=asked.place) as place:
        gallery = make_gallery(Path(place), asked.size)
        row("rows x dimensions", f"{asked.count:,} x {asked.size}")
        measure_adding(gallery, asked.count, asked.size, asked.people, asked.thumbnail)
        gallery.close()
        if asked.group:
            measure_grouping(gallery.folder, asked.people)
            return
        measure_opening(gallery.folder)
        with Gallery(gallery.folder) as opened:
            with threadpool_limits(asked.threads):
                measure_searching(opened, asked.count, asked.rounds, asked.threads)
            began, work = time.perf_counter(), spent()
            receipt = opened.erasure.forget(range(1, 1 + asked.forget))["content"]
            took, work = time.perf_counter() - began, spent() - work
            row(f"forget {asked.forget}, with the byte scan", f"{took:.1f}", f"s, {work:.1f} s of work")
            row("bytes read, pieces found", f"{receipt['bytes']:,}", f"{receipt['found']}")


if __name__ == "__main__":
    main()
