"""A stage's folder: finished work is skipped, a change is an error with a diff, damage is found."""

import errno
import json
import os
import subprocess
import sys

import pytest

from rewho.core.artifact import ASIDE, MANIFEST, hash_file, write_file, write_folder, write_json
from rewho.core.check import UserError
from rewho.core.record import KEPT, STARTED, find_damage, list_differences
from rewho.core.stage import Stage, accept_changes


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
    with pytest.raises(UserError, match="got one of `rewho train`"):
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


def test_a_kill_while_the_first_record_is_written_blocks_nothing(tmp_path):
    (tmp_path / f"{ASIDE}1-{STARTED}").write_text("{")  # process 1 is there, but it is no longer the one that wrote
    (tmp_path / ".lock").write_text("1 on here")
    assert stage(tmp_path).begin() == "new"
    deep = tmp_path / "checkpoints" / f"{ASIDE}1-step-00000001"
    deep.mkdir(parents=True)
    assert stage(tmp_path).begin() == "unfinished"
    assert not deep.exists()
    (tmp_path / "result.json").touch()
    assert [file.name for file in stage(tmp_path).files()] == ["result.json"], "no record, lock or leftover"


def test_a_finished_run_without_its_files_is_not_finished(tmp_path):
    stage(tmp_path).begin()
    finish(stage(tmp_path))
    whole = (tmp_path / "result.json").read_bytes()
    for content, found in ((None, "is missing"), (whole.replace(b"1", b"2"), "sha256"), (b"", "has 0 bytes")):
        (tmp_path / "result.json").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "result.json").write_bytes(content)
        with pytest.raises(UserError, match=rf"the files of the finished run, got result\.json .*{found}"):
            stage(tmp_path).begin()
    (tmp_path / "result.json").write_bytes(whole)
    assert stage(tmp_path).begin() == "finished"


@pytest.mark.parametrize("name", [STARTED, MANIFEST])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"settings": 3}', b"[" * 100_000, b"null"])
def test_a_damaged_record_is_named(tmp_path, name, content):
    stage(tmp_path).begin()
    (tmp_path / "half").touch()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: expected the record that a run wrote"):
        stage(tmp_path).begin()


def test_a_changed_manifest_is_named(tmp_path):
    stage(tmp_path).begin()
    finish(stage(tmp_path))
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace('"images": 3', '"images": 4'))
    with pytest.raises(UserError, match="own seal"):
        stage(tmp_path).begin()


def test_kept_files_are_trusted_only_while_they_are_whole(tmp_path):
    one, other = tmp_path / "one.npy", tmp_path / "other.npy"
    begun = stage(tmp_path)
    begun.begin()
    for file in (one, other):
        file.write_bytes(b"whole")
    begun.record_file(one)
    assert begun.is_recorded(one) and not begun.is_recorded(other), (
        "the second may be from a killed run: nobody noted that it is whole"
    )
    begun.record_file(other)
    one.write_bytes(b"wrong")
    assert not begun.is_recorded(one) and begun.is_recorded(other)
    with pytest.raises(UserError, match=r"one\.npy with other bytes"):
        begun.finish([one, other], {}, 1)
    one.write_bytes(b"whole")
    begun.finish([one, other], {}, 1)
    assert not (tmp_path / KEPT).exists()


BEGIN = """
import sys, time
from pathlib import Path
from rewho.core.stage import Stage
Stage(Path(sys.argv[1]), "train", {"seed": 1}, {}).begin()
print("begun", flush=True)
time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_refused_and_names_the_first(tmp_path):
    call = [sys.executable, "-c", BEGIN, str(tmp_path / "run")]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "begun\n"
        with pytest.raises(UserError, match=f"one writer at a time, got another writer: process {first.pid} on"):
            stage(tmp_path / "run", seed=7).begin()
        first.kill()
        first.wait()
    assert stage(tmp_path / "run", seed=7).begin() == "new", "the lock of a killed process holds nobody up"


@pytest.mark.parametrize("name", ["../victim", "/etc/hostname", "a/../../b", "a\\b", "a\0b", "pipe", "link"])
def test_a_manifest_that_names_something_else_is_damaged(tmp_path, name):
    folder = write_folder(tmp_path / "thing", lambda aside: (aside / "state").write_bytes(b"1"))
    os.mkfifo(folder / "pipe")
    (tmp_path / "victim").write_text("1")
    (folder / "link").symlink_to(tmp_path / "victim")
    record = json.loads((folder / MANIFEST).read_text())
    write_json(folder / MANIFEST, {"files": {name: record["files"]["state"]}})
    assert "expected a plain" in find_damage(folder)


def test_a_disk_without_inodes_is_named(tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 1000, 900, 900, 50, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)

    def fail(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="room for one more file, got no free inode"):
        write_file(tmp_path / "a", fail)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_writer_leaves_nothing_half_written(tmp_path, error):
    def fail(_out):
        raise error

    for write in (write_file, write_folder):
        with pytest.raises(error):
            write(tmp_path / "a", fail)
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf_8_are_written_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    assert json.loads(write_json(tmp_path / "a.json", {"video": name}).read_text()) == {"video": name}


def test_every_flipped_bit_is_found(tmp_path):
    folder = write_folder(tmp_path / "thing", lambda aside: (aside / "state").write_bytes(bytes(range(200))))
    assert find_damage(folder) is None
    for place in range(0, 200, 7):
        content = bytearray(bytes(range(200)))
        content[place] ^= 1 << (place % 8)
        (folder / "state").write_bytes(content)
        assert find_damage(folder) == "state does not match its sha256"


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
    assert list_differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 2}, "d": 3}, ignore=["c"]) == [
        "a.b: 1 -> 2",
        "d: None -> 3",
    ]
