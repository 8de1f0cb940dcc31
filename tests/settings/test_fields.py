"""Every field says what it may be, and a command refuses all wrong values at once, before it reads anything."""

import importlib
import re
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest

from rewho import settings as all_settings
from rewho.cli import COMMANDS, main
from rewho.core.check import UserError
from rewho.settings import (
    AugmentSettings,
    EvaluateSettings,
    ModelSettings,
    RuleSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.settings.command_line import fill, parse
from rewho.settings.fields import (
    Range,
    annotations_of,
    check,
    find_metadata,
    find_mismatch,
    is_list,
    options_of,
    plain_type,
)

CLASSES = [value for name, value in vars(all_settings).items() if name.endswith("Settings")]


def number(kind: Any) -> bool:
    """Whether an option holds numbers."""
    plain = plain_type(kind)
    return plain in (int, float) or (is_list(plain) and plain_type(plain.__args__[0]) in (int, float))


@pytest.mark.parametrize("settings", CLASSES)
def test_every_number_has_a_range(settings):
    for name, kind in annotations_of(settings).items():
        assert number(kind) == (find_metadata(kind, Range) is not None), name


@pytest.mark.parametrize("settings", CLASSES)
def test_the_defaults_are_right(settings):
    check(settings())


def wrong_value(kind: Any) -> object:
    """Return a value that an option of this kind cannot have."""
    plain = plain_type(kind)
    if is_list(plain):
        return (wrong_value(plain.__args__[0]),)
    if plain in (int, float):
        return -7 if find_metadata(kind, Range) else float("nan")
    return {bool: "perhaps", str: 7, Path: 7}.get(plain, "nonsense")


def planted(settings: Any) -> Any:
    """Return settings with a wrong value in every field."""
    new = {}
    for name, kind in annotations_of(type(settings)).items():
        new[name] = planted(getattr(settings, name)) if is_dataclass(kind) else wrong_value(kind)
    return replace(settings, **new)


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if list(options_of(kind))])
def test_python_refuses_a_wrong_value_in_every_field_at_once(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = COMMANDS[command]
    with pytest.raises(UserError) as error:
        importlib.import_module(f"rewho.stages.{command}").run(planted(kind()))
    options = [name for name, _ in options_of(kind)]
    assert options
    for option in options:
        assert re.search(f"--{re.escape(option)}[ :]", str(error.value)), option
    assert str(error.value).count("expected") == len(options) + (len(options) > 1)  # several have a common first line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_refuses_a_wrong_value_in_every_field_at_once(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = dict(options_of(COMMANDS[command]))
    # any text is a path or a text, so only the others can be wrong here
    typed = {name for name, kind in options.items() if number(kind) or plain_type(kind) is bool}
    typed |= {name for name, kind in options.items() if get_origin(plain_type(kind)) is Literal}
    assert main([command, *(f"--{name}=-7.5x" for name in typed)]) == (2 if typed else 0)
    said = capsys.readouterr().err
    for option in typed:
        assert f"--{option}" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_ranges_by_hand():
    assert all(Range(1).holds(value) for value in (1, 2, 10**400))
    assert not any(Range(0).holds(value) for value in (-1, -1e-9, float("nan"), float("inf")))
    assert Range(0, 1).holds(0) and not Range(0, 1, above=True).holds(0) and not Range(0, 1).holds(1.001)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("pretrain", "--data.workers -1"),
        ("pretrain", "--engine.threads -1"),
        ("pretrain", "--contrast.projection 0"),
        ("pretrain", "--contrast.reference_batch -5"),
        ("pretrain", "--contrast.temperature 0"),
        ("pretrain", "--data.share 0"),
        ("train", "--epochs 0"),
        ("train", "--model.kind bdb --model.embedding -3"),
        ("train", "--model.kind mgn --model.embedding 12"),
        ("train", "--model.pooling_kernel 0"),
        ("train", "--optimizer.halve_every 0"),
        ("train", "--optimizer.momentum 2"),
        ("train", "--optimizer.learning_rate nan"),
        ("train", "--optimizer.learning_rate .inf"),
        ("train", "--optimizer.nesterov true --optimizer.momentum 0"),
        ("train", "--checkpoint.keep 0"),
        ("train", "--checkpoint.every_epochs 0"),
        ("train", "--sampler.batch 32 --sampler.accumulate 5"),
        ("train", "--sampler.kind identities --sampler.batch 30"),
        ("distill", "--mimic.dropout 1"),
        ("crop", "--rules.max_ratio 1"),
        ("evaluate", "--k2 30"),
        ("demo", "--identities 1"),
    ],
)
def test_what_ruined_runs_or_ended_in_tracebacks(command, wrong, capsys):
    assert main([command, *wrong.split()]) == 2
    said = capsys.readouterr().err
    option = wrong.split()[-2]
    assert f"--{option.lstrip('-')}" in said and "expected" in said and "Fix: " in said and "Traceback" not in said


@pytest.mark.parametrize(
    "legal",
    [
        "--evaluate_every -1 --steps_per_epoch 0",
        "--data.workers 0 --engine.threads 0 --data.hold_out 0",
        "--optimizer.momentum 0 --checkpoint.spike_factor 0",
        "--optimizer.kind adam --optimizer.nesterov true --optimizer.momentum 0",
        "--augment.erase_area_high 0 --augment.erase_area_low 0",
    ],
)
def test_the_ends_of_the_ranges_are_in_them(legal):
    assert parse(TrainSettings, legal.split()) is not None


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UserError) as error:
        parse(
            TrainSettings,
            [
                "--seed",
                "-1",
                "--epochs=0",
                "--data.share=0",
                "--model.input_size=[64, 0]",
                "--augment.erase_area_high=0",
            ],
        )
    assert str(error.value).splitlines() == [
        "5 options: expected values that their options can have, got these:",
        "  --epochs 0: expected a whole number from 1",
        "  --seed -1: expected a whole number from 0 to 9,223,372,036,854,775,807",
        "  --data.share 0.0: expected a number above 0, at most 1",
        "  --augment.erase_area_high 0.0: expected at least erase_area_low, which is 0.02",
        "  --model.input_size 64 0: expected each a whole number from 1 to 10,000.",
        "  Fix: Choose a value in the range. To erase nothing, pass --augment.erase 0; else lower "
        "--augment.erase_area_low too.",
    ]


