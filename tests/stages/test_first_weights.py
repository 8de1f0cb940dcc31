"""Where a training begins: from the first weights until there is a checkpoint, and from no others in the same folder."""

import shutil

import pytest
import torch
from cut_runs import differing_files

from conftest import CPU, quick
from rewho.core.settings import (
    ContrastSettings,
    ModelSettings,
    PretrainPictureSettings,
    PretrainSettings,
    SamplerSettings,
)
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
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
        crops=(people,),
        model=ModelSettings(**SMALL, pooling="gap", head="none", pretrained=str(first)),
        pictures=PretrainPictureSettings(workers=0),
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
