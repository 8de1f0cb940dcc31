"""Scans through an engine equal scans in memory to the last bit, whatever it rounds and however it orders ties."""

import re

import numpy as np
import pytest

from rewho.gallery import engine_scan
from rewho.gallery.engine_scan import EngineScan
from rewho.gallery.gallery import Gallery
from rewho.gallery.index import UNKNOWN
from rewho.gallery.scan import Wanted, best
from rewho.gallery.vectors import unit
from small_gallery import crops_of, fill, random_vectors

COUNT, CAMERAS = 900, ("door", "yard", "lift", "roof")


@pytest.fixture(autouse=True)
def store():
    """The engine of these tests is their own."""
    return "sqlite"


@pytest.fixture
def opened(gallery_folder):
    """A gallery with equal rows, rows near their camera's mean, one camera without a mean, and withdrawn rows."""
    with Gallery(gallery_folder) as gallery:
        vectors = random_vectors(COUNT) + 2 * random_vectors(4, seed=9)[np.arange(COUNT) % 4]
        vectors[40:280:4] = vectors[40]
        vectors[1:200:4] = random_vectors(1, seed=5) + random_vectors(50, seed=6) / 100
        fill(gallery, vectors[:-10], crops_of(COUNT - 10, CAMERAS))
        fill(gallery, vectors[-10:], crops_of(10, ("new",), first=COUNT))
        gallery.erasure.withdraw([3, 77])
        yield gallery


class Engine:
    """Answers as Milvus does, in float32 and with ties in any order; keeps what it was asked."""

    def __init__(self, index, seed):
        self.index, self.rng, self.asked = index, np.random.default_rng(seed), []
        self.vectors = unit(index.vectors(np.arange(len(index)))).astype(np.float32)

    def __call__(self, vectors, where, limit):
        self.asked.append((len(vectors), where, limit))
        lists = [[int(one) for one in part.split(",")] for part in re.findall(r"\[([^]]*)\]", where)]
        ids, cameras = self.index.column("ids"), self.index.column("cameras")
        if where.startswith("id in"):
            rows = np.flatnonzero(np.isin(ids, lists[0]))
        else:
            rows = np.flatnonzero(np.isin(cameras, lists[0]) & ~np.isin(ids, lists[1] if len(lists) > 1 else []))
        rows = self.rng.permutation(rows[self.index.column("states")[rows] < 2])
        found = []
        for vector in vectors:
            products = self.vectors[rows] @ vector.astype(np.float32)
            order = np.argsort(-products, kind="stable")[:limit]
            found.append([(int(ids[rows[at]]), float(products[at])) for at in order])
        return found


@pytest.mark.parametrize("listed", [engine_scan.LISTED, 100])
def test_scans_through_an_engine_equal_scans_in_memory(opened, monkeypatch, listed):
    monkeypatch.setattr(engine_scan, "LISTED", listed)
    index, statistics = opened.index(), opened.statistics()
    engine, rng = Engine(index, 1), np.random.default_rng(2)
    shown = index.column("states") == 0
    rows_asked_for = []
    for number in range(120):
        row = int(rng.choice(np.flatnonzero(shown)))
        camera = int(index.column("cameras")[row])
        mean = statistics.means.mean(camera)
        normalised = bool(number % 3) and mean is not None
        own = unit(index.vectors(np.array([row])))[0]
        query = unit((own if not normalised else own - mean) + 0.1 * (number % 2) * rng.standard_normal(index.size))
        keep = shown & (rng.random(COUNT) < rng.choice([1, 0.95, 0.5, 0.1]))
        keep &= np.isin(index.column("cameras"), rng.choice(6, rng.integers(1, 7)))
        count, after = int(rng.integers(1, 60)), None
        used = statistics if normalised else None
        camera = camera if normalised else UNKNOWN
        for _ in range(3):  # pages
            engine.asked.clear()
            sought = Wanted(query, count, after, used, camera)
            found, wanted = EngineScan(engine, index, sought).best(keep), best(index, sought, keep)
            assert found.rows.tolist() == wanted.rows.tolist()
            assert found.similarities.tolist() == wanted.similarities.tolist()
            rows_asked_for += [limit for _, where, limit in engine.asked if where.startswith("camera")]
            if len(found.rows) < count:
                break
            after = (float(found.similarities[-1]), int(index.column("ids")[found.rows[-1]]))
    assert rows_asked_for
    if listed > COUNT:
        assert np.mean(rows_asked_for) < COUNT / 4  # the bounds leave most rows unread