def test_a_recipe_is_held_to_the_ranges_too(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("optimizer: {momentum: 2}\ndata: {share: 0}\n")
    with pytest.raises(UserError, match="unknown"):
        parse(EvaluateSettings, ["--recipe", str(recipe)])
    recipe.write_text("data: {share: 0}\n")
    with pytest.raises(UserError, match=r"--data\.share: expected a number above 0, at most 1, got 0"):
        parse(EvaluateSettings, ["--recipe", str(recipe)])


def test_groups_of_settings_are_named_as_their_caller_names_them():
    with pytest.raises(UserError, match=r"^augment\.flip: "):
        check(AugmentSettings(flip=2), "augment.")
    with pytest.raises(UserError, match=r"^rules\.max_ratio: expected at least min_ratio, which is 9, got 5"):
        fill(RuleSettings, {"min_ratio": 9}, "crop, rules", "rules.")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, int, "a whole number"),
        (1.0, int, "a whole number"),
        ("3", int, "a whole number"),
        (float("nan"), float, "a number"),
        (3, float, ""),
        (None, Path | None, ""),
        ("x", Path | None, "a path"),
        (["a"], tuple[str, ...], "a tuple, each text"),
        ("a", tuple[str, ...], "a list, each text"),
        (("a", 3), tuple[str, ...], "each text"),
        ("c", Literal["a", "b"], "one of a, b"),
        ("nul\0", str, "text"),
    ],
)
def test_mismatches_by_hand(value, kind, expected):
    assert find_mismatch(value, kind) == expected


def test_unknown_names_and_wrong_values_are_reported_together():
    with pytest.raises(UserError) as error:
        parse(TrainSettings, ["--epoks", "3", "--epochs", "ten", "--model.kind", "mng"])
    assert all(words in str(error.value) for words in ("--epoks", "nearest: epochs", "--epochs 'ten'", "single_view"))


def test_yaml_yes_and_numbers_as_names_are_understood(tmp_path):
    (tmp_path / "r.yaml").write_text("model: {extra_bn: yes}\nengine: {precision: 32}\noptimizer: {learning_rate: 1}\n")
    got = parse(TrainSettings, ["--recipe", str(tmp_path / "r.yaml")])
    assert (got.model.extra_bn, got.engine.precision, got.optimizer.learning_rate) == ("yes", "32", 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": -0.1},
        {"crop_padding": -1},
        {"colour": 1.1},
        {"rotation": 181.0},
        {"erase": float("nan")},
        {"erase_area_low": -0.1},
        {"erase_area_low": 0.5, "erase_area_high": 0.4},
        {"erase_aspect": 0.0},
        {"erase_aspect": 2.0},
        {"erase_fill": "nois"},
    ],
)
def test_settings_out_of_range_are_named(change):
    with pytest.raises(UserError, match=rf"augment\.{list(change)[-1]}"):
        check(AugmentSettings(**change), "augment.")


def test_a_list_in_python_is_answered_with_the_tuple():
    with pytest.raises(UserError) as raised:
        check(TrainSettings(model=ModelSettings(input_size=[64, 32])))
    assert "expected a tuple, each a whole number" in str(raised.value)
    assert "In Python, pass (64, 32)." in str(raised.value)


@pytest.mark.parametrize("words", [["64,32"], ["64, 32"], ["64", "32"], ["[64,32]"], ["[64, 32]"]])
def test_whole_numbers_may_be_separated_by_commas(words):
    assert parse(TrainSettings, ["--model.input_size", *words]).model.input_size == (64, 32)


@pytest.mark.parametrize("words", ["64,", "64,,32", "64;32", "64x32", "0,5,"])
def test_no_number_is_guessed_between_commas(words):
    with pytest.raises(UserError, match=r"--model\.input_size"):
        parse(TrainSettings, ["--model.input_size", words])
    with pytest.raises(UserError, match=r"--optimizer\.step_epochs"):  # where 0,5 may be a half
        parse(TrainSettings, ["--optimizer.step_epochs", "0,5"])


@pytest.mark.parametrize("command", ["train", "teachers", "distill", "pretrain"])
@pytest.mark.parametrize(
    "words",
    [
        "--sampler.batch 8 --engine.devices 3",
        "--sampler.batch 8 --sampler.accumulate 2 --engine.devices 4",
        "--sampler.kind identities --sampler.batch 16 --sampler.images_per_identity 4 --engine.devices 4",
        "--sampler.kind identities --sampler.batch 16 --sampler.images_per_identity 4 --sampler.accumulate 4",
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_told_before_anything_is_read(command, words):
    with pytest.raises(UserError, match="per forward pass and device"):
        parse(COMMANDS[command], words.split())


def test_rules_between_groups_wait_for_sound_values():
    wrong = replace(TrainSettings(), sampler=SamplerSettings(batch="eight"))
    with pytest.raises(UserError, match=r"--sampler\.batch: expected a whole number from 2, got 'eight'"):
        check(wrong)
