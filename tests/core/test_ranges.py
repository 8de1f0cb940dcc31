"""Every number among the settings has a range, and a command refuses all that are out of theirs before it reads."""

from dataclasses import fields
from typing import get_type_hints

import pytest

from rewho.cli import COMMANDS, main
from rewho.core import settings as all_settings
from rewho.core.check import UserError
from rewho.core.config import fill, options_of, parse
from rewho.core.settings import AugmentSettings, EvaluateSettings, RuleSettings, TrainSettings
from rewho.core.settings.ranges import RANGES, RELATIONS, Range, check_ranges

NUMBERS = (int, float, tuple[int, ...], tuple[float, ...])
CLASSES = [value for name, value in vars(all_settings).items() if name.endswith("Settings") and name != "LoopSettings"]
WITHOUT_RANGE: set[str] = set()  # "Class.option" of numbers that may be anything; there is none


def numeric_options(settings: type) -> set[str]:
    hints = get_type_hints(settings)
    return {entry.name for entry in fields(settings) if hints[entry.name] in NUMBERS}


def test_the_sweep_sees_every_option_of_every_command():
    kinds = {kind for command in COMMANDS.values() for _, kind in options_of(getattr(all_settings, command.settings))}
    for kind in kinds:  # a number in another guise, such as `int | None`, would slip past
        assert kind in NUMBERS or not any(word in str(kind).replace("Point", "") for word in ("int", "float")), kind


@pytest.mark.parametrize("settings", CLASSES)
def test_every_number_has_a_range_or_is_said_to_have_none(settings):
    free = {name for name in numeric_options(settings) if f"{settings.__name__}.{name}" in WITHOUT_RANGE}
    assert numeric_options(settings) == set(RANGES.get(settings, {})) | free


def test_the_tables_name_settings_that_there_are():
    assert set(RANGES) <= set(CLASSES) and set(RELATIONS) <= set(CLASSES)
    for settings, relations in RELATIONS.items():
        assert {relation.option for relation in relations} <= set(RANGES[settings])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_defaults_are_in_their_ranges(command):
    check_ranges(getattr(all_settings, COMMANDS[command].settings)())


def test_ranges_by_hand():
    assert all(Range(1).holds(value) for value in (1, 2, 10**400))
    assert not any(Range(0).holds(value) for value in (-1, -1e-9, float("nan"), float("inf")))
    assert Range(0, 1).holds(0) and not Range(0, 1, above=True).holds(0) and not Range(0, 1).holds(1.001)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_every_number_far_below_all_ranges(command):
    settings = getattr(all_settings, COMMANDS[command].settings)
    numbers = {option: kind for option, kind in options_of(settings) if kind in NUMBERS}
    if not numbers:
        pytest.skip("a command without numbers")
    with pytest.raises(UserError) as error:
        fill(settings, {option: -7 if kind in (int, float) else [-7] for option, kind in numbers.items()}, command)
    for option in numbers:
        assert f"--{option}{'' if len(numbers) == 1 else ' -7'}" in str(error.value)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("pretrain", "--pictures.workers -1"),
        ("pretrain", "--engine.threads -1"),
        ("pretrain", "--contrast.projection 0"),
        ("pretrain", "--contrast.reference_batch -5"),
        ("pretrain", "--contrast.temperature 0"),
        ("pretrain", "--pictures.share 0"),
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
    assert parse(TrainSettings, legal.split(), "train") is not None


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
            "train",
        )
    assert str(error.value).splitlines() == [
        "5 options: expected values in their ranges, got these:",
        "  --epochs 0: expected a whole number from 1",
        "  --seed -1: expected a whole number from 0",
        "  --data.share 0.0: expected a number above 0, at most 1",
        "  --model.input_size 64 0: expected each a whole number from 1 to 10,000",
        "  --augment.erase_area_high 0.0: expected at least erase_area_low, which is 0.02.",
        "  Fix: Choose a value in the range. To erase nothing, pass --augment.erase 0; else lower "
        "--augment.erase_area_low too.",
    ]


def test_a_recipe_is_held_to_the_ranges_too(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("optimizer: {momentum: 2}\nreading: {share: 0}\n")
    with pytest.raises(UserError, match="unknown"):
        parse(EvaluateSettings, ["--recipe", str(recipe)], "evaluate")
    recipe.write_text("reading: {share: 0}\n")
    with pytest.raises(UserError, match=r"--reading\.share: expected a number above 0, at most 1, got 0"):
        parse(EvaluateSettings, ["--recipe", str(recipe)], "evaluate")


def test_groups_of_settings_are_named_as_their_caller_names_them():
    with pytest.raises(UserError, match=r"^augment\.flip: "):
        check_ranges(AugmentSettings(flip=2), "augment.")
    with pytest.raises(UserError, match=r"^rules\.max_ratio: expected at least min_ratio, which is 9, got 5"):
        fill(RuleSettings, {"min_ratio": 9}, "crop, rules", "rules.")
