"""People: names, merges and splits are events, which can be undone in any order that is still consistent."""

import pytest

from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor
from small_gallery import crops_of, fill, random_vectors


@pytest.fixture
def gallery(gallery_folder):
    with Gallery(gallery_folder) as opened:
        fill(opened, random_vectors(24))
        yield opened


def groups(gallery):
    return {one.id: list(gallery.people.sightings(one.id)) for one in gallery.people.list()}


def test_merge_split_and_take_out_move_sightings(gallery):
    ann = gallery.people.name("Ann", sightings=[1, 2, 3])
    bob = gallery.people.name("Bob", sightings=[4, 5])
    assert gallery.people.merge([ann, bob]) == ann
    assert groups(gallery) == {ann: [1, 2, 3, 4, 5]}
    new = gallery.people.split([2, 4])
    assert groups(gallery) == {ann: [1, 3, 5], new: [2, 4]}
    gallery.people.take_out([3])
    assert groups(gallery) == {ann: [1, 5], new: [2, 4]}
    assert gallery.search(sightings=[1]).candidates[0].sighting.id != 1
    assert {one.sighting.name for one in gallery.search(sightings=[1], count=23).candidates} == {"Ann", ""}


def test_events_are_undone_in_any_consistent_order(gallery):
    people = gallery.people
    ann = people.name("Ann", sightings=[1, 2])
    bob = people.name("Bob", sightings=[3, 4])
    naming, merging = people.events()[0].id, None
    before = groups(gallery)
    people.merge([ann, bob])
    merging = people.events()[0].id
    people.name("Anna", person=ann)
    renaming = people.events()[0].id
    with pytest.raises(UserError, match=f"Undo event {merging} first"):
        people.undo(naming)
    people.undo(merging)  # the later renaming does not stand in its way
    assert groups(gallery) == before
    assert {one.name for one in people.list()} == {"Anna", "Bob"}
    people.undo(renaming)
    assert {one.name for one in people.list()} == {"Ann", "Bob"}
    again = people.undo(people.events()[0].id)  # an undoing event can be undone too
    assert {one.name for one in people.list()} == {"Anna", "Bob"}
    with pytest.raises(UserError, match="has undone"):
        people.undo(renaming)
    assert again > renaming


def test_two_sightings_of_one_frame_or_judged_no_are_never_one_person(gallery):
    fill(gallery, random_vectors(2, seed=3), crops_of(2, first=100, frame="video/7"), name="frames")
    with pytest.raises(UserError, match="are in one frame"):
        gallery.people.name("Nobody", sightings=[25, 26])
    found = gallery.search(sightings=[1])
    gallery.judge(found.search, {2: "no"})
    ann, bob = gallery.people.name("Ann", sightings=[1, 5]), gallery.people.name("Bob", sightings=[2, 6])
    with pytest.raises(UserError, match="judged to be two people"):
        gallery.people.merge([ann, bob])
    assert groups(gallery) == {ann: [1, 5], bob: [2, 6]}


def test_a_timeline_is_in_the_order_of_time_with_gaps(gallery):
    ann = gallery.people.name("Ann", sightings=[9, 2, 5])
    stays = gallery.people.timeline(ann)
    assert [stay.sighting.id for stay in stays] == [2, 5, 9]
    assert [stay.gap for stay in stays] == [None, 3 * 3600, 4 * 3600]


def test_people_outside_a_users_cameras_are_not_there(gallery):
    door = dict(gallery.database.rows("SELECT name, id FROM cameras"))["door"]
    guard = Actor("guard", cameras=frozenset({door}))
    ann = gallery.people.name("Ann", sightings=[1, 2])  # cameras door and yard
    assert [one.sightings for one in gallery.people.list(by=guard)] == [1]
    assert [stay.sighting.id for stay in gallery.people.timeline(ann, by=guard)] == [1]
    for change in (
        lambda: gallery.people.merge([ann, ann + 1], by=guard),
        lambda: gallery.people.name("x", person=ann, by=guard),
        lambda: gallery.people.take_out([2], by=guard),
        lambda: gallery.erasure.forget([2], by=guard),
        lambda: gallery.erasure.forget(person=ann, by=guard),
        lambda: gallery.thumbnail(2, by=guard),
        lambda: gallery.crops(2, by=guard),
    ):
        with pytest.raises(UserError, match="no such"):
            change()


def test_merge_suggestions_name_the_person_who_looks_alike(gallery_folder):
    vectors = random_vectors(60, seed=4)
    vectors[7] = vectors[1] + 0.05 * vectors[2]
    with Gallery(gallery_folder) as gallery:
        fill(gallery, vectors)
        people = [gallery.people.name(f"P{one}", sightings=[one]) for one in range(1, 12)]
        found = gallery.people.suggest_merges(people[1])
        assert found[0][0].id == people[7]
        assert found[0][1] > 0.9
