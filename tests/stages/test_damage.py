"""Damage is found where it is first read, never certified; two commands never write into one folder."""

import json
import os
import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fake_people import FakePeople, settings, write_videos

from quick_settings import CPU, quick, teacher_settings
from rewho.core.artifact import MANIFEST, verify_hash, write_json
from rewho.core.check import UserError
from rewho.core.lock import LOCK, Lock
from rewho.core.record import find_damage
from rewho.core.shipped import CARD, TENSORS
from rewho.core.stage import Stage
from rewho.crops.shards import CropSet
from rewho.models.heads import build_classifier
from rewho.models.initial import load_initial_weights
from rewho.models.kinds import build_model
from rewho.models.weights import CLASSIFIER, SUMS, load_classifier, load_model
from rewho.settings import (
    EmbedSettings,
    EvaluateSettings,
    ExplainSettings,
    ExportSettings,
    ModelSettings,
    RepresentSettings,
    TableSettings,
)
from rewho.stages import crop, embed, evaluate, explain, export, represent, table, teachers, train
from rewho.tasks.unlabelled import open_images


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


@pytest.fixture
def copy(model, tmp_path) -> Path:
    """A copied model folder: the weights and their description alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (CARD, TENSORS, CLASSIFIER):
        shutil.copy(model / name, folder / name)
    return folder


def test_no_flipped_bit_of_a_models_weights_is_loaded(copy, capsys):
    load_model(copy)
    assert "cannot be checked" not in capsys.readouterr().err
    whole, draw = (copy / TENSORS).read_bytes(), random.Random(1)
    for _ in range(25):
        flip(copy / TENSORS, draw.randrange(len(whole)))
        with pytest.raises(UserError, match=r"model\.safetensors: expected the file whose hash is in model\.json"):
            load_model(copy)
        (copy / TENSORS).write_bytes(whole)
    flip(copy / CLASSIFIER, 200)
    with pytest.raises(UserError, match=r"classifier\.safetensors: expected the file"):
        load_classifier(copy, build_classifier("linear", 16, 8))


def test_an_encoder_that_is_damaged_is_not_begun_from(copy, model):
    flip(copy / TENSORS, 100_000)
    given = json.loads((model / MANIFEST).read_text())["settings"]["model"]["backbone"]
    for pretrained in (copy, copy / TENSORS):
        network = build_model(ModelSettings(backbone=given, pretrained=str(pretrained)), (64, 32))
        with pytest.raises(UserError, match="damaged, or from another run"):
            load_initial_weights(network)


def test_weights_that_cannot_be_checked_are_announced(copy, capsys):
    card = json.loads((copy / CARD).read_text())
    del card[SUMS]
    (copy / CARD).write_text(json.dumps(card))
    load_model(copy)
    assert f"{CARD} holds no hash of {TENSORS}, which cannot be checked" in capsys.readouterr().err


def test_a_finished_training_without_its_model_is_not_finished(model, people, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / TENSORS).unlink()
    with pytest.raises(UserError, match=r"got model\.safetensors is missing"):
        train.run(quick(people, folder))


def test_a_description_that_was_changed_after_the_run_is_announced(model, tmp_path, capsys):
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / CARD).write_text((folder / CARD).read_text().replace("0.485", "0.435"))
    load_model(folder)
    assert "model.json is not the file that the run wrote" in capsys.readouterr().err


def test_the_best_model_is_whole_or_absent(model):
    assert find_damage(model / "best") is None


def test_representations_that_were_damaged_meanwhile_are_made_again(people, experts, tmp_path, monkeypatch):
    given = RepresentSettings((experts,), tmp_path / "said", quick(people, tmp_path).data, engine=CPU, batch=16)
    whole = represent.run(replace(given, out=tmp_path / "whole"))
    finish = represent.write_index
    monkeypatch.setattr(represent, "write_index", lambda *_: 1 / 0)  # stands in for a kill before the end
    with pytest.raises(ZeroDivisionError):
        represent.run(given)
    monkeypatch.setattr(represent, "write_index", finish)
    flip(given.out / "up1.npy", 300)
    represent.run(given)
    assert (given.out / "up1.npy").read_bytes() == (whole / "up1.npy").read_bytes()
    assert find_damage(given.out) is None


def test_a_pretraining_reads_no_flipped_crop(tmp_path):
    made = crop.run(settings(write_videos(tmp_path / "videos", 1), tmp_path / "crops"), FakePeople())
    crops = CropSet.open(made)
    file = made / crops.contents.shards[0].images
    flip(file, file.read_bytes().index(crops.bytes(5)) + 100)
    images = open_images([made])
    images[4]
    with pytest.raises(UserError, match="other bytes as crop 5"):
        images[5]
    flip(made / crops.contents.shards[0].rows, 700)
    with pytest.raises(UserError, match="the rows that were written"):
        open_images([made])


def test_a_finished_crop_set_without_a_shard_is_not_finished(tmp_path):
    given = settings(write_videos(tmp_path / "videos", 1), tmp_path / "crops")
    crops = CropSet.open(crop.run(given, FakePeople()))
    (crops.folder / crops.contents.shards[0].images).unlink()
    with pytest.raises(UserError, match="expected a whole crop set"):
        crop.run(given, FakePeople())


def held_elsewhere(path: Path, run) -> str:
    """Return the error of a run while another thread holds a lock."""
    go, done = threading.Event(), threading.Event()

    def other():
        with Lock(path, "another run"):
            go.set()
            done.wait()

    thread = threading.Thread(target=other)
    thread.start()
    go.wait()
    try:
        with pytest.raises(UserError) as caught:
            run()
    finally:
        done.set()
        thread.join()
    return str(caught.value)


@pytest.mark.parametrize("name", ["train", "embed", "evaluate", "export", "explain", "represent", "teachers", "table"])
def test_every_command_that_writes_holds_the_lock_of_its_folder(name, people, model, experts, tmp_path):
    out, data = tmp_path / "out", quick(people, tmp_path).data
    images = people / "query"
    lock, run = (
        out / LOCK,
        {
            "train": lambda: train.run(quick(people, out)),
            "embed": lambda: embed.run(EmbedSettings(model=model, images=images, out=out, engine=CPU)),
            "evaluate": lambda: evaluate.run(EvaluateSettings(model=(model,), data=(people,), out=out, engine=CPU)),
            "export": lambda: export.run(ExportSettings(model=model, out=out)),
            "explain": lambda: explain.run(ExplainSettings(images=(images,), model=model, out=out, engine=CPU)),
            "represent": lambda: represent.run(RepresentSettings((experts,), out, data, engine=CPU)),
            "teachers": lambda: teachers.run(teacher_settings(people, out)),
            "table": lambda: table.run(TableSettings(name="fd7", data=data, out=out)),
        }[name],
    )
    if name == "table":
        lock = out / "tables" / "fd7" / LOCK
    assert f"one writer at a time, got another writer: process {os.getpid()}" in held_elsewhere(lock, run)
    assert not lock.exists()
    assert [file for file in out.rglob("*") if file.is_file()] == []


def test_a_crop_set_of_videos_whose_names_are_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    videos = write_videos(tmp_path / "videos", 2)
    try:
        (videos / "v000.mp4").rename(videos / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    from rewho.settings import CropsSettings
    from rewho.stages import crops

    made = crop.run(settings(videos, tmp_path / "crops"), FakePeople())
    assert len(CropSet.open(made)) == 24
    assert "caf\\udce9.mp4" in (made / "index.html").read_text(encoding="utf-8")
    shard = CropSet.open(made).contents.shards[0]
    flip(made / shard.images, 3000)
    assert "every byte" in str(crops.run(CropsSettings("verify", (made,), repair=True), FakePeople()))
    other = crop.run(settings(write_videos(tmp_path / "more", 3), tmp_path / "other"), FakePeople())
    merged = crops.run(CropsSettings("merge", (made, other), out=tmp_path / "merged"))
    assert "every byte" in str(crops.run(CropsSettings("verify", (merged,))))


def as_another_user(work) -> str:
    """Return what `work` says when it is run by a user who is not root."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = str(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        return answer.read()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_user_who_may_not_write_or_read_is_told_so(tmp_path):
    for folder in (tmp_path, *(above for above in tmp_path.parents if "pytest-of" in above.as_posix())):
        folder.chmod(0o755)
    stage = Stage(tmp_path / "out", "embed", {}, {})
    said = as_another_user(stage.begin)
    assert said.startswith(f"UserError: --out {stage.folder}: expected a folder that can be written to"), said
    stage.begin()
    result = write_json(stage.folder / "sums.json", {"sha256": {"result": "0"}})
    stage.finish([result], {}, 1)
    assert as_another_user(stage.begin) == "finished", "what is finished needs no lock"
    (stage.folder / "result").touch(mode=0o600)
    said = as_another_user(lambda: verify_hash(stage.folder / "result", "sums.json"))
    assert said.startswith("UserError: ") and "got Permission denied" in said, said
