"""From a recipe and the command line to typed settings, with every mistake reported at once.

The command line overrides the recipe, the recipe the defaults.
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
from rewho.settings.fields import Only, bare, build, extra, kinds_of, mistakes_in, options_of, refuse, takes_several
from rewho.settings.recipe import read_recipe, refuse_foreign

Settings = TypeVar("Settings")
SMOKE_HELP = "  --smoke\n      Take the recipe's smoke variant, which ends within a minute."
OTHER_NAMES = {"init": "model.pretrained"}
"""Short names that an option may be given by, and what it is called in full."""
EXTRA_OPTIONS = ("recipe", "smoke", "print_config", "help")


def _unknown(named: Mapping[str, str], known: Sequence[str]) -> Iterator[UserError]:
    """Yield an error per unknown option; `named` maps each option to the words that precede its name."""
    for name in named:
        if name not in known:
            near = _nearest_option(name, known)
            fix = "Use the nearest name, or see --help."
            got = f"an unknown option (nearest: {near})" if near else "an unknown option"
            yield UserError(named[name] + name, expected="an option that the command has", got=got, fix=fix)


def _nearest_option(name: str, known: Sequence[str]) -> str | None:
    """Return the option that is meant, which may be one of a group's whose name was left out."""
    if "." not in name:
        by_own_name = {option.rpartition(".")[2]: option for option in reversed(known)}
        near = nearest(name, by_own_name)
        if near:
            return by_own_name[near]
    return nearest(name, known) or nearest(name.rsplit(".", maxsplit=1)[-1], known)


def normalise(
    arguments: Sequence[str], known: Mapping[str, Any], positional: Sequence[str] = ()
) -> list[tuple[str, str | list[str]]]:
    """Return (option, value) pairs: bare flags get the value true, an option takes as many values as its type has.

    Words that are no option's value are for the positional options, wherever they stand.

    Args:
        arguments: The command line behind the command's name.
        known: Type of each option.
        positional: Options that words without a name are for, in order; the last takes all that are left.

    Raises:
        UserError: A value without an option, or an option without its value.

    Example:
        >>> normalise(["--data", "a", "b", "--rerank"], {"data": tuple[str, ...], "rerank": bool})
        [('rerank', 'true'), ('data', ['a', 'b'])]
        >>> normalise(["--out", "x", "a.mp4"], {"out": Path, "videos": tuple[Path, ...]}, ["videos"])
        [('out', 'x'), ('videos', ['a.mp4'])]
    """
    pairs: list[tuple[str, str | list[str]]] = []
    lists: dict[str, list[str]] = {}
    unnamed: list[str] = []
    last, waiting = "", list(arguments)
    while waiting:
        token = waiting.pop(0)
        if not re.match(r"--[A-Za-z]|-h$", token):
            if not positional:
                raise _stray(token, last)
            unnamed.append(token)
            continue
        name, equals, value = token.lstrip("-").partition("=")
        name = {"h": "help"}.get(name, name.replace("-", "_"))
        last = name = OTHER_NAMES[name] if name not in known and OTHER_NAMES.get(name) in known else name
        kind = known.get(name, {"recipe": Path, **dict.fromkeys(EXTRA_OPTIONS[1:], bool)}.get(name))
        values = [value] if equals else []
        while not equals and waiting and not re.match(r"--?[A-Za-z]", waiting[0]):
            if not _takes(kind, values, waiting[0], bool(positional)):
                break
            values.append(waiting.pop(0))
        if takes_several(kind):
            lists.setdefault(name, []).extend(values)
        elif not values and not (bare(kind) is bool or kind is None):
            raise UserError(f"--{name}", expected="a value", got="none", fix=f"Pass --{name} VALUE.")
        else:
            pairs.append((name, values[0] if values else "true"))
    for at, word in enumerate(unnamed):
        name = positional[min(at, len(positional) - 1)]
        if takes_several(known[name]):
            lists.setdefault(name, []).append(word)
        elif name in dict(pairs):
            raise UserError(f"--{name}", expected="one value", got=f"also {word!r}", fix="Quote it if it has spaces.")
        else:
            pairs.append((name, word))
    return pairs + [(name, _list_of(values, known[name])) for name, values in lists.items()]


