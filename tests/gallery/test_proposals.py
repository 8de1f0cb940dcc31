"""Groups, calibration and the review queue of a gallery of people whose embeddings are known."""

import json

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.gallery import proposals
from rewho.gallery.gallery import Gallery
from rewho.gallery.grouping import Known, Seen, find_groups, graph_of, read_known
from rewho.gallery.judgements import Links
from rewho.gallery.records import NOT_CALIBRATED, Actor, NewCrop
from rewho.gallery.vectors import unit
from rewho.rank.grouping import LIMIT
from rewho.settings import GallerySettings
from rewho.stages import gallery as stage
from small_gallery import SIZE, fill

PEOPLE, CAMERAS = 12, ("door", "yard", "lift")


def street(people=PEOPLE, *, named=False, seed=4, spread=0.35):
    """A sighting of every person on every camera, each a track of two crops; neighbours share a frame."""
    random = np.random.default_rng(seed)
    own, light = random.normal(size=(people, SIZE)), random.normal(size=(len(CAMERAS), SIZE))
    crops, vectors = [], []
    for camera, name in enumerate(CAMERAS):
        for person in range(people):
            for part in range(2):
                number = len(crops)
                frame = f"{name}/{person // 2}/{part}"
                crops.append(
                    NewCrop(
                        f"{name}-{person}-{part}", camera=name, time=1_700_000_000.0 + 60 * number, frame=frame,
                        track=f"{name}-{person}", sha256=f"{number:064x}", person=f"P{person}" if named else None,
                    )
                )  # fmt: skip
                vectors.append(own[person] + light[camera] + spread * random.normal(size=SIZE))
    return np.array(vectors, np.float32), crops


@pytest.fixture
def gallery(gallery_folder):
    with Gallery(gallery_folder) as opened:
        fill(opened, *street())
        yield opened


def person_of(number):
    return (number - 1) % PEOPLE


def members(gallery):
    return {one.id: list(gallery.people.sightings(one.id)) for one in gallery.people.list()}


def test_groups_are_people_across_cameras_and_can_be_undone(gallery):
    done = gallery.group()
    found = members(gallery)
    assert done.sightings + done.alone == 36 and len(done.people) == len(found) >= 8
    pure = sum(len({person_of(one) for one in group}) == 1 for group in found.values())
    assert pure >= 0.9 * len(found)
    cannot = set(gallery.links().cannot)
    assert cannot and not any((a, b) in cannot for group in found.values() for a in group for b in group)
    again = gallery.group()
    assert again.event == 0 and members(gallery) == found
    gallery.people.undo(done.event)
    assert members(gallery) == {}
    assert [one.action for one in gallery.audit(action="group")] == ["group"]


def test_what_somebody_settled_stays(gallery):
    ann = gallery.people.name("Ann", sightings=[1, 2 + PEOPLE])  # two people, but somebody said so
    gallery.group()
    assert {1, 14} <= set(gallery.people.sightings(ann))
    whole = max(members(gallery).items(), key=lambda pair: (pair[0] != ann) * len(pair[1]))
    gallery.people.take_out([whole[1][0]])
    gallery.group()
    after = members(gallery)
    assert after[whole[0]] == whole[1][1:], "what was taken out does not come back"
    joined = gallery.people.merge([one for one in after if one != ann][:2])
    kept = members(gallery)[joined]
    gallery.group()
    assert set(kept) <= set(members(gallery)[joined])


def test_judgements_hold_in_groups_and_contradictions_are_named(gallery):
    gallery.answer(3, 3 + PEOPLE, "different")
    gallery.answer(5, 9 + PEOPLE, "same")
    gallery.group()
    found = members(gallery).values()
    assert not any({3, 3 + PEOPLE} <= set(group) for group in found)
    assert any({5, 9 + PEOPLE} <= set(group) for group in found)
    before = members(gallery)
    gallery.answer(1, 20, "same")
    gallery.answer(20, 2, "same")  # 1 and 2 are in one frame
    with pytest.raises(UserError, match=r"(1 = 20 = 2|2 = 20 = 1), though . and . are in one frame"):
        gallery.group()
    assert members(gallery) == before
    with pytest.raises(UserError, match="may see every camera"):
        gallery.group(by=Actor("guard", cameras=frozenset({1})))


def test_the_queue_asks_no_pair_twice_and_nothing_that_is_known(gallery):
    asked = set()
    for _ in range(12):
        pairs = gallery.review(4)
        known = {*gallery.links().must, *gallery.links().cannot}
        for pair in pairs:
            both = (min(pair[:2]), max(pair[:2]))
            assert both not in asked and both not in known
            asked.add(both)
            same = person_of(pair.one) == person_of(pair.other)
            answer = "skip" if pair.one % 7 == 0 else "same" if same else "different"
            gallery.answer(pair.one, pair.other, answer)
    assert len(asked) > 15
    gallery.group()
    found = members(gallery).values()
    assert all(len({person_of(one) for one in group}) == 1 for group in found if len(group) == 3)
    door = dict(gallery.database.rows("SELECT name, id FROM cameras"))["door"]
    for pair in gallery.review(50, by=Actor("guard", cameras=frozenset({door}))):
        assert max(pair[:2]) <= PEOPLE
    with pytest.raises(UserError, match="same, different, skip"):
        gallery.answer(1, 5, "perhaps")


