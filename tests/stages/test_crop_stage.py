"""The crop stage: the same bytes whoever works, in whatever order, however often killed; every crop has a history."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_people import FakePeople, Untouchable, settings, tree, write_videos

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.runtime import EXIT_INTERRUPTED, PartlyFailed
from rewho.crops.inputs import plan_videos
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.statistics import read_videos
from rewho.settings import SelectionSettings
from rewho.stages import crop
from rewho.video.people import VideoFailure

PROGRAM = [sys.executable, str(Path(__file__).with_name("fake_people.py"))]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_videos(tmp_path_factory.mktemp("in") / "videos", 6)


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory) -> CropSet:
    """The set as one undisturbed process makes it."""
    return CropSet.open(crop.run(settings(videos, tmp_path_factory.mktemp("out") / "crops"), FakePeople()))


def build(videos: Path, out: Path, *words: str, seconds: float = 300) -> int:
    return subprocess.run([*PROGRAM, str(videos), str(out), *words], timeout=seconds, check=False).returncode


def test_every_crop_has_a_history(whole, videos):
    rows = whole.manifest().to_pylist()
    assert len(rows) == 6 * 6 * 2
    assert len({row["name"] for row in rows}) == len(rows)
    hashes = {video["sha256"] for video in read_videos(whole.folder)}
    assert len(hashes) == 6
    for number, row in enumerate(rows):
        assert row["video"] in hashes and row["time"] == row["frame"] / 25
        assert row["detector"] == "fake sha256:aa" and row["pose"] == "fake-pose sha256:bb"
        assert row["licence"] == "CC0-1.0" and len(row["config"]) == 64
        assert len(row["keypoints"]) == 51 and 0 < row["quality"] <= 1
        left, top, right, bottom = row["cut"]
        assert whole[number].shape == (bottom - top, right - left, 3) == (row["height"], row["width"], 3)
    orders = [(row["video"], row["frame"], row["index"]) for row in rows]
    assert orders == sorted(orders)


def test_the_folder_describes_itself(whole):
    names = set(tree(whole.folder)) | {MANIFEST}
    assert names >= {INDEX, MANIFEST, "statistics.json", "videos.parquet", "datasheet.md", "index.html"}
    figures = json.loads((whole.folder / "statistics.json").read_text())
    assert (figures["crops"], figures["scenes"], figures["persons"]) == (72, 6, 12)
    assert figures["dropped_by_rule"] == {"too small": 36}
    assert all(abs(value - 0.5) < 0.02 for value in figures["mean"]), "noise of all grey levels"
    assert all(abs(value - 0.29) < 0.02 for value in figures["std"])
    sheet = (whole.folder / "datasheet.md").read_text()
    for text in ("CC0-1.0", "drawn by the test", "one test", "nobody is in it"):
        assert text in sheet
    page = (whole.folder / "index.html").read_text()
    assert "Content-Security-Policy" in page and " on" not in "".join(re.findall(r"<[^>]*>", page.split("</style>")[1]))
    assert "data:image/jpeg;base64," in page and "<script" not in page and "http" not in page.split("</style>")[1]


@pytest.mark.parametrize(
    "workers", [3, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_any_number_of_workers_leaves_the_same_bytes(workers, videos, whole, tmp_path):
    assert build(videos, tmp_path / "crops", f"workers={workers}") == 0
    assert tree(tmp_path / "crops") == tree(whole.folder)


def test_any_order_and_any_naming_of_inputs_leaves_the_same_bytes(videos, whole, tmp_path):
    paths = sorted(videos.glob("*.mp4"))
    random.Random(1).shuffle(paths)
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    for named in (tuple(paths), (tmp_path / "list.txt",), (*paths[:2], videos)):
        out = tmp_path / "crops"
        crop.run(settings(named, out), FakePeople())
        assert tree(out) == tree(whole.folder)
        shutil.rmtree(out)


def test_parts_for_many_machines_are_joined_by_the_last(videos, whole, tmp_path):
    out, plan = tmp_path / "crops", plan_videos([videos])
    # How many videos a part gets depends on their paths, which differ from run to run: the last one must have some.
    *first, last = sorted(("1/3", "2/3", "3/3"), key=lambda part: sum(1 for _ in plan.tasks(part)))
    for part in first:
        crop.run(settings(videos, out, shard=part), FakePeople())
        assert not (out / MANIFEST).exists()
    crop.run(settings(videos, out, shard=last), FakePeople())
    assert tree(out) == tree(whole.folder)


def test_a_second_run_does_nothing(videos, tmp_path):
    out = crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    crop.run(settings(videos, out), Untouchable())
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert not (out / "parts").exists()
    with pytest.raises(UserError, match=r"jpeg_quality: 95 -> 80"):
        crop.run(settings(videos, out, jpeg_quality=80), FakePeople())
    (tmp_path / "more").mkdir()
    write_videos(tmp_path / "more", 1, frames=2)
    with pytest.raises(UserError, match=r"inputs\.videos"):
        crop.run(settings((videos, tmp_path / "more"), out), FakePeople())


@pytest.mark.slow
def test_a_second_run_over_a_thousand_videos_takes_two_seconds(tmp_path):
    """D2; in processor time, because what else the machine does is not this program's doing."""
    videos = write_videos(tmp_path / "videos", 1000, frames=1, people=1)
    out = crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    assert len(CropSet.open(out)) == 1000
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")}
    began = time.process_time()
    crop.run(settings(videos, out), Untouchable())
    took = time.process_time() - began
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")} == before
    print(f"{took:.2f} s")
    assert took <= 2


