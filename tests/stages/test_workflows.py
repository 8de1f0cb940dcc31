"""The workflows of the documentation, run as they stand: Make, and Snakemake and DVC where they are installed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rewho.gallery.gallery import Gallery
from rewho.rendered import write_street

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "run.md"
CROP = "--detector replay --pose detector --sampling.by seconds --sampling.seconds 0.5 --tracking.kind motion "
CROP += "--rules.min_width 12 --rules.min_confidence 0.5 --screen.min_frames 0"
TRAIN = "--init none --backbone squeezenet1_1 --input_size 64 32 --embedding 16 --batch 8 --epochs 1 "
TRAIN += "--steps_per_epoch 4 --checkpoint.every_steps 1 --device cpu --workers 0 --hold_out 2"
STEPS = ("train people", "crop videos", "gallery create", "gallery add")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


def block(named: str) -> str:
    """The first block of the page behind this word."""
    blocks = PAGE.read_text().partition(named)[2]
    return re.search(r"^```\w+\n(.*?)^```$", blocks, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def project(people, tmp_path) -> Path:
    """A folder with videos, people and terms, and a `rewho` that notes what it was asked."""
    pytest.importorskip("av", reason="PyAV is an extra")
    (tmp_path / "bin").mkdir()
    shim = f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexec {sys.executable} -m rewho "$@"\n'
    (tmp_path / "bin" / "rewho").write_text(shim)
    (tmp_path / "bin" / "rewho").chmod(0o755)
    names = ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
    (tmp_path / "terms.yaml").write_text(yaml.safe_dump(dict.fromkeys(names, "rendered people")))
    (tmp_path / "videos").mkdir()
    write_street(tmp_path / "videos" / "door.mp4", 6.0, people=5, size=(240, 426), seed=6)
    for image in (people / "bounding_box_train").iterdir():
        person = tmp_path / "people" / image.name.split("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, person)
    return tmp_path


def run(project: Path, *command: str) -> str:
    """Run a command in the project and return what `rewho` was asked meanwhile."""
    (project / "asked").unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{project / 'bin'}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, check=False, cwd=project, env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return (project / "asked").read_text() if (project / "asked").exists() else ""


def check(project: Path, *command: str, announce: Callable[[], None] = lambda: None) -> None:
    """Run a workflow until all is made, find it up to date, and find a second video, announced, in the gallery."""
    asked = run(project, *command)
    assert all(words in asked for words in STEPS)
    with Gallery(project / "shop") as gallery:
        before = gallery.stats()["sightings"]
    assert before > 1
    assert run(project, *command) == "", "all is up to date"
    write_street(project / "videos" / "yard.mp4", 6.0, people=5, size=(240, 426), seed=7)
    announce()
    asked = run(project, *command)
    assert "crop videos/yard" in asked and "gallery add" in asked
    assert "crop videos/door" not in asked and "train people" not in asked
    with Gallery(project / "shop") as gallery:
        assert gallery.stats()["sightings"] > before


@needs("make")
def test_make_runs_the_steps_once_and_again_after_more(project):
    (project / "Makefile").write_text(block("With Make"))
    check(project, "make", f"CROP={CROP}", f"TRAIN={TRAIN}")


@needs("snakemake")
def test_snakemake_runs_the_steps_once_and_again_after_more(project):
    (project / "Snakefile").write_text(block("`Snakefile`"))
    check(project, "snakemake", "--cores", "1", "--config", f"crop={CROP}", f"train={TRAIN}")


@needs("dvc")
def test_dvc_runs_the_steps_once_and_again_after_more(project):
    described = yaml.safe_load(block("`dvc.yaml`"))

    def announce(*names: str) -> None:
        described["vars"] = [{"crop": CROP, "train": TRAIN, "names": list(names)}]
        (project / "dvc.yaml").write_text(yaml.safe_dump(described))

    announce("door")
    run(project, "dvc", "init", "--no-scm")
    check(project, "dvc", "repro", announce=lambda: announce("door", "yard"))