def test_answers_need_no_new_distances_and_sightings_do(gallery, monkeypatch):
    computed = []
    monkeypatch.setattr(proposals, "graph_of", lambda seen: computed.append(len(seen.ids)) or graph_of(seen))
    for _ in range(3):
        pair = gallery.review(1)[0]
        gallery.answer(pair.one, pair.other, "skip")
    assert computed == [36]
    gallery.review(1, by=Actor("guard", cameras=frozenset({1})))
    gallery.review(1)
    assert computed == [36, 12, 36]
    gallery.erasure.hide([5])
    gallery.review(1)
    fill(gallery, street(1, seed=9)[0][:1], [NewCrop("new", camera="door", sha256="f" * 64)], name="more")
    gallery.review(1)
    assert computed == [36, 12, 36, 36, 37]


def test_a_large_gallery_is_asked_about_its_newest_sightings(gallery, monkeypatch):
    monkeypatch.setattr(proposals, "ASKED", 12)
    pairs = gallery.review(50)
    assert pairs and all(min(pair[:2]) > 24 for pair in pairs)


def test_tracks_calibrate_without_labels_and_say_how_many_it_would_take(gallery):
    assert gallery.search(sightings=[1]).calibration.startswith(NOT_CALIBRATED)
    assert gallery.search(sightings=[1]).candidates[0].alike == NOT_CALIBRATED
    made = gallery.calibrate()
    content = made.content
    assert (content["basis"], content["people"], content["genuine"], content["impostor"]) == ("tracks", 36, 36, 18)
    assert all("too few tracks" in point["refusal"] for row in content["rows"] for point in row["points"])
    assert all("about" in one["refusal"] and "tracks with this many" in one["refusal"] for one in content["searches"])
    assert "people" not in gallery.stats()["calibration"], "a track is not known to be a person of its own"
    assert "no threshold: too few tracks" in gallery.stats()["calibration"]
    found = gallery.search(sightings=[1])
    assert found.calibration.startswith("no threshold") and found.candidates[0].alike.startswith("too few tracks")
    assert [one.action for one in gallery.audit(action="calibrate")] == ["calibrate"]


@pytest.fixture
def named(gallery_folder):
    with Gallery(gallery_folder) as opened:
        fill(opened, *street(100, named=True, spread=0.2))
        yield opened


def test_labels_give_thresholds_and_candidates_among_strangers(named, tmp_path, monkeypatch):
    monkeypatch.setattr("rewho.rank.calibration.PAIR_RESAMPLES", 20)
    made = named.calibrate()
    content = made.content
    assert (content["basis"], content["people"], content["genuine"]) == ("labels", 100, 300)
    assert "AS-norm(cohort 300)" in content["scores"]
    whole = made.row(None)
    hundred, thousand, _ = whole["points"]
    assert not hundred["refusal"] and "takes about 246 people, here are 100" in thousand["refusal"]
    assert hundred["threshold_interval"][0] <= hundred["threshold"] <= hundred["threshold_interval"][1]
    assert len(content["rows"]) == 7, "all together, and each pair of three cameras, a camera with itself too"
    found = named.search(sightings=[1], count=300)
    by_id = {one.sighting.id: one for one in found.candidates}
    assert by_id[101].strangers == by_id[201].strangers == 100
    assert by_id[101].alike == "1 of 100 strangers on this camera pair looks as alike"
    others = [one for one in found.candidates if one.sighting.id not in (101, 201)]
    assert np.mean([one.strangers == 100 for one in others]) < 0.03
    assert "more than 1 of 2 strangers on this camera pair look as alike" in {one.alike for one in others}
    assert found.calibration.startswith("threshold ") and "1 of 100 strangers reaches" in found.calibration
    assert "%" not in "".join(one.alike for one in found.candidates)
    assert NOT_CALIBRATED in named.search(sightings=[1], normalise=False).calibration
    assert NOT_CALIBRATED in named.search(sightings=[1], per="crop").calibration
    door = dict(named.database.rows("SELECT name, id FROM cameras"))["door"]
    limited = named.search(sightings=[1], by=Actor("guard", cameras=frozenset({door})))
    assert "who may see every camera" in limited.calibration and limited.candidates[0].score is None


def test_forgetting_leaves_a_calibration_that_still_works(named, monkeypatch):
    monkeypatch.setattr("rewho.rank.calibration.PAIR_RESAMPLES", 20)
    named.calibrate()
    named.erasure.forget([2, 102, 202])
    assert named.search(sightings=[1]).candidates[0].strangers == 100
    assert not {2, 102, 202} & {one for one, _ in read_known(named.database).people.items()}


def test_the_commands_group_review_and_calibrate(gallery, gallery_folder, tmp_path):
    def run(action, *items, **options):
        return stage.run(GallerySettings(action, gallery_folder, items, **options))

    assert GallerySettings().limit == LIMIT
    assert "people proposed or changed" in run("group")
    assert "nothing to change" in run("group")
    assert "answer: rewho gallery review" in run("review", count=3)
    assert run("review", "1", "14", answer="different") == "1 and 14: different"
    assert (1, 14) in gallery.links().cannot
    with pytest.raises(UserError, match="two sightings and --answer"):
        run("review", "1")
    curve = tmp_path / "det.svg"
    text = run("calibrate", out=curve)
    assert "calibrated with 36 tracks" in text and "too few tracks: 1 % false matches takes about" in text
    assert curve.read_bytes().startswith(b"<?xml") and b"<svg" in curve.read_bytes()
    assert json.loads(run("calibrate", json=True))["content"]["basis"] == "tracks"
    assert "no threshold" in run("search", sightings=(1,))


def test_a_few_strangers_are_not_everybodys_neighbours():
    for seed in range(5):
        vectors = unit(np.random.default_rng(seed).standard_normal((20, 128)))
        rows = np.arange(20)
        groups = find_groups(Seen(rows, rows, vectors), Known(Links([], []), frozenset(), {}))
        assert sum(map(len, groups)) <= 8
