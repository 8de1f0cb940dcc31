"""What a run is held to: the contents of its images, the length of its epochs, what only its beginning settles."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_pretrain_stage import settings as pretraining

from quick_settings import distilling, quick
from rewho.core.artifact import MANIFEST, hash_file
from rewho.core.check import UserError
from rewho.core.record import STARTED
from rewho.core.shipped import CARD, TENSORS
from rewho.embedding.embedder import load
from rewho.models.weights import SUMS
from rewho.settings import (
    DataSettings,
    DeviceSettings,
    EmbedSettings,
    EvaluateSettings,
    ExplainSettings,
    LossSettings,
    SamplerSettings,
)
from rewho.stages import distill, embed, evaluate, explain, pretrain, train

TRIPLETS = LossSettings(triplet=1.0)


def replace_one(folder, mode="*.jpg"):
    """Change one byte of an image and keep its name, size and times."""
    file = sorted(folder.rglob(mode))[0]
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return file


@pytest.fixture
def moved(people, tmp_path):
    return shutil.copytree(people, tmp_path / "people")


@pytest.mark.parametrize("stage", ["evaluate", "embed", "explain", "pretrain", "train"])
def test_images_replaced_under_their_names_are_noticed(model, moved, tmp_path, stage, capsys):
    out, device = tmp_path / "out", DeviceSettings("cpu")
    query = moved / "query"
    settings, run, part = {
        "evaluate": (
            EvaluateSettings((model,), (moved,), out, sheets=0, attention=0, engine=device),
            evaluate.run,
            query,
        ),
        "embed": (EmbedSettings(query, model, out, engine=device), embed.run, query),
        "explain": (ExplainSettings((query,), model, out, engine=device), explain.run, query),
        "pretrain": (pretraining(moved, out, epochs=1, steps_per_epoch=1), pretrain.run, moved / "bounding_box_train"),
        "train": (quick(moved, out), train.run, query),
    }[stage]
    if stage == "train":
        shutil.copytree(model, out)
    else:
        run(settings)
    run(settings)
    assert "is finished; nothing to do" in capsys.readouterr().err
    replace_one(part)
    with pytest.raises(UserError, match=r"inputs\.(images|crops)[ \d]*: '\w{12}…' -> '\w{12}…'"):
        run(settings)


def unfinished(model, folder):
    """A run as it was after its last checkpoint, step 6 of 2 epochs."""
    shutil.copytree(model, folder)
    (folder / MANIFEST).unlink()
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": SamplerSettings(batch=16), "steps_per_epoch": 0}, r"epoch: '3 steps' -> '2 steps'"),
        ({"steps_per_epoch": 2, "epochs": 9}, r"epoch: '3 steps' -> '2 steps'"),
        ({"data": {"share": 0.25}, "steps_per_epoch": 0}, r"epoch: '3 steps' -> '1 steps'"),
        ({"model": {"pixel_mean": (0.4, 0.4, 0.4)}, "epochs": 9}, r"model\.pixel_mean: "),
        ({"model": {"pretrained": "imagenet"}, "epochs": 9}, r"inputs\.model\.pretrained: 'none' -> 'imagenet'"),
        ({"epochs": 1}, "2 finished epochs of --epochs 1"),
        ({"optimizer": {"weight_decay": 0.1}}, "2 finished epochs of --epochs 2"),
    ],
    ids=str,
)
def test_changes_that_cannot_take_effect_are_refused_and_leave_the_run(model, people, tmp_path, change, said):
    folder = unfinished(model, tmp_path / "model")
    start, before = quick(people, folder), (folder / STARTED).read_bytes()
    changed = {
        name: replace(getattr(start, name), **value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    with pytest.raises(UserError, match=said):
        train.run(replace(start, **changed, allow_config_change=True))
    assert (folder / STARTED).read_bytes() == before
    train.run(start)
    assert (folder / MANIFEST).is_file()


def test_a_last_epoch_that_was_not_evaluated_has_no_figures_of_another(model, people, tmp_path):
    folder = unfinished(model, tmp_path / "model")
    changes = {"epochs": 3, "evaluate_every": -1, "steps_per_epoch": 3, "allow_config_change": True}
    train.run(quick(people, folder, **changes))
    assert json.loads((folder / CARD).read_text())["metrics"] == {"rendered-people": {}}
    assert "last_epoch" not in json.loads((folder / "best" / CARD).read_text())["chosen"]


def test_pre_training_and_distillation_refuse_another_length_of_epochs_too(people, model, representations, tmp_path):
    first = pretraining(people, tmp_path / "encoder", epochs=1, steps_per_epoch=1)
    (pretrain.run(first) / MANIFEST).unlink()
    with pytest.raises(UserError, match="'1 steps' -> '2 steps'"):
        pretrain.run(replace(first, epochs=3, steps_per_epoch=2, allow_config_change=True))
    start = distilling(people, model, representations, tmp_path / "out", epochs=1, steps_per_epoch=1, evaluate_every=-1)
    (distill.run(start) / MANIFEST).unlink()
    for change, said in (({"steps_per_epoch": 2}, "'1 steps' -> '2 steps'"), ({"classifier": "new"}, "classifier: ")):
        with pytest.raises(UserError, match=said):
            distill.run(replace(start, **change, epochs=3, allow_config_change=True))


def test_triplets_without_positives_are_refused_before_anything_is_written(people, tmp_path):
    out = tmp_path / "out"
    for sampler in (SamplerSettings(batch=8), SamplerSettings("identities", batch=8, images_per_identity=1)):
        for loss in (TRIPLETS, replace(TRIPLETS, identity=0.0)):
            with pytest.raises(UserError, match=r"--loss\.triplet: expected batches of several images"):
                train.run(quick(people, out, sampler=sampler, loss=loss))
    single = tmp_path / "single"
    files = sorted((people / "bounding_box_train").glob("*.jpg"))
    for file in {file.name[:4]: file for file in files}.values():
        (single / file.name[:4]).mkdir(parents=True)
        shutil.copy(file, single / file.name[:4])
    pairs = SamplerSettings("identities", batch=8, images_per_identity=2)
    with pytest.raises(UserError, match="one image of each of 8 identities"):
        train.run(quick(single, out, data=DataSettings(root=single, workers=0), sampler=pairs, loss=TRIPLETS))
    assert not out.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named_where_they_are_loaded(model, people, representations, tmp_path, value):
    broken = shutil.copytree(model, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[name].view(-1)[7] = value
    save_file(tensors, broken / "model.safetensors")
    card = json.loads((broken / CARD).read_text())
    card[SUMS][TENSORS] = hash_file(broken / TENSORS)  # as a training that diverged would leave it
    (broken / CARD).write_text(json.dumps(card))
    (broken / MANIFEST).unlink()
    torch.save({key.removeprefix("backbone."): t for key, t in tensors.items()}, tmp_path / "backbone.pth")
    said = rf"expected finite numbers, got NaN or infinity in 1 tensor: [\w.]*{name.removeprefix('backbone.body.')}"
    with pytest.raises(UserError, match=r"broken/model\.safetensors.*" + said):
        load(broken, "cpu")
    with pytest.raises(UserError, match=r"broken/model\.safetensors.*" + said):
        distill.run(distilling(people, broken, representations, tmp_path / "out"))
    for first in (broken, tmp_path / "backbone.pth"):
        given = quick(people, tmp_path / "out")
        with pytest.raises(UserError, match=said):
            train.run(replace(given, model=replace(given.model, pretrained=str(first))))