def _list_of(values: list[str], kind: Any) -> list[str]:  # noqa: ANN401 - a type annotation
    """Return the values of a list option; numbers may also stand in one word, as in `[128, 64]`."""
    if len(values) == 1 and values[0].startswith("[") and _of_numbers(kind):
        return [part.strip() for part in values[0].strip("[]").split(",")]
    return values


def _of_numbers(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option takes a list of numbers."""
    return takes_several(kind) and bare(get_args(bare(kind))[0]) in (int, float)


def _takes(kind: Any, values: Sequence[str], word: str, positional: bool) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option that has these values takes this word too; a command with `positional` ones may.

    Example:
        >>> _takes(Path, [], "x", True), _takes(Path, ["x"], "y", True), _takes(bool, [], "a.mp4", True)
        (True, False, False)
        >>> _takes(tuple[int, ...], ["64"], "32", True), _takes(tuple[int, ...], ["64"], "a.mp4", True)
        (True, False)
    """
    if takes_several(kind):  # numbers end at the first word that is none
        return not (values and positional and _of_numbers(kind)) or bool(re.fullmatch(r"[-+.\deE]+", word))
    return not values and not (bare(kind) is bool and positional and word.lower() not in ("true", "false", "yes", "no"))


def _stray(word: str, option: str) -> UserError:
    """Return the error for a word that is no option's value, behind an option or behind none."""
    if option:
        got = f"{word!r} behind it"
        return UserError(f"--{option}", expected="one value", got=got, fix="Quote it if it has spaces.")
    return UserError(
        "command line", expected="options that begin with --", got=repr(word), fix="See --help for the form."
    )


def parse(
    settings: type[Settings], arguments: Sequence[str], command: str, positional: Sequence[str] = ()
) -> Settings | None:
    """Return the settings of a command, or None where help or the resolved settings were printed instead.

    Args:
        settings: The settings class to fill.
        arguments: The command line behind the command's name.
        command: The command's name, for messages.
        positional: Options that words without a name are for, in order.

    Raises:
        UserError: Unknown names, or numbers out of their ranges (all at once), or values of the wrong kind.
    """
    known = dict(options_of(settings))
    given = normalise(arguments, known, positional)
    asked = {name: value for name, value in given if name in EXTRA_OPTIONS and name not in known}
    if "help" in asked:
        print(help_text(settings, command, str(dict(given).get("action", "")), positional))  # noqa: T201 - what was asked for
        return None
    own = {name: value for name, value in given if name not in asked}
    recipe: dict[str, Any] = {}
    if "recipe" in asked:
        recipe = read_recipe(Path(str(asked["recipe"])), smoke=asked.get("smoke") == "true")
        if not set(recipe) <= set(known):
            refuse_foreign(Path(str(asked["recipe"])), command)
    elif "smoke" in asked:
        raise UserError("--smoke", expected="a --recipe with a smoke variant", got="no recipe", fix="Pass --recipe.")
    origins = {**dict.fromkeys(recipe, "in the recipe: "), **dict.fromkeys(own, "--")}
    filled = _fill(settings, {**recipe, **own}, origins)
    if "print_config" in asked:
        print(yaml_text(plain(filled)), end="")  # noqa: T201 - what was asked for
        return None
    return filled


def fill(settings: type[Settings], values: Mapping[str, Any], command: str, prefix: str = "--") -> Settings:
    """Return settings from values by dotted name, as a recipe holds them.

    Args:
        settings: The settings class to fill; what is not named keeps its default.
        values: Numbers, text, lists, None.
        command: The command's name, for messages.
        prefix: What stands before the options' names in messages on numbers out of range.

    Raises:
        UserError: Unknown names, or numbers out of their ranges (all at once), or values of the wrong kind.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> fill(TrainSettings, {"epochs": 3, "model.input_size": [64, 32]}, "train").model.input_size
        (64, 32)
    """
    return _fill(settings, values, dict.fromkeys(values, f"for {command}: "), prefix)


def _fill(
    settings: type[Settings], values: Mapping[str, Any], origins: Mapping[str, str], prefix: str = "--"
) -> Settings:
    known = [name for name, _ in options_of(settings)]
    made = build(settings, values)
    refuse([*_unknown(origins, known), *mistakes_in(made, prefix)])
    return made


def help_text(settings: type[Any], command: str, action: str = "", positional: Sequence[str] = ()) -> str:
    """Return the help of a command: every option with its default and its line from the settings' docstring.

    Args:
        settings: The command's settings class.
        command: Its name.
        action: Of a command with several actions, the one that help is wanted on. Options whose line begins with
            "Of export and merge:", and which therefore belong to other actions, are then left out.
        positional: Options that values without a name are for, in order.

    Example:
        >>> from rewho.settings import CropsSettings, DemoSettings
        >>> "--identities 120" in help_text(DemoSettings, "demo")
        True
        >>> ["--repair" in help_text(CropsSettings, "crops", action) for action in ("verify", "export")]
        [True, False]
        >>> help_text(CropsSettings, "crops", positional=("action", "folders")).splitlines()[1]
        'usage: rewho crops [ACTION] [FOLDERS ...] [--option VALUE ...]'
    """
    summary = _docstring(settings).partition("\n")[0]
    if action:
        actions = explanations(settings).get("action", "")
        does = re.search(rf"\b{re.escape(action)} \(([^)]*)\)", actions)
        command, summary = (f"{command} {action}", does[1]) if does else (command, summary)
        action = action if does else ""
    kinds = dict(options_of(settings))
    places = [
        f"[{name.upper()}{' ...' if takes_several(kinds[name]) else ''}]"
        for name in positional
        if not (action and name == "action")
    ]
    lines = [
        f"rewho {command}: {summary}",
        " ".join(["usage: rewho", command, *places, "[--option VALUE ...]"]),
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
    texts = explanations(type(settings))
    for name, kind in kinds_of(type(settings)).items():
        value = getattr(settings, name)
        if action and (name == "action" or action not in (extra(kind, Only) or (action,))):
            continue
        if is_dataclass(value):
            yield f"\n{texts[name]}"
            yield from _describe(value, f"{prefix}{name}.")
        else:
            shown = "" if value in ((), None) else f" {str(value).lower() if isinstance(value, bool) else value}"
            yield f"  --{prefix}{name}{shown}"
            yield textwrap.fill(texts[name], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _docstring(settings: type[Any]) -> str:
    """Return a class's docstring without indentation, which Python 3.13 strips and earlier versions keep."""
    if sys.flags.optimize < 2:
        return inspect.cleandoc(settings.__doc__ or "")
    tree = ast.parse(inspect.getsource(settings)).body[0]  # python -OO drops docstrings
    return (isinstance(tree, ast.ClassDef) and ast.get_docstring(tree)) or ""


def explanations(settings: type[Any]) -> dict[str, str]:
    """Return the explanation of every field, from the Args sections of a settings class and of those it extends.

    Example:
        >>> from rewho.settings import DemoSettings
        >>> explanations(DemoSettings)["seed"]
        'Seed of the people and of the training.'
    """
    texts = dict.fromkeys(kinds_of(settings), "")
    for owner in reversed(settings.__mro__[:-1]):
        section = _docstring(owner).partition("Args:")[2]
        found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
        texts |= {name: re.sub(r"\s+", " ", text) for name, text in found}
    return texts
