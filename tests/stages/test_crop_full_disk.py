"""A full disk (D7): the build stops with path, bytes needed and free, leaves no torso, and goes on when there is room.

The disk is a small tmpfs in a mount namespace of the test's own, where the system allows one; and everywhere there is a
limit on the size of files, which gives another error of the same kind.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_people import FakePeople, settings, tree, write_videos

from rewho.core.artifact import MANIFEST
from rewho.crops.shards import INDEX
from rewho.crops.verify import verify
from rewho.stages import crop

PROGRAM = [sys.executable, str(Path(__file__).with_name("fake_people.py"))]
NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
MOUNT = ["mount", "-t", "tmpfs", "-o", "size=4m", "rewho-test"]

# Runs in the namespace: build on the small disk, note what is there, make room, build again, carry the set out.
ON_A_SMALL_DISK = """
import json, shutil, subprocess, sys
from pathlib import Path
mount, build, disk, notes, copy = json.loads(sys.argv[1])
subprocess.run([*mount, disk], check=True)
first = subprocess.run(build, capture_output=True, text=True)
there = [path.relative_to(disk).as_posix() for path in Path(disk).rglob("*")]
subprocess.run([*mount[:4], "remount,size=64m", *mount[5:], disk], check=True)
second = subprocess.run(build)
shutil.copytree(Path(disk, "crops"), copy)
Path(notes).write_text(json.dumps([first.returncode, first.stderr, there, second.returncode]))
"""


def namespace(place: Path) -> list[str]:
    """Return the command that runs another one where it may mount, or skip the test."""
    said = ""
    for command in NAMESPACES:
        try:
            done = subprocess.run([*command, *MOUNT, str(place)], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"no namespaces to mount a small disk in: {error}")
        if done.returncode == 0:
            return command
        said = done.stderr.strip()
    pytest.skip(f"no small disk may be mounted here: {said}")


# Parts of 6 MB do not fit; parts of 3 MB do, and then the set that is joined from them does not.
@pytest.mark.parametrize(("count", "stage"), [pytest.param(8, "parts", marks=pytest.mark.slow), (4, "join")])
def test_a_small_disk_stops_the_build_and_a_larger_one_finishes_it(tmp_path, count, stage):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = namespace(disk)
    videos = write_videos(tmp_path / "videos", count, frames=50)
    out, notes, copy = disk / "crops", tmp_path / "notes.json", tmp_path / "copy"
    build = [*PROGRAM, str(videos), str(out)]
    given = json.dumps([MOUNT, build, str(disk), str(notes), str(copy)])
    subprocess.run([*command, sys.executable, "-c", ON_A_SMALL_DISK, given], check=True)
    code, said, there, second = json.loads(notes.read_text())
    assert code == 2, said
    found = re.search(r"writing (\S+): expected room for more than ([\d,]+) bytes, got ([\d,]+) bytes free", said)
    assert found and found[1].startswith(str(out)), said
    need, free = (int(number.replace(",", "")) for number in found.groups()[1:])
    assert need > 0 and free < 4 * 2**20
    assert not [name for name in there if ".aside" in name]
    assert not {f"crops/{name}" for name in (INDEX, MANIFEST)} & set(there)
    parts = [name for name in there if re.fullmatch(rf"crops/parts/../\w+/{INDEX}", name)]
    assert len(parts) == count if stage == "join" else 0 < len(parts) < count
    assert second == 0
    whole = crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    assert tree(copy) == tree(whole)
    assert verify(copy) == []


def test_a_limit_on_file_size_is_told_in_the_same_way(tmp_path):
    videos = write_videos(tmp_path / "videos", 6)
    out = tmp_path / "crops"
    limited = f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); \
sys.argv = {[PROGRAM[1], str(videos), str(out)]!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.search(rf"writing {out}\S*: expected room for more than [\d,]+ bytes, got [\d,]+ bytes free", done.stderr)
    assert [path.name for path in out.rglob("*") if path.name.startswith(".aside")] == []
    crop.run(settings(videos, out), FakePeople())
    assert tree(out) == tree(crop.run(settings(videos, tmp_path / "whole"), FakePeople()))
