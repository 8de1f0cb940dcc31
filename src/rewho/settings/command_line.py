"""Settings from a recipe and the command line, with every mistake reported at once.

The command line overrides the recipe, the recipe overrides the defaults.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from rewho.core.artifact import plain
from rewho.core.check import UserError, nearest
from rewho.core.files import yaml_text
from rewho.settings.fields import (
    Command,
    Only,
    annotations_of,
    build,
    find_metadata,
    find_mistakes,
    is_list,
    options_of,
    plain_type,
    raise_all,
)
from rewho.settings.recipe import check_recipe_command, read_recipe

Settings = TypeVar("Settings")
SMOKE_HELP = "  --smoke\n      Use the recipe's smoke variant, which ends within a minute."
ALIASES = {"init": "model.pretrained"}
"""Aliases: short name → full option name."""
EXTRA_OPTIONS = ("recipe", "smoke", "print_config", "help")


def _find_unknown(prefixes: Mapping[str, str], known: Sequence[str]) -> Iterator[UserError]:
    """Yield an error per unknown option; `prefixes` maps each given option to what precedes its name in the message."""
    for name in prefixes:
        if name not in known:
            near = _nearest_option(name, known)
            fix = "Use the nearest name, or see --help."
            got = f"an unknown option (nearest: {near})" if near else "an unknown option"
            yield UserError(prefixes[name] + name, expected="an option that the command has", got=got, fix=fix)


def _nearest_option(name: str, known: Sequence[str]) -> str | None:
    """Return the option with the most similar name, which may lack its group."""
    if "." not in name:
        by_own_name = {option.rpartition(".")[2]: option for option in reversed(known)}
        near = nearest(name, by_own_name)
        if near:
            return by_own_name[near]
    return nearest(name, known) or nearest(name.rsplit(".", maxsplit=1)[-1], known)


def read_arguments(
    arguments: Sequence[str], known: Mapping[str, Any], positional: Sequence[str] = ()
) -> list[tuple[str, str | list[str]]]:
    """Return (option, value) pairs: bare flags get the value true, an option takes as many values as its type has.

    Args:
        arguments: The command line behind the command's name.
        known: Type of each option.
        positional: Options that values without a name are assigned to, in order; the last takes all that are left.

    Example:
        >>> read_arguments(["--data", "a", "b", "--rerank"], {"data": tuple[str, ...], "rerank": bool})
        [('rerank', 'true'), ('data', ['a', 'b'])]
        >>> read_arguments(["--out", "x", "a.mp4"], {"out": Path, "videos": tuple[Path, ...]}, ["videos"])
        [('out', 'x'), ('videos', ['a.mp4'])]
    """
    pairs: dict[str, str | list[str]] = {}
    lists: dict[str, list[str]] = {}
    unnamed: list[str] = []
    last, waiting = "", list(arguments)
    while waiting:
        token = waiting.pop(0)
        if not re.match(r"--[A-Za-z]|-h$", token):
            if not positional:
                raise _stray_value(token, last)
            unnamed.append(token)
            continue
        name, equals, value = token.lstrip("-").partition("=")
        name = {"h": "help"}.get(name, name.replace("-", "_"))
        last = name = ALIASES[name] if name not in known and ALIASES.get(name) in known else name
        kind = known.get(name, {"recipe": Path, **dict.fromkeys(EXTRA_OPTIONS[1:], bool)}.get(name))
        values = [value] if equals else []
        while not equals and waiting and not re.match(r"--?[A-Za-z]", waiting[0]):
            if not _takes(kind, values, waiting[0], bool(positional)):
                break
            values.append(waiting.pop(0))
        if is_list(kind):
            lists.setdefault(name, []).extend(values)
        elif not values and not (plain_type(kind) is bool or kind is None):
            raise UserError(f"--{name}", expected="a value", got="none", fix=f"Pass --{name} VALUE.")
        else:
            pairs[name] = values[0] if values else "true"
    for at, word in enumerate(unnamed):
        name = positional[min(at, len(positional) - 1)]
        if is_list(known[name]):
            lists.setdefault(name, []).append(word)
        elif name in pairs:
            raise UserError(f"--{name}", expected="one value", got=f"also {word!r}", fix="Quote it if it has spaces.")
        else:
            pairs[name] = word
    return [*pairs.items(), *((name, _split_numbers(values, known[name])) for name, values in lists.items())]


def _split_numbers(values: list[str], kind: Any) -> list[str]:  # noqa: ANN401 - a type annotation
    """Return the values of a list option; a list of numbers may also be one word, as in `[128, 64]`."""
    if len(values) == 1 and values[0].startswith("[") and _is_number_list(kind):
        return [part.strip() for part in values[0].strip("[]").split(",")]
    return values


def _is_number_list(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    return is_list(kind) and plain_type(get_args(plain_type(kind))[0]) in (int, float)


def _takes(kind: Any, values: Sequence[str], word: str, positional: bool) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option that has these values takes this word too, or leaves it to a positional option.

    Example:
        >>> _takes(Path, [], "x", True), _takes(Path, ["x"], "y", True), _takes(bool, [], "a.mp4", True)
        (True, False, False)
        >>> _takes(tuple[int, ...], ["64"], "32", True), _takes(tuple[int, ...], ["64"], "a.mp4", True)
        (True, False)
    """
    if is_list(kind):  # a list of numbers ends at the first word that is not a number
        return not (values and positional and _is_number_list(kind)) or bool(re.fullmatch(r"[-+.\deE]+", word))
    bare_flag = plain_type(kind) is bool and positional and word.lower() not in ("true", "false", "yes", "no")
    return not values and not bare_flag


