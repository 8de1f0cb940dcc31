"""What `rewho look` answers for every kind of path; the commands that it proposes are understood."""

import json
import os
import shlex
import zipfile

import cv2
import numpy as np
import pytest

from rewho.cli import COMMANDS
from rewho.core.check import UserError
from rewho.core.record import STARTED
from rewho.gallery.gallery import Gallery
from rewho.inspection.answer import survey
from rewho.rendered import write_people
from rewho.settings.answers import LookSettings
from rewho.settings.command_line import parse
from rewho.stages import look
from small_gallery import TERMS, fill, make_model

CARD = {
    "architecture": {"kind": "single_view", "backbone": "resnet50"},
    "input_size": [256, 128],
    "embedding_size": 512,
    "parameters": 24_000_000,
    "trained_on": {"name": "market1501"},
}


def answer(path):
    text = look.run(LookSettings(path=path))
    for line in text.partition("next:\n")[2].splitlines():
        command, *words = shlex.split(line)[1:] if line.strip().startswith("rewho ") else ["", ""]
        if command:
            assert command in COMMANDS, line
            parse(COMMANDS[command], words)
    return text


def picture(path, height=64, width=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes())
    return path


def test_a_data_set_with_its_layout_counts_and_oddities(tmp_path):
    people = write_people(
        tmp_path / "people", identities=3, test_identities=2, cameras=2, images_per_camera=1, workers=0
    )
    text = answer(people)
    assert "a data set, rendered-people" in text and "\n  train: 6 images of 3 people from 2 cameras\n" in text
    assert "Only " in text and f"rewho train {people}" in text and f"rewho evaluate starter --data {people}" in text
    assert "Not read" not in text
    assert f"rewho look {people}" in answer(tmp_path)


def test_own_images_without_cameras_with_single_and_wide_and_damaged_images(tmp_path):
    picture(tmp_path / "anna" / "1.png")
    picture(tmp_path / "bert" / "1.png", 32, 64)
    (tmp_path / "bert" / "2.png").write_bytes(b"no image")
    text = answer(tmp_path)
    assert "2 of" not in text.split("odd:")[0]
    for words in ("Cameras are not known", "1 of 2 people have a single image", "as wide as high", "cannot be read"):
        assert words in text


def test_folders_with_names_of_cameras_are_not_people(tmp_path):
    for camera in ("cam1", "camera_2", "c3"):
        picture(tmp_path / "cams" / camera / "1.png")
    text = answer(tmp_path / "cams")
    assert "3 images in 3 folders with names of cameras" in text and "look like cameras, not people" in text
    assert "rewho train" not in text
    assert f"next:\n  rewho adapt {tmp_path / 'cams'} --recipe adapt/small --cameras folder" in text


def test_a_gallery_and_a_folder_of_runs_beside_their_figures(tmp_path):
    folder = tmp_path / "places"
    with Gallery.create(folder, make_model(tmp_path / "tiny"), terms=TERMS) as gallery:
        assert "Nothing has been added to it" in answer(folder) and f"rewho gallery add {folder}" in answer(folder)
        fill(gallery, np.eye(3, 16, dtype=np.float32))
    before = sorted(path.name for path in folder.iterdir())
    text = answer(folder)
    assert "a gallery" in text and "3 sightings with 3 crops from 3 cameras" in text
    assert f"rewho gallery search {folder} QUERY.jpg" in text
    assert sorted(path.name for path in folder.iterdir()) == before
    picture(tmp_path / "runs" / "first" / "figures" / "curve.png")
    (tmp_path / "runs" / "first" / STARTED).write_text("{}")
    assert "a folder of runs" in answer(tmp_path / "runs")
    (folder / "gallery.sqlite").write_bytes(b"no database" * 200)
    assert "a gallery that cannot be read" in answer(folder)


