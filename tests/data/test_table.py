"""ImageTable: what it accepts, what it refuses, and what it gives out."""

from pathlib import Path

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK, UNKNOWN_CAMERA
from rewho.data.table import ImageTable, first_three, leaves_root


def make(**changes):
    fields = {
        "name": "six",
        "root": Path("images"),
        "paths": ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "x/1.jpg"),
        "person_ids": [40, 7, 12, 7, DISTRACTOR, JUNK],
        "camera_ids": [0, 1, 2, 1, 0, UNKNOWN_CAMERA],
        "splits": ("train", "train", "train", "query", "gallery", "gallery"),
    }
    return ImageTable(**(fields | changes))


def test_labels_are_contiguous_in_order_of_person_id():
    train = make().select("train")
    assert train.labels().tolist() == [2, 0, 1]
    assert train.labels().dtype == np.int64


def test_labels_refuse_junk_and_distractors():
    with pytest.raises(UserError, match="2 junk or distractor"):
        make().labels()


def test_select_and_rows_keep_everything_together():
    table = make(notes=("a note",))
    gallery = table.select("gallery")
    assert gallery.paths == ("c/1.jpg", "x/1.jpg")
    assert gallery.person_ids.tolist() == [DISTRACTOR, JUNK]
    assert gallery.notes == ("a note",)
    picked = table.rows([3, 0])
    assert (picked.paths, picked.camera_ids.tolist(), picked.splits) == (
        ("b/2.jpg", "a/1.jpg"),
        [1, 0],
        ("query", "train"),
    )
    assert table.rows(table.camera_ids == 1).paths == ("a/2.jpg", "b/2.jpg")
    assert picked.file(0) == Path("images/b/2.jpg")


def test_a_missing_split_is_an_error_that_says_what_there_is():
    train = make().select("train")
    with pytest.raises(UserError, match=r"split 'query', got none \(it has train\)"):
        train.select("query")
    with pytest.raises(UserError, match="Did you mean 'query'"):
        train.select("qurey")


def test_arrays_cannot_be_written_and_are_no_views_of_the_callers():
    people = np.array([40, 7, 12, 7, DISTRACTOR, JUNK])
    table = make(person_ids=people)
    people[0] = 3
    assert table.person_ids[0] == 40
    with pytest.raises(ValueError, match="read-only"):
        table.person_ids[0] = 1
    with pytest.raises(AttributeError):
        table.name = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ("train",) * 5}, "6, 6, 6, 5"),
        ({"person_ids": [1.5, 2, 3, 4, 5, 6]}, "float64"),
        ({"person_ids": [-3, 2, 3, 4, 5, 6]}, "-3 in row 0"),
        ({"camera_ids": [0, 1, 2, 1, 0, -2]}, "-2 in row 5"),
        ({"splits": ("train",) * 5 + ("test",)}, "one of train, query, gallery, pool"),
        (
            {"paths": ("a/1.jpg", "a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "x/1.jpg")},
            "under two people: 'a/1.jpg'",
        ),
        ({"paths": ("a/1.jpg", "a/2.jpg", "b/1.jpg", "a/2.jpg", "a/1.jpg", "x/1.jpg")}, "under two people: 'a/1.jpg'"),
        ({"paths": ("../1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "x/1.jpg")}, r"'\.\./1\.jpg'"),
    ],
)
def test_a_wrong_table_is_refused_at_birth(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="at least one image"):
        make().rows([])


def test_the_same_image_may_be_query_and_gallery():
    paths = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg", "c/1.jpg", "x/1.jpg")
    assert len(make(paths=paths, person_ids=[40, 7, 12, 7, 7, JUNK], camera_ids=[0, 1, 2, 1, 1, 0])) == 6


def test_the_digest_knows_rows_and_order_but_not_where_the_data_lies():
    table = make()
    assert table.digest() == make(root=Path("elsewhere"), name="other").digest()
    different = [
        table.rows([1, 0, 2, 3, 4, 5]),
        table.rows(range(5)),
        make(person_ids=[40, 7, 12, 8, DISTRACTOR, JUNK]),
        make(camera_ids=[0, 1, 2, 1, 0, 0]),
        make(splits=("train", "train", "query", "query", "gallery", "gallery")),
        make(paths=("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "x/1.png")),
    ]
    assert len({table.digest(), *(other.digest() for other in different)}) == 7


def test_the_digest_does_not_depend_on_the_integer_type():
    assert make(person_ids=np.array([40, 7, 12, 7, -2, -1], np.int16)).digest() == make().digest()


def test_summary_counts_people_without_junk_and_distractors():
    lines = make(notes=("checked",)).summary().splitlines()
    assert lines == [
        "six",
        "  train: 3 images, 3 people, 3 cameras",
        "  query: 1 image, 1 person, 1 camera",
        "  gallery: 2 images, 0 people, 1 camera, 1 junk, 1 distractors",
        "  note: checked",
    ]


def test_names_of_people():
    table = make(person_ids=[0, 1, 1, 0, DISTRACTOR, JUNK], person_names=("adam", "eve"))
    assert [table.person_name(person) for person in (0, 1, -1, -2)] == ["adam", "eve", "junk", "distractor"]
    assert make().person_name(40) == "40"
    padded = make(person_names={7: "0007"}, camera_names=("north", "south"))
    assert [padded.person_name(person) for person in (7, 8)] == ["0007", "8"]
    assert [padded.camera_name(camera) for camera in (-1, 0, 1)] == ["", "north", "south"]


def test_knows_cameras():
    assert make().select("train").knows_cameras
    assert not make().knows_cameras


HOSTILE = [
    "../x.jpg", "..", "a/../../x.jpg", "a/..", "/etc/passwd", "//server/x.jpg", "\\\\server\\x.jpg", "\\x.jpg",
    "..\\x.jpg", "a\\..\\..\\x.jpg", "C:\\x.jpg", "c:/x.jpg", "a/..\\../x.jpg", "", "a\0.jpg", "../../../../etc/shadow",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_paths_that_leave_the_root(path):
    assert leaves_root(path)


@pytest.mark.parametrize(
    "path",
    ["a.jpg", "..a.jpg", "a..jpg", "a/...jpg", "CON.jpg", "a:b?.jpg", "Jürgen/写真.jpg", "a b/c .jpg ", "a\\b.jpg"],
)
def test_odd_paths_that_stay_inside(path):
    assert not leaves_root(path)


def test_first_three():
    assert first_three(["a"]) == "'a'"
    assert first_three(list("abcd")) == "'a', 'b', 'c' and 1 more"
