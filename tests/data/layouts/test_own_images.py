"""Folders, file-name patterns and CSV files of the user's own."""

import unicodedata

import pytest

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK, UNKNOWN_CAMERA
from rewho.data.datasets import read
from rewho.data.file_lists import list_images
from rewho.data.names import number_names, spelling_notes
from rewho.data.scored_part import scored_part


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


@pytest.mark.parametrize("junk", ["-1", "-1.0", "-01", "\u22121", "-1,0", "\u20131.00", "- 1", "-1.0e+00"])
@pytest.mark.parametrize("distractor", ["-2", "-2.0", "\u22122"])
def test_every_spelling_of_junk_and_distractors_keeps_its_meaning(junk, distractor):
    assert number_names([junk, "7.0", distractor, "+8"])[0].tolist() == [JUNK, 7, DISTRACTOR, 8]
    assert number_names([junk, "adam", distractor])[0].tolist() == [JUNK, 0, DISTRACTOR]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["1e0", "1.0", "1"], [1, 1, 1]),
        (["1e+05", "100000", "7"], [100000, 100000, 7]),  # R
        (["7.000000000000000000e+00", "1.200000000000000000e+01", "-1.000000000000000000e+00"], [7, 12, JUNK]),  # NumPy
        (["-1e0", "3E+02", "-2E+00"], [JUNK, 300, DISTRACTOR]),
        (["1d9", "1e0", "1"], [1, 2, 0]),  # hexadecimal names
        (["1.5e0", "1"], [1, 0]),
        (["1e99", "1"], [1, 0]),
    ],
)
def test_numbers_with_a_power_are_numbers_except_among_hexadecimal_names(names, ids):
    assert number_names(names)[0].tolist() == ids


def test_numbers_that_a_spreadsheet_rounded_get_a_note():
    (note,) = spelling_notes(["1.23457E+11", "7"], "person")
    assert "'1.23457E+11'" in note and "rounds long numbers" in note
    assert not spelling_notes(["1e+05", "1.5e+01", "7"], "person")


@pytest.mark.parametrize("name", ["-3", "-3.0", "\u22125", "-99999", "-3e+00"])
def test_other_negative_ids_are_refused(tmp_path, name):
    plant(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "list.csv").write_text(f"path,person\n1.jpg,5\n2.jpg,{name}\n", "utf-8")
    with pytest.raises(UserError, match=r"'-\d+' in 1 of 2: 'line 3'"):
        read(tmp_path / "list.csv")


def test_cameras_have_spellings_too(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "list.csv").write_text("path,person,camera\n1.jpg,5,1.0\n2.jpg,6,-1.0\n3.jpg,6,1\n")
    table = read(tmp_path / "list.csv")
    assert table.camera_ids.tolist() == [1, UNKNOWN_CAMERA, 1]
    (tmp_path / "list.csv").write_text("path,person,camera\n1.jpg,5,1\n2.jpg,6,-2\n3.jpg,6,1\n")
    with pytest.raises(UserError, match="camera ids"):
        read(tmp_path / "list.csv")


def test_one_name_in_two_unicode_forms_is_one_person(tmp_path):
    table = read(plant(tmp_path, "Zo\u00eb/1.jpg", "Zoe\u0308/2.jpg", "adam/1.jpg"))
    assert len(set(table.person_ids.tolist())) == 2
    assert "2 spellings of 'Zo\u00eb' count as one person." in table.notes


@pytest.mark.parametrize("names", [("7", "07"), ("Adam", "adam"), ("a b", "a  b"), ("adam", "adam\u200b")])
def test_names_that_look_alike_are_noted(names):
    assert spelling_notes(names, "person")[0].startswith("Each is a person of its own: ")
    assert not spelling_notes(["7", "8", "adam", "eve"], "person")


def test_folders_with_names_of_cameras_and_no_people_are_told(tmp_path):
    (note,) = (note for note in read(plant(tmp_path, "cam1/1.jpg", "cam2/1.jpg")).notes if "like cameras" in note)
    assert "'cam1', 'cam2'" in note and "--recipe adapt/small --cameras folder" in note
    assert not any("like cameras" in note for note in read(plant(tmp_path, "cam1/1.jpg", "adam/1.jpg")).notes)


@pytest.mark.parametrize("files", [("cam1/adam/1.jpg", "cam1/eve/1.jpg", "cam2/adam/1.jpg"),
                                   ("adam/cam1/1.jpg", "eve/cam1/1.jpg", "adam/cam2/x/1.jpg")])  # fmt: skip
@pytest.mark.parametrize("place", ["", "train/"])
def test_cameras_above_and_below_people(tmp_path, files, place):
    table = read(plant(tmp_path, *(place + file for file in files)))
    assert table.person_names == ("adam", "eve")
    assert table.camera_names == ("cam1", "cam2")
    assert len(table) == 3
    assert any("Read as" in note for note in table.notes)


