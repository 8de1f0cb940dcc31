"""What is different where vectors are searched in Milvus: filling, kills, copies, erasure, a server that is away."""

import contextlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.gallery import milvus
from rewho.gallery.database import Database
from rewho.gallery.gallery import Gallery
from rewho.gallery.milvus import Server
from rewho.gallery.records import Filters
from rewho.gallery.store import store_of
from small_gallery import TERMS, crops_of, fill, move_to, random_vectors

COUNT = 240


@pytest.fixture(autouse=True)
def store(tmp_path):
    """A file of Milvus Lite."""
    pytest.importorskip("pymilvus", reason="the tests of Milvus need pymilvus")
    pytest.importorskip("milvus_lite", reason="the tests of Milvus need milvus-lite")
    return f"milvus:{tmp_path / 'vectors.db'}"


def cluster(count, seed=1):
    """Return vectors that have a camera's share, and some equal ones."""
    vectors = random_vectors(count, seed) + random_vectors(3, seed=9)[np.arange(count) % 3]
    vectors[::40] = vectors[0]
    return vectors


@pytest.fixture
def filled(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, cluster(COUNT))
        yield gallery


def copy(folder, place):
    """Copy a folder by another process: one that closes a file of SQLite gives up its locks."""
    subprocess.run(["cp", "-r", folder, place], check=True)
    return place


def same_as_memory(gallery, tmp_path):
    """Compare searches with those of a copy of the gallery in memory."""
    place = copy(gallery.folder, tmp_path / f"memory-{time.perf_counter_ns()}")
    move_to(place, "sqlite")
    ids = [row[0] for row in gallery.database.rows("SELECT id FROM sightings WHERE state = 0 ORDER BY id")]
    with Gallery(place) as memory:
        for query, per, asked in (
            (ids[0], "sighting", {}),
            (ids[1], "sighting", {"normalise": False, "count": 50}),
            (ids[-1], "sighting", {"filters": Filters(cameras=("door", "lift"), after=1_700_000_000 + 3600 * 30)}),
            (ids[2], "crop", {"count": 7}),
        ):
            ours, afters = [], [None, None]
            for _ in range(2):
                pages = [
                    one.search(sightings=[query], per=per, after=after, **asked)
                    for one, after in zip((gallery, memory), afters, strict=True)
                ]
                assert pages[0].total == pages[1].total > 64
                pairs = [[(one.sighting.id, one.crop, one.similarity) for one in page.candidates] for page in pages]
                assert [one[:2] for one in pairs[0]] == [one[:2] for one in pairs[1]]
                assert np.allclose([one[2] for one in pairs[0]], [one[2] for one in pairs[1]], rtol=0, atol=1e-12)
                ours, afters = ours + pairs[0], [page.after for page in pages]
            assert len(set(ours)) == 2 * asked.get("count", 20)


def test_searches_equal_those_in_memory_after_additions_erasures_and_renaming(filled, tmp_path):
    same_as_memory(filled, tmp_path)
    filled.erasure.withdraw([5])
    receipt = filled.erasure.forget([2, 9, 44])["content"]
    assert "not proved" in receipt["store"]
    assert receipt["found"] == 0
    fill(filled, cluster(30, seed=2), crops_of(30, first=1000))
    filled.people.name("A", sightings=[3])
    filled.erasure.hide([4])
    same_as_memory(filled, tmp_path)
    assert filled.verify() == []
    assert "Milvus" in filled.stats()["store"]


def test_what_milvus_lost_or_kept_is_named_and_put_right(filled, tmp_path, monkeypatch):
    filled.search(sightings=[1])
    server, name = Server(filled.database.read("store")), f"{filled.database.read('collection')}_sighting"
    server.call("delete", name, ids=[7, 8, 9])
    extra = server.call("query", name, "id == 10", output_fields=["*"])[0]
    server.call("upsert", name, [{**extra, "id": 100_000}])
    assert [line.split(": ", 1)[1] for line in filled.verify()] == ["3 sightings missing or others, 1 too many"]
    server.call("delete", name, ids=[milvus.MARK])  # as a server that was put back to an older state
    filled.close()
    with Gallery(filled.folder) as opened:
        same_as_memory(opened, tmp_path)
        assert opened.verify() == []
    server.call("drop_collection", name)
    with Gallery(filled.folder) as opened:
        same_as_memory(opened, tmp_path)
    server.close()


def test_an_older_copy_of_the_folder_is_searched_as_it_is(filled, tmp_path):
    filled.search(sightings=[1])
    older = copy(filled.folder, tmp_path / "older")
    filled.erasure.forget([2, 3])
    fill(filled, cluster(40, seed=3), crops_of(40, first=1000))
    filled.search(sightings=[1])
    filled.close()
    with Gallery(older) as opened:
        same_as_memory(opened, tmp_path)
        assert opened.verify() == []


@pytest.mark.parametrize("killed_in", ["rows", "mark"])
def test_a_kill_between_sqlite_and_milvus_loses_and_keeps_nothing(filled, tmp_path, monkeypatch, killed_in):
    filled.search(sightings=[1])
    filled.erasure.withdraw([6])
    fill(filled, cluster(50, seed=3), crops_of(50, first=1000))
    monkeypatch.setattr(milvus, "BATCH", 20)
    call, write, sent = Server.call, Database.write, []

    def call_some(self, method, *values, **named):
        sent.append(method)
        if killed_in == "rows" and sent.count("upsert") == 2:
            raise KeyboardInterrupt
        return call(self, method, *values, **named)

    def write_some(self, name, value):
        if killed_in == "mark" and name.startswith("milvus"):
            raise KeyboardInterrupt
        write(self, name, value)

    monkeypatch.setattr(Server, "call", call_some)
    monkeypatch.setattr(Database, "write", write_some)
    with pytest.raises(KeyboardInterrupt):
        filled.search(sightings=[1])
    monkeypatch.undo()
    filled.close()
    with Gallery(filled.folder) as opened:
        same_as_memory(opened, tmp_path)
        assert opened.verify() == []


