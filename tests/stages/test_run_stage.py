"""All steps by one command: each runs once, what is finished is skipped, and the page says what to do next."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rewho import cli
from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.core.shipped import shipped_models
from rewho.gallery.gallery import Gallery
from rewho.rendered import write_street
from rewho.settings import RunSettings
from rewho.stages import export, run, train
from rewho.tables.project import build_steps, read_project

CROP = {
    "detector": {"kind": "replay"},
    "pose": {"kind": "detector"},
    "sampling": {"seconds": 0.5},
    "rules": {"min_width": 12, "min_confidence": 0.5},
    "screen": {"min_frames": 0},
}
TERMS = ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
TRAIN = {
    "model": {"embedding": 16, "input_size": [64, 32], "backbone": "squeezenet1_1", "pretrained": "none"},
    "sampler": {"batch": 8},
    "engine": {"device": "cpu", "precision": "32"},
    "data": {"workers": 0},
    "epochs": 1,
    "steps_per_epoch": 2,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with terms, into which the run writes; REWHO_CACHE is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWHO_CACHE", str(tmp_path / "cache"))
    Path("terms.yaml").write_text(yaml.safe_dump(dict.fromkeys(TERMS, "rendered people")))
    return tmp_path


def write_project(path: Path, **content) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_videos_become_a_gallery_and_a_repeated_run_does_nothing_until_there_is_more(place, capsys):
    pytest.importorskip("av", reason="PyAV is an extra")
    Path("videos").mkdir()
    write_street(Path("videos/door.mp4"), 6.0, people=5, size=(240, 426), seed=6)
    project = write_project(Path("shop.yaml"), videos=["videos"], terms="terms.yaml", out="shop", crop=CROP)
    assert cli.main(["run", project, "--plan"]) == 0
    planned = capsys.readouterr().out
    assert "missing   crop" in planned and "rewho gallery create --model starter" in planned
    assert "rewho gallery group shop/gallery && rewho gallery calibrate shop/gallery" in planned
    assert "less than a minute of one core" in planned and "about 1 min" not in planned
    assert not Path("shop").exists()

    assert cli.main(["run", project]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "shop/index.html"
    with Gallery(Path("shop/gallery")) as gallery:
        seen = gallery.stats()["sightings"]
    assert seen > 1
    page = Path("shop/index.html").read_text()
    for words in (
        "rewho gallery search shop/gallery",
        "rewho serve shop/gallery",
        "crop/index.html",
        "can raise its scores",
        f"<h1>shop: {seen} sightings of people",
        f"The gallery has {seen} sightings of people",
        "see it with rewho serve shop/gallery",
        "rewho gallery search shop/gallery --sightings 1",
    ):
        assert words in page
    before = stamps(Path("shop/crop")) | stamps(Path("shop/gallery"))

    assert cli.main(["run", project]) == 0
    assert "crop: shop/crop is finished" in capsys.readouterr().err
    assert stamps(Path("shop/crop")) | stamps(Path("shop/gallery")) == before
    assert cli.main(["run", project, "--plan"]) == 0
    assert capsys.readouterr().out.count("finished") == 2

    write_street(Path("videos/yard.mp4"), 6.0, people=5, size=(240, 426), seed=7)
    assert cli.main(["run", project]) == 0
    assert "0 videos are taken from shop/crop: files of detections may have changed" in capsys.readouterr().err
    assert {path.name for path in Path("shop").iterdir()} >= {"crop", "crop-2", "gallery"}
    assert not Path("shop/gallery-2").exists(), "the same gallery gets what is new"
    with Gallery(Path("shop/gallery")) as gallery:
        assert gallery.stats()["sightings"] > seen


def test_the_same_videos_never_enter_a_gallery_twice(place, capsys):
    pytest.importorskip("av", reason="PyAV is an extra")
    write_street(Path("door.mp4"), 6.0, people=5, size=(240, 426), seed=6)
    crop = {name: CROP[name] for name in ("sampling", "rules", "screen")}
    project = write_project(Path("shop.yaml"), videos=["door.mp4"], terms="terms.yaml", out="shop", crop=crop)
    assert cli.main(["run", project, "--detector", "replay", "--pose", "detector"]) == 0, capsys.readouterr().err
    before = stamps(Path("shop/crop")) | stamps(Path("shop/gallery"))
    capsys.readouterr()
    assert cli.main(["run", project]) == 0
    said = capsys.readouterr().err
    assert "detector replay is kept, as in shop/crop; for hog, choose another --out" in said
    assert "crop: shop/crop is finished" in said

    others = ["--detector", "hog", "--pose", "none", "--override", "crop.rules.min_confidence=0.6"]
    shutil.copy("door.mp4", "renamed.mp4")
    assert cli.main(["run", project, *others, "--plan"]) == 0
    assert "warning: this plan cannot be run yet: shop/gallery" in capsys.readouterr().err
    for videos in ("door.mp4", "renamed.mp4"):
        write_project(Path("shop.yaml"), videos=[videos], terms="terms.yaml", out="shop", crop=crop)
        assert cli.main(["run", project, *others]) == 2
        said = capsys.readouterr().err
        assert "twice (detector.kind: 'replay' -> 'hog'; pose.kind: 'detector' -> 'none'; rules.min_confidence" in said
        repeat = "Repeat --detector replay --pose detector --override crop.rules.min_confidence=0.5, or choose another"
        assert repeat in said and videos in said
    assert stamps(Path("shop/crop")) | stamps(Path("shop/gallery")) == before
    assert not Path("shop/crop-2").exists()

    with Gallery(Path("shop/gallery")) as gallery:
        gallery.erasure.forget(source=1)
    assert cli.main(["run", project, *others, "--plan"]) == 0
    assert "cannot be run" not in capsys.readouterr().err, "nothing of them is in the gallery any more"


def test_labelled_people_become_a_tested_and_exported_model(place, people, capsys):
    pytest.importorskip("onnxscript", reason="the extra `export`")
    project = write_project(
        Path("lab.yaml"),
        data=str(people),
        out="lab",
        train=TRAIN,
        evaluate={"engine": {"device": "cpu"}, "sheets": 0, "attention": 0, "data": {"workers": 0}},
    )
    assert cli.main(["run", project]) == 0
    assert (place / "lab/export/model.onnx").is_file()
    page = (place / "lab/index.html").read_text()
    assert "evaluate/index.html" in page
    # Two steps of training on ten people make the starter worse, so that the export is of the starter.
    assert "Export and gallery use starter, which has the highest mAP" in page
    source = json.loads((place / "lab/export/model.json").read_text())["export"]["source_sha256"]
    assert source == hash_file(shipped_models()["starter"] / "model.safetensors")
    before = stamps(place / "lab/train") | stamps(place / "lab/export") | stamps(place / "lab/evaluate")
    assert cli.main(["run", project]) == 0
    assert stamps(place / "lab/train") | stamps(place / "lab/export") | stamps(place / "lab/evaluate") == before

    capsys.readouterr()
    assert cli.main(["run", project, "--override", "train.steps_per_epoch=3"]) == 0
    assert {path.name for path in Path("lab").iterdir()} >= {"train", "train-2", "evaluate", "evaluate-2"}
    assert not Path("lab/export-2").exists(), "the same model is not exported again"
    assert stamps(place / "lab/train").items() <= before.items(), "the earlier run stays"


def test_an_interrupted_run_continues_where_it_was(place, people, monkeypatch, capsys):
    project = write_project(Path("lab.yaml"), data=str(people), out="lab", train=TRAIN, export="yes")
    real = export.run

    def stopped(settings):
        raise Interrupted("half of it is kept")

    overrides = ["--override", "evaluate.sheets=0", "evaluate.attention=0", "evaluate.engine.device=cpu"]
    monkeypatch.setattr(export, "run", stopped)
    assert cli.main(["run", project, *overrides]) == 75
    assert "not yet" in Path("lab/index.html").read_text()
    monkeypatch.setattr(export, "run", real)
    capsys.readouterr()
    assert cli.main(["run", project, *overrides]) == 0
    said = capsys.readouterr().err
    assert "train: lab/train is finished" in said and "export: writes to lab/export" in said


def test_a_training_that_was_stopped_before_it_had_a_model_is_taken_up(place, people, monkeypatch, capsys):
    project = write_project(
        Path("both.yaml"), data=str(people), crops=[str(people / "query")], terms="terms.yaml", out="both", train=TRAIN
    )

    def stopped(settings):
        (settings.out / "checkpoints").mkdir(exist_ok=True)
        raise Interrupted("half of it is kept")

    monkeypatch.setattr(train, "run", stopped)
    assert [cli.main(["run", project]) for _ in range(2)] == [75, 75], capsys.readouterr().err
    assert {path.name for path in Path("both").iterdir()} == {"train"}, "it resumes in the same folder"


def test_every_step_is_checked_before_the_first_runs(place, people):
    with pytest.raises(UserError, match="epochs"):
        run.run(RunSettings(data=people, out=place / "out", override=("train.epochs=0",)))
    assert not (place / "out" / "train").exists()


def test_a_data_set_without_a_test_part_is_not_evaluated_and_the_page_says_how(place, people):
    only = place / "people"
    shutil.copytree(people / "bounding_box_train", only / "bounding_box_train")
    project = read_project(RunSettings(data=only))
    assert [step.name for step in build_steps(project, tested=False)] == ["train", "export"]


@pytest.mark.parametrize("given", [["door.mp4"], ["--crops", "photos"]])
def test_missing_terms_are_said_by_the_plan_too_and_a_refused_run_leaves_no_folder(place, people, capsys, given):
    Path("photos").symlink_to(people / "query")
    write_street(Path("door.mp4"), 1.0, people=1, size=(64, 64), seed=6)
    assert cli.main(["run", *given, "--plan"]) == 0
    said = capsys.readouterr().err
    assert "warning: this plan cannot be run yet: terms: expected what a data sheet" in said
    assert ("hog found 58 %" in said) == (given == ["door.mp4"])
    assert cli.main(["run", *given]) == 2
    said = capsys.readouterr().err
    assert "nothing on name, source" in said and "pass --terms terms.yaml." in said
    assert not Path("runs").exists()
    assert cli.main(["run", *given, "--plan", "--terms", "terms.yaml"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_steps_refer_to_what_they_need():
    everything = RunSettings(
        videos=(Path("a.mp4"),), data=Path("people"), pretrain=True, adapt=True, distill=True, detector="x.onnx"
    )
    steps = {step.name: step for step in build_steps(read_project(everything), tested=True)}
    assert list(steps) == [
        *("crop", "pretrain", "train", "adapt", "teachers", "represent", "distill", "evaluate", "export", "gallery")
    ]
    assert steps["crop"].settings["detector.weights"] == "x.onnx"
    assert {name: steps[name].needs() for name in ("pretrain", "train", "adapt", "distill", "export", "gallery")} == {
        "pretrain": ["crop"],
        "train": ["pretrain"],
        "adapt": ["crop", "train"],
        "distill": ["adapt", "represent"],
        "export": ["best"],
        "gallery": ["best", "crop"],
    }
    assert steps["evaluate"].settings["model"] == ["starter", "{train}", "{adapt}", "{distill}"]


def test_a_section_decides_over_what_is_chosen_automatically():
    def cropped(**section):
        sections = {"crop": section}
        project = replace(read_project(RunSettings(videos=(Path("a.mp4"),))), sections=sections)
        return build_steps(project, tested=False)[0].settings

    assert cropped(detector="yolox-s")["detector.kind"] == "yolox-s"
    given = cropped(**{"pose.weights": "p.onnx"})
    assert (given["pose.kind"], given["pose.weights"]) == ("onnx", "p.onnx")


def test_the_command_line_decides_over_the_file_and_a_section_asks_for_its_step(place):
    project = write_project(Path("p.yaml"), crops=["photos"], out="a", adapt={"epochs": 2}, seconds=2)
    read = read_project(RunSettings(videos=(Path(project),), out=Path("b")))
    assert (read.settings.out, read.settings.seconds, read.settings.adapt) == (Path("b"), 2, True)
    assert read.sections["adapt"] == {"epochs": 2}
    assert replace(read.settings, videos=()).crops == (Path("photos"),)


def test_people_to_test_on_may_be_asked_for_beside_a_file_that_names_the_data(place, people, capsys):
    project = write_project(Path("p.yaml"), data=str(people), out="a", train=TRAIN)
    assert cli.main(["run", project, "--hold_out", "2", "--plan"]) == 0
    assert "--data.hold_out 2" in capsys.readouterr().out
    unlabelled = write_project(Path("q.yaml"), crops=[str(people)], out="b")
    assert cli.main(["run", unlabelled, "--hold_out", "2", "--plan"]) == 2
    assert "without labelled people" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"video": ["a.mp4"]}, "videos"),
        ({"videos": ["a.mp4"], "terms": {"name": "x"}}, "Write `terms: VALUE`"),
        ({"videos": ["a.mp4"], "seconds": -1}, "seconds"),
        ({"distill": True, "videos": ["a.mp4"]}, "without labelled people"),
        ({"adapt": True, "data": "people"}, "without videos"),
    ],
)
def test_mistakes_in_a_project_name_what_to_write(place, capsys, content, words):
    assert cli.main(["run", write_project(Path("p.yaml"), **content)]) == 2
    assert words in capsys.readouterr().err


def test_wrong_overrides_and_nothing_to_do_are_refused(place, capsys):
    assert cli.main(["run"]) == 2 and "rewho run VIDEOS" in capsys.readouterr().err
    assert cli.main(["run", "a.mp4", "--override", "trian.epochs=2"]) == 2 and "train" in capsys.readouterr().err
    assert cli.main(["run", "a.mp4", "--override", "train"]) == 2 and "STEP.OPTION" in capsys.readouterr().err