def test_sub_folders_of_a_person_are_theirs(tmp_path):
    table = read(plant(tmp_path, "adam/1.jpg", "adam/monday/am/2.jpg", "eve/monday/1.jpg"))
    assert table.person_ids.tolist() == [0, 0, 1]
    assert any(note.startswith("2 images in folders within a person's") for note in table.notes)


def test_two_levels_that_could_be_people_are_answered_with_patterns(tmp_path):
    with pytest.raises(UserError, match="day1/cam1/adam"):
        read(plant(tmp_path / "deep", "day1/cam1/adam/1.jpg", "day2/cam1/eve/1.jpg"))
    plant(tmp_path / "flat", "a/b/1.jpg", "a/c/1.jpg", "d/b/2.jpg")
    with pytest.raises(UserError, match="could both be people") as caught:
        read(tmp_path / "flat")
    for pattern, people in (("^(?P<person>[^/]+)/", 2), ("^(?P<camera>[^/]+)/(?P<person>[^/]+)/", 2)):
        assert f"'{pattern}'" in caught.value.fix
        table = read(tmp_path / "flat", person_pattern=pattern)
        assert len(set(table.person_ids.tolist())) == people


def test_files_that_are_left_out_are_counted_by_ending(tmp_path, capsys):
    plant(tmp_path, "adam/1.jpg", "adam/2.HEIC", "eve/1.jpg", "eve/deep/3.heic", "eve/4.tiff", "eve/.x.jpg")
    expected = "left out of {}: 4 files (2 x .heic, 1 x "
    assert any(note.startswith(expected.format("the folder")) for note in read(tmp_path).notes)
    assert len(list_images(tmp_path)) == 2
    assert expected.format(tmp_path) in capsys.readouterr().err


NAMES = [
    ("-1_c1s1_1.jpg", "0002_c1s1_2.jpg", "0003_c2s1_2.jpg"),
    ("-1_cam1_1.jpg", "2_cam2_1.jpg"),
    ("cam1_-1_1.jpg", "cam2_5_1.jpg"),
    ("c1_-1_1.jpg", "c2_5_1.jpg"),
    ("p_-1_c1.jpg", "p_7_c2.jpg"),
    ("-1-cam3-7.jpg", "12-cam3-8.jpg"),
    ("p-1_c1_1.jpg", "p1_c1_2.jpg", "p2_c2_1.jpg"),
]


@pytest.mark.parametrize("names", NAMES)
def test_the_proposed_pattern_reads_the_very_files_and_keeps_the_minus(tmp_path, names):
    plant(tmp_path, *names)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    pattern = caught.value.fix.partition("--data.person_pattern '")[2].partition("'")[0]
    table = read(tmp_path, person_pattern=pattern)
    assert (table.person_ids == JUNK).sum() == 1
    assert table.knows_cameras


@pytest.mark.parametrize("minus", ["-", "\u2013"])
def test_a_pattern_that_loses_the_minus_is_refused(tmp_path, minus):
    plant(tmp_path, *NAMES[0][1:], f"{minus}1_c1_1.jpg")
    with pytest.raises(UserError, match="the minus of an id"):
        read(tmp_path, person_pattern=r"(?P<person>\d+)_c(?P<camera>\d+)")


def test_names_that_are_too_long_are_answered(tmp_path):
    plant(tmp_path, "1.jpg")
    (tmp_path / "list.csv").write_text(f"path,person\n1.jpg,5\n{'x' * 300}.jpg,6\n")
    with pytest.raises(UserError, match="1 of 2 that are no files"):
        read(tmp_path / "list.csv")
    with pytest.raises(UserError, match="nothing there"):
        read(tmp_path / ("x" * 300))


def test_folders_that_rewho_wrote_are_no_images(tmp_path):
    for name in ("set/index.json", "set/contact-sheet.jpg", "set/shards/0.arrow", "report/run.json", "report/1.jpg"):
        plant(tmp_path, name)
    plant(tmp_path, "mine/1.jpg", "mine/embedded/run.json", "mine/embedded/sheet.jpg")
    for work in (list_images, read):
        with pytest.raises(UserError, match=r"a crop set[\s\S]*`rewho crops export"):
            work(tmp_path / "set")
        with pytest.raises(UserError, match="sheets and figures"):
            work(tmp_path / "report")
    assert list_images(tmp_path / "mine") == ("1.jpg",)


def test_list_images_needs_no_people(tmp_path):
    plant(tmp_path, "b.jpg", "deep/down/a.PNG", ".hidden/x.jpg", "._b.jpg", "notes.txt")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    assert list_images(tmp_path) == ("b.jpg", "deep/down/a.PNG")
    with pytest.raises(UserError, match=r"1 x \.txt"):
        list_images(plant(tmp_path / "other", "notes.txt"))


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_list_finds_files_whose_names_have_another_unicode_form(tmp_path, on_disk):
    name = unicodedata.normalize(on_disk, "Zoë/café.jpg")
    plant(tmp_path, name, "b.jpg")
    (tmp_path / "list.csv").write_text("path,person\nZoë/café.jpg,1\nb.jpg,2\n", encoding="utf-8")
    table = read(tmp_path / "list.csv")
    assert sorted(table.paths) == sorted([name, "b.jpg"])
    assert all(table.file(row).is_file() for row in range(2))
    assert any("1 paths have another Unicode form" in note for note in table.notes) == (on_disk == "NFD")


