"""Adapting a gallery's model as a job of its service: progress, a kill, a stop, too few judgements."""

import json
import shutil
import time
import urllib.request

import pytest

pytest.importorskip("fastapi", reason="the extra gallery is not installed")
pytest.importorskip("argon2", reason="the extra gallery is not installed")

from judged_gallery import make_judged
from rewho.gallery.gallery import Gallery
from running_service import Running, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
RECIPE = """
data: {workers: 0}
sampler: {kind: identities, batch: 8, images_per_identity: 2}
group_identities: 2
engine: {device: cpu, precision: "32"}
epochs: 3
steps_per_epoch: 20
evaluate_every: -1
"""


@pytest.fixture(scope="module")
def judged(model, tmp_path_factory):
    return make_judged(tmp_path_factory.mktemp("judged"), model)


@pytest.fixture
def folder(judged, tmp_path):
    (tmp_path / "adapt.yaml").write_text(RECIPE)
    return shutil.copytree(judged, tmp_path / "gallery")


class Program:
    """A program that uses the API of a service without users."""

    def __init__(self, service):
        self.address = service.address
        page = urllib.request.urlopen(f"{self.address}/admin").read().decode()
        self.csrf = page.partition('data-csrf="')[2].partition('"')[0]

    def ask(self, path, **body):
        head = {"Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", data, head)
        return json.load(urllib.request.urlopen(request))

    def wait(self, job, fits):
        until = time.monotonic() + 900
        while not fits(found := self.ask(f"jobs/{job}")):
            assert time.monotonic() < until, found
            assert found["state"] in ("waiting", "running"), found
            time.sleep(0.2)
        return found


def begun(folder, job):
    """Return whether the first step of an adaptation was made."""
    return (folder / f"adapting-{job}" / "run" / "log.jsonl").is_file()


def test_an_adaptation_survives_a_kill_shows_its_progress_and_is_stopped(folder):
    options = ("--adapt_recipe", str(folder.parent / "adapt.yaml"))
    service = Running(folder, *options)
    program = Program(service)
    job = program.ask("jobs", kind="adapt")["id"]
    program.wait(job, lambda one: begun(folder, job))
    service.process.kill()
    service.process.wait()
    assert (folder / f"adapting-{job}").is_dir()
    with serving(folder, *options) as service:
        program = Program(service)
        done = program.wait(job, lambda one: one["state"] == "done")
        assert done["done"] == done["total"]
        assert "held out:" in done["message"]
        assert "gallery" in done["message"]
        assert not list(folder.glob("adapting-*"))
        assert program.ask("searches", sightings=[1])["candidates"]
        second = program.ask("jobs", kind="adapt")["id"]
        program.wait(second, lambda one: one["state"] == "running")
        request = urllib.request.Request(
            f"{service.address}/api/v1/jobs/{second}/stop", b"", {"X-CSRF-Token": program.csrf}, method="POST"
        )
        urllib.request.urlopen(request)
        assert program.wait(second, lambda one: one["state"] == "stopped")["message"] == "the gallery's model stays"
        assert not list(folder.glob("adapting-*"))
    with Gallery(folder, "cpu") as gallery:
        assert gallery.verify() == []


def test_too_few_judgements_are_the_message_of_the_job(folder):
    with Gallery(folder, "cpu") as gallery, gallery.database.writing() as link:
        link.execute("DELETE FROM judgements WHERE id > 12")
    with serving(folder) as service:
        program = Program(service)
        job = program.ask("jobs", kind="adapt")["id"]
        failed = program.wait(job, lambda one: one["state"] == "failed")
        assert "judge" in failed["message"].lower()
        assert not list(folder.glob("adapting-*"))
