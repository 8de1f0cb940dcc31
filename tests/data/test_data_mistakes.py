"""The first mistakes people make with data: each is answered with what, where, and how to put it right."""

import pytest

from rewho.core.check import UserError
from rewho.data.datasets import read
from rewho.data.images import Images

MARKET = ("bounding_box_train/0002_c1s1_1_00.jpg", "query/0001_c1s1_1_00.jpg", "bounding_box_test/0001_c2s1_1_00.jpg")


def plant(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def answer(root, *args, **options):
    with pytest.raises(UserError) as caught:
        read(root, *args, **options)
    assert caught.value.fix
    assert len(str(caught.value)) < 1_000
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    plant(tmp_path, *(f"market1501/{path}" for path in MARKET))
    assert "Did you mean 'market1501'?" in answer(tmp_path / "market-1501")
    assert "nor is there a folder" in answer(tmp_path / "a" / "b")


def test_an_archive_or_image_instead_of_a_folder(tmp_path):
    plant(tmp_path, "Market-1501.zip", "me.jpg")
    assert "Unpack" in answer(tmp_path / "Market-1501.zip")
    assert "single image" in answer(tmp_path / "me.jpg")
    assert "a file" in answer(tmp_path / "Market-1501.zip", "market1501")


@pytest.mark.parametrize("layout", ["auto", "market1501"])
@pytest.mark.parametrize("above", ["Market-1501-v15.09.15", "datasets/Market-1501-v15.09.15"])
def test_a_folder_too_high(tmp_path, layout, above):
    plant(tmp_path, *(f"{above}/{path}" for path in MARKET))
    assert f"Give {tmp_path / above}." in answer(tmp_path, layout)


@pytest.mark.parametrize("layout", ["auto", "market1501"])
def test_a_folder_too_deep(tmp_path, layout):
    plant(tmp_path, *MARKET)
    assert f"Give {tmp_path}." in answer(tmp_path / "bounding_box_train", layout)


def test_the_wrong_layout_name(tmp_path):
    assert "Did you mean 'market1501'?" in answer(plant(tmp_path, *MARKET), "market")


def test_another_layout_than_the_folder_has(tmp_path):
    assert "list_" in answer(plant(tmp_path, "anna/1.jpg"), "msmt17")
    assert "bounding_box_train" in answer(tmp_path, "market1501")


def test_an_empty_split(tmp_path):
    plant(tmp_path, *MARKET)
    (tmp_path / MARKET[1]).rename(tmp_path / "query" / "0001.heic")
    message = answer(tmp_path)
    assert "query" in message
    assert "1 x .heic" in message


def test_file_names_of_another_form(tmp_path):
    plant(tmp_path, *MARKET, *(f"query/IMG_{i}.jpg" for i in range(5)))
    message = answer(tmp_path)
    assert "5 of 6 that are not: 'IMG_0.jpg', 'IMG_1.jpg', 'IMG_2.jpg' and 2 more" in message
    assert "0002_c1s1_000451_03.jpg" in message


@pytest.mark.parametrize("name", ["0000_c1s1_1_00.jpg", "-1_c1s1_1_00.jpg"])
def test_nobody_as_a_query(tmp_path, name):
    assert "number your own people from 1" in answer(plant(tmp_path, *MARKET, f"query/{name}"))


def test_images_without_people(tmp_path):
    message = answer(plant(tmp_path, "1.jpg", "2.jpg"))
    assert "one sub-folder per person" in message
    assert "person_pattern" in message


def test_people_one_level_too_deep(tmp_path):
    assert f"is it {tmp_path / 'crops'}?" in answer(plant(tmp_path, "crops/anna/1.jpg", "crops/bert/1.jpg"), "folder")


def test_a_person_without_images(tmp_path):
    plant(tmp_path, "anna/1.jpg")
    (tmp_path / "bert").mkdir()
    assert "none in 'bert'" in answer(tmp_path)


def test_wrong_split_folders(tmp_path):
    plant(tmp_path, "train/anna/1.jpg", "qurey/bert/1.jpg", "gallery/bert/2.jpg")
    assert "Did you mean 'query'?" in answer(tmp_path)
    assert "Did you mean 'gallery'?" in answer(plant(tmp_path / "capitals", "Train/1.jpg", "Gallery/1.jpg"))


def test_an_empty_folder(tmp_path):
    assert "an empty folder" in answer(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(?P<person>\d+", "regular expression"),
        (r"(?P<pid>\d+)_c", "a group (?P<person>"),
        (r"(?P<person>[A-Z]+)_", "1 of 1 that are not: '7_c1.jpg'"),
        (r"(?P<person>x*)", "1 of 1 that are not"),
    ],
)
def test_wrong_patterns(tmp_path, pattern, expected):
    assert expected in answer(plant(tmp_path, "7_c1.jpg"), "folder", person_pattern=pattern)


def test_cameras_for_some_images_only(tmp_path):
    plant(tmp_path, "7_c1.jpg", "8.jpg")
    assert "1 of 2 without: '8.jpg'" in answer(tmp_path, "folder", person_pattern=r"(?P<person>\d+)(_c(?P<camera>\d))?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no rows"),
        ("path,person\n", "no rows"),
        ("file,person\n1.jpg,a\n", "no 'path' in file, person"),
        ("path,persom\n1.jpg,a\n", "Rename the column 'persom' to 'person'"),
        ("path,path,person\n1.jpg,1.jpg,a\n", "'path' twice"),
        ("path,person\n1.jpg\n", "line 2: expected 2 cells, as in the header, got 1"),
        ("path,person\n1.jpg,Smith, A\n2.jpg,Smith, B\n", "line 2: expected 2 cells, as in the header, got 3"),
        ("path,person\n1.jpg,a\n2.jpg,\n", "line 3: expected a person"),
        ("path,person\n1.jpg,a\n3.jpg,a\nx/4.jpg,b\n", "2 of 3 that are no files: '3.jpg', 'x/4.jpg'"),
        ("path,person\n1.jpg,a\n1.jpg,a\n", "the same image more than once in a split: '1.jpg (pool)'"),
        ("path,person,split\n1.jpg,a,query\n1.jpg,b,gallery\n", "under two people: '1.jpg'"),
        ("path,person,split\n1.jpg,a,trian\n", "Did you mean 'train'?"),
        ("path,person,split\n1.jpg,a,train\n2.jpg,b,\n", "1 of 2 without (blank or pool): 'line 3'"),
        ("path,person,split\n1.jpg,a,pool\n2.jpg,b, TRAIN\n", "1 of 2 without (blank or pool): 'line 2'"),
        ("path,person,split\n1.jpg,a,nan\n2.jpg,b,query\n", "1 of 2 without (blank or pool): 'line 2'"),
        ("path,person\n1.jpg,nan\n", "'nan', which stands for no value"),
        ("path,person\n./1.jpg,a\n1.jpg,a\n", "more than once in a split"),
        ("path,person\n.//1.jpg,a\n1.jpg,b\n", "under two people: '1.jpg'"),
        ("path,person,camera,split\n1.jpg,a,1,query\n1.jpg,a,2,gallery\n", "under two cameras: '1.jpg'"),
        ("path,person,split\n1.jpg,a,test\n", "one of train, query, gallery, pool"),
        ("path,person,camera\n1.jpg,a,north\n2.jpg,a,\n", "1 of 2 without: '2.jpg'"),
        ('path,person\n"1.jpg,a\n', "a CSV file"),
    ],
)
def test_csv_mistakes(tmp_path, text, expected):
    plant(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "list.csv").write_text(text)
    message = answer(tmp_path / "list.csv")
    assert "list.csv" in message or "list (" in message or "list: cameras" in message
    assert expected in message


