"""Refused with words: another model, a newer gallery, damage, a full disk; and several writers at once."""

import ctypes
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from rewho import cli
from rewho.core.check import UserError
from rewho.gallery.database import explain_errors
from rewho.gallery.gallery import Gallery
from rewho.gallery.model import copy_model, hash_model
from rewho.gallery.records import Actor, Filters
from rewho.gallery.schema import VERSION
from rewho.settings import GallerySettings
from rewho.stages import gallery as stage
from small_gallery import TERMS, crops_of, fill, make_model, random_vectors


def test_another_model_is_refused_with_both_hashes(gallery_folder, tmp_path):
    other = make_model(tmp_path / "other", seed=2)
    with Gallery(gallery_folder) as gallery:
        with pytest.raises(UserError) as refused:
            gallery.writer("x", hash_model(other))
        assert gallery.model_sha256 in str(refused.value)
        assert hash_model(other) in str(refused.value)
        for name in ("model.safetensors", "model.json"):
            shutil.copyfile(other / name, gallery_folder / "model" / name)
        with pytest.raises(UserError, match="another one"):
            gallery.search(np.zeros((64, 32, 3), np.uint8))
        assert any("model" in wrong for wrong in gallery.verify())


def test_a_newer_gallery_and_other_databases_are_refused(gallery_folder, tmp_path):
    file = gallery_folder / "gallery.sqlite"
    link = sqlite3.connect(file)
    link.execute(f"PRAGMA user_version = {VERSION + 1}")
    link.close()
    with pytest.raises(UserError, match=f"version {VERSION} or older, got version {VERSION + 1}"):
        Gallery(gallery_folder)
    other = tmp_path / "other"
    other.mkdir()
    sqlite3.connect(other / "gallery.sqlite").execute("CREATE TABLE t (a)").close()
    with pytest.raises(UserError, match="another program"):
        Gallery(other)
    (other / "gallery.sqlite").write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(UserError, match="undamaged gallery"):
        Gallery(other)


def test_changed_rows_are_never_a_silently_wrong_answer(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(30))
    rng = np.random.default_rng(4)
    for _ in range(5):
        link = sqlite3.connect(gallery_folder / "gallery.sqlite")
        number = int(rng.integers(1, 31))
        before = link.execute("SELECT embedding, camera, began FROM sightings WHERE id = ?", (number,)).fetchone()
        blob = bytearray(before[0])
        blob[int(rng.integers(len(blob)))] ^= 1 << int(rng.integers(8))
        wrong = (("embedding", bytes(blob)), ("camera", before[1] % 3 + 1), ("began", 5.0))
        for (column, value), old in zip(wrong, before, strict=True):
            with link:
                link.execute(f"UPDATE sightings SET {column} = ? WHERE id = ?", (value, number))
            with Gallery(gallery_folder) as gallery, pytest.raises(UserError, match="the bytes that were written"):
                gallery.search(sightings=[1])
            with link:
                link.execute(f"UPDATE sightings SET {column} = ? WHERE id = ?", (old, number))
        link.close()


def test_eight_threads_add_and_search_without_errors(gallery_folder):
    errors = []
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(20))

        def work(number):
            try:
                for part in range(4):
                    first = 1000 * number + 10 * part + 100
                    fill(gallery, random_vectors(10, seed=first), crops_of(10, first=first))
                    gallery.search(sightings=[1], count=50)
            except BaseException as error:  # noqa: BLE001 - reported by the test
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert gallery.search(sightings=[1], count=1000).total == 339


def _add(folder, number):
    with Gallery(folder) as gallery:
        for part in range(5):
            first = 1000 * number + 10 * part
            fill(gallery, random_vectors(10, seed=first), crops_of(10, first=first))


def test_two_processes_write_at_once(gallery_folder):
    work = [multiprocessing.get_context("fork").Process(target=_add, args=(gallery_folder, one)) for one in (1, 2)]
    for process in work:
        process.start()
    for process in work:
        process.join()
    assert [process.exitcode for process in work] == [0, 0]
    with Gallery(gallery_folder) as gallery:
        assert len(gallery) == 100
        assert gallery.verify() == []


FULL = """
import resource, sys
sys.path[:0] = {path!r}
from small_gallery import crops_of, fill, random_vectors
from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
gallery = Gallery(sys.argv[1])
added = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    for number in range(1000):
        fill(gallery, random_vectors(50, seed=number), crops_of(50, first=50 * number))
        added += 50
except UserError as error:
    print(added, str(error).splitlines()[0])
"""


