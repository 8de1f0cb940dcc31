"""Where a training begins: from the first weights until there is a checkpoint, and in one folder from no others."""

import shutil

import pytest
import torch
from cut_runs import differing_files
from safetensors.torch import save_file

from quick_settings import CPU, quick
from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import find_damage
from rewho.models.backbone import build_backbone
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import (
    ContrastSettings,
    ModelSettings,
    PretrainDataSettings,
    PretrainSettings,
    SamplerSettings,
)
from rewho.stages import pretrain, train

SMALL = {"backbone": "test_resnet", "embedding": 16, "input_size": (64, 32)}
ONE_STEP = {"epochs": 1, "steps_per_epoch": 1, "evaluate_every": -1}


def encoder(folder, seed):
    torch.manual_seed(seed)
    save_model(folder, build_model(ModelSettings(**SMALL, head="none", pretrained="none"), (64, 32)), ModelCard())
    return folder


def training(people, out, first):
    return train.run(quick(people, out, model=ModelSettings(**SMALL, pretrained=str(first)), **ONE_STEP))


def pretraining(people, out, first):
    settings = PretrainSettings(
        out=out,
        model=ModelSettings(**SMALL, pooling="gap", head="none", pretrained=str(first)),
        data=PretrainDataSettings((people,), workers=0),
        contrast=ContrastSettings(queue=16, norm_group=4, projection=16),
        sampler=SamplerSettings(batch=8),
        engine=CPU,
        **ONE_STEP,
    )
    return pretrain.run(settings)


@pytest.mark.parametrize("run", [training, pretraining])
def test_a_run_that_was_killed_within_its_first_save_begins_from_the_first_weights_again(people, tmp_path, run):
    first = encoder(tmp_path / "first", 1)
    whole, cut = run(people, tmp_path / "whole", first), tmp_path / "cut"
    (cut / "checkpoints" / ".aside-1-step-00000001").mkdir(parents=True)
    for name in ("run.json", "origin.json", "log.jsonl"):
        shutil.copy(whole / name, cut / name)
    assert differing_files(run(people, cut, first), whole) == []


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("run", [training, pretraining])
def test_other_first_weights_are_another_run(people, tmp_path, run, finished):
    first, other = encoder(tmp_path / "first", 1), encoder(tmp_path / "other", 2)
    out = run(people, tmp_path / "out", first)
    if not finished:
        (out / MANIFEST).unlink()
    for changed in (other, "none"):
        with pytest.raises(UserError, match=r"inputs\.model\.pretrained: '\w{12}…' -> '(\w{12}…|none)'"):
            run(people, out, changed)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("run", [training, pretraining])
def test_first_weights_may_be_moved_or_gone_once_a_run_has_begun(people, tmp_path, run, finished, capsys):
    first = encoder(tmp_path / "first", 1)
    out = run(people, tmp_path / "out", first)
    if not finished:
        (out / MANIFEST).unlink()
    moved = first.rename(tmp_path / "moved")
    assert find_damage(run(people, out, first)) is None
    assert f"nothing is left at {first}" in capsys.readouterr().err
    run(people, out, moved)
    assert "is finished" in capsys.readouterr().err
    plain = run(people, tmp_path / "plain", "none")
    with pytest.raises(UserError, match="nothing at"):
        run(people, plain, first)


def test_a_training_says_what_it_takes_for_granted_of_a_plain_file(people, tmp_path, capsys):
    file = tmp_path / "body.safetensors"
    save_file(build_backbone("test_resnet").body.state_dict(), file)
    training(people, tmp_path / "out", file)
    assert f"{file}: unknown whether learned with labels: no extra batch normalisation" in capsys.readouterr().err


def test_an_encoder_of_another_backbone_is_refused_before_anything_is_done(tmp_path):
    first, out = encoder(tmp_path / "first", 1), tmp_path / "out"
    settings = quick(
        tmp_path / "no-data", out, model=ModelSettings(**SMALL | {"backbone": "resnet18"}, pretrained=str(first))
    )
    with pytest.raises(UserError, match=r"expected test_resnet, which .*first was trained with, got resnet18"):
        train.run(settings)
    assert not out.exists()