def test_csv_in_another_encoding(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,person\nJürgen.jpg,1\n".encode("latin-1"))
    assert "text in UTF-8" in answer(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes("path,person\na.jpg,1\n".encode("utf-16"))
    assert "text in UTF-8" in answer(tmp_path / "list.csv")


def test_a_folder_instead_of_the_csv_file(tmp_path):
    assert "Give the file" in answer(tmp_path, "csv")
    assert "no file there" in answer(tmp_path / "none.csv", "csv")


@pytest.mark.parametrize(
    "path",
    [
        "../secret.jpg", "../../etc/passwd", "/etc/passwd", "a/../../secret.jpg", "..\\secret.jpg", "C:\\secret.jpg",
        "\\\\server\\share\\secret.jpg", "c:/secret.jpg", "a/..", "//server/secret.jpg", "./../secret.jpg", "..",
    ],
)  # fmt: skip
def test_csv_paths_that_leave_the_folder(tmp_path, path):
    plant(tmp_path, "inside/1.jpg", "secret.jpg")
    (tmp_path / "inside" / "list.csv").write_text(f"path,person\n1.jpg,a\n{path},b\n")
    message = answer(tmp_path / "inside" / "list.csv")
    assert "line 3" in message
    assert "an image inside" in message


@pytest.mark.parametrize(
    "layout", ["../market1501", "market1501/../..", "/etc", "", "__class__", "market1501\0", "; rm -rf"]
)
def test_layout_names_are_names_only(tmp_path, layout):
    assert "one of auto, csv, cuhk03-np, " in answer(plant(tmp_path, *MARKET), layout)


def test_files_that_are_no_images_are_named(tmp_path):
    table = read(plant(tmp_path, *MARKET))
    with pytest.raises(UserError, match=r"3 of 3 that are not: .*0002_c1s1_1_00\.jpg \(an empty file\)"):
        Images(table)