def test_evidence_is_checked_against_its_signature(tmp_path):
    with Gallery.create(tmp_path / "places", make_model(tmp_path / "tiny"), terms=TERMS) as gallery:
        fill(gallery, np.eye(3, 16, dtype=np.float32))
        case = gallery.cases.open("theft", "find the bag")
        gallery.cases.collect(case, [1, 2], "with the bag")
        file = gallery.cases.export(case, tmp_path / "case.zip")
    assert "evidence that a gallery exported" in answer(file) and "Every file is as it was" in answer(file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.jpg", b"not signed")
    assert "more.jpg is not ours." in answer(file)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
    assert "an archive" in answer(tmp_path / "other.zip")


def test_images_without_people(tmp_path):
    for number in range(3):
        picture(tmp_path / f"{number}.png")
    text = answer(tmp_path)
    assert "3 images" in text and "Not read as a data set" in text and "rewho search" in text
    assert f"rewho adapt {tmp_path} --recipe adapt/small" in text


def test_runs_models_and_embeddings(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    record = {
        "stage": "train",
        "settings": {"data": {"root": "people"}},
        "started": "2026-01-01",
        "command": ["rewho", "train", "people"],
    }
    (run / STARTED).write_text(json.dumps(record))
    assert "an unfinished run of `rewho train`" in answer(run) and "\n  rewho train people" in answer(run)
    (run / "model.json").write_text(json.dumps(CARD))
    (run / "manifest.json").write_text(json.dumps(record | {"counts": {"training_images": 7}}))
    text = answer(run)
    assert "a model, from a finished run" in text and "training images 7" in text and "model.safetensors" in text
    assert f"rewho evaluate {run} --data people" in text
    assert "a folder of runs" in answer(tmp_path)
    (run / "manifest.json").write_text("{")
    assert "damaged" in answer(run)
    made = tmp_path / "embedded"
    made.mkdir()
    np.save(made / "embeddings.npy", np.zeros((4, 8), np.float32))
    assert "embeddings of 4 images" in answer(made / "embeddings.npy")


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "a.csv",
        "a.txt",
        "a.yaml",
        "a.onnx",
        "a.safetensors",
        "a.pth",
        "a.npy",
        "a.zip",
        "a.json",
        "a.mp4",
        "a.heic",
        "a.xyz",
        "model.json",
        "index.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe garbage", b"a: [1, 2\n{", b"path,person\nx,y"])
def test_any_file_gets_an_answer(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert answer(tmp_path / name).startswith(f"{tmp_path / name}: ")
    assert answer(tmp_path).startswith(f"{tmp_path}: ")


def test_images_lists_recipes_and_weights(tmp_path):
    assert "an image, 64 x 32 pixels" in answer(picture(tmp_path / "p" / "x.png"))
    (tmp_path / "list.csv").write_text("path,person\np/x.png,anna\n")
    assert "a data set in a list" in answer(tmp_path / "list.csv")
    (tmp_path / "recipe.yaml").write_text("about: {command: rewho train --recipe x}\nepochs: 3\nsmoke: {epochs: 1}\n")
    assert "--smoke" in answer(tmp_path / "recipe.yaml")
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    assert "1 tensor, 6 numbers" in answer(tmp_path / "w.safetensors")


def test_what_is_not_there_is_an_error_with_the_nearest_name(tmp_path):
    (tmp_path / "people").mkdir()
    with pytest.raises(UserError, match="Did you mean 'people'"):
        answer(tmp_path / "peple")
    assert "an empty folder" in answer(tmp_path / "people")
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in answer(tmp_path / "pipe")


def test_a_large_folder_is_counted_up_to_a_limit(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.jpg").touch()
    found = survey(tmp_path, most=10)
    assert not found.whole and len(found.images) == 10 and survey(tmp_path).whole


def test_sub_folders_that_may_not_be_read_are_named(tmp_path, monkeypatch):
    picture(tmp_path / "open" / "a.jpg")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert survey(tmp_path).closed == ("closed/",) and survey(tmp_path).images == ["open/a.jpg"]
    assert "1 sub-folder may not be read, so that what is in there is not counted: closed/" in answer(tmp_path)


def test_videos_and_projects_are_answered_with_all_steps_at_once(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "door.mp4").write_bytes(b"\0" * 100)
    assert f"rewho run {tmp_path / 'videos'} --terms terms.yaml" in answer(tmp_path / "videos")
    (tmp_path / "shop.yaml").write_text("videos: [videos]\nterms: terms.yaml\n")
    text = answer(tmp_path / "shop.yaml")
    assert "a project" in text and f"rewho run {tmp_path / 'shop.yaml'} --plan" in text
