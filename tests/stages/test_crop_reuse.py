"""Videos of a finished crop set are taken over into a larger one: the same bytes, and nothing is processed twice."""

import shutil

import pytest
from fake_people import FakePeople, settings, tree, write_videos

from rewho.crops.shards import CropSet
from rewho.settings import CropsSettings, SelectionSettings
from rewho.stages import crop, crops


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("in") / "videos", 6)


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    """The set as one undisturbed process makes it."""
    return crop.run(settings(videos, tmp_path_factory.mktemp("out") / "crops"), FakePeople())


class Noted(FakePeople):
    """Notes which videos are processed."""

    def __init__(self):
        self.seen = []

    def people(self, path):
        self.seen.append(path.name)
        return super().people(path)


def test_what_a_set_of_fewer_videos_has_is_taken_over_to_the_same_bytes(videos, tmp_path):
    names = sorted(videos.iterdir())
    write_videos(tmp_path / "more", 1, people=0, seed=90)
    empty = next((tmp_path / "more").iterdir()).rename(tmp_path / "empty.mp4")
    fewer = crop.run(settings((*names[1:], empty), tmp_path / "fewer"), FakePeople())
    fresh = crop.run(settings((*names, empty), tmp_path / "fresh"), FakePeople())
    source = Noted()
    grown = crop.run(settings((*names, empty), tmp_path / "grown", reuse=fewer), source)
    assert source.seen == [names[0].name]
    assert tree(grown) == tree(fresh)


def test_only_the_same_content_and_settings_are_taken_over(tmp_path, capsys):
    videos = write_videos(tmp_path / "videos", 3)
    old = crop.run(settings(videos, tmp_path / "old"), FakePeople())
    changed = videos / "v001.mp4"
    changed.write_text(changed.read_text().replace('"seed": 1', '"seed": 7'))  # as many bytes
    source = Noted()
    new = crop.run(settings(videos, tmp_path / "new", reuse=old), source)
    assert source.seen == ["v001.mp4"]
    assert tree(new) == tree(crop.run(settings(videos, tmp_path / "fresh"), FakePeople()))
    capsys.readouterr()
    for number, (change, why) in enumerate(
        [
            ({"jpeg_quality": 90}, "jpeg_quality: 95 -> 90"),
            ({"selection": SelectionSettings(share=0.5)}, "crops are selected"),
            ({"explain": 1}, "frames explained"),
        ]
    ):
        source = Noted()
        crop.run(settings(videos, tmp_path / f"other-{number}", reuse=new, **change), source)
        assert len(source.seen) == 3 and why in capsys.readouterr().err
    name = CropSet.open(new).name(0)
    crops.run(CropsSettings(action="forget", folders=(new,), names=(name,)))
    crop.run(settings(videos, tmp_path / "again", reuse=new), source := Noted())
    assert len(source.seen) == 3 and "crops were forgotten" in capsys.readouterr().err


def test_a_damaged_set_is_taken_over_as_far_as_it_is_whole(videos, whole, tmp_path, capsys):
    old = shutil.copytree(whole, tmp_path / "old")
    shard = next((old / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    grown = crop.run(settings(videos, tmp_path / "grown", reuse=old), source := Noted())
    assert source.seen and "are processed" in capsys.readouterr().err
    assert tree(grown) == tree(whole)