def test_an_erasure_is_finished_when_the_server_is_back(filled, monkeypatch):
    filled.search(sightings=[1])
    call = Server.call

    def answer(self, method, *values, **named):
        if method == "delete":
            raise UserError(self.name, expected="a Milvus server that answers", got="none", fix="Start it.")
        return call(self, method, *values, **named)

    monkeypatch.setattr(Server, "call", answer)
    with pytest.raises(UserError, match="a Milvus server that answers"):
        filled.erasure.forget([5])
    filled.close()
    with pytest.raises(UserError, match="a Milvus server that answers"):
        Gallery(filled.folder)
    monkeypatch.undo()
    with Gallery(filled.folder) as opened:
        assert opened.database.one("SELECT count(*) FROM receipts WHERE done = 0")[0] == 0
        assert store_of(opened.database)._ask("sighting", "id in [4, 5]").keys() == {4}
        assert opened.verify() == []


def test_deleted_rows_that_are_still_found_stop_an_erasure(filled, monkeypatch):
    filled.search(sightings=[1])
    call = Server.call
    monkeypatch.setattr(Server, "call", lambda self, method, *v, **n: method == "delete" or call(self, method, *v, **n))
    with pytest.raises(UserError, match="1 that are still found"):
        filled.erasure.forget([5])


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_server_that_is_away_is_named_and_nothing_is_changed(gallery_folder, tiny_model, tmp_path):
    name = f"milvus://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"{name}: expected a Milvus server that answers, got .*\n.*Start it or check"):
        Gallery.create(tmp_path / "g", tiny_model, terms=TERMS, store=name)
    assert not (tmp_path / "g").exists()
    move_to(gallery_folder, name)
    with Gallery(gallery_folder) as gallery:
        fill(gallery, cluster(20))
        with pytest.raises(UserError, match="a Milvus server that answers"):
            gallery.search(sightings=[1])
        with pytest.raises(UserError, match="a Milvus server that answers"):
            gallery.erasure.forget([1])
        assert len(gallery.sightings([1])) == 1
        assert gallery.database.one("SELECT count(*) FROM receipts")[0] == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("redis://host", "expected a store of vectors, got 'redis://host'"),
        ("milvus://me:secret@host:19530", "expected an address without a password"),
        ("milvus:vectors.txt", "or a .db file"),
    ],
)
def test_other_stores_are_refused_before_anything_is_made(name, expected, tiny_model, tmp_path):
    with pytest.raises(UserError, match=expected):
        Gallery.create(tmp_path / "g", tiny_model, store=name)
    assert not (tmp_path / "g").exists()


def test_the_store_is_recorded_with_its_whole_path(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Gallery.create("g", tiny_model, terms=TERMS, store="milvus:v.db") as gallery:
        fill(gallery, cluster(COUNT))
    monkeypatch.chdir("/")
    with Gallery(tmp_path / "g") as gallery:
        assert gallery.database.read("store") == f"milvus:{tmp_path / 'v.db'}"
        same_as_memory(gallery, tmp_path)


def test_without_the_library_it_is_said_what_to_install(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus.exceptions", None)
    with pytest.raises(UserError, match=r"the library pymilvus, got none.\n.*uv sync --extra scale"):
        filled.search(sightings=[1])


@contextlib.contextmanager
def running_server(place, port):
    """Run a server of its own process; kill it at the end."""
    words = ["server", "--data-dir", str(place), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "milvus_lite.cmdline", *words], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


ADD = """
import sys
from rewho.gallery.gallery import Gallery
from small_gallery import crops_of, fill, random_vectors
with Gallery(sys.argv[1]) as gallery:
    first = int(sys.argv[2])
    fill(gallery, random_vectors(25, seed=first), crops_of(25, first=first))
    gallery.erasure.forget([first // 1000])
    print(gallery.search(sightings=[30]).total)
"""


@pytest.mark.slow
def test_several_processes_and_a_killed_server(filled, tmp_path):
    port, folder = free_port(), filled.folder
    filled.close()
    move_to(folder, f"milvus://127.0.0.1:{port}")
    path = ":".join(sys.path)
    with running_server(tmp_path / "data", port), Gallery(folder) as gallery:
        same_as_memory(gallery, tmp_path)
        words = [[sys.executable, "-c", ADD, str(folder), str(first)] for first in (1000, 2000, 3000)]
        children = [subprocess.Popen(one, env={"PYTHONPATH": path}, stdout=subprocess.PIPE) for one in words]
        while any(child.poll() is None for child in children):
            gallery.search(sightings=[40])
        assert [child.wait() for child in children] == [0, 0, 0]
        same_as_memory(gallery, tmp_path)
        assert gallery.verify() == []
        assert len(gallery) == COUNT + 3 * 25 - 3
    with Gallery(folder) as gallery:
        with pytest.raises(UserError, match="a Milvus server that answers"):
            gallery.search(sightings=[40], count=5) and fill(gallery, cluster(5), crops_of(5, first=9000))
        with running_server(tmp_path / "data", port):
            same_as_memory(gallery, tmp_path)
            assert gallery.verify() == []