def test_a_full_disk_is_said_and_loses_nothing(gallery_folder):
    path = [str(Path(__file__).parents[1])]
    code = FULL.format(path=path)
    done = subprocess.run([sys.executable, "-c", code, gallery_folder], capture_output=True, text=True, check=False)
    count, _, message = done.stdout.partition(" ")
    assert int(count) >= 50, done.stderr
    assert "expected" in message
    with Gallery(gallery_folder) as gallery:
        assert len(gallery) == int(count)
        assert gallery.verify() == []
        fill(gallery, random_vectors(50, seed=77), crops_of(50, first=90_000))
        assert len(gallery) == int(count) + 50


def test_all_damaged_images_of_a_batch_are_named_and_the_source_is_continued(gallery_folder, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        picture = np.full((64, 32, 3), 40 * number, np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    (folder / "1.png").write_bytes(b"no image")
    (folder / "3.png").write_bytes((folder / "2.png").read_bytes()[:40])
    with Gallery(gallery_folder) as gallery:
        with pytest.raises(UserError, match=r"2 of 5 .*1\.png.*3\.png"):
            gallery.add(folder, camera="door")
        for name in ("1.png", "3.png"):
            (folder / name).unlink()
        assert gallery.add(folder, camera="door").crops == 3


def _may_not_write() -> None:
    """Give up root's right to write everywhere; anybody else has none."""
    library, header, given = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    library.capget(header, given)
    for at in (0, 1):
        given[at] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert library.capset(header, given) == 0


def _only_read(folder, file) -> None:
    _may_not_write()
    codes = [cli.main(["gallery", action, str(folder)]) for action in ("stats", "verify")]
    with (
        pytest.raises(UserError, match=r"a folder that can be written to.*\n.*permissions"),
        Gallery(folder) as gallery,
    ):
        gallery.erasure.hide([1])
    file.write_text(str(codes))


@pytest.mark.skipif(sys.platform != "linux", reason="takes away a right by a call of Linux")
@pytest.mark.parametrize("also_open", [False, True])
def test_who_may_only_read_sees_counts_and_verifies(gallery_folder, tmp_path, also_open):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3), crops_of(3))
    writer = Gallery(gallery_folder) if also_open else None
    if writer:
        fill(writer, random_vectors(4), crops_of(4), name="more")
    gallery_folder.chmod(0o555)
    context = multiprocessing.get_context("fork")
    reader = context.Process(target=_only_read, args=(gallery_folder, tmp_path / "codes"))
    reader.start()
    reader.join()
    gallery_folder.chmod(0o755)
    if writer:
        writer.close()
    assert (reader.exitcode, (tmp_path / "codes").read_text()) == (0, "[0, 0]")


@pytest.mark.parametrize("given", [3, None, b"gallery", ["gallery"]], ids=str)
def test_what_is_no_path_is_refused_in_words(given, tmp_path, tiny_model):
    with pytest.raises(UserError, match="gallery: expected a path, got "):
        Gallery(given)
    with pytest.raises(UserError, match="gallery: expected a path, got "):
        Gallery.create(given, tiny_model)
    with pytest.raises(UserError, match="model: expected a path, got "):
        Gallery.create(tmp_path / "new", given)
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_is_not_made_over_a_file(tmp_path):
    (tmp_path / "notes.txt").write_text("a file")
    with pytest.raises(UserError, match="expected a new or empty folder, got a file"):
        Gallery.create(tmp_path / "notes.txt", make_model(tmp_path / "model"))


def test_a_gallery_that_another_process_makes_meanwhile_is_kept(tmp_path, tiny_model, monkeypatch):
    def make_both(model, aside):
        monkeypatch.undo()
        Gallery.create(tmp_path / "g", tiny_model, terms=TERMS).close()
        return copy_model(model, aside)

    monkeypatch.setattr("rewho.gallery.gallery.copy_model", make_both)
    with pytest.raises(UserError, match="expected a new or empty folder, got a gallery"):
        Gallery.create(tmp_path / "g", tiny_model, terms=TERMS)
    with Gallery(tmp_path / "g") as kept:
        assert kept.verify() == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["g"]


def test_a_disk_without_room_for_the_index_is_called_full(tmp_path, monkeypatch):
    """SQLite calls that a disk I/O error."""

    def fail():
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
        raise error

    file = tmp_path / "gallery.sqlite"
    with pytest.raises(UserError, match="to, got disk I/O error"), explain_errors(file):
        fail()
    monkeypatch.setattr("rewho.gallery.database._free_bytes", lambda _folder: 0)
    with pytest.raises(UserError, match="room on the disk, got 0 bytes free"), explain_errors(file):
        fail()


