"""Groups that a gallery proposes, against the truth, by the number of its sightings and of the neighbours compared.

    python benchmarks/gallery_groups.py --market Market-1501 --mot MOT17-mini --cache /tmp/rewho-gallery-real

Sightings of Market-1501 are the images of one person, camera and sequence, of 250 people who are held out. Galleries of
several sizes are drawn from them: with all sightings of some people, and with one or two sightings of each of more
people, as short videos have. MOT17's streets show other people each, once: every pair of streets is a gallery in which
every group is wrong. Images are embedded once, and kept in the cache as embeddings.
"""

from __future__ import annotations

import argparse
import configparser
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_real import read_data
from rewho.core.artifact import hash_file
from rewho.core.shipped import TENSORS, find_model
from rewho.data.images import decode
from rewho.embedding.embedder import load
from rewho.gallery import grouping
from rewho.gallery.grouping import Known, Seen, find_groups
from rewho.gallery.judgements import Links
from rewho.gallery.vectors import unit
from rewho.rank.camera_norm import camera_means, centre_by_camera

SIZES = (12, 30, 60, 120, 300)
LEAST_HEIGHT, LEAST_SEEN = 64, 0.4


class Truth(NamedTuple):
    """Sightings with who is seen: mean embeddings [N, D], crops, cameras, people [N]; pairs that are in one frame."""

    vectors: NDArray[np.float64]
    crops: NDArray[np.int64]
    cameras: NDArray[np.int64]
    people: NDArray[np.int64]
    apart: frozenset[tuple[int, int]] = frozenset()

    def only(self, rows: NDArray[np.int64]) -> Truth:
        """Return some of the sightings."""
        place = {row: at for at, row in enumerate(rows.tolist())}
        apart = {(place[one], place[two]) for one, two in self.apart if one in place and two in place}
        return Truth(*(values[rows] for values in self[:4]), frozenset(apart))


class Counts(NamedTuple):
    """What groups of one gallery, or of several, are."""

    sightings: int = 0
    grouped: int = 0
    pure: int = 0
    pairs: int = 0
    right: int = 0
    wanted: int = 0


def join(vectors: NDArray[np.float32], keys: NDArray[np.int64], cameras: NDArray[np.int64]) -> Truth:
    """Return the sightings of crops [N, D] with keys (person, sighting) [N, 2] and cameras [N]."""
    known, of = np.unique(keys, axis=0, return_inverse=True)
    means = np.zeros((len(known), vectors.shape[1]))
    np.add.at(means, of.ravel(), unit(vectors))
    counts = np.bincount(of.ravel())
    first = np.array([np.flatnonzero(of.ravel() == one)[0] for one in range(len(known))])
    return Truth(means / counts[:, None], counts, cameras[first], known[:, 0])


def read_market(root: Path, model: Path, cache: Path) -> Truth:
    data = read_data(root, 250, model, cache)
    names = [data.part.gallery.file(row).name for row in range(len(data.gallery))]
    names += [data.part.query.file(row).name for row in range(len(data.query))]
    cut = [(int(name[:4]), int(name[6]), int(name[8])) for name in names]  # 0002_c1s1_000451_03.jpg
    keys = np.array([(person, 100 * camera + sequence) for person, camera, sequence in cut])
    return join(np.concatenate([data.gallery, data.query]), keys, np.array([camera for _, camera, _ in cut]))


def read_streets(root: Path, model: Path, cache: Path) -> Truth:
    file = cache / f"mot-{hash_file(model / TENSORS)[:16]}.npz"
    boxes = list(read_boxes(root))
    if not file.exists():
        found = load(model, "cpu").embed([image for image, _, _ in boxes])
        np.savez(file, found=found)
    with np.load(file) as stored:
        vectors = stored["found"]
    keys = np.array([(1000 * street + person, street) for _, street, person in boxes])
    truth = join(vectors, keys, keys[:, 1])
    pairs = itertools.combinations(range(len(truth.people)), 2)
    apart = {(one, two) for one, two in pairs if truth.cameras[one] == truth.cameras[two]}  # six frames: all in one
    return truth._replace(apart=frozenset(apart))


