"""An option's name as people type it → the command's option.

The last part of a dotted name is enough where it is unique; a group such as `--data` stands for its main option, and
names that people know from other programs work where they mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rewho.core.check import UserError, nearest
from rewho.settings.aliases import ALIASES, find_answer
from rewho.settings.fields import Command

GLOBAL_OPTIONS = ("recipe", "smoke", "print_config", "quiet", "help", "help_all")
"""Options of every command, beside those of its settings."""
MAIN_OF_GROUP = {
    "data": "root",
    "probe": "root",
    "source": "root",
    "optimizer": "kind",
    "sampler": "kind",
    "detector": "kind",
    "pose": "kind",
    "terms": "file",
}
"""The option that a group's name alone stands for."""


def find_options(name: str, known: Mapping[str, Any], command: Command) -> tuple[str, ...]:
    """Return the options that a name as typed stands for: one, or several if it is ambiguous, or none.

    Args:
        name: The name without its hyphens, with underscores.
        known: The command's options, by full name.
        command: The command, for short names of its own.

    Example:
        >>> find_options("lr", ["optimizer.learning_rate"], Command("train", ""))
        ('optimizer.learning_rate',)
        >>> find_options("batch", ["detector.batch", "pose.batch"], Command("crop", ""))
        ('detector.batch', 'pose.batch')
    """
    if name in known or name in GLOBAL_OPTIONS:
        return (name,)
    if (main := f"{name}.{MAIN_OF_GROUP.get(name)}") in known:
        return (main,)
    found = _ending_with(name, known, command)
    for other in ALIASES.get(name, "").split():
        if other in known or other in GLOBAL_OPTIONS:
            found.append(other)
        else:
            found.extend(_ending_with(other, known, command))
    return tuple(dict.fromkeys(found))


def _ending_with(name: str, known: Mapping[str, Any], command: Command) -> list[str]:
    """Return the options whose name ends with this one; those of a secondary group only where there is no other."""
    found = [option for option in known if option.endswith(f".{name}")]
    first = [option for option in found if option.partition(".")[0] not in command.secondary.split()]
    return first or found


def shorten(option: str, known: Mapping[str, Any], command: Command) -> str:
    """Return the shortest name that an option can be typed as.

    Example:
        >>> shorten("sampler.batch", ["epochs", "sampler.batch"], Command("train", ""))
        'batch'
        >>> shorten("data.root", ["data.root"], Command("train", ""))
        'data'
    """
    group, _, last = option.rpartition(".")
    if MAIN_OF_GROUP.get(group) == last:
        return group
    if last == "learning_rate":
        last = "lr"
    if last == "pretrained":
        last = "init"
    return last if find_options(last, known, command) == (option,) else option


def describe_unknown(typed: str, name: str, known: Mapping[str, Any], command: Command) -> UserError:
    """Return the error for a name that stands for no option or for several, with what to write instead.

    Args:
        typed: The option as typed, or with what precedes it, as in `in the recipe: epoks`.
        name: Its name without hyphens.
        known: The command's options.
        command: The command.
    """
    found = find_options(name, known, command)
    if len(found) > 1:
        options = ", ".join(f"--{option}" for option in found)
        return UserError(
            typed,
            expected="the name of one option",
            got=f"one that may mean {options}",
            fix="Write one of them in full.",
        )
    expected = f"an option of `rewho {command.name}`"
    if answer := find_answer(name, known):
        return UserError(typed, expected=expected, got="one of another program", fix=answer)
    if members := [option for option in known if option.startswith(f"{name}.")]:
        shown = ", ".join(f"--{option}" for option in members[:6])
        more = f" and {len(members) - 6} more" if len(members) > 6 else ""
        fix = f"Write one of them, such as --{shorten(members[0], known, command)}; --help-all explains them."
        return UserError(typed, expected=expected, got=f"a group of options: {shown}{more}", fix=fix)
    near = find_nearest(name, known, command)
    got = f"an unknown option (nearest: {near})" if near else "an unknown option"
    return UserError(
        typed,
        expected="an option that the command has",
        got=got,
        fix="Use the nearest name, or see --help-all." if near else "See --help-all.",
    )


def find_nearest(name: str, known: Mapping[str, Any], command: Command) -> str | None:
    """Return the option with the most similar name; None if no name is similar.

    Compared are full names, names without their group, and names of other programs (`ALIASES`).
    """
    names = {option: option for option in known}
    for option in reversed(list(known)):
        names[option.rpartition(".")[2]] = option
    if "." in name:
        return nearest(name, names) and names[str(nearest(name, names))]
    for alias in ALIASES:
        if len(alias) > 2 and alias not in names and len(found := find_options(alias, known, command)) == 1:
            names[alias] = found[0]
    for option in GLOBAL_OPTIONS:
        names.setdefault(option, option)
    near = nearest(name, names)
    return names[near] if near else None


def expand_groups(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with `data: FOLDER` as `data.root: FOLDER`."""
    expanded = {}
    for name, value in values.items():
        main = f"{name}.{MAIN_OF_GROUP.get(name)}"
        expanded[main if name not in known and main in known else name] = value
    return expanded


def list_unknown(prefixes: Mapping[str, str], known: Mapping[str, Any], command: Command) -> Iterator[UserError]:
    """Yield an error per unknown option; `prefixes` maps each given option to what precedes its name in the message."""
    for name, prefix in prefixes.items():
        if name not in known:
            yield describe_unknown(prefix + name, name, known, command)
