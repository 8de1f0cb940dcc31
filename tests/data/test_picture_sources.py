"""Pictures without labels from several places, shares of them, and their statistics."""

import pickle

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.data import picture_sources
from rewho.data.crop_rows import rows_table
from rewho.data.picture_sources import channel_statistics, hold_in_memory, open_pictures
from rewho.data.pictures import decode
from rewho.data.shard_writer import ShardWriter, crop_row, encode, example_set
from rewho.data.shards import CropSet


def folder(path, count, colour=0):
    path.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(path / f"{number:03d}.png"), np.full((4 + number % 3, 3, 3), colour + number, np.uint8))
    return path


def test_folders_are_joined_in_order(tmp_path):
    pictures = open_pictures([folder(tmp_path / "a", 3), folder(tmp_path / "b" / "below", 2, 100).parent])
    assert [int(pictures[row][0, 0, 0]) for row in range(len(pictures))] == [0, 1, 2, 100, 101]
    assert pictures.name(4).endswith("b/below/001.png")
    assert hold_in_memory(pictures, 1.0) > 0
    assert [int(pictures[row][0, 0, 0]) for row in range(len(pictures))] == [0, 1, 2, 100, 101]
    other_way = open_pictures([tmp_path / "b", tmp_path / "a"])
    assert other_way.digest != pictures.digest
    assert open_pictures([tmp_path / "a", tmp_path / "b"]).digest == pictures.digest


def test_crop_sets_are_read_and_joined_with_folders(tmp_path):
    crops = example_set(tmp_path / "set")
    pictures = open_pictures([crops, folder(tmp_path / "a", 3)])
    inside = CropSet.open(crops)
    assert len(pictures) == len(inside) + 3
    np.testing.assert_array_equal(pictures[1], inside[1])
    assert pictures.name(1) == inside.name(1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pictures))[0], inside[0])  # as workers get it
    assert channel_statistics(pictures, 0)[0][0] > 0


def test_what_is_known_of_each_source_is_kept(tmp_path):
    writer = ShardWriter(tmp_path / "set", shard_rows=1)
    for number, licence in enumerate(("CC-BY-4.0", "", "CC-BY-4.0")):
        pixels = np.full((8, 4, 3), 60 + number, np.uint8)
        data = encode(pixels)
        writer.add(rows_table([crop_row(f"{number}", data, pixels, licence=licence)]), [data])
    writer.commit()
    pictures = open_pictures([tmp_path / "set", folder(tmp_path / "a", 3)])
    crops, files = pictures.about
    assert (crops["name"], crops["kind"], crops["pictures"], crops["licences"]) == (
        "set",
        "crop set",
        3,
        ["", "CC-BY-4.0"],
    )
    assert (files["name"], files["kind"], files["pictures"]) == ("a", "folder", 3)
    assert pictures.share(0.5, 1).about == pictures.about


def test_files_of_another_size_are_other_pictures(tmp_path):
    before = open_pictures([folder(tmp_path / "a", 3)]).digest
    cv2.imwrite(str(tmp_path / "a" / "001.png"), np.zeros((40, 30, 3), np.uint8))
    assert open_pictures([tmp_path / "a"]).digest != before
    (tmp_path / "a" / "nowhere.png").symlink_to(tmp_path / "missing.png")
    assert len(open_pictures([tmp_path / "a"])) == 4