def test_of_two_files_with_one_name_the_one_meant_to_the_letter_is_read(tmp_path):
    both = [unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")]
    plant(tmp_path, *both)
    (tmp_path / "list.csv").write_text(f"path,person\n{both[1]},1\n{both[0]},2\n", encoding="utf-8")
    table = read(tmp_path / "list.csv")
    people = [table.person_name(person) for person in table.person_ids]
    assert dict(zip(table.paths, people, strict=True)) == {both[0]: "2", both[1]: "1"}


def test_a_number_in_two_spellings_in_a_benchmarks_folders_is_mentioned(tmp_path):
    plant(tmp_path, *(f"bounding_box_train/{name}" for name in ("0002_c1s1_1.jpg", "2_c02s1_2.jpg", "0003_c2s1_3.jpg")))
    table = read(tmp_path, "market1501")
    assert table.person_ids.tolist() == [2, 3, 2]
    assert "0002 and 2 in file names count as one person." in table.notes
    assert "02 and 2 in file names count as one camera." in table.notes
    again = read(plant(tmp_path / "alike", "bounding_box_train/0002_c1s1_1.jpg", "bounding_box_train/0003_c1s1_1.jpg"))
    assert not any("count as one" in note for note in again.notes)


def test_a_hyphen_that_may_be_a_minus_is_mentioned(tmp_path):
    pattern = r"p[_-]?(?P<person>\d+)"
    mixed = read(plant(tmp_path / "mixed", "p1_a.jpg", "p_2_b.jpg", "p-1_c.jpg"), "folder", person_pattern=pattern)
    (note,) = [note for note in mixed.notes if "hyphen" in note]
    assert "'p-1_c.jpg' is read as person 1" in note and "1 numbers follow a hyphen" in note
    for names in (("p-1_a.jpg", "p-2_b.jpg"), ("p1_a.jpg", "p_2_b.jpg")):
        table = read(plant(tmp_path / names[1], *names), "folder", person_pattern=pattern)
        assert not any("hyphen" in note for note in table.notes)


def test_queries_that_are_junk_are_not_called_copies(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "list.csv").write_text("path,person,split\n1.jpg,-1,query\n2.jpg,5,gallery\n")
    with pytest.raises(UserError, match=r"got junk and distractors only.\n  Fix: Number the people from 0"):
        scored_part(read(tmp_path / "list.csv"))


def test_folders_that_systems_make_are_no_people(tmp_path):
    plant(tmp_path, "anna/1.jpg", "anna/@eaDir/1.jpg", "eve/2.jpg", "__MACOSX/anna/1.jpg", "$RECYCLE.BIN/S-1/9.jpg")
    table = read(plant(tmp_path, "@eaDir/eve/1.jpg", "lost+found/1.jpg"))
    assert table.paths == ("anna/1.jpg", "eve/2.jpg")


def test_three_levels_of_folders_are_answered_with_a_pattern_of_each(tmp_path):
    for site, cam, person in (("north", "cam1", "anna"), ("north", "cam2", "eve"), ("south", "cam1", "anna")):
        plant(tmp_path, f"{site}/{cam}/{person}/1.jpg")
    with pytest.raises(UserError, match=r"3 levels, such as north/cam1/anna/1\.jpg") as caught:
        read(tmp_path)
    first, last = "'^(?P<person>[^/]+)/(?P<camera>[^/]+)/'", "'^[^/]+/(?P<camera>[^/]+)/(?P<person>[^/]+)/'"
    assert f"{first} if 'north' is a person, or {last} if 'anna' is a person." in caught.value.fix
    table = read(tmp_path, person_pattern=last.strip("'"))
    assert (table.person_names, table.camera_names) == (("anna", "eve"), ("cam1", "cam2"))


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("image_path,pid,camid", "Rename the column 'image_path' to 'path'."),
        ("path,pid", "Rename the column 'pid' to 'person'."),
        ("path,person,camid", "Rename the column 'camid' to 'camera', or remove it."),
        ("path,person,camera,subset", "Rename the column 'subset' to 'split', or remove it."),
    ],
)
def test_columns_of_other_programs_are_not_left_out_without_a_word(tmp_path, header, answer):
    """A list whose split has another name would be trained on as a whole."""
    plant(tmp_path, "1.jpg")
    (tmp_path / "list.csv").write_text(f"{header}\n1.jpg,5,1,query\n")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "list.csv")
    assert caught.value.fix == answer
    (tmp_path / "list.csv").write_text("path,person,weather,light\n1.jpg,5,rain,low\n")
    assert "Columns that are not read: 'weather', 'light'." in read(tmp_path / "list.csv").notes
