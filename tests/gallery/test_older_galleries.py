"""Galleries that earlier versions made, from stored files, are brought up to date and lose nothing."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
from rewho.gallery.model import hash_model
from rewho.gallery.schema import VERSION
from small_gallery import fill, random_vectors

OLDER = sorted((Path(__file__).parent / "older").glob("*.sql"))


def store_older(script, folder, model):
    """Write a gallery that an earlier version made, with the model of these tests in place of the one of then."""
    folder.mkdir()
    with sqlite3.connect(folder / "gallery.sqlite") as link:
        link.executescript(script.read_text())
        link.execute("UPDATE about SET value = ? WHERE name = 'model'", (hash_model(model),))
    link.close()
    shutil.copytree(model, folder / "model")
    return folder


@pytest.mark.parametrize("script", OLDER, ids=[script.stem for script in OLDER])
def test_a_gallery_of_every_earlier_version_is_brought_up_to_date(script, tiny_model, tmp_path):
    assert len(OLDER) == VERSION - 1, "a file of each earlier version"
    folder = store_older(script, tmp_path / "gallery", tiny_model)
    with Gallery(folder) as gallery:
        assert gallery.verify() == []
        assert len(gallery) == 11
        assert gallery.database.one("PRAGMA user_version")[0] == VERSION
        expected = random_vectors(12)[:11].astype(np.float64)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = gallery.search(sightings=[2], normalise=False)
        order = np.argsort(-(expected @ expected[1]), kind="stable")
        assert [one.sighting.id for one in found.candidates] == [1 + row for row in order if row != 1]
        shown = [one.sighting.id for one in gallery.search(sightings=[1]).candidates]
        assert 5 not in shown, "a no stays a no"
        assert [person.name for person in gallery.people.list()] == ["Ada"]
        assert fill(gallery, random_vectors(12)).crops == 0, "what was forgotten stays out"
    with Gallery(folder) as again:
        assert again.verify() == []


def test_what_was_damaged_before_is_damaged_after(tiny_model, tmp_path):
    folder = store_older(OLDER[0], tmp_path / "gallery", tiny_model)
    with sqlite3.connect(folder / "gallery.sqlite") as link:
        link.execute("UPDATE sightings SET began = 5 WHERE id = 3")
    link.close()
    with Gallery(folder) as gallery:
        assert gallery.verify() == ["sightings: row 3 was changed"]
        with pytest.raises(UserError, match="the bytes that were written"):
            gallery.search(sightings=[1])