def wait_for(out: Path, pattern: str) -> None:
    """Wait until another process has made something."""
    deadline = time.monotonic() + 300
    while not list(out.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.02)


def kill_after(videos: Path, out: Path, seconds: float | None, *, worker: bool) -> None:
    """Start a build and kill it, or one of its workers, after some time or one video; then let it end."""
    process = subprocess.Popen([*PROGRAM, str(videos), str(out)], stderr=subprocess.DEVNULL)
    if seconds is None:
        wait_for(out, "parts/*/*/index.json")
    else:
        time.sleep(seconds)
    if worker:
        listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        children = [int(line) for line in listed.stdout.split()]
        for child in random.Random(seconds).sample(children, min(1, len(children))):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                print("it had ended just before")
        process.wait(timeout=300)
    else:
        process.kill()
        process.wait(timeout=300)


def check_kills(tmp_path: Path, moments: list[float | None], *, worker: bool) -> None:
    videos = write_videos(tmp_path / "videos", 8, seconds=0.03)
    calm = crop.run(settings(videos, tmp_path / "calm"), FakePeople())
    for number, moment in enumerate(moments):
        out = tmp_path / f"killed-{number}"
        kill_after(videos, out, moment, worker=worker)
        assert build(videos, out) == 0
        assert tree(out) == tree(calm), f"killed after {moment} s"
        assert [path.name for path in out.rglob(".aside-*")] == []
        shutil.rmtree(out)


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path):
    check_kills(tmp_path, [None], worker=False)


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path):
    check_kills(tmp_path, [2.2], worker=True)


@pytest.mark.slow
@pytest.mark.parametrize("worker", [False, True])
def test_twenty_kills_at_any_moment(tmp_path, worker):
    check_kills(tmp_path, [random.Random(n).uniform(0.5, 4.5) for n in range(20)], worker=worker)


def test_a_request_to_stop_ends_soon_and_goes_on_later(tmp_path):
    videos = write_videos(tmp_path / "videos", 10, seconds=0.04)
    out = tmp_path / "crops"
    process = subprocess.Popen([*PROGRAM, str(videos), str(out)])
    wait_for(out, "parts/*/*/index.json")
    process.terminate()
    assert process.wait(timeout=300) == EXIT_INTERRUPTED
    done = len(list(out.glob("parts/*/*/index.json")))
    assert 0 < done < 10
    crop.run(settings(videos, out), FakePeople())
    assert len(CropSet.open(out)) == 10 * 12


def test_a_video_that_kills_its_worker_is_given_up_and_can_be_tried_again(tmp_path):
    videos = write_videos(tmp_path / "videos", 3)
    (videos / "poison.mp4").write_text(json.dumps({"seed": 9, "frames": 3, "people": 3, "poison": True}))
    (videos / "bug.mp4").write_text(json.dumps({"seed": 8, "frames": 3, "people": 3, "bug": True}))
    out = tmp_path / "crops"
    assert build(videos, out) == 3
    states = {Path(video["path"]).name: video for video in read_videos(out)}
    assert states["poison.mp4"]["status"] == states["bug.mp4"]["status"] == "given up"
    why = "".join(sorted(file.read_text() for file in out.glob("parts/*/*/given-up.txt")))
    assert "poison.mp4: the process was ended by signal 11 (2 tries)" in why
    assert "bug.mp4: ZeroDivisionError: made so (2 tries)" in why
    assert len(CropSet.open(out)) == 3 * 12
    with pytest.raises(PartlyFailed):  # asked again, it says so again
        crop.run(settings(videos, out, failure_limit=1.0), FakePeople())
    (videos / "poison.mp4.antidote").touch()
    with pytest.raises(PartlyFailed, match=r"1 video .*bug"):
        crop.run(settings(videos, out, workers=2, retry=True, failure_limit=1.0), FakePeople())
    assert len(CropSet.open(out)) == 3 * 12 + 6