def read_boxes(root: Path) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """Yield what is in the boxes of those who are tall enough, and seen; their street and person."""
    for street, folder in enumerate(sorted(path for path in root.iterdir() if path.is_dir())):
        truth = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
        info = configparser.ConfigParser()
        info.read(folder / "seqinfo.ini")
        for file in sorted((folder / folder.name).glob("*.jpg")):
            here = truth[(truth[:, 0] == int(file.stem)) & (truth[:, 7] == 1) & (truth[:, 8] >= LEAST_SEEN)]
            image = decode(file)
            for row in here[here[:, 5] >= LEAST_HEIGHT]:
                left, top, right, bottom = np.rint(np.maximum([*row[2:4], *(row[2:4] + row[4:6])], 0)).astype(int)
                yield np.ascontiguousarray(image[top:bottom, left:right]), street, int(row[1])


def count(truth: Truth, limit: float) -> Counts:
    """Return how good the proposed groups are."""
    means = camera_means(unit(truth.vectors), truth.cameras, truth.crops)
    relative = centre_by_camera(unit(truth.vectors), truth.cameras, means)
    rows = np.arange(len(truth.people))
    seen = Seen(rows, rows, relative)
    groups = find_groups(seen, Known(Links([], sorted(truth.apart)), frozenset(), {}), limit)
    inside = [np.bincount(np.unique(truth.people[some], return_inverse=True)[1]) for some in groups]
    return Counts(
        len(rows),
        sum(map(len, groups)),
        sum(int(sizes.max()) for sizes in inside),
        sum(len(some) * (len(some) - 1) // 2 for some in groups),
        sum(int((sizes * (sizes - 1) // 2).sum()) for sizes in inside),
        int((np.bincount(truth.people) * (np.bincount(truth.people) - 1) // 2).sum()),
    )


def draw(truth: Truth, size: int, rng: np.random.Generator, *, few: bool) -> Truth:
    """Return a gallery of about so many sightings: all of some people's, or one or two each."""
    rows: list[int] = []
    for person in rng.permutation(np.unique(truth.people)).tolist():
        own = rng.permutation(np.flatnonzero(truth.people == person))
        rows += own[: int(rng.integers(1, 3))].tolist() if few else own.tolist()
        if len(rows) >= size:
            break
    return truth.only(np.sort(rows[:size]))


def say(name: str, found: list[Counts]) -> None:
    all_, grouped, pure, pairs, right, wanted = map(sum, zip(*found, strict=True))
    print(
        f"{name:34} purity {100 * pure / max(grouped, 1):5.1f}, precision of pairs {100 * right / max(pairs, 1):5.1f}, "
        f"recall {100 * right / max(wanted, 1):5.1f}, grouped {100 * grouped / all_:5.1f} %, "
        f"wrong pairs per 100 sightings {100 * (pairs - right) / all_:.1f}",
        flush=True,
    )


def compare(galleries: dict[str, list[Truth]], neighbours: list[int], limit: float) -> None:
    usual: Callable[[int], int] = grouping.neighbours_of
    for name, drawn in galleries.items():
        for k1 in (0, *neighbours):
            grouping.neighbours_of = usual if k1 == 0 else lambda _, k1=k1: k1
            mean = round(np.mean([len(one.people) for one in drawn]))
            label = f"k1 {k1}" if k1 else f"as it comes (k1 {usual(mean)})"
            say(f"{name}, {label}", [count(one, limit) for one in drawn])
    grouping.neighbours_of = usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--mot", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--neighbours", type=int, nargs="*", default=[3, 4, 5, 6, 8, 10])
    parser.add_argument("--limit", type=float, default=grouping.LIMIT)
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    model, rng = Path(find_model(asked.model)), np.random.default_rng(1)
    market, streets = (read(root, model, asked.cache) for read, root in (
        (read_market, asked.market), (read_streets, asked.mot)
    ))  # fmt: skip
    galleries = {}
    for few in (False, True):
        for size in SIZES:
            drawn = [draw(market, size, rng, few=few) for _ in range(max(3, 1200 // size))]
            galleries[f"{'one or two' if few else 'all'} of each, {size}"] = drawn
    galleries[f"all, {len(market.people)}"] = [market]
    pairs = itertools.combinations(np.unique(streets.cameras), 2)
    galleries["two streets of strangers"] = [
        streets.only(np.flatnonzero(np.isin(streets.cameras, two))) for two in pairs
    ]
    compare(galleries, asked.neighbours, asked.limit)


if __name__ == "__main__":
    main()
