"""Settings from a recipe and the command line, with every mistake reported at once.

The command line overrides the recipe, the recipe overrides the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from rewho.core.artifact import plain
from rewho.core.check import UserError, rename_options
from rewho.core.files import yaml_text
from rewho.core.progress import be_quiet, say
from rewho.settings.fields import Command, build, find_missing, find_mistakes, options_of, raise_all
from rewho.settings.help import help_text
from rewho.settings.initial import read_architecture
from rewho.settings.names import GLOBAL_OPTIONS, expand_groups, list_unknown
from rewho.settings.recipe import check_recipe_command, find_recipe, read_recipe
from rewho.settings.words import read_words

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Parsed(Generic[Settings]):
    """A parsed command line.

    Args:
        settings: The checked settings.
        given: Full names of the options that the command line or the recipe gives.
        typed: Full option name → how the user typed it, for messages.
    """

    settings: Settings
    given: frozenset[str] = frozenset()
    typed: Mapping[str, str] = field(default_factory=dict)


def parse(settings: type[Settings], arguments: Sequence[str]) -> Settings | None:
    """Return the settings of a command, or None after printing help or the resolved settings.

    Args:
        settings: The command's settings class.
        arguments: The command line behind the command's name.
    """
    parsed = parse_command(settings, arguments)
    return parsed.settings if parsed else None


def parse_command(
    settings: type[Settings], arguments: Sequence[str], *, complete: bool = False
) -> Parsed[Settings] | None:
    """Return the settings of a command with what was given; None after printing help or the resolved settings.

    With `complete`, options that the command needs and that are missing are mistakes, too.
    """
    command: Command = settings.command  # type: ignore[attr-defined]
    known = dict(options_of(settings))
    words = read_words(arguments, known, command)
    general = {name: value for name, value in words.values.items() if name in GLOBAL_OPTIONS and name not in known}
    if "help" in general or "help_all" in general:
        action = str(words.values.get("action", ""))
        print(help_text(settings, action, everything="help_all" in general))  # noqa: T201 - the result of the command
        return None
    be_quiet(general.get("quiet") == "true")
    own = {name: value for name, value in words.values.items() if name not in general}
    recipe: dict[str, Any] = {}
    if "recipe" in general:
        path = find_recipe(Path(str(general["recipe"])))
        recipe = expand_groups(read_recipe(path, smoke=general.get("smoke") == "true"), known)
        if not set(recipe) <= set(known):
            check_recipe_command(path, command.name)
    elif "smoke" in general:
        words.mistakes.append(
            UserError("--smoke", expected="a --recipe with a smoke variant", got="no recipe", fix="Pass --recipe.")
        )
    given = {**recipe, **own}
    taken, note = read_architecture(command.name, given, known)
    typed = {f"--{option}": name for option, name in words.typed.items() if f"--{option}" != name}
    with rename_options(typed):
        filled, wrong = _build(settings, {**taken, **given}, dict.fromkeys(recipe, "in the recipe: "))
        missing = find_missing(filled, given) if complete and "print_config" not in general else ()
        raise_all([*words.mistakes, *wrong, *missing])
    warning = getattr(getattr(filled, "optimizer", None), "warning", str)()
    for line in (*words.notes, note, warning):
        say(line)
    if "print_config" in general:
        print(yaml_text(plain(filled)), end="")  # noqa: T201 - the result of the command
        return None
    return Parsed(filled, frozenset(given), typed)


def fill(settings: type[Settings], values: Mapping[str, Any], command: str, prefix: str = "--") -> Settings:
    """Return checked settings from values by dotted name, as a recipe holds them.

    Args:
        settings: The settings class; options without a value keep their defaults.
        values: Numbers, text, lists, None.
        command: Name of the command in messages on unknown options.
        prefix: Prefix of the options' names in messages on wrong values.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> fill(TrainSettings, {"epochs": 3, "model.input_size": [64, 32]}, "train").model.input_size
        (64, 32)
    """
    values = expand_groups(values, dict(options_of(settings)))
    made, wrong = _build(settings, values, dict.fromkeys(values, f"for {command}: "), prefix)
    raise_all(wrong)
    return made


def _build(
    settings: type[Settings], values: Mapping[str, Any], prefixes: Mapping[str, str], prefix: str = "--"
) -> tuple[Settings, list[UserError]]:
    """Return settings from values by dotted name, and what is wrong with them."""
    made, known = build(settings, values), dict(options_of(settings))
    command: Command = getattr(settings, "command", Command("", ""))  # a group of settings has none
    return made, [*list_unknown(prefixes, known, command), *find_mistakes(made, prefix)]
