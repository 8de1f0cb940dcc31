"""A stage's folder: finished work is skipped, a change is an error with a diff, damage is found."""

import json

import pytest

from rewho.core.artifact import (
    MANIFEST,
    STARTED,
    Stage,
    accept_changes,
    damage,
    difference,
    hash_file,
    write_file,
    write_folder,
    write_json,
)
from rewho.core.check import UserError


def stage(folder, **settings):
    return Stage(
        folder, "train", {"seed": 1, "out": str(folder), **settings}, {"data": "abc"}, ignore=("out", "engine")
    )


def finish(one):
    output = write_json(one.folder / "result.json", {"a": 1})
    one.finish([output], {"images": 3}, 1.5)


def test_new_unfinished_finished(tmp_path):
    folder = tmp_path / "run"
    assert stage(folder).begin() == "new"
    assert stage(folder, seed=2).begin() == "new", "a run that got nowhere does not bind the next one"
    assert stage(folder).begin() == "new"
    (folder / "half").touch()
    assert stage(folder).begin() == "unfinished"
    finish(stage(folder))
    assert stage(folder).begin() == "finished"
    record = json.loads((folder / MANIFEST).read_text())
    assert record["counts"] == {"images": 3}
    assert record["files"]["result.json"]["sha256"] == hash_file(folder / "result.json")
    assert {"stage", "rewho", "settings", "inputs", "command", "started", "seconds"} <= record.keys()


@pytest.mark.parametrize("finished", [False, True])
def test_a_change_is_refused_with_a_diff(tmp_path, finished):
    stage(tmp_path).begin()
    (tmp_path / "half").touch()
    if finished:
        finish(stage(tmp_path))
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        stage(tmp_path, seed=2).begin()
    with pytest.raises(UserError, match=r"inputs.data: 'abc' -> 'xyz'"):
        Stage(tmp_path, "train", {"seed": 1}, {"data": "xyz"}, ("out",)).begin()
    with pytest.raises(UserError, match="got what `rewho train` made"):
        Stage(tmp_path, "evaluate", {"seed": 1}, {"data": "abc"}, ("out",)).begin()


def test_where_and_how_fast_may_change(tmp_path):
    stage(tmp_path, engine={"device": "cpu"}).begin()
    (tmp_path / "half").touch()
    assert stage(tmp_path, engine={"device": "cuda"}).begin() == "unfinished"


def test_an_allowed_change_binds_once_it_is_accepted(tmp_path):
    stage(tmp_path).begin()
    (tmp_path / "half").touch()
    before = (tmp_path / STARTED).read_bytes()
    stage(tmp_path, seed=2).begin(allow_change=True)
    assert (tmp_path / STARTED).read_bytes() == before
    stage(tmp_path).begin()  # the first settings are taken up again: the others are forgotten
    accept_changes(tmp_path)
    assert json.loads((tmp_path / STARTED).read_text())["settings"]["seed"] == 1
    stage(tmp_path, seed=2).begin(allow_change=True)
    accept_changes(tmp_path)
    assert stage(tmp_path, seed=2).begin() == "unfinished"
    with pytest.raises(UserError, match="seed: 2 -> 1"):
        stage(tmp_path).begin()


def test_an_allowed_change_goes_on(tmp_path):
    stage(tmp_path).begin()
    (tmp_path / "half").touch()
    assert stage(tmp_path, seed=2).begin(allow_change=True) == "unfinished"


def test_a_finished_run_takes_no_change_and_does_not_offer_to(tmp_path):
    begun = stage(tmp_path, allow_config_change=True)
    begun.begin()
    finish(begun)
    with pytest.raises(UserError, match="seed: 1 -> 2") as caught:
        stage(tmp_path, seed=2, allow_config_change=True).begin(allow_change=True)
    assert "allow_config_change" not in str(caught.value)


def test_a_folder_with_other_things_is_not_touched(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"holiday\.jpg"):
        stage(tmp_path).begin()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_every_flipped_bit_is_found(tmp_path):
    folder = write_folder(tmp_path / "thing", lambda aside: (aside / "state").write_bytes(bytes(range(200))))
    assert damage(folder) is None
    for place in range(0, 200, 7):
        content = bytearray(bytes(range(200)))
        content[place] ^= 1 << (place % 8)
        (folder / "state").write_bytes(content)
        assert damage(folder) == "state does not match its sha256"


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = write_file(tmp_path / "a", lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise OSError("device gone")

    with pytest.raises(OSError, match="device gone"):
        write_file(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_differences_are_named():
    assert difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 2}, "d": 3}, ignore=["c"]) == ["a.b: 1 -> 2", "d: None -> 3"]
