"""Layouts of the published data sets, on folders of empty files, and on real data where it lies beside the checkout."""

import importlib
import time
from pathlib import Path

import pytest

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK
from rewho.data import layouts
from rewho.data.datasets import read, read_settings, recognise
from rewho.data.layouts import market1501
from rewho.data.published_counts import compare_counts
from rewho.settings import DataSettings
from rewho.settings.data import LAYOUTS

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c2s3_070952_01.jpg", "0002_c6s1_000001_01.jpg"],
    "query": ["0001_c1s1_001051_00.jpg"],
    "bounding_box_test": ["0001_c2s1_000301_00.jpg.jpg", "0000_c1s1_000151_01.jpg", "-1_c3s2_100001_01.png"],
}
DUKE = {
    "bounding_box_train": ["0001_c2_f0046182.jpg"],
    "query": ["0005_c2_f1.jpg"],
    "bounding_box_test": ["0005_c8_f1.jpg"],
}
CUHK03 = {
    "bounding_box_train": ["0001_c1_01.png"],
    "query": ["0003_c1_02.png"],
    "bounding_box_test": ["0003_c2_10.png"],
}


def plant(root: Path, folders: dict[str, list[str]]) -> Path:
    for folder, names in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).touch()
    return root


def test_market1501_hand_values(tmp_path):
    table = read(plant(tmp_path, MARKET))
    assert table.name == "market1501"
    assert table.paths == (
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c6s1_000001_01.jpg",
        "bounding_box_train/0007_c2s3_070952_01.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/-1_c3s2_100001_01.png",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg.jpg",
    )
    assert table.person_ids.tolist() == [2, 2, 7, 1, JUNK, DISTRACTOR, 1]
    assert table.camera_ids.tolist() == [0, 5, 1, 0, 2, 0, 1]
    assert table.splits == ("train",) * 3 + ("query",) + ("gallery",) * 3


def test_other_files_and_hidden_files_are_left_out_and_said(tmp_path):
    root = plant(tmp_path, MARKET)
    plant(root, {"query": ["Thumbs.db", "readme.txt", ".DS_Store", "._0001_c1s1_001051_00.jpg"]})
    plant(root, {"query/more": ["0003_c1s1_001051_00.jpg"]})
    table = read(root)
    assert len(table) == 7
    assert any(note.startswith("left out of query/: 4 files") for note in table.notes)
    assert any(note.startswith("left out of query/: 1 folder, such as 'more'") for note in table.notes)


def test_differing_counts_are_said_in_one_note(tmp_path):
    (note,) = compare_counts(read(plant(tmp_path, MARKET)), market1501.PUBLISHED["market1501"])
    assert note == (
        "Not market1501 as published: 3 train images of 2 people instead of 12,936 of 751, "
        "1 query images instead of 3,368, 2 gallery images (besides 1 of junk) instead of 15,913."
    )
    assert note in read(tmp_path).notes


def test_what_agrees_is_said_beside_what_differs(tmp_path):
    published = market1501.PUBLISHED["market1501"]._replace(train=3, query=1)
    assert compare_counts(read(plant(tmp_path, MARKET)), published) == (
        "1 query images, as published.",
        "Not market1501 as published: 3 train images of 2 people instead of 3 of 751, "
        "2 gallery images (besides 1 of junk) instead of 15,913.",
    )


def test_dukemtmc_comes_with_a_notice_and_never_a_link(tmp_path):
    table = read(plant(tmp_path, DUKE))
    assert table.name == "dukemtmc-reid"
    assert table.camera_ids.tolist() == [1, 1, 7]
    notice = [note for note in table.notes if "withdrawn" in note]
    assert len(notice) == 1
    assert "http" not in notice[0]


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_cuhk03_np_by_either_folder(tmp_path, boxes):
    plant(tmp_path / boxes, CUHK03)
    table = read(tmp_path / boxes)
    assert table.name == f"cuhk03-np-{boxes}"
    assert read(tmp_path, cuhk03_boxes=boxes).digest() == table.digest()


