"""The Makefile of the documentation, run as it stands: twice, and with a step that was interrupted."""

import os
import re
import shutil
import subprocess
import sys
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


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_runs_the_steps_once_and_again_after_more(people, tmp_path):
    pytest.importorskip("av", reason="PyAV is an extra")
    (block,) = re.findall(r"^```make\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "Makefile").write_text(block)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rewho").write_text(f'#!/bin/sh\nexec {sys.executable} -m rewho "$@"\n')
    (tmp_path / "bin" / "rewho").chmod(0o755)
    names = ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
    (tmp_path / "terms.yaml").write_text(yaml.safe_dump(dict.fromkeys(names, "rendered people")))
    (tmp_path / "videos").mkdir()
    write_street(tmp_path / "videos" / "door.mp4", 6.0, people=5, size=(240, 426), seed=6)
    for image in (people / "bounding_box_train").iterdir():
        person = tmp_path / "people" / image.name.split("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, person)

    def make() -> str:
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        command = ["make", f"CROP={CROP}", f"TRAIN={TRAIN}"]
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = make()
    assert all(f"rewho {words}" in said for words in ("train people", "crop videos", "gallery create", "gallery add"))
    with Gallery(tmp_path / "shop") as gallery:
        assert gallery.stats()["sightings"] > 1
    assert "rewho" not in make(), "all is up to date"
