"""What Python callers pass by mistake is refused with words before anything is done."""

from dataclasses import replace

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor, Filters
from rewho.settings import GallerySettings
from rewho.stages import gallery as stage
from small_gallery import crops_of, fill, random_vectors, write_images

NAN = float("nan")
PIXELS = np.zeros((64, 32, 3), np.uint8)
WRONG = {
    "count -1": lambda gallery: gallery.search(sightings=[1], count=-1),
    "count True": lambda gallery: gallery.search(sightings=[1], count=True),
    "count 2.5": lambda gallery: gallery.search(sightings=[1], count=2.5),
    "per": lambda gallery: gallery.search(sightings=[1], per="face"),
    "after NaN": lambda gallery: gallery.search(sightings=[1], after=(NAN, 3)),
    "after a word": lambda gallery: gallery.search(sightings=[1], after="0.5,3"),
    "after one and a half": lambda gallery: gallery.search(sightings=[1], after=(0.5, 1.5)),
    "filter NaN": lambda gallery: gallery.search(sightings=[1], filters=Filters(after=NAN)),
    "filter a word": lambda gallery: gallery.search(sightings=[1], filters=Filters(before="2026")),
    "filter one name": lambda gallery: gallery.search(sightings=[1], filters=Filters(cameras="door")),
    "box NaN": lambda gallery: gallery.query(PIXELS, box=(NAN, 0, 9, 9)),
    "box infinite": lambda gallery: gallery.query(PIXELS, box=(0, 0, float("inf"), 9)),
    "box of three": lambda gallery: gallery.query(PIXELS, box=(1, 2, 3)),
    "box a word": lambda gallery: gallery.query(PIXELS, box="1234"),
    "time a word": lambda gallery: gallery.query(PIXELS, time="2026"),
    "browse -1": lambda gallery: gallery.browse(-1),
    "review -1": lambda gallery: gallery.review(-1),
    "events 0": lambda gallery: gallery.people.events(0),
    "records -1": lambda gallery: gallery.audit(limit=-1),
    "group 5": lambda gallery: gallery.group(limit=5),
    "group NaN": lambda gallery: gallery.group(limit=NAN),
    "basis": lambda gallery: gallery.calibrate("names"),
    "seed": lambda gallery: gallery.calibrate("labels", seed=-1),
    "name": lambda gallery: gallery.people.name(5, sightings=[1]),
    "case": lambda gallery: gallery.cases.open(5, "purpose"),
    "long case": lambda gallery: gallery.cases.open("x" * 201, "purpose"),
    "long note": lambda gallery: gallery.cases.collect(1, [1], "x" * 1001),
    "head": lambda gallery: gallery.verify("218"),
    "kept until a word": lambda gallery: gallery.erasure.keep_until(1, "2026"),
    "kept until NaN": lambda gallery: gallery.erasure.keep_until(1, NAN),
    "kept until no date": lambda gallery: gallery.erasure.keep_until(1, 253_402_300_800.0),
}


@pytest.fixture
def gallery(gallery_folder):
    with Gallery(gallery_folder) as opened:
        fill(opened, random_vectors(6))
        opened.cases.open("theft", "order 17")
        yield opened


def test_values_that_cannot_be_are_refused_and_change_nothing(gallery):
    before, head = "\n".join(gallery.database.link.iterdump()), gallery.audit_head()
    for name, ask in WRONG.items():
        with pytest.raises(UserError, match="expected"):
            pytest.fail(f"{name} is taken: {ask(gallery)}")
    assert gallery.audit_head() == head and "\n".join(gallery.database.link.iterdump()) == before


def test_a_time_that_no_date_shows_is_not_added(gallery, gallery_folder):
    late = [replace(crop, time=1e15) for crop in crops_of(1, first=50)]
    with pytest.raises(UserError, match="time of crop-50: expected seconds since 1970, from the year 1 to 9999"):
        fill(gallery, random_vectors(1), late, name="late")
    with pytest.raises(UserError, match="--start: expected seconds since 1970"):
        stage.run(GallerySettings("add", gallery_folder, ("x",), start="253402300800"))


def test_a_date_that_is_given_when_adding_again_counts(gallery, tmp_path):
    files = write_images(tmp_path, np.random.default_rng(1).integers(0, 255, (2, 64, 32, 3), np.uint8))
    for expires, kept in ((None, None), (2e9, 2e9), (None, 2e9), (3e9, 3e9)):
        added = gallery.add(files, camera="door", expires=expires)
        assert {one["id"]: one["expires"] for one in gallery.stats()["sources"]}[added.source] == kept
    with pytest.raises(UserError, match="expires: expected seconds"):
        gallery.add(files, camera="door", expires=NAN)


def test_who_does_not_see_somebody_cannot_undo_their_name(gallery):
    person = gallery.people.name("Ann", sightings=[1])
    gallery.people.name("Anna", person=person)
    event, (seen,) = gallery.people.events()[0].id, {one.camera for one in gallery.sightings([2])}
    guard = Actor("guard", cameras=frozenset(one.id for one in gallery.cameras() if one.name == seen))
    with pytest.raises(UserError, match="no such person"):
        gallery.people.undo(event, by=guard)
    assert [one.name for one in gallery.people.list()] == ["Anna"]


def test_a_case_that_somebody_does_not_see_is_not_opened_for_them(gallery):
    guard = Actor("guard", cameras=frozenset({1}))
    with pytest.raises(UserError, match=r"case theft: expected a free name, or a case of yours"):
        gallery.cases.open("theft", "mine", by=guard)
    own = gallery.cases.open("mine", "mine", by=guard)
    assert gallery.cases.open(" mine ", by=guard) == own
