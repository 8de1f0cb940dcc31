"""Mistakes in settings and inputs of the crop stage, refused before any work."""

import json
from pathlib import Path

import pytest
from fake_people import TERMS, FakePeople, Untouchable, settings, write_videos

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.crops.inputs import plan_videos
from rewho.crops.shards import INDEX
from rewho.stages import crop
from rewho.video.display import FOLLOWED


def test_too_many_failures_are_an_error_with_a_count_by_reason(tmp_path):
    videos = write_videos(tmp_path / "videos", 47, frames=1, people=1)
    for number in range(3):
        (videos / f"broken-{number}.mp4").write_text(json.dumps({"broken": True, "n": number}))
    out = tmp_path / "crops"
    with pytest.raises(UserError, match=r"at most 5\.0% .*got 3 of 50 \(6\.0%\): unreadable: 3"):
        crop.run(settings(videos, out, failure_limit=0.05), FakePeople())
    assert not (out / MANIFEST).exists() and not (out / INDEX).exists()
    crop.run(settings(videos, out, failure_limit=0.06), Untouchable())
    assert json.loads((out / "statistics.json").read_text())["reasons"] == {"unreadable": 3}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sampling": {"every": 0}}, r"sampling\.every"),
        ({"sampling": {"by": "second"}}, "Did you mean 'seconds'"),
        ({"selection": {"distance": 999}}, r"selection\.distance"),
        ({"selection": {"share": 0}}, r"selection\.share"),
        ({"rules": {"min_ratio": 9.0}}, r"rules\.max_ratio"),
        ({"rules": {"min_ratioo": 9.0}}, "nearest: min_ratio"),
    ],
)
def test_wrong_values_are_refused_before_the_folder_is_taken(wrong, named, tmp_path):
    videos = write_videos(tmp_path / "videos", 1)
    with pytest.raises(UserError, match=named):
        crop.crop(videos, tmp_path / "out", terms=TERMS, **wrong)
    assert not (tmp_path / "out").exists()


def test_a_list_may_hold_comments(tmp_path):
    write_videos(tmp_path / "videos", 1)
    (tmp_path / "videos" / "list.txt").write_text("# what we filmed in May\n\nv000.mp4\n")
    assert [Path(task.path).name for task in plan_videos([tmp_path / "videos" / "list.txt"])] == ["v000.mp4"]


def test_a_video_behind_another_one_in_a_file_is_not_left_out_without_a_word(tmp_path, capsys):
    videos = write_videos(tmp_path / "videos", 1)
    write_videos(videos / "joined", 1, changes=f"mirrored; {FOLLOWED}", frames=3)
    crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    said = f"left out: a second video behind the first in 1 file: {videos / 'joined' / 'v000.mp4'}"
    assert said in capsys.readouterr().err


def test_nothing_is_written_beside_the_folder_whose_parent_may_be_read_only(tmp_path):
    """As that of a volume of a container is, or the folder above a working folder that is given as `.`."""
    seen = set()

    class Watching(FakePeople):
        def people(self, path):
            seen.update(entry.name for entry in tmp_path.iterdir())
            yield from super().people(path)

    crop.run(settings(write_videos(tmp_path / "videos", 2), tmp_path / "crops"), Watching())
    assert seen == {"videos", "crops"}
    assert not [entry.name for entry in (tmp_path / "crops").iterdir() if entry.name.startswith(".")]
