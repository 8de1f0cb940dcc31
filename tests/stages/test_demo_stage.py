"""The demo's chapters: a wrong one is named; few labels begins from what the streets taught."""

import json
import subprocess
import sys

import pytest

from rewho.core.check import UserError
from rewho.core.runtime import EXIT_INTERRUPTED
from rewho.models.weights import read_card
from rewho.settings import DemoSettings
from rewho.stages import demo, demo_gallery


def test_wrong_settings_are_named_before_anything_is_rendered(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'few-labels'"):
        demo.run(DemoSettings(chapter="few-lables", out=tmp_path))
    for wrong in ({"identities": 1}, {"epochs": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            demo.run(DemoSettings(out=tmp_path, **wrong))
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_ended_while_it_renders_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "rewho", "demo", "--out", str(tmp_path / "demo")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert "writes to" in process.stderr.readline()
        process.terminate()
        said = process.stderr.read()
    assert process.returncode == EXIT_INTERRUPTED, said
    assert "stopped: finished parts are kept. To resume, run the same command again:\n  rewho demo" in said


@pytest.mark.slow
def test_few_labels_begins_from_an_encoder_that_saw_no_label(tmp_path, monkeypatch, capsys):
    for name, small in {"STREETS": 1, "SECONDS": 60.0, "WALKERS": 100, "TEST_IDENTITIES": 6}.items():
        monkeypatch.setattr(demo, name, small)
    settings = DemoSettings(chapter="few-labels", out=tmp_path, identities=60, epochs=1)
    page = demo.run(settings)
    assert "collapsed" not in capsys.readouterr().err
    folder = tmp_path / "few-labels"
    assert page == folder / "report" / "index.html" and page.is_file()
    encoder, after, before = (read_card(folder / name) for name in ("encoder", "from-encoder", "from-nothing"))
    assert encoder["provenance"]["labels"] is False and encoder["trained_on"]["images"] > 64
    assert after["provenance"]["weights_began_as"] == (folder / "encoder").as_posix()
    assert before["provenance"]["weights_began_as"] == "none"
    same = [json.loads((folder / name / "manifest.json").read_text()) for name in ("from-encoder", "from-nothing")]
    assert [made["counts"]["steps"] for made in same] == [same[0]["counts"]["steps"]] * 2
    results = json.loads((folder / "report" / "metrics.json").read_text())["results"]
    assert results[1]["gain"]["over"] and "gain" not in results[0]
    assert demo.run(settings) == page  # what is finished is not run again


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chapter", ["distillation", "few-labels"])
def test_each_chapter_gains_more_than_chance_would(tmp_path, chapter):
    page = demo.run(DemoSettings(chapter=chapter, out=tmp_path))
    after = json.loads((page.parent / "metrics.json").read_text())["results"][1]
    _, low, _ = after["gain"]["ap_rectangular"]
    assert low > 0.01  # of 1: a point of mAP or more at the lower end of the interval


@pytest.mark.slow
def test_the_gallery_finds_people_across_cameras_and_is_made_once(tmp_path, monkeypatch, capsys):
    from rewho.core.shipped import find_model
    from rewho.gallery.gallery import Gallery

    monkeypatch.setattr(demo_gallery, "SECONDS", 40.0)
    monkeypatch.setattr(demo_gallery, "WALKERS", 10)
    for _ in range(2):
        demo_gallery.build_gallery(tmp_path, find_model("starter"), demo.TERMS, 1)
    said = capsys.readouterr().err
    assert said.count(f"rewho serve {tmp_path / 'gallery'}") == 2
    with Gallery(tmp_path / "gallery", "cpu") as gallery:
        assert {one.name for one in gallery.cameras()} == set(demo_gallery.PLACES)
        assert gallery.calibration() is not None
        hits = demo_gallery.check_gallery(gallery, tmp_path / "gallery-videos" / "seed-1")
        assert hits.asked > 20
        assert hits.five / hits.asked > 0.9
        assert [one.action for one in gallery.audit(action="group")] == ["group"]
