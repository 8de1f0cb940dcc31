"""Tracks in the crop stage: the same bytes for any number of workers, one crop per frame, off with a word."""

import pytest
from fake_people import FakePeople, settings, tree, write_videos

from rewho.core.check import UserError
from rewho.crops.shards import CropSet
from rewho.crops.tracks import find_shared_frames, read_tracks
from rewho.crops.verify import verify
from rewho.settings import DetectorSettings, TrackingSettings
from rewho.settings.fields import check
from rewho.stages import crop

LINKED = TrackingSettings("motion", gap=5.0)  # the fake videos' frames are 4 s apart


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = write_videos(tmp_path_factory.mktemp("in") / "videos", 3)
    write_videos(folder / "still", 2, still=True)
    return folder


def test_tracks_are_the_same_bytes_for_any_number_of_workers(videos, tmp_path):
    folders = [tmp_path / f"by-{workers}" for workers in (0, 2)]
    for folder, workers in zip(folders, (0, 2), strict=True):
        crop.run(settings(videos, folder, tracking=LINKED, workers=workers), FakePeople())
    assert tree(folders[0]) == tree(folders[1])
    assert verify(folders[0]) == []
    crops = CropSet.open(folders[0])
    tracks = read_tracks(crops)
    assert not len(find_shared_frames(tracks)) and (tracks.numbers >= 0).all()
    rows = crops.manifest(["video", "box", "track"]).to_pylist()
    still = {(row["video"], row["track"], row["box"][0]) for row in rows if row["box"][1] == 10.0}
    assert len(still) == 2 * 2  # two kept people in each of two videos never move: one track each
    page = (folders[0] / "index.html").read_text()
    assert "of several crops" in page and "Some tracks" in page


def test_frames_too_far_apart_have_no_tracks_and_the_command_says_so(videos, tmp_path, capsys):
    crop.run(settings(videos, tmp_path / "out", tracking=TrackingSettings("motion")), FakePeople())
    assert "30 of 30 sampled frames are more than --tracking.gap 1 s away" in capsys.readouterr().err
    assert read_tracks(CropSet.open(tmp_path / "out")).numbers.max() == -1
    page = (tmp_path / "out" / "index.html").read_text()
    assert "No crop has a track" in page and "Some tracks" not in page


def test_sets_without_tracking_keep_the_digest_of_their_settings(videos, tmp_path):
    plain, linked = (settings(videos, tmp_path, tracking=one) for one in (TrackingSettings(), LINKED))
    models = FakePeople().models()
    assert crop.hash_config(plain, models) != crop.hash_config(linked, models)
    assert crop.hash_config(plain, models) == crop.hash_config(settings(videos, tmp_path), models)


def test_ids_of_a_file_need_a_file(videos, tmp_path):
    wrong = settings(videos, tmp_path, tracking=TrackingSettings("file"))
    with pytest.raises(UserError, match=r"tracking\.kind"):
        check(wrong)
    check(settings(videos, tmp_path, tracking=TrackingSettings("file"), detector=DetectorSettings(kind="replay")))


def test_a_file_without_ids_gives_no_tracks_and_the_command_says_so(videos, tmp_path, capsys):
    changes = {"tracking": TrackingSettings("file"), "detector": DetectorSettings(kind="replay")}
    crop.run(settings(videos, tmp_path / "out", **changes), FakePeople())
    assert "no crop has a track" in capsys.readouterr().err
