"""MSMT17's two versions and its copy in Market-1501's folders."""

import pytest

from rewho.core.check import UserError
from rewho.data.datasets import read
from rewho.data.layouts.msmt17 import TEST_OFFSET

LISTS = {
    "list_train.txt": (
        "train",
        ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_000_15_0303noon_0001_1.jpg 1"],
    ),
    "list_val.txt": ("train", ["0000/0000_001_14_0303morning_0016_0.jpg 0"]),
    "list_query.txt": ("test", ["0000/0000_000_05_0113noon_0001_0.jpg 0"]),
    "list_gallery.txt": ("test", ["0000/0000_001_06_0113noon_0002_0.jpg 0", "0002/0002_000_01_0113noon_0001_0.jpg 2"]),
}


def plant(root, version=1):
    names = {"train": "train", "test": "test"} if version == 1 else {"train": "mask_train_v2", "test": "mask_test_v2"}
    for list_name, (folder, lines) in LISTS.items():
        for line in lines:
            file = root / names[folder] / line.split()[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (root / list_name).write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_hand_values(tmp_path, version):
    plant(tmp_path / f"MSMT17_V{version}", version)
    table = read(tmp_path)
    assert table.name == f"msmt17-v{version}-trainval"
    assert table.person_ids.tolist() == [0, 0, 1, TEST_OFFSET, TEST_OFFSET, TEST_OFFSET + 2]
    assert table.camera_ids.tolist() == [0, 13, 14, 4, 5, 0]
    assert table.splits == ("train",) * 3 + ("query",) + ("gallery",) * 2
    assert read(tmp_path / f"MSMT17_V{version}").digest() == table.digest()
    assert all(table.file(row).is_file() for row in range(len(table)))


def test_the_notes_say_which_training_set_was_read(tmp_path):
    plant(tmp_path)
    assert any("list_train.txt and list_val.txt" in note for note in read(tmp_path).notes)
    alone = read(tmp_path, train_with_val=False)
    assert any("list_train.txt alone" in note for note in alone.notes)
    assert len(alone.select("train")) == 2
    assert alone.name == "msmt17-v1-train"
    assert any("2 train images of 2 people instead of 30,248 of 1,041" in note for note in alone.notes)


def test_both_versions_in_one_folder_need_a_choice(tmp_path):
    plant(tmp_path / "MSMT17_V1", 1)
    plant(tmp_path / "MSMT17_V2", 2)
    with pytest.raises(UserError, match="Give one of them"):
        read(tmp_path)


def test_person_zero_is_a_person_in_market_folders_too(tmp_path):
    for folder, name in (("bounding_box_train", "0000_c12_0033.jpg"), ("query", "0000_c01_0001.jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    table = read(tmp_path)
    assert (table.name, table.person_ids.tolist(), table.camera_ids.tolist()) == (
        "msmt17-market",
        [0, TEST_OFFSET],
        [11, 0],
    )


@pytest.mark.parametrize(
    "line",
    ["0000/odd.jpg 0", "0000_000_01_x.jpg", "../../0000_000_01_x.jpg 0", "0/0000_000_00_x.jpg 0", "0/0_0_01_x.jpg -1"],
)
def test_wrong_lines(tmp_path, line):
    plant(tmp_path)
    (tmp_path / "list_query.txt").write_text(line + "\n")
    with pytest.raises(UserError, match="1 of 1 that are not"):
        read(tmp_path)


def test_missing_lists_images_and_folders(tmp_path):
    plant(tmp_path)
    lost = tmp_path / "test" / LISTS["list_query.txt"][1][0].split()[0]
    lost.unlink()
    with pytest.raises(UserError, match="1 of 6 missing: 'test/0000/0000_000_05"):
        read(tmp_path)
    lost.touch()
    (tmp_path / "list_val.txt").unlink()
    with pytest.raises(UserError, match=r"list_val\.txt"):
        read(tmp_path)
    assert len(read(tmp_path, train_with_val=False)) == 5
    (tmp_path / "test").rename(tmp_path / "tset")
    with pytest.raises(UserError, match="mask_train_v2"):
        read(tmp_path, train_with_val=False)
