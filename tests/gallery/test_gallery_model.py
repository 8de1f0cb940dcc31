"""A gallery that gets another model: the one or the other, never a mix, and all that people said stays."""

import os
import pkgutil
import shutil
import signal

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.crops.writer import encode
from rewho.data.images import decode
from rewho.embedding.embedder import load
from rewho.gallery import switch
from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.model import hash_model
from rewho.gallery.records import Actor
from rewho.gallery.vectors import unit
from small_gallery import crops_of, fill, make_model, random_vectors, write_images

IMAGES = np.random.default_rng(5).integers(0, 256, (30, 64, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("second") / "model", seed=2)


@pytest.fixture
def seen(gallery_folder, tmp_path):
    """A gallery of images with a judgement, a name and a calibration."""
    files = write_images(tmp_path, IMAGES)
    with Gallery(gallery_folder, "cpu") as gallery:
        gallery.add(files, camera="door")
        found = gallery.search(sightings=[3], count=5)
        gallery.judge(found.search, {found.candidates[0].sighting.id: "no", found.candidates[1].sighting.id: "yes"})
        for first in range(10, 20, 2):
            gallery.people.name(f"N{first}", sightings=[first, first + 1])
        gallery.calibrate("labels")
    return gallery_folder


def is_of(gallery, folder):
    """Return whether every embedding is that of a thumbnail by the model in a folder."""
    rows = gallery.database.rows("SELECT thumbnail, embedding FROM crops WHERE embedding IS NOT NULL ORDER BY id")
    wanted = unit(load(folder, "cpu").embed([decode(row[0], "thumbnail") for row in rows]))
    stored = np.stack([np.frombuffer(row[1], np.float16) for row in rows])
    return bool(np.abs(stored - wanted).max() < 2e-3)


def said(gallery):
    links = gallery.links()
    people = gallery.database.rows("SELECT id, person FROM sightings ORDER BY id")
    return links, people, [one.name for one in gallery.people.list()]


def test_all_is_embedded_again_and_what_people_said_stays(seen, second):
    with Gallery(seen, "cpu") as gallery, Gallery(seen, "cpu") as other:
        image = gallery.search(IMAGES[2], camera="door", count=3)
        refused = image.candidates[0].sighting.id
        gallery.judge(image.search, {refused: "no"})
        before, first, old = said(gallery), gallery.model_sha256, other.query(IMAGES[2])
        (pair,) = (pair for pair in before[0].cannot if 3 in pair)
        done = gallery.use_model(second, by=Actor("officer", "a better model"))
        assert (done.crops, done.sightings, done.before, done.model) == (30, 30, first, hash_model(second))
        assert said(gallery) == before
        assert is_of(gallery, second) and gallery.verify() == []
        assert [one.name for one in seen.glob("model-*")] == [f"model-{done.model[:16]}"]
        (record,) = gallery.audit(action="model")
        assert (record.who, record.purpose, record.asked["before"]) == ("officer", "a better model", first)
        for each in (gallery, other):
            assert each.model_sha256 == done.model
            assert refused not in {one.sighting.id for one in each.search(IMAGES[2], count=30).candidates}
            found = each.search(sightings=[3], count=30)
            assert set(pair) - {3} and not set(pair) & {one.sighting.id for one in found.candidates}
            assert "the last calibration was with another model" in found.calibration
        with pytest.raises(UserError, match="another one since then"):
            other.search(old)
        with pytest.raises(UserError, match="the gallery got another model"):
            gallery.search(search=image.search)
        gallery.calibrate("labels")
        assert "calibrated with labels" in other.calibration_text()
        assert gallery.use_model(seen / "model").model == first and not list(seen.glob("model-*"))
        assert "another model" in other.calibration_text()


def test_a_writer_of_the_model_before_is_refused(seen, second):
    with Gallery(seen, "cpu") as gallery, Gallery(seen, "cpu") as other:
        first = gallery.model_sha256
        writer = other.writer("late", first)
        late = [Embedded(crop, vector, None) for crop, vector in zip(crops_of(1), random_vectors(1), strict=True)]
        gallery.use_model(second)
        with pytest.raises(UserError, match="Run the same command again"):
            writer.write(late)
        with pytest.raises(UserError, match="the gallery's own model"):
            other.writer("later", first)
        assert len(gallery) == 30


def test_crops_without_thumbnails_cannot_be_embedded_again(seen, second):
    with Gallery(seen, "cpu") as gallery:
        fill(gallery, random_vectors(3), crops_of(3))
        with pytest.raises(UserError, match="3 crops without one"):
            gallery.use_model(second)
        assert gallery.verify() == [] and not list(seen.glob("model-*"))


def kill(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(real, calls):
    def do(*args, **more):
        nonlocal calls
        calls -= 1
        done = real(*args, **more)
        return done if calls else kill()

    return do


POINTS = {
    "copying": ("rewho.gallery.model.shutil.copyfile", 1, "old"),
    "copied": ("rewho.gallery.switch.place_model", 1, "old"),
    "embedded": ("rewho.gallery.switch._embed", 1, "old"),
    "half written": ("rewho.gallery.switch.summarise_sighting", 15, "old"),
    "written": ("rewho.gallery.switch._write", 1, "old"),
    "changed": ("rewho.gallery.switch._change", 1, "new"),
    "removing": ("rewho.gallery.switch.other_models", 1, "new"),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_one_model_or_the_other(seen, second, monkeypatch, point):
    name, calls, left = POINTS[point]
    with Gallery(seen, "cpu") as gallery:
        before, first = said(gallery), gallery.model_sha256
    child = os.fork()
    if child == 0:
        try:
            gallery = Gallery(seen, "cpu")
            place, _, attribute = name.rpartition(".")
            monkeypatch.setattr(name, kill_after(getattr(pkgutil.resolve_name(place), attribute), calls))
            gallery.use_model(second)
        finally:
            os._exit(7)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with Gallery(seen, "cpu") as gallery:
        assert gallery.verify() == []
        assert said(gallery) == before
        assert gallery.model_sha256 == (first if left == "old" else hash_model(second))
        assert len(list(seen.glob("model-*"))) == (left == "new")
        assert is_of(gallery, second) is (left == "new")
        assert not list(seen.glob(".rewho*"))
        gallery.use_model(second)
        assert is_of(gallery, second) and gallery.verify() == []


def test_models_that_were_trained_on_a_forgotten_person_are_named(seen, second, tmp_path):
    third = make_model(tmp_path / "third", seed=3)
    with Gallery(seen, "cpu") as gallery:
        gallery.use_model(second, adapted_to=[1, 2, 3])
        gallery.use_model(third, adapted_to=[4, 5])
        assert gallery.erasure.forget([9])["content"]["models trained on them"] == []
        named = gallery.erasure.forget([2])["content"]["models trained on them"]
        assert [(one["folder"], one["used"]) for one in named] == [(str(second), False), (str(third), True)]
        (only,) = gallery.erasure.forget([5])["content"]["models trained on them"]
        assert only["model"] == hash_model(third)


def test_a_model_of_somebody_who_is_gone_is_refused(seen, second, monkeypatch):
    with Gallery(seen, "cpu") as gallery:
        real = switch._embed
        monkeypatch.setattr(switch, "_embed", lambda *args: (real(*args), gallery.erasure.forget([7])))
        with pytest.raises(UserError, match="1 sightings that were forgotten"):
            gallery.use_model(second, adapted_to=[6, 7, 8])
        assert not list(seen.glob("model-*"))
        monkeypatch.undo()
        gallery.use_model(second, adapted_to=[6, 8])
        assert gallery.verify() == []


def test_what_is_added_meanwhile_is_embedded_too(seen, second, monkeypatch, tmp_path):
    file = tmp_path / "late.png"
    file.write_bytes(encode(IMAGES[0][::-1].copy(), "png"))
    with Gallery(seen, "cpu") as gallery:
        real, left = switch._embed, [file]

        def embed(*args):
            real(*args)
            if left:
                gallery.add(left.pop(), camera="yard")

        monkeypatch.setattr(switch, "_embed", embed)
        assert gallery.use_model(second).crops == 31
        assert is_of(gallery, second) and gallery.verify() == []
        copy = shutil.copytree(seen, tmp_path / "copy")
    with Gallery(copy, "cpu") as gallery:
        assert len(gallery) == 31
