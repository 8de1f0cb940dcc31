"""Time and memory of a gallery of random embeddings, beside FAISS Flat and a plain NumPy scan in the same run.

    python benchmarks/gallery.py --count 100000
    python benchmarks/gallery.py --count 20000 --people 4000 --group

Prints one row per figure. The embeddings are those of "people" with noise, on 10 cameras, each with a mean of
its own; each crop has a random thumbnail of 4 kB, so that erasure reads as many bytes as in a real gallery.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Filters, NewCrop
from rewho.gallery.scan import best
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import ModelSettings, TermsSettings

Matrix = NDArray[np.float32]
Rows = NDArray[np.bool_]
CAMERAS = 10
BATCH = 1000


def row(what: str, value: str, unit: str = "") -> None:
    print(f"{what:58} {value:>12} {unit}", flush=True)


def times(do: Callable[[int], object], rounds: int) -> list[float]:
    """Return the seconds of each call, sorted."""
    do(0)
    found = []
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        do(number)
        found.append(time.perf_counter() - began)
    return sorted(found)


def show(what: str, found: list[float]) -> None:
    row(what, f"{1e3 * found[len(found) // 2]:.1f}", f"ms, p95 {1e3 * found[int(0.95 * (len(found) - 1))]:.1f} ms")


def make_gallery(place: Path, size: int) -> Gallery:
    torch.manual_seed(1)
    settings = ModelSettings(backbone="squeezenet1_1", embedding=size, input_size=(64, 32), pretrained="none")
    save_model(place / "model", build_model(settings, (64, 32)).eval(), ModelCard())
    terms = dict.fromkeys(TermsSettings.__dataclass_fields__, "benchmark")
    return Gallery.create(place / "gallery", place / "model", terms=terms)


def batches(count: int, size: int, people_seen: int, seed: int = 1) -> Iterator[list[Embedded]]:
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
                rng.bytes(4096),
            )
            for number, vector in zip(numbers.tolist(), vectors, strict=True)
        ]  # fmt: skip


def measure_adding(gallery: Gallery, count: int, size: int, people: int) -> None:
    writer = gallery.writer("benchmark", gallery.model_sha256)
    spent = 0.0
    for batch in batches(count, size, people):
        began = time.perf_counter()
        writer.write(batch)
        spent += time.perf_counter() - began
    row("add, embedding apart, fsync per 1,000", f"{count / spent:,.0f}", "crops/s")


def measure_searching(gallery: Gallery, count: int, rounds: int) -> tuple[Matrix, dict[str, Rows], Matrix]:
    began = time.perf_counter()
    index = gallery.index()
    row("open: read and check all rows", f"{time.perf_counter() - began:.2f}", "s")
    began = time.perf_counter()
    gallery.statistics()
    row("means of the cameras", f"{time.perf_counter() - began:.2f}", "s")
    share = Filters(after=1.7e9 + 10.0 * 0.99 * count)
    asked = {"unfiltered": Filters(), "1 camera": Filters(cameras=("camera 3",)), "1 % of rows": share}
    for what, filters in asked.items():
        found = times(lambda n, f=filters: gallery.search(sightings=[1 + 7 * n % count], filters=f), rounds)
        show(f"Gallery.search, top 20, {what}, with its record", found)
    queries = index.vectors(np.arange(rounds + 1))
    cameras = index.column("cameras")
    keep = {"unfiltered": np.ones(len(index), bool), "1 camera": cameras == cameras[3]}
    keep["1 % of rows"] = np.arange(len(index)) >= 0.99 * len(index)
    for what, rows in keep.items():
        show(f"scan alone, float16, plain, {what}", times(lambda n, k=rows: best(index, queries[n], k, 20), rounds))
    return queries.astype(np.float32), keep, np.concatenate([block.astype(np.float32) for _, block in index.parts()])


def measure_others(queries: Matrix, keep: dict[str, Rows], matrix: Matrix, rounds: int) -> None:
    import faiss

    flat = faiss.IndexFlatIP(matrix.shape[1])
    flat.add(matrix)
    for what, rows in keep.items():
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little")))
        given = None if rows.all() else chosen
        show(
            f"FAISS Flat, float32, {what}",
            times(lambda n, g=given: flat.search(queries[n : n + 1], 20, params=g), rounds),
        )

    def scan(n: int) -> NDArray[np.int64]:
        product = matrix @ queries[n]
        nearest = np.argpartition(-product, 20)[:20]
        return nearest[np.argsort(-product[nearest])]

    show("NumPy scan, float32, unfiltered", times(scan, rounds))


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
    parser.add_argument("--forget", type=int, default=100)
    parser.add_argument("--people", type=int, default=20_000, help="how many people the sightings are of")
    parser.add_argument("--group", action="store_true", help="propose people and do nothing else")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewho-gallery-") as place:
        gallery = make_gallery(Path(place), asked.size)
        row("rows x dimensions", f"{asked.count:,} x {asked.size}")
        measure_adding(gallery, asked.count, asked.size, asked.people)
        gallery.close()
        if asked.group:
            measure_grouping(gallery.folder, asked.people)
            return
        with Gallery(gallery.folder) as opened:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            queries, keep, matrix = measure_searching(opened, asked.count, asked.rounds)
            row("matrix in memory", f"{asked.count * asked.size * 2 / 1e6:.0f}", "MB")
            row(
                "peak memory before opening, at the end",
                f"{before / 1e3:.0f}",
                f"MB, see also {matrix.nbytes / 1e6:.0f}",
            )
            measure_others(queries, keep, matrix, asked.rounds)
            began = time.perf_counter()
            receipt = opened.erasure.forget(range(1, 1 + asked.forget))["content"]
            row(f"forget {asked.forget}, with the byte scan", f"{time.perf_counter() - began:.1f}", "s")
            row("bytes read, pieces found", f"{receipt['bytes']:,}", f"{receipt['found']}")


if __name__ == "__main__":
    main()