def test_a_video_that_fails_midway_leaves_no_crop(tmp_path):
    videos = write_videos(tmp_path / "videos", 2)
    (videos / "cut.mp4").write_text(json.dumps({"seed": 5, "frames": 200, "people": 3, "cut_at": 190}))
    crops = CropSet.open(crop.run(settings(videos, tmp_path / "crops", explain=1), FakePeople()))
    assert len(crops) == 24
    cut = next(video for video in read_videos(crops.folder) if video["status"] == "failed")
    assert (cut["reason"], cut["kept"], cut["crops"]) == ("cut short", 0, 0)
    assert len(list((crops.folder / "explained").glob("*.jpg"))) == 2


def test_two_builders_do_not_share_a_folder_and_a_dead_one_holds_nobody_up(videos, whole, tmp_path):
    slow = write_videos(tmp_path / "videos", 4, seconds=0.07)
    out = tmp_path / "crops"
    process = subprocess.Popen([*PROGRAM, str(slow), str(out), "workers=1"])
    wait_for(out, "unfinished")
    with pytest.raises(UserError, match=f"process {process.pid} on "):
        crop.run(settings(slow, out), FakePeople())
    process.kill()
    process.wait()
    crop.run(settings(slow, out), FakePeople())
    assert tree(out).keys() == tree(whole.folder).keys(), "the lock of the dead one held nobody up"


def test_names_are_unique_whatever_videos_are_called(tmp_path):
    names = ["rome/walk.mp4", "oslo/walk.mp4", "街/散歩 ☂.mp4", "x" * 251 + ".mp4", "a b/'; rm -rf.mp4", "-o.mp4"]
    for number, name in enumerate(names):
        file = tmp_path / "videos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"seed": number, "frames": 5, "people": 2}))
    crops = CropSet.open(crop.run(settings(tmp_path / "videos", tmp_path / "crops"), FakePeople()))
    assert len(crops) == len(set(crops.manifest(["name"])["name"].to_pylist())) == 60


def test_duplicates_are_refused_by_content_and_by_key(tmp_path):
    videos = write_videos(tmp_path / "videos", 4)
    shutil.copy(videos / "v000.mp4", videos / "again.mp4")
    lines = ["path,key,city,licence"] + [f"videos/v00{n}.mp4,k{n % 3},Oslo,L{n}" for n in range(4)]
    (tmp_path / "list.csv").write_text("\n".join([*lines, "videos/again.mp4,other,Rome,L9"]))
    crops = CropSet.open(crop.run(settings(tmp_path / "list.csv", tmp_path / "crops"), FakePeople()))
    states = {Path(video["path"]).name: video for video in read_videos(crops.folder)}
    assert [states[name]["reason"] for name in ("again.mp4", "v001.mp4", "v002.mp4")] == ["", "", ""]
    assert states["v000.mp4"]["reason"] == "duplicate content", "again.mp4 comes first in the order of paths"
    assert len(crops) == 4 * 12 and states["v003.mp4"]["status"] == "ok"
    assert set(crops.manifest(["licence"])["licence"].to_pylist()) == {"L1", "L2", "L3", "L9"}
    (tmp_path / "list.csv").write_text("\n".join([*lines[:3], "videos/v003.mp4,k1,Oslo,L3"]))
    crops = CropSet.open(crop.run(settings(tmp_path / "list.csv", tmp_path / "crops-2"), FakePeople()))
    states = [video["reason"] for video in read_videos(crops.folder)]
    assert sorted(states) == ["", "", "duplicate key"]


def test_which_crops_enter_can_be_chosen(tmp_path):
    videos = write_videos(tmp_path / "videos", 2, still=True)

    def names(**selection) -> list[str]:
        out = tmp_path / "crops"
        shutil.rmtree(out, ignore_errors=True)
        chosen = settings(videos, out, selection=SelectionSettings(**selection))
        return CropSet.open(crop.run(chosen, FakePeople())).manifest(["name"])["name"].to_pylist()

    everything = names()
    assert len(everything) == 24
    once = names(near_duplicates="video")
    assert once == [name for name in everything if "-0000000-" in name], "the first of each still person"
    assert names(near_duplicates="set") == once
    assert len(names(most_per_video=5)) == 10
    assert len(names(share=0.25)) == 6


