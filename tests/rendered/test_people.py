"""Rendered data sets on disk: names, counts, same settings same bytes, and how hard they are for a colour histogram."""

import hashlib
import json
import multiprocessing
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rendered import write_people

SMALL = {"identities": 6, "test_identities": 4, "cameras": 3, "images_per_camera": 2, "distractors": 5, "junk": 3}
NAME = re.compile(r"(-1|\d{4})_c(\d)s(\d)_(\d{6})_(\d\d)\.jpg")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


def rows(folder: Path) -> list[tuple[str, int, int]]:
    """Return part, person and camera of each image, read from the names."""
    found = []
    for path in sorted(folder.rglob("*.jpg")):
        match = NAME.fullmatch(path.name)
        assert match, path.name
        found.append((path.parent.name, int(match[1]), int(match[2])))
    return found


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("synthetic") / "people", **SMALL)


def test_layout_and_counts_are_those_of_the_settings(people):
    found = rows(people)
    train = [row for row in found if row[0] == "bounding_box_train"]
    query = [row for row in found if row[0] == "query"]
    gallery = [row for row in found if row[0] == "bounding_box_test"]
    assert {person for _, person, _ in train} == {1, 2, 3, 4, 5, 6}
    assert {person for _, person, _ in query} == {7, 8, 9, 10}
    assert {person for _, person, _ in gallery} == {-1, 0, 7, 8, 9, 10}
    assert sum(person == 0 for _, person, _ in gallery) == 5
    assert sum(person == -1 for _, person, _ in gallery) == 3
    for person in range(1, 11):
        cameras = {camera for _, one, camera in found if one == person}
        assert 2 <= len(cameras) <= 3
        for camera in cameras:
            own = [part for part, one, lens in found if (one, lens) == (person, camera)]
            expected = ["bounding_box_train"] * 2 if person <= 6 else ["bounding_box_test"] * 2 + ["query"]
            assert own == expected
    assert len(set(query)) == len(query), "one query per person and camera"


def test_images_can_be_read_and_have_the_size_asked_for(people):
    for path in people.rglob("*.jpg"):
        assert cv2.imread(str(path)).shape == (128, 64, 3)


def test_description_says_what_was_rendered(people):
    described = json.loads((people / "rendered.json").read_text())
    assert described["counts"]["bounding_box_train"] == len(list((people / "bounding_box_train").iterdir()))
    assert described["settings"]["identities"] == 6
    assert len(described["cameras"]) == 3
    assert (people / "rendered.json").stat().st_size < 20_000


def test_a_second_call_does_nothing_and_other_settings_are_refused(people):
    before = {path: path.stat().st_mtime_ns for path in people.rglob("*")}
    assert write_people(str(people), **SMALL) == people
    assert {path: path.stat().st_mtime_ns for path in people.rglob("*")} == before
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        write_people(people, **SMALL, seed=2)


def test_a_folder_with_something_else_or_with_lost_images_is_refused(people, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        write_people(tmp_path / "other", **SMALL)
    copy = tmp_path / "copy"
    for path in people.rglob("*"):
        if path.is_file() and "_c1s1_000002" not in path.name:
            (copy / path.relative_to(people)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(people)).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="images"):
        write_people(copy, **SMALL)
    (copy / "rendered.json").write_text("{}")
    with pytest.raises(UserError, match="renderer"):
        write_people(copy, **SMALL)


def test_workers_and_company_make_no_difference(people, tmp_path, monkeypatch):
    monkeypatch.setattr("rewho.rendered.people.SMALLEST_SHARE", 5)
    seen = []
    more = {**SMALL, "identities": 8, "distractors": 7}
    wider = write_people(tmp_path / "wider", **more, workers=2, progress=lambda done, total: seen.append((done, total)))
    here, there = contents(people), contents(wider)
    mine = [name for name in here if re.match(r"bounding_box_train/000[1-6]|bounding_box_test/0000", name)]
    assert len(mine) > 20
    same = [name for name in mine if here[name] == there.get(name)]
    assert [name for name in mine if "train" in name] == [name for name in same if "train" in name]
    assert seen == [(index + 1, len(there)) for index in range(len(there))]


def test_another_seed_gives_another_world(people, tmp_path):
    other = contents(write_people(tmp_path / "other", **SMALL, seed=2))
    here = contents(people)
    assert not [name for name in here.keys() & other.keys() if here[name] == other[name]]


def test_an_interrupted_call_leaves_nothing_behind(tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_people(tmp_path / "people", **SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"cameras": 1}, "cameras"),
        ({"cameras": 100}, "cameras"),
        ({"cameras": 4, "cameras_of_person": 5}, "cameras_of_person"),
        ({"size": (128, 8)}, "side"),
        ({"images_per_camera": 0}, "images_per_camera"),
        ({"distractors": -1}, "distractors"),
        ({"identities": 0, "test_identities": 0}, "identities"),
    ],
)
def test_settings_out_of_range_are_named(wrong, name, tmp_path):
    with pytest.raises(UserError, match=name):
        write_people(tmp_path / "people", **{**SMALL, **wrong})
    assert not (tmp_path / "people").exists()


def average_precision(query: np.ndarray, gallery: np.ndarray, labels: dict[str, np.ndarray]) -> float:
    """Return mAP of the nearest neighbours by histogram intersection, matches from other cameras only."""
    found = []
    for index in range(len(query)):
        person, camera = labels["query"][index]
        keep = ~((labels["gallery"][:, 0] == person) & (labels["gallery"][:, 1] == camera))
        order = np.argsort(-np.minimum(query[index], gallery[keep]).sum(axis=1), kind="stable")
        places = np.flatnonzero(labels["gallery"][keep, 0][order] == person)
        found.append(np.mean((np.arange(len(places)) + 1) / (places + 1)))
    return float(np.mean(found))


def test_a_colour_histogram_is_neither_perfect_nor_blind(tmp_path):
    settings = {"identities": 0, "test_identities": 24, "images_per_camera": 2, "distractors": 0, "junk": 0}
    folder = write_people(tmp_path / "people", **settings, cameras=4)
    features, labels = {}, {}
    for part, name in (("query", "query"), ("gallery", "bounding_box_test")):
        paths = sorted((folder / name).iterdir())
        labels[part] = np.array([[int(path.name[:4]), int(path.name[6])] for path in paths])
        features[part] = np.stack(
            [
                cv2.calcHist([cv2.imread(str(path))], [0, 1, 2], None, [5] * 3, [0, 256] * 3).ravel() / (128 * 64)
                for path in paths
            ]
        )
    score = average_precision(features["query"], features["gallery"], labels)
    rng = np.random.default_rng(0)
    blind = [
        average_precision(rng.random(features["query"].shape), rng.random(features["gallery"].shape), labels)
        for _ in range(5)
    ]
    assert 1.2 * np.mean(blind) < score < 0.5


def test_a_killed_process_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("rewho.rendered.people.SMALLEST_SHARE", 5)

    def kill(_done, _total):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(UserError, match="one that was killed"):
        write_people(tmp_path / "people", **{**SMALL, "identities": 30}, workers=2, progress=kill)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_was_changed_is_noticed(people, tmp_path):
    copy = tmp_path / "people"
    shutil.copytree(people, copy)
    assert write_people(copy, **SMALL) == copy
    one, two = sorted((copy / "query").iterdir())[:2]
    one.write_bytes(two.read_bytes())
    with pytest.raises(UserError, match="the images as they were rendered, got others"):
        write_people(copy, **SMALL)
