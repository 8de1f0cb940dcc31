"""From a recipe (YAML) and the command line to typed settings, with every mistake reported at once.

A recipe is a document: beside the settings it may hold `about` (claim, command, cost, expected result), `extends` (a
recipe to start from) and `smoke` (settings of a run that ends in a minute). The command line overrides the recipe.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from rewho.core.artifact import flatten, plain
from rewho.core.check import UserError, nearest

Settings = TypeVar("Settings")
SPECIAL = ("about", "extends", "smoke")
SMOKE_HELP = "  --smoke\n      Take the recipe's smoke variant, which ends within a minute."
OTHER_NAMES = {"init": "model.pretrained"}
"""Short names that an option may be given by, and what it is called in full."""
EXTRA_OPTIONS = ("recipe", "smoke", "print_config", "help")


def options_of(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type of every option of a settings class.

    Example:
        >>> from rewho.core.settings import DemoSettings
        >>> [name for name, _ in options_of(DemoSettings)]
        ['chapter', 'out', 'identities', 'epochs', 'seed']
    """
    hints = get_type_hints(settings)
    for entry in fields(settings):
        kind = hints[entry.name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from options_of(kind, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", kind


def read_recipe(path: Path, *, smoke: bool = False) -> dict[str, Any]:
    """Return a recipe's settings by dotted name: those it extends, its own, and on request its smoke variant on top.

    Raises:
        UserError: No such file, not YAML, or not a mapping.
    """
    settings, of_smoke = _layers(path)
    return {**settings, **of_smoke} if smoke else settings


def _layers(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    content = _read_yaml(path)
    below, smoke_below = _layers(path.parent / content["extends"]) if "extends" in content else ({}, {})
    own = flatten({key: value for key, value in content.items() if key not in SPECIAL})
    return {**below, **own}, {**smoke_below, **flatten(content.get("smoke") or {})}


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        near = nearest(path.name, (file.name for file in path.parent.glob("*.yaml"))) if not path.exists() else None
        raise UserError(
            "--recipe",
            expected="a YAML file",
            got=f"nothing readable at {path}",
            fix=f"Did you mean {path.with_name(near)}?" if near else "Check the path.",
        ) from error
    except yaml.YAMLError as error:
        raise UserError(
            f"--recipe {path}", expected="YAML", got=str(error).replace("\n", " "), fix="Mend that line."
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"--recipe {path}", expected="names and values", got=type(content).__name__, fix="Write `epochs: 80`."
        )
    return content


def _refuse_foreign(path: Path, command: str) -> None:
    """Report a recipe that says itself that it is another command's."""
    about = _read_yaml(path).get("about") or {}
    named = re.match(r"rewho (\w+)", str(about.get("command", "")) if isinstance(about, Mapping) else "")
    if named and named.group(1) != command:
        raise UserError(
            f"--recipe {path}",
            expected=f"a recipe for `rewho {command}`",
            got=f"one for `rewho {named.group(1)}`",
            fix=f"Run `rewho {named.group(1)} --recipe {path}`, or pass another recipe.",
        )


def _refuse_unknown(named: Mapping[str, str], known: Sequence[str]) -> None:
    """Report every unknown option at once; `named` maps each option to the words that stand before its name."""
    unknown = [name for name in named if name not in known]
    if not unknown:
        return
    lines = []
    for name in unknown:
        near = _nearest_option(name, known)
        lines.append(f"{named[name]}{name}" + (f" (nearest: {near})" if near else ""))
    raise UserError(
        "options",
        expected="options that the command knows",
        got="unknown " + "; unknown ".join(lines),
        fix="Use the nearest name, or see --help.",
    )


def _nearest_option(name: str, known: Sequence[str]) -> str | None:
    """Return the option that is meant, which may be one of a group's whose name was left out."""
    if "." not in name:
        by_own_name = {option.rpartition(".")[2]: option for option in reversed(known)}
        near = nearest(name, by_own_name)
        if near:
            return by_own_name[near]
    return nearest(name, known) or nearest(name.rsplit(".", maxsplit=1)[-1], known)


def _is(kind: Any, wanted: type) -> bool:  # noqa: ANN401 - a type annotation
    return kind is wanted or get_origin(kind) is wanted or any(item is wanted for item in get_args(kind))


def normalise(
    arguments: Sequence[str], known: Mapping[str, Any], positional: Sequence[str] = ()
) -> list[tuple[str, str]]:
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
        [('rerank', 'true'), ('data', '["a", "b"]')]
        >>> normalise(["--out", "x", "a.mp4"], {"out": Path, "videos": tuple[Path, ...]}, ["videos"])
        [('out', 'x'), ('videos', '["a.mp4"]')]
    """
    pairs: list[tuple[str, str]] = []
    lists: dict[str, list[str]] = {}
    bare: list[str] = []
    last, waiting = "", list(arguments)
    while waiting:
        token = waiting.pop(0)
        if not re.match(r"--[A-Za-z]|-h$", token):
            if not positional:
                raise _stray(token, last)
            bare.append(token)
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
        if _is(kind, tuple):
            lists.setdefault(name, []).extend(values)
        elif not values and not (kind is bool or kind is None):
            raise UserError(f"--{name}", expected="a value", got="none", fix=f"Pass --{name} VALUE.")
        else:
            pairs.append((name, values[0] if values else "true"))
    for at, word in enumerate(bare):
        name = positional[min(at, len(positional) - 1)]
        if _is(known[name], tuple):
            lists.setdefault(name, []).append(word)
        elif name in dict(pairs):
            raise UserError(f"--{name}", expected="one value", got=f"also {word!r}", fix="Quote it if it has spaces.")
        else:
            pairs.append((name, word))
    pairs += [
        (name, values[0] if values[:1] and values[0][:1] == "[" else json.dumps(values))
        for name, values in lists.items()
    ]
    return pairs


def _takes(kind: Any, values: Sequence[str], word: str, positional: bool) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option that has these values takes this word too; a command with `positional` ones may.

    Example:
        >>> _takes(Path, [], "x", True), _takes(Path, ["x"], "y", True), _takes(bool, [], "a.mp4", True)
        (True, False, False)
        >>> _takes(tuple[int, ...], ["64"], "32", True), _takes(tuple[int, ...], ["64"], "a.mp4", True)
        (True, False)
    """
    if _is(kind, tuple):  # numbers end at the first word that is none
        numeric = {int, float} & {item for one in (kind, *get_args(kind)) for item in get_args(one)}
        return not (values and positional and numeric) or bool(re.fullmatch(r"[-+.\deE]+", word))
    return not values and not (kind is bool and positional and word.lower() not in ("true", "false", "yes", "no"))


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
    extra = {name: value for name, value in given if name in EXTRA_OPTIONS and name not in known}
    if "help" in extra:
        print(help_text(settings, command, dict(given).get("action", ""), positional))  # noqa: T201 - what was asked for
        return None
    own = {name: value for name, value in given if name not in extra}
    recipe: dict[str, Any] = {}
    if "recipe" in extra:
        recipe = read_recipe(Path(extra["recipe"]), smoke=extra.get("smoke") == "true")
        if not set(recipe) <= set(known):
            _refuse_foreign(Path(extra["recipe"]), command)
    elif "smoke" in extra:
        raise UserError("--smoke", expected="a --recipe with a smoke variant", got="no recipe", fix="Pass --recipe.")
    _refuse_unknown({**dict.fromkeys(recipe, "in the recipe: "), **dict.fromkeys(own, "option --")}, list(known))
    filled = _fill(settings, {**recipe, **own}, command)
    if "print_config" in extra:
        print(yaml.safe_dump(plain(filled), sort_keys=False), end="")  # noqa: T201 - what was asked for
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
        >>> from rewho.core.settings import TrainSettings
        >>> fill(TrainSettings, {"epochs": 3, "model.input_size": [64, 32]}, "train").model.input_size
        (64, 32)
    """
    _refuse_unknown(dict.fromkeys(values, f"for {command}: "), [name for name, _ in options_of(settings)])
    return _fill(settings, values, command, prefix)


def help_text(settings: type[Any], command: str, action: str = "", positional: Sequence[str] = ()) -> str:
    """Return the help of a command: every option with its default and its line from the settings' docstring.

    Args:
        settings: The command's settings class.
        command: Its name.
        action: Of a command with several actions, the one that help is wanted on. Options whose line begins with
            "Of export and merge:", and which therefore belong to other actions, are then left out.
        positional: Options that values without a name are for, in order.

    Example:
        >>> from rewho.core.settings import CropsSettings, DemoSettings
        >>> "--identities 120" in help_text(DemoSettings, "demo")
        True
        >>> ["--repair" in help_text(CropsSettings, "crops", action) for action in ("verify", "export")]
        [True, False]
        >>> help_text(CropsSettings, "crops", positional=("action", "folders")).splitlines()[1]
        'usage: rewho crops [ACTION] [FOLDERS ...] [--option VALUE ...]'
    """
    summary = _docstring(settings).partition("\n")[0]
    if action:
        actions = _explanations(settings).get("action", "")
        does = re.search(rf"\b{re.escape(action)} \(([^)]*)\)", actions)
        command, summary = (f"{command} {action}", does[1]) if does else (command, summary)
        action = action if does else ""
    kinds = dict(options_of(settings))
    places = [
        f"[{name.upper()}{' ...' if _is(kinds[name], tuple) else ''}]"
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
    texts = _explanations(type(settings))
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        owners = re.match(r"Of ([\w ]+): ", texts[entry.name])
        if action and (entry.name == "action" or (owners and action not in owners[1].split())):
            continue
        if is_dataclass(value):
            yield f"\n{texts[entry.name]}"
            yield from _describe(value, f"{prefix}{entry.name}.")
        else:
            shown = "" if value in ((), None) else f" {str(value).lower() if isinstance(value, bool) else value}"
            yield f"  --{prefix}{entry.name}{shown}"
            yield textwrap.fill(texts[entry.name], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _docstring(settings: type[Any]) -> str:
    """Return a class's docstring without indentation, which Python 3.13 strips and earlier versions keep."""
    if sys.flags.optimize < 2:
        return inspect.cleandoc(settings.__doc__ or "")
    tree = ast.parse(inspect.getsource(settings)).body[0]  # python -OO drops docstrings
    return (isinstance(tree, ast.ClassDef) and ast.get_docstring(tree)) or ""


def _explanations(settings: type[Any]) -> dict[str, str]:
    """Return the text of every entry of the Args section of a settings class."""
    section = _docstring(settings).partition("Args:")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def _fill(settings: type[Settings], values: Mapping[str, Any], command: str, prefix: str = "--") -> Settings:
    import jsonargparse

    from rewho.core.settings.ranges import check_ranges  # here, because help does without it and has to be quick

    texts = {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}
    arguments = [f"--{name}={'null' if value is None else value}" for name, value in texts.items()]
    parser = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_class_arguments(settings, as_group=False)
    try:
        parsed = parser.parse_args(arguments)
    except jsonargparse.ArgumentError as error:
        text = re.sub(r"\s+", " ", str(error))
        named = re.search(r"--([\w.]+)|[Kk]ey \"([\w.]+)\"", text)
        what = f"--{named.group(1) or named.group(2)}" if named else "options"
        got = next((item.split("=", 1)[1] for item in arguments if item.startswith(f"{what}=")), text)
        kind = dict(options_of(settings)).get(what.lstrip("-"))
        raise UserError(what, expected=_kind_name(kind), got=repr(got), fix=f"See `rewho {command} --help`.") from error
    made = settings(**vars(parser.instantiate(parsed)))
    check_ranges(made, prefix)
    return made


def _kind_name(kind: Any) -> str:  # noqa: ANN401 - a type annotation
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(kind, "a value of the right kind" if kind is None else str(kind).replace("typing.", ""))
