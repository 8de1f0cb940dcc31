"""What can be added: a crop set's tracks become sightings, tables say camera and time, wrong files are refused."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.crops.rows import rows_table
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.gallery.gallery import Gallery
from rewho.gallery.inputs import Labels, open_input, parse_range, parse_time, show_time
from small_gallery import TERMS

VIDEO = hashlib.sha256(b"a video").hexdigest()


@pytest.fixture(scope="module")
def crop_set(tmp_path_factory):
    """Eight crops of one video: two tracks of three crops in the same frames, and two crops without a track."""
    folder = tmp_path_factory.mktemp("crops") / "set"
    writer = ShardWriter(folder)
    rng = np.random.default_rng(1)
    rows, images = [], []
    for number in range(8):
        pixels = rng.integers(0, 256, (64, 32, 3), np.uint8)
        images.append(encode(pixels))
        track = number % 2 if number < 6 else None
        row = crop_row(f"crop-{number}", images[-1], pixels, frame=number // 2, licence="CC0-1.0")
        box = [10 * number, 0, 10 * number + 32, 64]
        rows.append({**row, "video": VIDEO, "time": number // 2 / 10, "track": track, "cut": box, "quality": 0.5})
    writer.add(rows_table(rows), images)
    writer.commit({"terms": TERMS})
    return folder


def test_tracks_become_sightings(gallery_folder, crop_set):
    with Gallery(gallery_folder, "cpu") as gallery:
        added = gallery.add(crop_set, camera="door", start=parse_time("2026-05-01T09:00", "Europe/Berlin"))
        assert (added.sightings, added.crops) == (4, 8)
        first = gallery.sightings([1])[0]
        assert (first.crops, first.camera, first.ended - first.began) == (3, "door", pytest.approx(0.2))
        assert show_time(first.began, "Europe/Berlin") == "2026-05-01T09:00:00+02:00"
        vectors = [np.frombuffer(row[0], np.float16) for row in gallery.database.rows(
            "SELECT embedding FROM crops WHERE sighting = 1")]  # fmt: skip
        whole = np.frombuffer(gallery.database.one("SELECT embedding FROM sightings WHERE id = 1")[0], np.float16)
        mean = np.mean([one.astype(float) / np.linalg.norm(one.astype(float)) for one in vectors], axis=0)
        assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-3)
        assert (1, 2) in gallery.links().cannot  # in one frame
        with pytest.raises(UserError, match="are in one frame"):
            gallery.people.name("x", sightings=[1, 2])
        assert gallery.add(crop_set, camera="door").present == 8
        assert gallery.verify() == []
        found = gallery.search(crop=4, per="crop", count=50)
        assert len(found.candidates) == 5  # not those of its own sighting


def test_a_crop_set_brings_its_terms(tmp_path, tiny_model, crop_set):
    with Gallery.create(tmp_path / "g", tiny_model, device="cpu") as gallery:
        assert gallery.add(crop_set).crops == 8


def test_wrong_inputs_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "bad.csv").write_text("path,kamera\na.png,door\n")
    (tmp_path / "out.csv").write_text("path\n../a.png\n")
    (tmp_path / "time.csv").write_text("path,time\na.png,noon\n")
    for name, message in (
        ("bad.csv", "Did you mean 'camera'"),
        ("out.csv", "path of an image"),
        ("time.csv", "ISO 8601"),
    ):
        with pytest.raises(UserError, match=message):
            open_input(tmp_path / name, Labels())
    with pytest.raises(UserError, match="a group camera or person"):
        open_input(tmp_path / "a.png", Labels(pattern="x"))
    with pytest.raises(UserError, match="a match in every path"):
        open_input(tmp_path / "a.png", Labels(pattern="(?P<camera>c)"))
    with pytest.raises(UserError, match="a video"):
        (tmp_path / "v.mp4").write_bytes(b"")
        open_input(tmp_path / "v.mp4", Labels())


def test_a_range_of_times_that_ends_before_it_begins_is_refused():
    assert parse_range("", "2026-05-01T09:00", "UTC")[0] is None
    with pytest.raises(UserError, match="a time after --after 2026-05-01T09:00"):
        parse_range("2026-05-01T09:00", "2026-05-01T08:59:59+02:00", "Europe/Berlin")


def test_a_path_outside_of_the_tables_folder_is_called_so(tmp_path):
    (tmp_path / "list.csv").write_text(f"path\n{tmp_path / 'a.png'}\n")
    with pytest.raises(UserError, match="outside of its folder"):
        open_input(tmp_path / "list.csv", Labels())


def test_a_list_of_videos_names_those_that_are_added_beside_this_one(crop_set, tmp_path):
    (tmp_path / "videos.csv").write_text("video,camera,start\nother.mp4,yard,\n")
    asked = Labels(videos=tmp_path / "videos.csv")
    with pytest.raises(UserError, match=r"'other\.mp4', which is not among them"):
        open_input(crop_set, asked)
    assert open_input(crop_set, replace(asked, beside=("other.mp4",))).count == 8
