"""The recipes of LUPerson: what they set is what the presets are, and each method trains."""

from dataclasses import replace
from pathlib import Path

import pytest

from rewho import cli
from rewho.core.config import parse
from rewho.core.settings import PretrainSettings, TrainSettings
from rewho.data.contrast_augment import CONTRAST_PRESETS
from rewho.models.weights import read_card

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "luperson"
FOLDER = {path.stem for path in RECIPES.glob("*.yaml")}
METHODS = ("ide", "trip", "mgn", "bdb", "bot")
ENCODERS = sorted(name for name in FOLDER if name.startswith("moco-"))
PRETRAININGS = sorted(name for name in FOLDER if name.startswith(("moco-", "table")))
PRESETS = {  # of those that the final setting, -CJ+RE, is not the one of
    "table2-default": "default",
    "table2-re": "+RE",
    "table2-no-gs": "-GS",
    "table2-no-gb": "-GB",
    "table2-no-cj": "-CJ",
    "table3-area-0.0": "area 0",
    "table3-area-0.2": "area 0.2",
    "table3-area-0.4": "area 0.4",
    "table3-area-0.6": "area 0.6",
    "table3-area-0.8": "area 0.8",
    "moco-person-crops": "person",
}


def settings(name: str, kind=PretrainSettings):
    return parse(kind, ["--recipe", str(RECIPES / f"{name}.yaml")], "pretrain")


def test_the_tests_sweep_every_recipe_of_the_folder():
    assert len(ENCODERS) == 7
    assert len(PRETRAININGS) == 7 + 6 + 5 + 6 + 4  # encoders, and those of tables 2, 3, 4 and 7
    assert {*PRETRAININGS, *METHODS, *(f"{method}-fast" for method in METHODS), "crops"} == FOLDER


@pytest.mark.parametrize("recipe", [name for name in PRETRAININGS if name != "moco-small"])  # whose views are its own
def test_augmentation_recipes_are_the_presets(recipe):
    assert settings(recipe).augment == CONTRAST_PRESETS[PRESETS.get(recipe, "-CJ+RE")]


@pytest.mark.parametrize("layers", [18, 50, 101])
def test_the_papers_encoders_differ_in_their_backbone_alone(layers):
    got, final = settings(f"moco-r{layers}"), settings("moco-r50")
    assert got == replace(final, model=replace(final.model, backbone=f"resnet{layers}"))


def test_temperatures_and_shares_of_the_tables():
    for temperature in (0.03, 0.05, 0.07, 0.1, 0.2, 0.3):
        assert settings(f"table4-temperature-{temperature}").contrast.temperature == temperature
    assert [settings(f"table7-share-{s}").pictures.share for s in ("12.5", "25", "50", "100")] == [0.125, 0.25, 0.5, 1]


def test_the_papers_eight_devices_normalise_320_pictures_each():
    paper, small = settings("moco-r50"), settings("moco-small")
    assert (paper.sampler.batch, paper.contrast.norm_group) == (8 * 320, 320)
    assert small.sampler.batch % small.contrast.norm_group == 0


def test_the_transformer_has_the_rates_and_the_stability_of_moco_v3():
    vit = settings("moco-vit-s")
    assert (vit.contrast.freeze_patches, vit.contrast.head_norm) == (True, True)
    assert (vit.contrast.momentum, vit.contrast.momentum_schedule) == (0.99, "cosine")
    assert (vit.optimizer.kind, vit.optimizer.weight_decay, vit.optimizer.warmup_epochs) == ("adamw", 0.1, 40)
    assert (vit.optimizer.learning_rate, vit.contrast.reference_batch) == (1.5e-4, 256)
    assert vit.sampler.batch % vit.contrast.norm_group == 0


def test_mgn_is_frozen_while_the_rate_warms_up():
    optimizer = settings("mgn", TrainSettings).optimizer
    assert (optimizer.freeze_epochs, optimizer.warmup_epochs, optimizer.flat_epochs) == (10, 10, 30)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_from_a_pretrained_encoder(people, tmp_path, method):
    encoder, out = tmp_path / "encoder", tmp_path / method
    common = ["--smoke", "--engine.device", "cpu"]
    words = ["pretrain", str(people), "--recipe", str(RECIPES / "moco-r50.yaml"), "--out", str(encoder), *common]
    assert cli.main([*words, "--pictures.workers", "0"]) == 0
    words = ["train", "--recipe", str(RECIPES / f"{method}.yaml"), "--data.root", str(people), "--out", str(out)]
    words += ["--model.pretrained", str(encoder), "--data.workers", "0", "--evaluate_every", "0"]
    assert cli.main([*words, *common]) == 0
    card = read_card(out)
    assert card["architecture"]["extra_bn"] == "yes"
    assert next(iter(card["metrics"].values()))["mAP"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*ENCODERS, "table2-default"])
def test_other_encoders_are_pretrained(people, tmp_path, recipe):
    words = ["pretrain", str(people), "--recipe", str(RECIPES / f"{recipe}.yaml"), "--smoke"]
    assert cli.main([*words, "--out", str(tmp_path / "out"), "--engine.device", "cpu", "--pictures.workers", "0"]) == 0
    assert read_card(tmp_path / "out")["provenance"]["labels"] is False
