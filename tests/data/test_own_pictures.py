"""Folders, file-name patterns and CSV files of the user's own."""

import pytest

from rewho.core.check import UserError
from rewho.data.benchmarks import read
from rewho.data.file_lists import list_pictures
from rewho.data.own_pictures import number_names
from rewho.data.table import DISTRACTOR, JUNK, UNKNOWN_CAMERA


def plant(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_a_folder_per_person(tmp_path):
    table = read(plant(tmp_path / "crew", "Zoë/1.JPG", "adam/b.png", "adam/a.webp", "adam/notes.txt"))
    assert table.name == "crew"
    assert table.paths == ("Zoë/1.JPG", "adam/a.webp", "adam/b.png")
    assert table.person_names == ("Zoë", "adam")
    assert table.person_ids.tolist() == [0, 1, 1]
    assert table.camera_ids.tolist() == [UNKNOWN_CAMERA] * 3
    assert set(table.splits) == {"pool"}
    assert any("Cameras are not known" in note for note in table.notes)


def test_numbers_stay_numbers(tmp_path):
    table = read(plant(tmp_path, "0012/1.jpg", "0007/1.jpg"))
    assert table.person_ids.tolist() == [7, 12]
    assert [table.person_name(person) for person in (7, 12)] == ["0007", "0012"]
    assert read(plant(tmp_path / "plain", "7/1.jpg", "12/1.jpg")).person_names == ()


def test_split_folders(tmp_path):
    table = read(plant(tmp_path, "train/1/a.jpg", "query/2/b.jpg", "gallery/2/c.jpg", "gallery/3/d.jpg"))
    assert table.splits == ("train", "query", "gallery", "gallery")
    assert table.person_ids.tolist() == [1, 2, 2, 3]


def test_a_pattern_with_camera(tmp_path):
    plant(tmp_path, "day1/eve_north_1.jpg", "adam_south_2.jpg", "day1/adam_north_3.jpg")
    table = read(tmp_path, "folder", person_pattern=r"^(?P<person>[a-z]+)_(?P<camera>[a-z]+)_\d")
    assert table.paths == ("adam_south_2.jpg", "day1/adam_north_3.jpg", "day1/eve_north_1.jpg")
    assert table.person_ids.tolist() == [0, 0, 1]
    assert (table.camera_names, table.camera_ids.tolist()) == (("north", "south"), [1, 0, 0])


def test_hostile_but_lawful_names(tmp_path):
    names = [
        "CON/aux.jpg",
        "a b/ c .jpg",
        "日本/写真.jpg",
        "q?/a:b*.jpg",
        "trailing./x.jpg",
        "new\nline/x.jpg",
        "back\\slash/x.jpg",
    ]
    table = read(plant(tmp_path, *names))
    assert sorted(table.paths) == sorted(names)
    assert len(set(table.person_ids.tolist())) == 7
    assert all(table.file(row).is_file() for row in range(7))
    assert len(table.digest()) == 64


def test_names_that_are_no_utf8(tmp_path):
    import os

    (tmp_path / "x").mkdir()
    with open(os.fsencode(tmp_path / "x") + b"/\xff\xfe.jpg", "wb"):  # noqa: PTH123
        pass
    table = read(tmp_path)
    assert table.file(0).is_file()
    assert len(table.digest()) == 64


@pytest.mark.parametrize(
    "text",
    [
        "path,person,camera,split\nb/2.jpg,eve,north,query\na/1.jpg,adam,south,gallery\n",
        "\ufeffpath;person;camera;split\r\nb/2.jpg;eve;north;query\r\na/1.jpg;adam;south;gallery\r\n",
        "Split\tPERSON\tpath\tcamera\nquery\teve\tb/2.jpg\tnorth\n\ngallery\tadam\ta/1.jpg\tsouth",
        'path,person,camera,split\n"b/2.jpg","eve",north,query\nb\\3.jpg,eve,north,query\na\\1.jpg,adam,south,gallery\n',
    ],
)
def test_csv_dialects(tmp_path, text):
    plant(tmp_path, "a/1.jpg", "b/2.jpg", "b/3.jpg")
    (tmp_path / "list.csv").write_bytes(text.encode())
    table = read(tmp_path / "list.csv")
    assert table.paths[-1] == "a/1.jpg"
    assert table.paths[0] == "b/2.jpg"
    assert table.splits[0] == "query"
    assert (table.person_names, table.camera_names) == (("adam", "eve"), ("north", "south"))
    assert (table.person_ids[0], table.camera_ids[-1]) == (1, 1)


def test_csv_without_camera_and_split_and_with_junk(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "list.csv").write_text("path,person\n3.jpg,-2\n1.jpg,5\n2.jpg,-1\n")
    table = read(tmp_path / "list.csv")
    assert table.person_ids.tolist() == [5, JUNK, DISTRACTOR]
    assert not table.knows_cameras
    assert set(table.splits) == {"pool"}


def test_number_names_keeps_apart_what_is_written_apart():
    ids, names = number_names(["1", "01", "1"])
    assert (ids.tolist(), names) == ([1, 0, 1], ("01", "1"))
    ids, names = number_names(["99999999999999999999", "1"])
    assert (ids.tolist(), names) == ([1, 0], ("1", "99999999999999999999"))
    ids, names = number_names(["-5", "2"])
    assert (ids.tolist(), names) == ([0, 1], ("-5", "2"))


def test_list_pictures_needs_no_people(tmp_path):
    plant(tmp_path, "b.jpg", "deep/down/a.PNG", ".hidden/x.jpg", "._b.jpg", "notes.txt")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    assert list_pictures(tmp_path) == ("b.jpg", "deep/down/a.PNG")
    with pytest.raises(UserError, match=r"1 x \.txt"):
        list_pictures(plant(tmp_path / "other", "notes.txt"))
