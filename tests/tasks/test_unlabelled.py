"""Images without labels from several places, shares of them, and their statistics."""

import pickle

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.crops.rows import rows_table
from rewho.crops.shards import CropSet
from rewho.crops.writer import ShardWriter, crop_row, encode, example_set
from rewho.data.images import decode
from rewho.tasks import unlabelled as image_sources
from rewho.tasks.unlabelled import channel_statistics, hold_in_memory, open_images


def folder(path, count, colour=0):
    path.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(path / f"{number:03d}.png"), np.full((4 + number % 3, 3, 3), colour + number, np.uint8))
    return path


def test_folders_are_joined_in_order(tmp_path):
    images = open_images([folder(tmp_path / "a", 3), folder(tmp_path / "b" / "below", 2, 100).parent])
    assert [int(images[row][0, 0, 0]) for row in range(len(images))] == [0, 1, 2, 100, 101]
    assert images.name(4).endswith("b/below/001.png")
    assert hold_in_memory(images, 1.0) > 0
    assert [int(images[row][0, 0, 0]) for row in range(len(images))] == [0, 1, 2, 100, 101]
    other_way = open_images([tmp_path / "b", tmp_path / "a"])
    assert other_way.digest != images.digest
    assert open_images([tmp_path / "a", tmp_path / "b"]).digest == images.digest


def test_crop_sets_are_read_and_joined_with_folders(tmp_path):
    crops = example_set(tmp_path / "set")
    images = open_images([crops, folder(tmp_path / "a", 3)])
    inside = CropSet.open(crops)
    assert len(images) == len(inside) + 3
    np.testing.assert_array_equal(images[1], inside[1])
    assert images.name(1) == inside.name(1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[0], inside[0])  # as workers get it
    assert channel_statistics(images, 0)[0][0] > 0


def test_what_is_known_of_each_source_is_kept(tmp_path):
    writer = ShardWriter(tmp_path / "set", shard_rows=1)
    for number, licence in enumerate(("CC-BY-4.0", "", "CC-BY-4.0")):
        pixels = np.full((8, 4, 3), 60 + number, np.uint8)
        data = encode(pixels)
        writer.add(rows_table([crop_row(f"{number}", data, pixels, licence=licence)]), [data])
    writer.commit()
    images = open_images([tmp_path / "set", folder(tmp_path / "a", 3)])
    crops, files = images.about
    assert (crops["name"], crops["kind"], crops["images"], crops["licences"]) == (
        "set",
        "crop set",
        3,
        ["", "CC-BY-4.0"],
    )
    assert (files["name"], files["kind"], files["images"]) == ("a", "folder", 3)
    assert images.share(0.5, 1).about == images.about


def test_files_of_another_size_are_other_images(tmp_path):
    before = open_images([folder(tmp_path / "a", 3)]).digest
    cv2.imwrite(str(tmp_path / "a" / "001.png"), np.zeros((40, 30, 3), np.uint8))
    assert open_images([tmp_path / "a"]).digest != before
    (tmp_path / "a" / "nowhere.png").symlink_to(tmp_path / "missing.png")
    assert len(open_images([tmp_path / "a"])) == 4


def test_only_the_training_part_of_a_data_set_is_taken(tmp_path):
    for name, count in (("bounding_box_train", 3), ("bounding_box_test", 5), ("query", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            file = tmp_path / name / f"{number + 1:04d}_c1s1_{number:06d}_00.jpg"
            cv2.imwrite(str(file), np.zeros((128, 64, 3), np.uint8))
    images = open_images([tmp_path])
    assert len(images) == 3
    assert all("bounding_box_train" in images.name(row) for row in range(3))


def test_smaller_shares_are_parts_of_larger_ones(tmp_path):
    images = open_images([folder(tmp_path / "a", 40)])
    names = {}
    for share in (0.125, 0.25, 0.5, 1.0):
        kept = images.share(share, seed=1)
        names[share] = [kept.name(row) for row in range(len(kept))]
        assert len(kept) == int(40 * share)
        assert names[share] == sorted(names[share])
        assert int(kept[0][0, 0, 0]) == int(names[share][0][-7:-4])
    assert set(names[0.125]) < set(names[0.25]) < set(names[0.5]) < set(names[1.0])
    assert images.share(0.5, seed=2).digest != images.share(0.5, seed=1).digest != images.digest
    assert "20 of them kept" in images.share(0.5, 1).summary()
    with pytest.raises(UserError, match=r"--data\.share: expected a number above 0, at most 1, got 0"):
        images.share(0.0, 1)


def test_a_share_is_a_decimal_number(tmp_path):
    assert len(open_images([folder(tmp_path / "a", 100)]).share(0.29, 1)) == 29


def test_a_share_is_held_in_memory_and_nothing_else(tmp_path, monkeypatch):
    example_set(tmp_path / "set")
    images = open_images([folder(tmp_path / "a", 20), tmp_path / "set", folder(tmp_path / "b", 30, 100)])
    share = images.share(0.5, seed=1)
    expected = [share[row].copy() for row in range(len(share))]
    inside = len(CropSet.open(tmp_path / "set"))
    files = [row for row, kept in enumerate(share.rows) if not 20 <= kept < 20 + inside]
    assert 0 < len(files) < len(share)
    assert hold_in_memory(share, 0.0) == 0
    assert hold_in_memory(share, 1.0) == sum(expected[row].nbytes for row in files)
    decoded = []
    monkeypatch.setattr(image_sources, "decode", lambda file: decoded.append(file) or decode(file))
    for row, image in enumerate(expected):
        np.testing.assert_array_equal(share[row], image)
    assert decoded == []
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(share))[files[-1]], expected[files[-1]])
    for row in range(len(images)):  # those that are not of the share are still there
        assert images[row].shape[2] == 3
    assert len(decoded) == 50 - len(files)


def test_statistics_weigh_every_image_the_same(tmp_path):
    images = open_images([folder(tmp_path / "a", 20, 50)])
    values = np.arange(50, 70)
    mean, std = channel_statistics(images, 0)
    assert mean == pytest.approx([values.mean() / 255] * 3, abs=1e-4)
    assert std == pytest.approx([values.std() / 255] * 3, abs=1e-4)
    done = []
    assert channel_statistics(images, 7, done.append) == channel_statistics(images, 7)
    assert sum(done) == 7


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="one or more folders"):
        open_images([])
    with pytest.raises(UserError):
        open_images([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="images"):
        open_images([tmp_path / "empty"])
    deep = folder(tmp_path / "twice" / "deep", 3)
    (tmp_path / "link").symlink_to(deep)
    for first, second in ((deep, deep), (deep.parent, deep), (deep, deep.parent), (tmp_path / "link", deep)):
        with pytest.raises(UserError, match="every folder once, and none within another"):
            open_images([first, second])
    (tmp_path / "nested" / "below").mkdir(parents=True)
    with pytest.raises(UserError, match=r"nested: .* got none in it or in its sub-folders"):
        open_images([tmp_path / "nested"])
    ShardWriter(tmp_path / "set", shard_rows=1).commit()
    with pytest.raises(UserError, match=r"--data .*set: expected a crop set with images, got an empty one"):
        open_images([folder(tmp_path / "a", 3), tmp_path / "set"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match="marked-up"):
        channel_statistics(open_images([tmp_path / "bad"]), 0)