def _stray_value(word: str, option: str) -> UserError:
    if option:
        got = f"{word!r} behind it"
        return UserError(f"--{option}", expected="one value", got=got, fix="Quote it if it has spaces.")
    fix = "See --help for the form."
    return UserError("command line", expected="options that begin with --", got=repr(word), fix=fix)


def parse(settings: type[Settings], arguments: Sequence[str]) -> Settings | None:
    """Return the settings of a command, or None after printing help or the resolved settings.

    Args:
        settings: The command's settings class.
        arguments: The command line behind the command's name.
    """
    command: Command = settings.command  # type: ignore[attr-defined]
    known = dict(options_of(settings))
    given = dict(read_arguments(arguments, known, command.positional.split()))
    asked = {name: value for name, value in given.items() if name in EXTRA_OPTIONS and name not in known}
    if "help" in asked:
        print(help_text(settings, str(given.get("action", ""))))  # noqa: T201 - the result of the command
        return None
    own = {name: value for name, value in given.items() if name not in asked}
    recipe: dict[str, Any] = {}
    if "recipe" in asked:
        path = Path(str(asked["recipe"]))
        recipe = read_recipe(path, smoke=asked.get("smoke") == "true")
        if not set(recipe) <= set(known):
            check_recipe_command(path, command.name)
    elif "smoke" in asked:
        raise UserError("--smoke", expected="a --recipe with a smoke variant", got="no recipe", fix="Pass --recipe.")
    prefixes = {**dict.fromkeys(recipe, "in the recipe: "), **dict.fromkeys(own, "--")}
    filled = _build_checked(settings, {**recipe, **own}, prefixes)
    if "print_config" in asked:
        print(yaml_text(plain(filled)), end="")  # noqa: T201 - the result of the command
        return None
    return filled


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
    return _build_checked(settings, values, dict.fromkeys(values, f"for {command}: "), prefix)


def _build_checked(
    settings: type[Settings], values: Mapping[str, Any], prefixes: Mapping[str, str], prefix: str = "--"
) -> Settings:
    made = build(settings, values)
    known = [name for name, _ in options_of(settings)]
    raise_all([*_find_unknown(prefixes, known), *find_mistakes(made, prefix)])
    return made


def help_text(settings: type[Any], action: str = "") -> str:
    """Return the help of a command: every option with its default and its explanation.

    Args:
        settings: The command's settings class.
        action: An action of the command, to omit the options of other actions.

    Example:
        >>> from rewho.settings import CropsSettings, DemoSettings
        >>> "--identities 120" in help_text(DemoSettings)
        True
        >>> ["--repair" in help_text(CropsSettings, action) for action in ("verify", "export")]
        [True, False]
        >>> help_text(CropsSettings).splitlines()[1]
        'usage: rewho crops [ACTION] [FOLDERS ...] [--option VALUE ...]'
    """
    command: Command = settings.command
    action = action if action in command.actions else ""
    name = f"{command.name} {action}".strip()
    kinds = dict(options_of(settings))
    places = [
        f"[{option.upper()}{' ...' if is_list(kinds[option]) else ''}]"
        for option in command.positional.split()
        if not (action and option == "action")
    ]
    lines = [
        f"rewho {name}: {command.actions.get(action, command.help)}",
        " ".join(["usage: rewho", name, *places, "[--option VALUE ...]"]),
        *(f"  {each:8} {text}" for each, text in command.actions.items() if not action),
        "",
        "  --recipe FILE\n      YAML file with settings; options on the command line override it.",
        *([] if "smoke" in kinds else [SMOKE_HELP]),
        "  --print_config\n      Print the resolved settings and stop.",
        *_describe(settings(), action=action),
        "",
        "The value behind each option is its default.",
    ]
    return "\n".join(lines)


def _describe(settings: Any, prefix: str = "", action: str = "") -> Iterator[str]:  # noqa: ANN401 - any settings
    texts = read_explanations(type(settings))
    for name, kind in annotations_of(type(settings)).items():
        value = getattr(settings, name)
        if action and (name == "action" or action not in (find_metadata(kind, Only) or (action,))):
            continue
        if is_dataclass(value):
            yield f"\n{texts[name]}"
            yield from _describe(value, f"{prefix}{name}.")
        else:
            default = "" if value in ((), None) else f" {str(value).lower() if isinstance(value, bool) else value}"
            yield f"  --{prefix}{name}{default}"
            yield textwrap.fill(texts[name], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def read_explanations(settings: type[Any]) -> dict[str, str]:
    """Return the explanation of every field, from the Args sections of a settings class and its bases.

    Example:
        >>> from rewho.settings import DemoSettings
        >>> read_explanations(DemoSettings)["seed"]
        'Seed of the rendered people and of the training.'
    """
    texts = dict.fromkeys(annotations_of(settings), "")
    for owner in reversed(settings.__mro__[:-1]):
        docstring = inspect.cleandoc(owner.__doc__ or "")  # Python 3.13 strips the indentation, older ones keep it
        if sys.flags.optimize > 1:  # python -OO drops docstrings
            docstring = ast.get_docstring(ast.parse(inspect.getsource(owner)).body[0]) or ""  # type: ignore[arg-type]
        found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", docstring.partition("Args:")[2], re.MULTILINE)
        texts |= {name: re.sub(r"\s+", " ", text) for name, text in found}
    return texts
