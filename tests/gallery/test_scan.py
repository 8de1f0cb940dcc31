"""Exact scans, in memory and in Milvus, against NumPy: random filters, equal rows, cameras without a mean."""

import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from rewho.gallery.gallery import Gallery
from rewho.gallery.scan import Wanted, exact
from rewho.gallery.store import store_of
from rewho.rank.camera_norm import centre
from small_gallery import crops_of, fill, move_to, random_vectors

COUNT = 1500


@pytest.fixture(autouse=True)
def store():
    """These tests choose their store themselves."""
    return "sqlite"


@contextlib.contextmanager
def made(folder):
    """Fill a gallery; yield how it finds the best rows, its index and its statistics."""
    vectors = random_vectors(COUNT, seed=6)
    vectors[::7] = vectors[3]  # many equal rows
    with Gallery(folder) as gallery:
        fill(gallery, vectors[:-15], crops_of(COUNT - 15))
        fill(gallery, vectors[-15:], crops_of(15, ("few",), first=COUNT))
        yield store_of(gallery.database).best, gallery.index(), gallery.statistics()


@pytest.fixture(scope="module")
def opened(template, tmp_path_factory):
    with made(shutil.copytree(template, tmp_path_factory.mktemp("scan") / "g")) as parts:
        yield parts


@pytest.fixture
def on_milvus(template, tmp_path):
    """The same, searched in a file of Milvus Lite."""
    pytest.importorskip("pymilvus", reason="the tests of Milvus need pymilvus")
    pytest.importorskip("milvus_lite", reason="the tests of Milvus need milvus-lite")
    folder = shutil.copytree(template, tmp_path / "g")
    move_to(folder, f"milvus:{tmp_path / 'vectors.db'}")
    with made(folder) as parts:
        yield parts


def check(best, index, statistics, rounds):
    rng = np.random.default_rng(2)
    ids = index.column("ids")
    every = np.arange(len(index))
    stored = index.vectors(every).astype(np.float64)
    stored /= np.sqrt((stored * stored).sum(axis=1, keepdims=True))
    cameras = index.column("cameras")
    for number in range(rounds):
        keep = rng.random(len(index)) < rng.choice([0.005, 0.1, 0.6, 1.0])
        count = int(rng.integers(1, 40))
        query, used, camera = stored[int(rng.integers(len(index)))], None, -1
        if number % 2:
            used, camera = statistics, int(rng.integers(1, 4))
            query = centre(query, used.means.mean(camera))
            means = np.array([used.means.mean(int(one)) if one < 4 else used.means.mean(camera) for one in cameras])
            alike = (centre(stored, means) * query).sum(axis=1)
        else:
            alike = (stored * query).sum(axis=1)
        kept = every[keep]
        wanted = kept[np.lexsort((ids[kept], -alike[kept]))]
        sought = Wanted(query, count, None, used, camera)
        found = best(index, sought, keep)
        assert found.rows.tolist() == wanted[:count].tolist()
        assert np.array_equal(found.similarities, alike[wanted[:count]])
        if len(found.rows):
            after = (float(found.similarities[-1]), int(ids[found.rows[-1]]))
            rest = best(index, replace(sought, after=after), keep)
            assert rest.rows.tolist() == wanted[count : 2 * count].tolist()


def test_filtered_scans_equal_numpy_to_the_last_bit(opened):
    check(*opened, 200)


@pytest.mark.slow
def test_10000_filtered_scans_equal_numpy_to_the_last_bit(opened):
    check(*opened, 10_000)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_10000_filtered_searches_in_milvus_equal_numpy_to_the_last_bit(on_milvus):
    check(*on_milvus, 10_000)


def test_a_row_has_the_same_similarity_whatever_else_is_computed(opened):
    _, index, _ = opened
    query = random_vectors(1, seed=8)[0].astype(np.float64)
    together = exact(index, np.arange(len(index)), Wanted(query, 1))
    assert all(exact(index, np.array([row]), Wanted(query, 1))[0] == together[row] for row in range(0, len(index), 97))
