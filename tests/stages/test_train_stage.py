"""The training stage: folder contract, skipping, resuming, refusing what does not fit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from quick_settings import quick
from rewho import cli
from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import find_damage
from rewho.models.weights import load_model
from rewho.settings import AugmentSettings, DataSettings, SamplerSettings
from rewho.stages import train
from rewho.training.log import read_log


def test_the_model_folder_is_complete(model, people):
    loaded, card = load_model(model)
    record = json.loads((model / MANIFEST).read_text())
    assert find_damage(model) is None
    assert card["trained_on"]["images"] == record["counts"]["training_images"] > 0
    assert 0 <= card["metrics"]["rendered-people"]["mAP"] <= 1
    assert record["settings"]["model"]["backbone"] == "squeezenet1_1"
    assert record["counts"]["steps"] == 6
    steps = [line for line in read_log(model) if "learning_rate" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert loaded(torch.zeros(1, 3, 64, 32, dtype=torch.uint8)).shape == (1, 16)
    best = load_model(model / "best")[1]
    assert best["metrics"]["rendered-people"]["mAP"] == record["counts"]["best_mAP"]
    assert best["chosen"]["last_epoch"] == record["counts"]["figures"]
    assert best["chosen"]["epoch"] == record["counts"]["best_epoch"]
    assert "chosen on the test part" in best["chosen"]["how"]
    assert "chosen" not in load_model(model)[1]


def test_a_finished_run_is_skipped(model, people, capsys):
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    train.run(quick(people, model))
    assert "is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in model.rglob("*")} == before


@pytest.mark.parametrize("finished", [True, False])
def test_changed_settings_or_data_are_refused_with_a_diff(model, people, tmp_path, finished):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    if not finished:
        (folder / MANIFEST).unlink()
    with pytest.raises(UserError, match="epochs 1: expected no fewer" if finished else "epochs: 2 -> 1"):
        train.run(quick(people, folder, epochs=1))
    other = tmp_path / "people"
    shutil.copytree(people, other)
    next((other / "bounding_box_train").iterdir()).unlink()
    with pytest.raises(UserError, match=r"inputs\.data"):
        train.run(quick(other, folder))
    moved = tmp_path / "moved"
    shutil.copytree(people, moved)
    train.run(quick(moved, folder))  # the same images in another place are the same data


def test_another_list_is_other_data_and_the_same_list_elsewhere_is_not(people, tmp_path):
    of_files = [file.name[:4] for file in (people / "bounding_box_train").glob("*.jpg")]
    ids = sorted(set(of_files))
    lists = [tmp_path / name for name in ("first.txt", "moved.txt", "other.txt")]
    for file, listed in zip(lists, (ids[:4], ids[:4], ids[1:5]), strict=True):
        file.write_text("\n".join(listed))

    def settings(file):
        data = DataSettings(root=people, share_list=file, workers=0)
        return quick(people, tmp_path / "out", data=data, epochs=1, steps_per_epoch=1, evaluate_every=-1)

    out = train.run(settings(lists[0]))
    assert load_model(out)[1]["trained_on"]["images"] == sum(name in ids[:4] for name in of_files)
    train.run(settings(lists[1]))
    with pytest.raises(UserError, match=r"inputs\.data"):
        train.run(settings(lists[2]))


def test_an_allowed_change_is_logged_and_goes_on(model, people, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / MANIFEST).unlink()
    train.run(quick(people, folder, epochs=3, allow_config_change=True))
    assert "epochs: 2 -> 3" in capsys.readouterr().err
    assert json.loads((folder / MANIFEST).read_text())["counts"]["steps"] == 9


def test_no_resume_refuses_an_interrupted_run(model, people, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(UserError, match="--resume false"):
        train.run(quick(people, folder, resume=False))


def test_the_result_does_not_depend_on_workers_or_memory(model, people, tmp_path):
    folder = train.run(quick(people, tmp_path / "model", data=DataSettings(root=people, workers=2, memory_gb=0)))
    left, right = load_file(model / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": SamplerSettings("identities", batch=8, images_per_identity=2)},
        {"sampler": SamplerSettings(batch=8, accumulate=2)},
        {"augment": AugmentSettings(colour=0.2, rotation=10)},
        {"augment": AugmentSettings(erase_fill="noise")},
        {"model": {"view": "up1", "input_size": (64, 64)}},
        {"model": {"pooling": "gem"}},
        {"engine": {"precision": "bf16"}},
        {"optimizer": {"kind": "adam", "schedule": "cosine", "warmup_epochs": 0.5}},
        {"loss": {"label_smoothing": 0.1, "smoothing_over": "others"}},
        {"data": {"hold_out": 3}},
        {"data": {"share": 0.5, "share_by": "images"}},
    ],
    ids=str,
)
def test_every_kind_of_option_trains(people, tmp_path, change):
    settings = quick(people, tmp_path / "model", epochs=1, evaluate_every=-1)
    (name, value), *_ = change.items()
    value = replace(getattr(settings, name), **value) if isinstance(value, dict) else value
    folder = train.run(replace(settings, **{name: value}))
    assert all(torch.isfinite(tensor).all() for tensor in load_file(folder / "model.safetensors").values())


def test_a_share_that_leaves_one_person_is_named(people, tmp_path):
    few = DataSettings(root=people, workers=0, share=0.125)
    with pytest.raises(UserError, match=r"two people to train on, got 1\.(.|\n)*--data\.share"):
        train.run(quick(people, tmp_path / "out", data=few))


def test_accumulation_adds_up_to_the_same_gradient(people, tmp_path):
    """Without batch normalisation the parts of a batch would add up exactly; with it they nearly do."""
    losses = []
    for parts in (1, 2):
        sampler = SamplerSettings(batch=8, accumulate=parts)
        folder = train.run(quick(people, tmp_path / str(parts), epochs=1, sampler=sampler, evaluate_every=-1))
        losses.append([line["total"] for line in read_log(folder) if "learning_rate" in line])
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.05)


def test_sigterm_saves_and_the_same_command_goes_on(people, tmp_path, capfd):
    command = [sys.executable, "-m", "rewho", "train", "--data.root", str(people), "--out", str(tmp_path / "model")]
    command += ["--data.workers", "2", "--model.embedding", "16", "--model.input_size", "64", "32"]
    command += ["--model.pretrained", "none"]
    command += ["--sampler.batch", "8", "--engine.device", "cpu", "--epochs", "8", "--evaluate_every", "-1"]
    log = tmp_path / "model" / "log.jsonl"
    # To the whole group, workers too, as terminals and schedulers do it.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (log.is_file() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 75, errors
    assert "run the same command again" in errors and str(tmp_path / "model") in errors
    assert cli.main(command[3:]) == 0
    said = capfd.readouterr()
    assert "resuming after step" in said.err
    assert said.out.strip() == str(tmp_path / "model")
    assert cli.main([*command[3:], "--out", str(tmp_path / "straight"), "--data.workers", "0"]) == 0
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "straight"))
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16", "fp16"])
def test_trains_on_a_gpu(people, tmp_path, precision):
    settings = quick(people, tmp_path / "model")
    folder = train.run(replace(settings, engine=replace(settings.engine, device="cuda", precision=precision)))
    assert all(torch.isfinite(tensor).all() for tensor in load_file(folder / "model.safetensors").values())


def scaled_norm(settings, model, identities):
    """Build a loss without parameters: the mean square of the embeddings."""

    class Norm(torch.nn.Module):
        def forward(self, features, labels):
            return features.compared[0].square().mean()

    return Norm()


def test_a_loss_of_ones_own_is_logged_and_belongs_to_the_run(people, tmp_path):
    settings = quick(people, tmp_path / "run", epochs=1, evaluate_every=-1)
    train.run(settings, losses={"norm": (0.01, scaled_norm)})
    steps = [line for line in read_log(tmp_path / "run") if "learning_rate" in line]
    assert all(abs(line["total"] - line["identity"] - 0.01 * line["norm"]) < 1e-4 for line in steps)
    with pytest.raises(UserError, match=r"loss norm: 'weight 0\.01' -> 'weight 0\.02'"):
        train.run(settings, losses={"norm": (0.02, scaled_norm)})
