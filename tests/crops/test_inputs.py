"""What a user may name: files, folders, lists and tables, in any order."""

import unicodedata

import pytest

from rewho.core.check import UserError
from rewho.crops.inputs import plan_videos


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "sub/a.MKV", "sub/notes.txt", "c.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "in.mov").write_text("in.mov")
    (tmp_path / "._b.mp4").write_text("attributes")
    return tmp_path


def test_folders_are_searched_for_videos(folder, capsys):
    """Neither a folder that is named like a video nor a hidden file is one; the latter are counted."""
    plan = plan_videos([folder])
    found = ["b.mp4", "c.avi", "folder.mp4/in.mov", "sub/a.MKV"]
    assert [task.path.removeprefix(f"{folder}/") for task in plan] == found
    assert "left out: 1 hidden file, such as ._clip.mp4" in capsys.readouterr().err
    assert plan.digest() == plan_videos([folder / "sub", folder / "b.mp4", folder]).digest()
    assert [task.path for task in plan_videos([folder / "folder.mp4"])] == [str(folder / "folder.mp4" / "in.mov")]
    assert len(plan_videos([folder / "._b.mp4"])) == 1


@pytest.mark.parametrize("name", ["a.h264", "a.HEVC", "a.ivf", "a.mxf", "a.ogv", "a.asf", "a.vob", "a.3g2"])
def test_a_folder_is_searched_for_every_kind_of_video_that_can_be_read(tmp_path, name):
    (tmp_path / name).write_text("video")
    assert [task.path for task in plan_videos([tmp_path])] == [str(tmp_path / name)]


def test_lists_and_tables_name_paths_beside_them(folder):
    (folder / "list.txt").write_text("b.mp4\n\nsub/a.MKV\nmissing.mp4\n")
    assert [task.size for task in plan_videos([folder / "list.txt"])] == [5, -1, 9]
    (folder / "table.csv").write_text("path,key,city\nb.mp4,k1,Oslo\nc.avi,k2,\n")
    tasks = list(plan_videos([folder / "table.csv", folder / "b.mp4"]))
    assert [(task.key, task.city, task.licence) for task in tasks] == [("k1", "Oslo", ""), ("k2", "", "")]
    assert len({task.id for task in plan_videos([folder])}) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [("key\nk\n", "no column 'path'"), ("path,town\nb.mp4,k\n", "'town'"), ("path,key\n,k\n", "line 2")],
)
def test_wrong_tables_are_refused(content, message, folder):
    (folder / "table.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        plan_videos([folder / "table.csv"])


def test_a_folder_without_videos_and_nothing_at_all_are_refused(folder):
    (folder / "empty").mkdir()
    cases = (([], "none"), ([folder / "empty"], "Name the files"), ([folder / "no.mp4"], "nothing there"))
    for named, message in cases:
        with pytest.raises(UserError, match=message):
            plan_videos(named)


def test_photographs_have_their_folder_as_source_and_others_are_named(tmp_path, capsys):
    for name in (
        "a/1.jpg",
        "a/2.HEIC",
        "b/3.PNG",
        "b/clip.mp4",
        "b/._3.png",
        "runs/crop/sheet.jpg",
        "runs/crop/run.json",
        "runs/crop/model.safetensors",
        "b/raw.dav",
        "b/clip.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = {task.path.removeprefix(f"{tmp_path}/"): task.source for task in plan_videos([tmp_path])}
    assert found == {"a/1.jpg": f"{tmp_path}/a", "b/3.PNG": f"{tmp_path}/b", "b/clip.mp4": ""}
    said = capsys.readouterr().err
    assert f"left out of {tmp_path}: 1 file (1 x .dav)" in said
    assert "left out, of kinds that are not read: 1: a/2.HEIC; convert" in said
    assert "left out: 1 hidden file," in said and "left out: 1 image in folders that rewho wrote" in said
    assert "1 video, 2 photographs, each with its folder as its camera" in said
    assert [task.path for task in plan_videos([tmp_path / "b" / "3.PNG"])] == [f"{tmp_path}/b/3.PNG"]
    with pytest.raises(UserError, match=r"got a \.HEIC file.*\n.*Convert it to JPEG"):
        plan_videos([tmp_path / "a" / "2.HEIC"])
    (tmp_path / "a" / "1.jpg").unlink()
    with pytest.raises(UserError, match="none, but 1 of kinds that are not read"):
        plan_videos([tmp_path / "a"])


def test_a_list_finds_videos_whose_names_have_another_unicode_form(tmp_path):
    name = unicodedata.normalize("NFD", "café.mp4")
    (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("café.mp4\n", encoding="utf-8")
    (tmp_path / "list.csv").write_text("path,key\ncafé.mp4,k\n", encoding="utf-8")
    for listing in ("list.txt", "list.csv"):
        assert [task.path for task in plan_videos([tmp_path / listing])] == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("content", "answer"),
    [("path,path\na.mp4,b.mp4\n", "'path' twice"), ("path,key\na.mp4,k,more\n", "expected 2 cells, as in the header")],
)
def test_tables_that_could_be_read_in_two_ways_are_refused(tmp_path, content, answer):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(UserError, match=answer):
        plan_videos([tmp_path / "table.csv"])


def test_tables_of_spreadsheets_are_read_with_their_separators(tmp_path):
    (tmp_path / "table.csv").write_text("Path;City\na.mp4;Oslo\n")
    (task,) = plan_videos([tmp_path / "table.csv"])
    assert (task.path, task.city) == (str(tmp_path / "a.mp4"), "Oslo")