def test_only_the_training_part_of_a_data_set_is_taken(tmp_path):
    for name, count in (("bounding_box_train", 3), ("bounding_box_test", 5), ("query", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            file = tmp_path / name / f"{number + 1:04d}_c1s1_{number:06d}_00.jpg"
            cv2.imwrite(str(file), np.zeros((128, 64, 3), np.uint8))
    pictures = open_pictures([tmp_path])
    assert len(pictures) == 3
    assert all("bounding_box_train" in pictures.name(row) for row in range(3))


def test_smaller_shares_are_parts_of_larger_ones(tmp_path):
    pictures = open_pictures([folder(tmp_path / "a", 40)])
    names = {}
    for share in (0.125, 0.25, 0.5, 1.0):
        kept = pictures.share(share, seed=1)
        names[share] = [kept.name(row) for row in range(len(kept))]
        assert len(kept) == int(40 * share)
        assert names[share] == sorted(names[share])
        assert int(kept[0][0, 0, 0]) == int(names[share][0][-7:-4])
    assert set(names[0.125]) < set(names[0.25]) < set(names[0.5]) < set(names[1.0])
    assert pictures.share(0.5, seed=2).digest != pictures.share(0.5, seed=1).digest != pictures.digest
    assert "20 of them kept" in pictures.share(0.5, 1).summary()
    with pytest.raises(UserError, match=r"--pictures\.share: expected a number above 0, at most 1, got 0"):
        pictures.share(0.0, 1)


def test_a_share_is_a_decimal_number(tmp_path):
    assert len(open_pictures([folder(tmp_path / "a", 100)]).share(0.29, 1)) == 29


def test_a_share_is_held_in_memory_and_nothing_else(tmp_path, monkeypatch):
    example_set(tmp_path / "set")
    pictures = open_pictures([folder(tmp_path / "a", 20), tmp_path / "set", folder(tmp_path / "b", 30, 100)])
    share = pictures.share(0.5, seed=1)
    expected = [share[row].copy() for row in range(len(share))]
    inside = len(CropSet.open(tmp_path / "set"))
    files = [row for row, kept in enumerate(share.rows) if not 20 <= kept < 20 + inside]
    assert 0 < len(files) < len(share)
    assert hold_in_memory(share, 0.0) == 0
    assert hold_in_memory(share, 1.0) == sum(expected[row].nbytes for row in files)
    decoded = []
    monkeypatch.setattr(picture_sources, "decode", lambda file: decoded.append(file) or decode(file))
    for row, picture in enumerate(expected):
        np.testing.assert_array_equal(share[row], picture)
    assert decoded == []
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(share))[files[-1]], expected[files[-1]])
    for row in range(len(pictures)):  # those that are not of the share are still there
        assert pictures[row].shape[2] == 3
    assert len(decoded) == 50 - len(files)


def test_statistics_weigh_every_picture_the_same(tmp_path):
    pictures = open_pictures([folder(tmp_path / "a", 20, 50)])
    values = np.arange(50, 70)
    mean, std = channel_statistics(pictures, 0)
    assert mean == pytest.approx([values.mean() / 255] * 3, abs=1e-4)
    assert std == pytest.approx([values.std() / 255] * 3, abs=1e-4)
    done = []
    assert channel_statistics(pictures, 7, done.append) == channel_statistics(pictures, 7)
    assert sum(done) == 7


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="one or more folders"):
        open_pictures([])
    with pytest.raises(UserError):
        open_pictures([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="pictures"):
        open_pictures([tmp_path / "empty"])
    deep = folder(tmp_path / "twice" / "deep", 3)
    (tmp_path / "link").symlink_to(deep)
    for first, second in ((deep, deep), (deep.parent, deep), (deep, deep.parent), (tmp_path / "link", deep)):
        with pytest.raises(UserError, match="every folder once, and none within another"):
            open_pictures([first, second])
    (tmp_path / "nested" / "below").mkdir(parents=True)
    with pytest.raises(UserError, match=r"nested: .* got none in it or in its sub-folders"):
        open_pictures([tmp_path / "nested"])
    ShardWriter(tmp_path / "set", shard_rows=1).commit()
    with pytest.raises(UserError, match=r"--crops .*set: expected a crop set with pictures, got an empty one"):
        open_pictures([folder(tmp_path / "a", 3), tmp_path / "set"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match="marked-up"):
        channel_statistics(open_pictures([tmp_path / "bad"]), 0)
