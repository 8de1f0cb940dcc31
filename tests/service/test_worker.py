"""Jobs: added sources, ends of the service in the middle, stops, and paths that leave the folder of sources."""

import functools
import threading

import pytest

from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.gallery.records import Actor
from rewho.rendered import write_street
from rewho.service.state import State
from rewho.service.worker import Worker, ask_job, find_source
from rewho.settings.serve import ServiceLimits
from rewho.stages import serve_work
from rewho.stages.serve_work import PROGRESS, cut_video
from small_service import SIGHTINGS, picture


@pytest.fixture
def state(gallery, tmp_path):
    """A service's state, with a folder of five images to add."""
    folder = tmp_path / "sources" / "yard"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(picture(100 + number))
    return State(gallery, ServiceLimits(), users=True, secure=False, sources=tmp_path / "sources")


def test_a_folder_is_added_and_again_after_the_service_was_killed(state):
    jobs = state.gallery.jobs
    number = ask_job(state, "add", {"path": "yard", "camera": "yard"}, Actor("anna", "a test"))
    assert jobs.take().id == number  # and then the service is killed
    assert jobs.resume() == 1
    Worker(state).do(jobs.take())
    done = jobs.read(number)
    assert (done.state, done.done, done.total) == ("done", 5, 5)
    assert "5 new sightings" in done.message
    assert state.gallery.audit(action="add")[0].who == "anna"
    again = ask_job(state, "add", {"path": "yard"}, Actor("anna"))
    Worker(state).do(jobs.take())
    assert "5 were there" in jobs.read(again).message


def test_a_job_can_be_stopped_and_a_mistake_is_its_message(state, tmp_path):
    jobs = state.gallery.jobs
    stopped = ask_job(state, "add", {"path": "yard"}, Actor("anna"))
    job = jobs.take()
    jobs.stop(stopped, by=Actor("anna"))
    Worker(state).do(job)
    assert jobs.read(stopped).state == "stopped"
    (tmp_path / "sources" / "text.jpg").write_text("no image")
    failed = ask_job(state, "add", {"path": "text.jpg"}, Actor("anna"))
    Worker(state).do(jobs.take())
    assert jobs.read(failed).state == "failed"
    assert "expected" in jobs.read(failed).message


@pytest.mark.parametrize("path", ["..", "../gallery", "/etc/passwd", "", ".", "a\0b", "yard/../../gallery", "x" * 5000])
def test_a_path_stays_in_the_folder_of_sources(path, state, tmp_path):
    (tmp_path / "sources" / "link").symlink_to("/etc")
    for name in (path, "link", "link/passwd"):
        with pytest.raises(UserError):
            find_source(state, name)


def cutting(state):
    """Return what cuts streets as `rewho serve` does, with the boxes that are beside them."""
    recipe = state.sources.parent / "crop.yaml"
    recipe.write_text(
        "detector.kind: replay\npose.kind: detector\nsampling.every: 1\nrules.min_width: 10\n"
        "rules.min_confidence: 0.5\nscreen.min_frames: 1\ntracking.kind: motion\nworkers: 0\n"
    )
    return functools.partial(cut_video, state.gallery, recipe)


@pytest.mark.slow
def test_a_video_is_added_with_its_moments_and_stopped_while_it_is_cut(state, tmp_path):
    pytest.importorskip("av", reason="PyAV is an extra")
    write_street(tmp_path / "sources" / "street.mp4", 6.0, fps=2, people=4, size=(180, 320), seed=3)
    gallery, jobs = state.gallery, state.gallery.jobs
    stopped = ask_job(state, "add", {"path": "street.mp4", "camera": "gate"}, Actor("anna"))
    job = jobs.take()
    jobs.stop(stopped, by=Actor("anna"))
    cut = cutting(state)
    Worker(state, cut).do(job)
    assert jobs.read(stopped).state == "stopped"
    assert len(gallery) == SIGHTINGS
    given = {"path": "street.mp4", "camera": "gate", "start": "2026-05-04T13:00"}
    number = ask_job(state, "add", given, Actor("anna"))
    Worker(state, cut).do(jobs.take())
    done = jobs.read(number)
    assert done.state == "done", done.message
    assert done.done == done.total > 5
    new = gallery.browse(1)[0]
    assert new.camera == "gate"
    assert gallery.moments.view(new.best)[:2] == b"\xff\xd8"
    source = gallery.stats()["sources"][-1]
    assert (source["kind"], source["path"]) == ("video", str(tmp_path / "sources" / "street.mp4"))
    (tmp_path / "sources" / "no.mp4").write_bytes(b"no video" * 100)
    failed = ask_job(state, "add", {"path": "no.mp4"}, Actor("anna"))
    Worker(state, cut).do(jobs.take())
    assert jobs.read(failed).state == "failed"
    assert "no.mp4: expected a video with people" in jobs.read(failed).message


def test_the_progress_of_an_adaptation_is_read_from_what_it_says():
    said = "epoch 1: clusters 32\ntrain: 1,052/2,640 steps (40 %), 1.0/s, 3:36 left, loss 4.45\n"
    assert PROGRESS.findall(said) == [(said.splitlines()[1], "1,052", "2,640")]


def test_of_a_log_only_what_is_new_is_read_also_where_a_line_comes_in_parts(tmp_path, monkeypatch):
    parts = ["train: 1/", "10 steps (10 %)\ntrain: 2/10 st", "eps (20 %)\n", "done\n"]
    monkeypatch.setattr(
        serve_work,
        "TIED",
        f"""
import time
for part in {parts!r}:
    print(part, end="", flush=True)
    time.sleep(0.5)
""",
    )
    read, told, whole = serve_work.Path.read_text, [], []
    monkeypatch.setattr(serve_work.Path, "read_text", lambda file, **named: whole.append(file) or read(file, **named))
    run = serve_work._run([], tmp_path / "log", lambda: False, "", lambda *values: told.append(values))
    assert run == (0, "".join(parts))
    assert told[-1] == (2, 10, "train: 2/10 steps (20 %)")
    assert set(told[:-1]) <= {(1, 10, "train: 1/10 steps (10 %)"), told[-1]}
    assert len(whole) == 1


def test_a_job_that_does_not_stop_in_time_is_left_and_says_nothing(state, monkeypatch, capsys):
    release, began = threading.Event(), threading.Event()

    def work(self, job):
        began.set()
        release.wait(60)
        raise ValueError("the gallery was closed meanwhile")

    monkeypatch.setattr(Worker, "_group", work)
    worker = Worker(state)
    worker.hurried = lambda: True
    worker.start()
    number = ask_job(state, "group", {}, Actor("anna"))
    assert began.wait(60)
    worker.end()
    assert worker.runs(), "a second signal waits for nothing"
    release.set()
    worker.hurried = lambda: False
    worker.end()
    assert not worker.runs() and state.gallery.jobs.read(number).state == "running"
    assert "Traceback" not in capsys.readouterr().err
    assert state.gallery.jobs.resume() == 1


def test_adding_stops_within_a_batch(state):
    asked = []

    def stop():
        asked.append(True)
        return True

    with pytest.raises(Interrupted, match="0 new crops"):
        state.gallery.add(state.sources / "yard", camera="yard", stop=stop)
    assert len(asked) == 1 and len(state.gallery) == SIGHTINGS
