"""The original CUHK03 release with the new protocol's .mat file, written here with scipy."""

import numpy as np
import pytest
from scipy.io import savemat

from rewho.core.check import UserError
from rewho.data.datasets import read
from rewho.data.layouts.cuhk03_original import PROTOCOL_FILE

NAMES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png", "5_039_1_02.png"]


def cell(names):
    array = np.empty((len(names), 1), object)
    array[:, 0] = names
    return array


def column(*values):
    return np.array(values, np.float64).reshape(-1, 1)


def content(**changes):
    return {
        "train_idx": column(5),
        "query_idx": column(2, 3),
        "gallery_idx": column(4, 1),
        "labels": column(1, 1, 2, 2, 1457),
        "camId": column(1, 2, 1, 2, 1),
        "filelist": cell(NAMES),
    } | changes


@pytest.fixture
def release(tmp_path):
    (tmp_path / "images_detected").mkdir()
    for name in NAMES:
        (tmp_path / "images_detected" / name).touch()
    savemat(tmp_path / PROTOCOL_FILE.format(boxes="detected"), content())
    return tmp_path


def test_hand_values(release):
    table = read(release)
    assert table.name == "cuhk03-np-detected"
    assert table.select("train").paths == ("images_detected/5_039_1_02.png",)
    assert table.select("train").person_ids.tolist() == [1457]
    query, gallery = table.select("query"), table.select("gallery")
    assert query.paths == ("images_detected/1_001_2_06.png", "images_detected/1_002_1_01.png")
    assert (query.person_ids.tolist(), query.camera_ids.tolist()) == ([1, 2], [1, 0])
    assert (gallery.person_ids.tolist(), gallery.camera_ids.tolist()) == ([1, 2], [0, 1])


def test_given_the_image_folder_or_another_protocol_path(release, tmp_path_factory):
    digest = read(release).digest()
    inside = read(release / "images_detected", "cuhk03-original")
    assert inside.person_ids.tolist() == read(release).person_ids.tolist()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "protocol.mat"
    (release / PROTOCOL_FILE.format(boxes="detected")).rename(elsewhere)
    assert read(release, cuhk03_protocol=elsewhere).digest() == digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_idx": column(0, 3)}, "query_idx: expected numbers from 1 to 5, got 0 to 3"),
        ({"gallery_idx": column(6)}, "got 6 to 6"),
        ({"labels": column(1, 1, 2)}, "3 labels"),
        ({"camId": column(1, 2, 1, 2, 1.5)}, "whole numbers"),
        ({"filelist": cell([*NAMES[:4], "../../etc/passwd"])}, "no file names"),
        ({"filelist": cell([*NAMES[:4], "5_039_1_99.png"])}, "1 missing: 'images_detected/5_039_1_99.png'"),
    ],
)
def test_wrong_protocol_files(release, changes, message):
    savemat(release / PROTOCOL_FILE.format(boxes="detected"), content(**changes))
    with pytest.raises(UserError, match=message):
        read(release)


@pytest.mark.parametrize("damage", [b"", b"not a mat file", b"MATLAB 7.3 MAT-file" + bytes(600), None])
def test_damaged_protocol_files(release, damage):
    file = release / PROTOCOL_FILE.format(boxes="detected")
    file.write_bytes(damage if damage is not None else file.read_bytes()[:300])
    with pytest.raises(UserError, match="cuhk03_new_protocol_config_detected"):
        read(release)


def test_missing_parts_are_named(release, tmp_path):
    with pytest.raises(UserError, match=r"cuhk03_new_protocol_config_labeled\.mat"):
        read(release, cuhk03_boxes="labeled")
    savemat(release / PROTOCOL_FILE.format(boxes="labeled"), content())
    with pytest.raises(UserError, match="images_labeled"):
        read(release, cuhk03_boxes="labeled")
    (release / "cuhk-03.mat").touch()
    with pytest.raises(UserError, match=r"Extract the images from cuhk-03\.mat"):
        read(release, cuhk03_boxes="labeled")


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_the_published_protocol(tmp_path, shared, boxes, monkeypatch):
    golden = np.load(shared / "golden" / "splits" / f"cuhk03_new_protocol_{boxes}.npz", allow_pickle=False)
    (tmp_path / f"images_{boxes}").mkdir()
    monkeypatch.setattr(
        "rewho.data.layouts.cuhk03_original.missing_files", lambda root, paths: []
    )  # 14,097 files take seconds to make
    arrays = {name: golden[name].reshape(-1, 1) for name in golden.files if name != "filelist"}
    savemat(tmp_path / PROTOCOL_FILE.format(boxes=boxes), arrays | {"filelist": cell(golden["filelist"].tolist())})
    table = read(tmp_path, cuhk03_boxes=boxes)
    assert len([note for note in table.notes if note.endswith("as published.")]) == 3
    train = table.select("train")
    assert sorted(train.paths) == sorted(
        f"images_{boxes}/{name}" for name in golden["filelist"][golden["train_idx"] - 1]
    )