@pytest.mark.slow
def test_ray_leaves_the_same_bytes(videos, whole, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra (uv sync --extra scale)")
    assert build(videos, tmp_path / "crops", "engine=ray", seconds=200) == 0
    assert tree(tmp_path / "crops") == tree(whole.folder)


def test_the_last_line_names_every_video_that_is_not_in_the_set_and_why(tmp_path, capsys):
    videos = write_videos(tmp_path / "in", 3)
    (videos / "a-broken.mp4").write_text(json.dumps({"broken": True}))
    write_videos(videos / "still", 1, static=True)
    out = crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    for _ in range(2):  # a finished set says it again
        line = crop.summarise(out)
        assert line.startswith("5 videos: 3 ok, 1 failed, 1 refused: ")
        assert f"{videos / 'a-broken.mp4'} (unreadable: made so)" in line
        assert f"{videos / 'still' / 'v000.mp4'} (static)" in line
        crop.run(settings(videos, out), FakePeople())
    whole = crop.run(settings(write_videos(tmp_path / "good", 1), tmp_path / "whole"), FakePeople())
    assert crop.summarise(whole) == ""
    assert crop.summarise(tmp_path / "nothing") == ""
    many = write_videos(tmp_path / "many", 30, static=True)
    assert "and 10 more, see" in crop.summarise(crop.run(settings(many, tmp_path / "none"), FakePeople()))


def test_the_command_line_ends_with_the_videos_that_failed(tmp_path, monkeypatch, capfd):
    from rewho import cli

    videos = write_videos(tmp_path / "in", 2)
    (videos / "broken.mp4").write_text(json.dumps({"broken": True}))
    monkeypatch.setattr(crop, "VideoPeople", lambda _: FakePeople())
    terms = [
        f"--terms.{name}=x" for name in ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
    ]
    assert cli.main(["crop", "--out", str(tmp_path / "crops"), "--workers", "0", *terms, str(videos)]) == 0
    printed = capfd.readouterr()
    assert printed.out == f"{tmp_path / 'crops'}\n"
    assert printed.err.splitlines()[-1] == f"3 videos: 2 ok, 1 failed: {videos / 'broken.mp4'} (unreadable: made so)"


class DyingDecoder(FakePeople):
    """Loses its decoder so often, at a video's first or third frame."""

    def __init__(self, deaths: int, at_frame: int) -> None:
        self.left, self.at_frame = deaths, at_frame

    def look(self, path):
        known, refusal = super().look(path)
        if self.left and not self.at_frame:
            self.left -= 1
            return replace(known, status="failed", reason="decoder died", detail="SIGKILL"), "decoder died"
        return known, refusal

    def people(self, path):
        for number, found in enumerate(super().people(path)):
            if self.left and self.at_frame and number == self.at_frame:
                self.left -= 1
                raise VideoFailure("decoder died", "SIGKILL")
            yield found


@pytest.mark.parametrize("at_frame", [0, 3])
def test_a_decoder_that_the_system_ended_is_started_again_once(videos, whole, tmp_path, at_frame):
    out = crop.run(settings(videos, tmp_path / "crops"), DyingDecoder(1, at_frame))
    assert tree(out) == tree(whole.folder)
    out = crop.run(settings(videos, tmp_path / "twice"), DyingDecoder(2, at_frame))
    assert [one["reason"] for one in read_videos(out) if one["status"] == "failed"] == ["decoder died"]


def test_killed_workers_leave_the_same_bytes(tmp_path):
    """One worker after the other is killed while it works; each video is tried again, and the set is the same."""
    videos = write_videos(tmp_path / "in", 4, frames=6, seconds=0.05)
    expected = tree(crop.run(settings(videos, tmp_path / "whole"), FakePeople()))
    process = subprocess.Popen([*PROGRAM, str(videos), str(tmp_path / "crops"), "workers=2"])
    killed = set()
    while process.poll() is None and len(killed) < 2:
        task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in map(int, task.read_text().split()):
            parts = list((tmp_path / "crops").glob("unfinished/*/*"))
            if parts and child not in killed and len(killed) < 2 and b"spawn_main" in _command(child):
                os.kill(child, signal.SIGKILL)
                killed.add(child)
        time.sleep(0.02)
    assert process.wait(60) == 0
    assert len(killed) == 2
    assert tree(tmp_path / "crops") == expected


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""
