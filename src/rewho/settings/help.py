"""The help of a command, from its settings: three examples, the options that people use, or all of them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from operator import attrgetter
from typing import Any

from rewho.settings.fields import Command, Only, annotations_of, find_metadata, is_list, options_of
from rewho.settings.names import shorten

MOST = 15
"""Options of a command that --help explains."""
GLOBAL_HELP = {
    "recipe": ("FILE", "Recipe: a YAML file with settings, or a name of `rewho recipes`; options override it."),
    "smoke": ("", "Use the recipe's smoke variant, which ends within a minute."),
    "print_config": ("", "Print the resolved settings and stop."),
    "quiet": ("", "Print only warnings, errors and the result. Also -q."),
    "help": ("", "Print examples and the options that people use most. Also -h."),
    "help_all": ("", "Print all options."),
}


def help_text(settings: type[Any], action: str = "", *, everything: bool = False) -> str:
    """Return the help of a command: examples and the most used options, or every option.

    Args:
        settings: The command's settings class.
        action: An action of the command, to omit the options of other actions.
        everything: Every option, in its group.

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
    lines = [
        f"rewho {name}: {command.actions.get(action, command.help)}",
        " ".join(["usage: rewho", name, *_places(command, kinds, action), "[--option VALUE ...]"]),
        *(f"  {each:8} {text}" for each, text in command.actions.items() if not action),
    ]
    examples = [example for example in command.examples if not action or example.startswith(f"{name} ")]
    if examples:
        lines += ["", "examples:", *(f"  rewho {example}" for example in examples)]
    lines.append("")
    if everything:
        lines += [*_describe_global(kinds), *_describe(settings(), action=action)]
        lines += [
            "",
            "The value behind each option is its default. The last part of a name is enough where it is unique.",
        ]
    else:
        shown = choose_options(settings, action)
        lines += _describe_chosen(settings, shown)
        every = len([option for option in kinds if _is_of_action(settings, option, action)])
        lines += ["", "The value behind each option is its default, which a recipe (--recipe) may change."]
        lines += [f"`rewho {name} --help-all` explains all {every} options, and those of every command."]
    return "\n".join(lines)


def _places(command: Command, kinds: dict[str, Any], action: str) -> list[str]:
    return [
        f"[{shorten(option, kinds, command).upper()}{' ...' if is_list(kinds[option]) else ''}]"
        for option in command.positional.split()
        if not (action and option == "action")
    ]


def choose_options(settings: type[Any], action: str = "") -> list[str]:
    """Return the options that --help explains: those that the command names, else its first ones."""
    command: Command = settings.command
    wanted = [option for option, _ in options_of(settings) if _is_of_action(settings, option, action)]
    if len(wanted) <= MOST:
        return wanted
    common = command.common.split()[:MOST]
    return common or [option for option in wanted if "." not in option or option.endswith(".root")][:MOST]


def _is_of_action(settings: type[Any], option: str, action: str) -> bool:
    kind = annotations_of(settings).get(option)
    return not action or (option != "action" and action in (find_metadata(kind, Only) or (action,)))


def _describe_global(kinds: dict[str, Any]) -> Iterator[str]:
    for name, (value, text) in GLOBAL_HELP.items():
        if name not in kinds:
            yield f"  --{name.replace('help_all', 'help-all')} {value}".rstrip() + f"\n      {text}"


def _describe_chosen(settings: type[Any], options: list[str]) -> Iterator[str]:
    command: Command = settings.command
    made, kinds = settings(), dict(options_of(settings))
    for wanted in options:
        short = wanted if wanted in command.short else ""
        option = command.short.get(wanted, wanted).split()[0]
        group, _, last = option.rpartition(".")
        owner = attrgetter(group)(made) if group else made
        name = short or shorten(option, kinds, command)
        full = f" (sets --{' and --'.join(command.short[short].split())})" if short else ""
        if not short and name not in (option, *option.split(".")):
            full = f" (--{option})"
        yield f"  --{name}{_default(attrgetter(option)(made))}"
        text = read_explanations(type(owner))[last] + full
        yield textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _default(value: object) -> str:
    if isinstance(value, tuple) and value:
        return " " + " ".join(map(str, value))
    return "" if value in ((), None, "") else f" {str(value).lower() if isinstance(value, bool) else value}"


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
            yield f"  --{prefix}{name}{_default(value)}"
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