def test_a_number_that_no_list_has_is_refused_everywhere(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
        for ask in (
            gallery.people.undo, gallery.people.timeline, gallery.cases.sightings, gallery.jobs.read,
            lambda number: gallery.people.merge([1, number]), lambda number: gallery.judge(number, {1: "no"}),
            lambda number: gallery.cases.collect(number, [1]), lambda number: gallery.cases.drop(number, [1]),
            lambda number: gallery.people.name("x", person=number), lambda number: gallery.query(search=number),
            lambda number: gallery.query(sightings=[number]), lambda number: gallery.query(crop=number),
        ):  # fmt: skip
            for number in (10**6, 2**63, 10**30, -(2**63) - 1):
                with pytest.raises(UserError):
                    ask(number)


def test_a_file_that_cannot_be_written_is_named_before_somebody_is_forgotten(gallery_folder, tmp_path):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "receipt.json"):
        with pytest.raises((UserError, OSError)):
            stage.run(GallerySettings("forget", gallery_folder, sightings=(2,), out=out))
    with Gallery(gallery_folder) as gallery:
        assert len(gallery) == 3


def test_a_time_zone_that_there_is_not_is_refused_in_searches_too(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
    with pytest.raises(UserError, match="a name of the IANA database, got 'Mars/X'"):
        stage.run(GallerySettings("search", gallery_folder, sightings=(2,), after="2026-01-01", zone="Mars/X"))


@pytest.mark.parametrize("wrong", [True, 1.5, "1", None])
def test_what_is_no_id_is_refused_and_erases_nobody(gallery_folder, wrong):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
        person = gallery.people.name("Ada", sightings=[1])
        case = gallery.cases.open("theft", "to find a bag")
        asked = [
            lambda: gallery.erasure.forget([wrong]),
            lambda: gallery.erasure.withdraw([wrong]),
            lambda: gallery.erasure.hide([wrong]),
            lambda: gallery.people.name("Eve", sightings=[wrong]),
            lambda: gallery.people.merge([person, wrong]),
            lambda: gallery.people.timeline(wrong),
            lambda: gallery.people.undo(wrong),
            lambda: gallery.cases.collect(case, [wrong]),
            lambda: gallery.cases.sightings(wrong),
            lambda: gallery.search(sightings=[wrong]),
            lambda: gallery.crops(wrong),
        ]
        if wrong is not None:
            asked += [
                lambda: gallery.erasure.forget(source=wrong),
                lambda: gallery.search(crop=wrong),
                lambda: gallery.search(search=wrong),
            ]
        for ask in asked:
            with pytest.raises(UserError, match="a whole number from 0"):
                ask()
        for ids in (1, "12"):
            with pytest.raises(UserError, match="a list of ids"):
                gallery.erasure.forget(ids)
        assert len(gallery) == 3


def test_what_an_image_alone_has_is_refused_beside_what_the_gallery_knows(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
        for beside in ({"box": (0, 0, 9, 9)}, {"camera": "door"}, {"time": 1.0}):
            with pytest.raises(UserError, match="an image that it is of"):
                gallery.search(sightings=[1], **beside)


def test_filters_by_what_is_not_there_are_refused(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(9))
        gallery.people.name("Anna", sightings=[1, 4])
        case = gallery.cases.open("theft", "order 1")
        for wrong in ({"sources": (99,)}, {"people": (1, 99)}, {"cases": (99,)}):
            with pytest.raises(UserError, match=r"99: expected a .* got no such (source|person|case)"):
                gallery.search(sightings=[2], filters=Filters(**wrong))
        with pytest.raises(UserError, match="whole number"):
            gallery.search(sightings=[2], filters=Filters(people=(True,)))
        assert gallery.search(sightings=[2], filters=Filters(people=(1,), sources=(1,))).total == 2
        assert gallery.search(sightings=[2], filters=Filters(cases=(case,))).total == 0, "it is there, and empty"
        (other,) = {one.camera for one in gallery.sightings([2])}
        sees = frozenset(one.id for one in gallery.cameras() if one.name == other)
        with pytest.raises(UserError, match="person 1: expected a person with sightings, got no such person"):
            gallery.search(sightings=[2], filters=Filters(people=(1,)), by=Actor("guard", cameras=sees))
    with pytest.raises(UserError, match="source 99"):
        stage.run(GallerySettings("search", gallery_folder, sightings=(2,), sources=(99,)))
