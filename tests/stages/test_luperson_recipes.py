"""The recipes of LUPerson: what they set is what the presets are, and each method trains."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rewho import cli
from rewho.data.contrast_augment import CONTRAST_PRESETS
from rewho.models.weights import read_card
from rewho.settings import PretrainSettings, TrainSettings
from rewho.settings.command_line import fill, parse
from rewho.settings.recipe import read_recipe
from rewho.tables.plan import read_plan

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "luperson"
FOLDER = {path.stem for path in RECIPES.glob("*.yaml")}
METHODS = ("ide", "trip", "mgn", "bdb", "bot")
ENCODERS = sorted(name for name in FOLDER if name.startswith("moco-"))
TABLES = ("luperson2", "luperson3", "luperson4", "luperson7")
PRESETS = {  # of those that differ from the final setting, -CJ+RE
    "table2-default": "default",
    "table2-re": "+RE",
    "table2-no-gs": "-GS",
    "table2-no-gb": "-GB",
    "table2-no-cj": "-CJ",
    "table3-area-0.2": "area 0.2",
    "table3-area-0.4": "area 0.4",
    "table3-area-0.8": "area 0.8",
    "moco-person-crops": "person",
}


def settings(name: str, kind=PretrainSettings):
    return parse(kind, ["--recipe", str(RECIPES / f"{name}.yaml")])


def steps_of_tables():
    """Return the settings of every pre-training of the papers' tables, by the step's name."""
    plans = [read_plan(RECIPES / "tables" / f"{name}.yaml") for name in TABLES]
    steps = {name: step for plan in plans for name, step in plan.steps.items() if step.stage == "pretrain"}
    return {
        name: fill(PretrainSettings, read_recipe(step.recipe) | step.settings, "pretrain")
        for name, step in steps.items()
    }


def test_the_tests_sweep_every_recipe_of_the_folder():
    assert len(ENCODERS) == 7
    assert {*ENCODERS, *METHODS, *(f"{method}-fast" for method in METHODS), "crops"} == FOLDER


def test_augmentations_are_the_presets():
    swept = {name: settings(name) for name in ENCODERS if name != "moco-small"} | steps_of_tables()  # small: its own
    assert len(swept) == 6 + 5 + 3 + 5 + 3  # encoders, and those of tables 2, 3, 4 and 7
    for name, got in swept.items():
        assert got.augment == CONTRAST_PRESETS[PRESETS.get(name, "-CJ+RE")], name


PAPER = {  # LUPerson, sections 4.3, 5.1 and 5.2, and the methods' own papers
    "moco-r50": """
        --epochs 200 --sampler.kind shuffle --sampler.batch 2560 --contrast.reference_batch 2560
        --contrast.queue 65536 --contrast.momentum 0.999 --contrast.momentum_schedule constant
        --contrast.temperature 0.07 --contrast.projection 128 --contrast.head_norm no
        --optimizer.kind sgd --optimizer.learning_rate 0.3 --optimizer.momentum 0.9 --optimizer.nesterov no
        --optimizer.weight_decay 0.0001 --optimizer.schedule cosine --optimizer.warmup_epochs 0
        --model.backbone resnet50 --model.stride_one_at none --model.input_size 256 128 --model.pretrained none""",
    "ide": """
        --epochs 60 --sampler.kind shuffle --sampler.batch 32 --loss.identity 1 --loss.triplet 0
        --optimizer.kind sgd --optimizer.learning_rate 0.05 --optimizer.nesterov yes --optimizer.weight_decay 0.0005
        --optimizer.schedule steps --optimizer.step_epochs 40 --optimizer.step_factor 0.1 --optimizer.warmup_epochs 0
        --augment.flip 0.5 --augment.crop_padding 10 --augment.erase 0
        --model.kind single_view --model.backbone resnet50 --model.input_size 256 128""",
    "trip": """
        --sampler.kind identities --sampler.batch 64 --sampler.images_per_identity 4
        --loss.identity 0 --loss.triplet 1 --loss.margin 0.3 --loss.triplet_distance euclidean
        --model.kind single_view --model.backbone resnet50 --model.input_size 256 128""",
    "mgn": """
        --epochs 60 --sampler.kind identities --sampler.batch 64 --sampler.images_per_identity 16
        --loss.identity 0.125 --loss.triplet 0.2 --loss.label_smoothing 0.1
        --loss.classifier circle --loss.circle_scale 64 --loss.circle_margin 0.35
        --optimizer.kind adam --optimizer.learning_rate 0.00035 --optimizer.weight_decay 0.0005
        --optimizer.schedule cosine --optimizer.warmup_epochs 10 --optimizer.freeze_epochs 10 --optimizer.flat_epochs 30
        --model.kind mgn --model.backbone resnet50 --model.embedding 2048 --model.input_size 384 128""",
    "bdb": """
        --epochs 400 --sampler.kind identities --sampler.batch 128 --sampler.images_per_identity 4
        --loss.identity 1 --loss.triplet 1 --loss.margin 0 --loss.label_smoothing 0.1
        --optimizer.kind adam --optimizer.learning_rate 0.001 --optimizer.warmup_epochs 50
        --optimizer.schedule steps --optimizer.step_epochs 200 300 --optimizer.step_factor 0.1
        --augment.erase 0.5 --augment.erase_aspect 1
        --model.kind bdb --model.backbone resnet50 --model.embedding 1536 --model.input_size 384 128""",
    "bot": """
        --epochs 120 --sampler.kind identities --sampler.batch 64 --sampler.images_per_identity 4
        --loss.identity 1 --loss.triplet 1 --loss.margin 0.3 --loss.label_smoothing 0.1
        --optimizer.kind adam --optimizer.learning_rate 0.00035 --optimizer.weight_decay 0.0005
        --optimizer.schedule steps --optimizer.step_epochs 40 70 --optimizer.step_factor 0.1
        --optimizer.warmup_epochs 10 --augment.flip 0.5 --augment.crop_padding 10
        --augment.erase 0.5 --augment.erase_area_low 0.02 --augment.erase_area_high 0.4
        --model.kind single_view --model.head bn --model.backbone resnet50 --model.input_size 256 128""",
}


@pytest.mark.parametrize("recipe", PAPER)
def test_the_papers_constants_change_nothing_in_the_presets(recipe):
    kind = TrainSettings if recipe in METHODS else PretrainSettings
    words = ["--recipe", str(RECIPES / f"{recipe}.yaml"), *PAPER[recipe].split(), "--engine.precision", "32"]
    assert parse(kind, words) == settings(recipe, kind)


def test_cutout_of_bdb_is_a_square_of_64_pixels():
    bdb = settings("bdb", TrainSettings)
    height, width = bdb.model.input_size
    assert bdb.augment.erase_area_low == bdb.augment.erase_area_high == pytest.approx(64**2 / (height * width))


@pytest.mark.parametrize("layers", [18, 50, 101])
def test_the_papers_encoders_differ_in_their_backbone_alone(layers):
    got, final = settings(f"moco-r{layers}"), settings("moco-r50")
    assert got == replace(final, model=replace(final.model, backbone=f"resnet{layers}"))


def test_pretrainings_of_a_table_differ_in_one_setting():
    final = settings("moco-r50")
    for name, got in steps_of_tables().items():
        wanted = replace(final, augment=got.augment)  # see above
        if name.startswith("table4"):
            wanted = replace(final, contrast=replace(final.contrast, temperature=float(name.split("-")[-1])))
        if name.startswith("table7"):
            wanted = replace(final, data=replace(final.data, share=float(name.split("-")[-1]) / 100))
        if name == "moco-r101":
            wanted = replace(final, model=replace(final.model, backbone="resnet101"))
        assert got == wanted, name


def test_the_papers_eight_devices_normalise_320_images_each():
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


def test_the_comparison_of_beginnings_says_what_it_takes():
    done = subprocess.run(["sh", str(RECIPES / "few-labels.sh"), "only"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: sh ") and "IMAGES DATA OUT" in done.stderr


def test_every_command_of_the_comparison_of_beginnings_is_understood(tmp_path, monkeypatch, capsys):
    (tmp_path / "rewho").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/typed\n')
    (tmp_path / "rewho").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("IMAGENET", "imagenet")
    subprocess.run(["sh", str(RECIPES / "few-labels.sh"), "people", "people", "out", "--seed", "4"], check=True)
    commands = (tmp_path / "typed").read_text().splitlines()
    assert len(commands) == 1 + 3 * 4 * 3 and len(set(commands)) == len(commands)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = command.replace("--model.pretrained out/encoder", "--model.pretrained none").split()
        assert cli.main([*words, "--print_config"]) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_from_a_pretrained_encoder(people, tmp_path, method):
    encoder, out = tmp_path / "encoder", tmp_path / method
    common = ["--smoke", "--engine.device", "cpu"]
    words = ["pretrain", str(people), "--recipe", str(RECIPES / "moco-r50.yaml"), "--out", str(encoder), *common]
    assert cli.main([*words, "--data.workers", "0"]) == 0
    words = ["train", "--recipe", str(RECIPES / f"{method}.yaml"), "--data.root", str(people), "--out", str(out)]
    words += ["--model.pretrained", str(encoder), "--data.workers", "0", "--evaluate_every", "0"]
    assert cli.main([*words, *common]) == 0
    card = read_card(out)
    assert card["architecture"]["extra_bn"] == "yes"
    assert next(iter(card["metrics"].values()))["mAP"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ENCODERS)
def test_other_encoders_are_pretrained(people, tmp_path, recipe):
    words = ["pretrain", str(people), "--recipe", str(RECIPES / f"{recipe}.yaml"), "--smoke"]
    assert cli.main([*words, "--out", str(tmp_path / "out"), "--engine.device", "cpu", "--data.workers", "0"]) == 0
    assert read_card(tmp_path / "out")["provenance"]["labels"] is False
