"""Recipes and the command line become settings; every mistake is reported at once, with the nearest name."""

import inspect
from pathlib import Path

import pytest
import yaml

from rewho import settings as all_settings
from rewho.cli import COMMANDS
from rewho.core.check import UserError
from rewho.settings import (
    AdaptSettings,
    CompareSettings,
    CropSettings,
    CropsSettings,
    DemoSettings,
    EmbedSettings,
    EvaluateSettings,
    PretrainSettings,
    TrainSettings,
)
from rewho.settings.command_line import fill, parse, parse_command
from rewho.settings.fields import Command, options_of, raise_all
from rewho.settings.help import help_text
from rewho.settings.initial import read_architecture
from rewho.settings.recipe import read_recipe
from rewho.settings.words import read_words

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_command_line_overrides_recipe_overrides_default(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("epochs: 7\nsampler: {batch: 16}\nmodel: {input_size: [128, 64], pretrained: none}\n")
    got = parse(TrainSettings, ["--recipe", str(recipe), "--sampler.batch", "8", "--out", "x"])
    assert (got.epochs, got.sampler.batch, got.model.input_size, got.out) == (7, 8, (128, 64), Path("x"))
    assert got.optimizer == TrainSettings().optimizer


@pytest.mark.parametrize("name", sorted(name for name, kind in COMMANDS.items() if kind.command.required))
def test_what_a_command_cannot_do_without_is_asked_for_at_once_with_an_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no ./data and no ./images there
    command = COMMANDS[name].command
    with pytest.raises(UserError) as raised:
        parse_command(COMMANDS[name], ["--nonsense", "3"], complete=True)
    assert "--nonsense" in str(raised.value) and f"`rewho {command.examples[0]}`" in str(raised.value)
    assert parse_command(COMMANDS[name], ["--print_config"], complete=True) is None
    words = read_words(command.examples[0].split()[1:], dict(options_of(COMMANDS[name])), command)
    assert set(command.required.split()) <= set(words.values)


def test_a_default_that_lies_there_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert parse_command(TrainSettings, [], complete=True).settings.data.root == Path("data")


def test_initial_weights_that_are_no_folder_bring_no_architecture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text('{"settings": {"model": {"pretrained": "none", "backbone": "resnet18"}}}')
    values = {"model.pretrained": "none", "out": str(tmp_path)}
    assert read_architecture("train", values, dict(options_of(TrainSettings))) == ({}, "")


def test_a_recipe_extends_another_and_its_smoke_variant_wins(tmp_path):
    (tmp_path / "below.yaml").write_text("epochs: 80\nseed: 3\nsmoke: {epochs: 1, seed: 9}\n")
    (tmp_path / "above.yaml").write_text("extends: below.yaml\nepochs: 24\nsmoke: {seed: 4}\n")
    assert read_recipe(tmp_path / "above.yaml") == {"epochs": 24, "seed": 3}
    assert read_recipe(tmp_path / "above.yaml", smoke=True) == {"epochs": 1, "seed": 4}


def test_all_mistakes_at_once_with_the_nearest_name(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("epoks: 7\noptimizer: {learning_rat: 1}\n")
    with pytest.raises(UserError) as error:
        parse(TrainSettings, ["--recipe", str(recipe), "--data.rot", "x"])
    for near in ("epochs", "optimizer.learning_rate", "data.root"):
        assert f"nearest: {near}" in str(error.value)


@pytest.mark.parametrize(
    ("word", "near"),
    [("--queu", "contrast.queue"), ("--bathc_size", "sampler.batch"), ("--learning_rat", "optimizer.learning_rate")],
)
def test_a_name_without_its_group_is_answered_with_the_whole_name(word, near):
    with pytest.raises(UserError, match=f"{word}: .* an unknown option .nearest: {near}[)]"):
        parse(PretrainSettings, [word, "1"])


def test_a_misspelt_recipe_is_answered_with_the_one_beside_it(tmp_path):
    (tmp_path / "moco-small.yaml").write_text("epochs: 7\n")
    with pytest.raises(UserError, match=r"Did you mean .*moco-small\.yaml\?"):
        read_recipe(tmp_path / "moco-smal.yaml")
    with pytest.raises(UserError, match="Check the path"):
        read_recipe(tmp_path / "elsewhere" / "moco-smal.yaml")


def test_a_short_name_is_taken_where_the_command_has_the_option():
    got = parse(TrainSettings, ["--init", "none"])
    assert got is not None
    assert got.model.pretrained == "none"
    with pytest.raises(UserError, match=r"--init: .* an unknown option"):
        parse(DemoSettings, ["--init", "none"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--epochs", "ten"], "a whole number"),
        (["--optimizer.learning_rate", "fast"], "a number"),
        (["--resume=perhaps"], "true or false"),
        (["people", "--resume", "perhaps"], "true or false"),
        (["--epochs"], "a value"),
        (["data", "--epochs", "1", "2"], "one value"),
        (["--smoke"], "--recipe"),
        (["--recipe", "nowhere.yaml"], "nothing readable"),
    ],
)
def test_wrong_values(arguments, says):
    with pytest.raises(UserError, match=says):
        parse(TrainSettings, arguments)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [1,\n", "\x00"])
def test_files_that_are_no_recipes(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError):
        parse(TrainSettings, ["--recipe", str(tmp_path / "r.yaml")])


def test_lists_and_bare_flags():
    got = parse(EvaluateSettings, ["--model", "a", "b c", "--data", "d", "--data", "e", "--rerank", "--flip", "false"])
    assert got.model == (Path("a"), Path("b c"))
    assert got.data.root == (Path("d"), Path("e"))
    assert got.rerank and not got.flip


def test_negative_numbers_are_values():
    assert parse(TrainSettings, ["--evaluate_every", "-1"]).evaluate_every == -1


def test_a_recipe_of_another_command_is_named(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("about: {command: rewho distill --recipe r.yaml}\nmimic: {alpha: 1}\n")
    with pytest.raises(UserError, match=r"expected a recipe for `rewho train`, got one for `rewho distill`"):
        parse(TrainSettings, ["--recipe", str(recipe)])


def test_printed_settings_are_a_recipe(tmp_path, capsys):
    assert parse(TrainSettings, ["--epochs", "3", "--print_config"]) is None
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert parse(TrainSettings, ["--recipe", str(printed)]) == parse(TrainSettings, ["--epochs", "3"])


def test_every_option_of_every_command_is_explained():
    assert len(COMMANDS) >= 14
    for settings in COMMANDS.values():
        text = help_text(settings, everything=True)
        assert all(f"--{name}" in text for name, _ in options_of(settings))
    assert parse(DemoSettings, ["--help"]) is None


def test_help_does_not_depend_on_the_indentation_of_docstrings(monkeypatch):
    """The compiler of Python 3.13 strips it."""
    before = help_text(TrainSettings, everything=True)
    for settings in (value for name, value in vars(all_settings).items() if name.endswith("Settings")):
        monkeypatch.setattr(settings, "__doc__", inspect.cleandoc(settings.__doc__))
    assert help_text(TrainSettings, everything=True) == before


@pytest.mark.parametrize("recipe", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_a_document_with_a_smoke_variant(recipe):
    about = yaml.safe_load(recipe.read_text())["about"]
    assert set(about) == {"claim", "command", "cost", "expected"} and all(about.values())
    if recipe.parent.name == "tables":  # documents of another kind, see tests/stages/test_table_stage.py
        return
    if "--recipe" in about["command"]:
        assert f"--recipe {recipe.relative_to(RECIPES.parent).as_posix()}" in about["command"]
    words = about["command"].split()
    command = words[1] if words[0] == "rewho" else "train"
    kind = COMMANDS[command]
    full, smoke = (parse(kind, ["--recipe", str(recipe), *more]) for more in ([], ["--smoke"]))
    assert full != smoke
    if hasattr(full, "epochs"):
        fewest = 2 if kind is AdaptSettings else 1  # what the first epoch of an adaptation found is used in the second
        assert full.epochs > smoke.epochs == fewest
    if kind is TrainSettings:
        assert smoke.model.pretrained == "none"


@pytest.mark.parametrize(
    ("settings", "positional", "words", "expected"),
    [
        (CropSettings, ["videos"], "--out x a.mp4 b.mp4", {"out": "x", "videos": ["a.mp4", "b.mp4"]}),
        (CropSettings, ["videos"], "a.mp4 --out x b.mp4", {"out": "x", "videos": ["a.mp4", "b.mp4"]}),
        (CropSettings, ["videos"], "--videos a.mp4 --out x b.mp4", {"out": "x", "videos": ["a.mp4", "b.mp4"]}),
        (CropSettings, ["videos"], "--retry a.mp4", {"retry": "true", "videos": ["a.mp4"]}),
        (CropSettings, ["videos"], "--retry false a.mp4", {"retry": "false", "videos": ["a.mp4"]}),
        (
            CropSettings,
            ["videos"],
            "--recipe r.yaml --print_config a.mp4",
            {"print_config": "true", "videos": ["a.mp4"]},
        ),
        (CompareSettings, ["images"], "--model M a.jpg b.jpg", {"model": "M", "images": ["a.jpg", "b.jpg"]}),
        (CompareSettings, ["images"], "a.jpg --model M b.jpg", {"model": "M", "images": ["a.jpg", "b.jpg"]}),
        (EmbedSettings, ["images"], "--out x --model M in", {"out": "x", "model": "M", "images": "in"}),
        (
            PretrainSettings,
            ["data.root"],
            "--model.input_size 64 32 a b",
            {"model.input_size": ["64", "32"], "data.root": ["a", "b"]},
        ),
        (CropsSettings, ["action", "folders"], "--out x export a b", {"action": "export", "folders": ["a", "b"]}),
        (CropsSettings, ["action", "folders"], "export --out x a b", {"action": "export", "folders": ["a", "b"]}),
    ],
)
def test_words_without_a_name_may_stand_anywhere(settings, positional, words, expected):
    assert settings.command.positional.split() == positional
    read = read_words(words.split(), dict(options_of(settings)), settings.command)
    assert {name: value for name, value in read.values.items() if name in expected} == expected
    assert not read.mistakes


@pytest.mark.parametrize(
    ("settings", "positional", "words", "says"),
    [
        (DemoSettings, "", "--out my runs", r"--out: expected one value, got 'runs' behind it.*\n.*quote"),
        (DemoSettings, "", "runs --out x", r"options that begin with --, got 'runs'"),
        (EmbedSettings, "images", "my images", r"--images: expected one value, got 'my' and 'images'.*\n.*quote"),
        (EmbedSettings, "images", "--images my images", r"--images: expected one value, got 'my' and 'images'"),
        (CropSettings, "videos", "a.mp4 --recipe", r"--recipe: expected a value, got none"),
    ],
)
def test_words_too_many_are_refused(settings, positional, words, says):
    with pytest.raises(UserError, match=says):
        raise_all(read_words(words.split(), dict(options_of(settings)), Command("x", "", positional)).mistakes)


def test_groups_keep_the_defaults_of_the_command():
    for name in ("TrainSettings", "PretrainSettings", "DistillSettings", "TeachersSettings", "CropSettings"):
        kind = getattr(all_settings, name)
        assert fill(kind, {}, "command") == kind()
    assert parse(PretrainSettings, ["--model.backbone", "resnet18"]).model.head == "none"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("yes", "yes"), ("'yes'", "yes"), ("007", "007"), ("12", "12"), ("1:30", "1:30"), ("null", None)],
)
def test_plain_words_of_a_recipe_are_taken_as_they_stand(tmp_path, text, pattern):
    (tmp_path / "r.yaml").write_text(f"model: {{extra_bn: yes}}\ndata: {{person_pattern: {text}}}\nresume: off\n")
    got = parse(TrainSettings, ["--recipe", str(tmp_path / "r.yaml")])
    assert (got.model.extra_bn, got.data.person_pattern, got.resume) == ("yes", pattern, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: {view: true}", "--model.view: expected text, got True"),
        ("model: {view: 1e3}", "--model.view: expected text, got 1000.0"),
        ("out: [a]", "--out: expected a path"),
        ("epochs: yes", "--epochs: expected a whole number from 1, got 'yes'"),
        ("epochs: 3.0", "--epochs: expected a whole number from 1, got 3.0"),
        ("epochs: true", "--epochs: expected a whole number from 1, got True"),
        ("epochs: 99999999999999999999", "--epochs: expected a whole number from 1, below 2.63"),
        ("resume: 1", "--resume: expected true or false, got 1"),
        ("resume: maybe", "--resume: expected true or false, got 'maybe'"),
        ("epochs:", "--epochs: expected a whole number from 1, got None"),
        ("epochs: x\nseed: y", "(?s)2 options.*--epochs 'x'.*--seed 'y'"),
        ("model: {input_size: [[1], 2]}", "--model.input_size: expected"),
        ('out: ""', "--out: expected a path, got ''"),
    ],
)
def test_values_of_another_kind_are_named_with_what_to_write(tmp_path, text, says):
    (tmp_path / "r.yaml").write_text(text + "\n")
    with pytest.raises(UserError, match=says):
        parse(TrainSettings, ["--recipe", str(tmp_path / "r.yaml")])


@pytest.mark.parametrize("word", ["[a]", "{a: 1}", "a: b", "~", "'x'", "1e3", "- a", "!!str", "[", "{"])
def test_words_for_paths_and_text_are_taken_literally(word):
    got = parse(EvaluateSettings, ["--data", word, "--out", word])
    assert (got.data.root, got.out) == ((Path(word),), Path(word))
    assert parse(TrainSettings, ["--model.view", word]).model.view == word