def test_cuhk03_np_asks_for_the_boxes_that_are_there(tmp_path):
    plant(tmp_path / "labeled", CUHK03)
    with pytest.raises(UserError, match=r"Pass --data\.cuhk03_boxes labeled"):
        read(tmp_path)


def test_a_training_part_alone_is_read_and_noted(tmp_path):
    table = read(plant(tmp_path, {"bounding_box_train": MARKET["bounding_box_train"]}))
    assert set(table.splits) == {"train"}
    assert "No query/ here, so there is no query split." in table.notes


@pytest.mark.parametrize(
    ("folders", "layout"),
    [(MARKET, "market1501"), (DUKE, "dukemtmc-reid"), (CUHK03, "cuhk03-np"), ({"anna": ["1.jpg"]}, "folder")],
)
def test_auto_says_what_it_took_the_folder_for(tmp_path, folders, layout):
    root = plant(tmp_path, folders)
    assert recognise(root)[0] == layout
    assert read(root).notes[0].startswith(f"Read as the layout '{layout}'")
    assert read(root, layout).digest() == read(root).digest()


def test_people_in_train_and_test_are_noted(tmp_path):
    plant(tmp_path, MARKET)
    plant(tmp_path, {"query": ["0007_c1s1_1_00.jpg"]})
    assert any("in both train and query: 1 person" in note for note in read(tmp_path).notes)


def test_settings_hold_out_first_and_share_second(tmp_path):
    names = [f"{person:04}_c{camera}s1_{i}_00.jpg" for person in range(1, 21) for camera in (1, 2) for i in range(3)]
    plant(tmp_path, {"bounding_box_train": names})
    whole = read_settings(DataSettings(root=tmp_path, hold_out=5))
    table = read_settings(DataSettings(root=tmp_path, hold_out=5, share=0.4))
    assert len(set(table.select("train").person_ids.tolist())) == 6
    assert table.select("query").paths == whole.select("query").paths
    assert table.name == "market1501-held-out-5"


def test_twenty_thousand_files_are_listed_fast(tmp_path):
    folder = tmp_path / "bounding_box_train"
    folder.mkdir()
    template = folder / "0000_c1s1_0.jpg"
    template.touch()
    for i in range(20_000):
        (folder / f"{i % 700 + 1:04}_c{i % 6 + 1}s1_{i:06}_00.jpg").hardlink_to(template)
    template.unlink()
    start = time.process_time()
    assert len(read(tmp_path)) == 20_000
    assert time.process_time() - start < 20  # 0.3 s on one core; each file compared with each would take minutes


def test_every_published_layout_has_counts():
    modules = [
        importlib.import_module(f"{layouts.__name__}.{name}")
        for name in sorted(file.stem for file in Path(layouts.__path__[0]).glob("[a-z]*.py"))
    ]
    published = {name for module in modules for name in getattr(module, "PUBLISHED", {})}
    assert {name.split("-")[0] for name in LAYOUTS} - {"auto", "folder", "csv"} == {
        name.split("-")[0] for name in published
    }


def test_real_cuhk03_np_agrees_with_the_published_counts(shared):
    table = read(shared / "data" / "cuhk03-np")
    assert [count.images for count in table.counts().values()] == [7_365, 1_400, 5_332]
    assert table.notes[1:4] == (
        "7,365 train images of 767 people, as published.",
        "1,400 query images, as published.",
        "5,332 gallery images, as published.",
    )


def test_real_market1501_agrees_with_the_published_list(shared, golden_list):
    table = read(shared / "data" / "market1501")
    published = golden_list("market1501")
    assert [Path(path).name for path in table.paths] == published["name"].tolist()
    assert table.person_ids.tolist() == published["pid"].tolist()
    assert table.camera_ids.tolist() == published["camera0"].tolist()
    assert table.labels().tolist() == published["label"].tolist()


@pytest.fixture
def golden_list(shared):
    import numpy as np

    return lambda name: np.load(shared / "golden" / "splits" / "few_ims" / f"{name}.npz", allow_pickle=False)
