"""The words of a command line → options with their values, and every mistake in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from rewho.core.check import UserError
from rewho.settings.fields import Command, is_list, plain_type
from rewho.settings.foreign import OTHER, find_advice, find_foreign_word, is_foreign_key
from rewho.settings.names import describe_unknown, find_options, shorten

OPTION = re.compile(r"--[A-Za-z]|-[A-Za-z]$|-[A-Za-z][\w-]+$")
TRUTH = ("true", "false", "yes", "no", "on", "off")
ONE_VALUE = "Leave one out, or quote a name with spaces."
RESUMING = "Leave it out: the same command resumes its run. To begin with the weights of another, pass --init FOLDER."


@dataclass
class Words:
    """The words of a command line as options with values.

    Args:
        values: Text or list by full option name.
        typed: How each of these options was typed, such as --lr.
        mistakes: Unknown and ambiguous names, missing values, words too many.
        notes: Messages about options that were given twice.
    """

    values: dict[str, str | list[str]] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    mistakes: list[UserError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_words(words: Sequence[str], known: Mapping[str, Any], command: Command) -> Words:
    """Return the options and values of a command line.

    An option takes as many words as its type has values; a bare flag is true. Words that no option takes are those of
    the command's positional options, in order; the last of these takes all that are left.

    Args:
        words: The command line behind the command's name.
        known: Type of each option.
        command: The command: its positional options and short names.

    Example:
        >>> options = {"out": Path, "videos": tuple[Path, ...], "retry": bool}
        >>> read_words(["--retry", "a.mp4", "--out", "x", "b.mp4"], options, Command("crop", "", "videos")).values
        {'retry': 'true', 'out': 'x', 'videos': ['a.mp4', 'b.mp4']}
        >>> read_words(["people", "--lr", "0.1"], {"data.root": Path, "optimizer.learning_rate": float},
        ...     Command("train", "", "data.root")).values
        {'optimizer.learning_rate': '0.1', 'data.root': 'people'}
    """
    read, unnamed, waiting = Words(), list[tuple[str, str]](), list(words)
    places = command.positional.split()
    last = flag = ""
    while waiting:
        word = waiting.pop(0)
        if word == "--":  # everything behind it is a value, as in other programs
            unnamed.extend((each, "") for each in waiting)
            break
        if not OPTION.match(word):
            if foreign := find_foreign_word(word, waiting, known, command, OPTION):
                read.mistakes.append(foreign)
            elif places:
                unnamed.append((word, flag))
            else:
                read.mistakes.append(_word_too_many(last, word))
            last = flag = ""
            continue
        typed, equals, value = word.partition("=")
        name = typed.lstrip("-").replace("-", "_")
        options = command.short.get(name, "").split() or list(find_options(name, known, command))
        kinds = [_kind(option, known) for option in options]
        values = [value] if equals else []
        # An unknown option takes all words behind it, so that only the option itself is reported.
        while not equals and waiting and not re.match(r"--?[A-Za-z]", waiting[0]) and waiting[0] != "--":
            if kinds and not _takes(kinds[0], values, waiting[0], bool(places)):
                break
            values.append(waiting.pop(0))
        last, flag = typed, typed if not values and [plain_type(kind) for kind in kinds] == [bool] else ""
        if not options or (len(options) > 1 and name not in command.short):
            read.mistakes.append(_unknown(typed, name, values, known, command))
            continue
        for option, kind in zip(options, kinds, strict=True):
            _add(read, option, kind, values, typed)
    _place(read, unnamed if places else [], places, known, command)
    for name, given in read.values.items():
        if isinstance(given, list):
            read.values[name] = _split_numbers(given, known[name])
    return read


def _kind(option: str, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type annotation
    return known.get(option, Path if option == "recipe" else bool)


def _unknown(typed: str, name: str, values: list[str], known: Mapping[str, Any], command: Command) -> UserError:
    if not is_foreign_key(name):
        return describe_unknown(typed, name, known, command)
    fix = find_advice(name, " ".join(values[:1]), known, command) or OTHER
    return UserError(typed, expected=f"an option of `rewho {command.name}`", got="one of another program", fix=fix)


def _add(read: Words, option: str, kind: Any, values: Sequence[str], typed: str) -> None:  # noqa: ANN401 - a type
    if is_list(kind):
        given = read.values.setdefault(option, [])
        assert isinstance(given, list)
        given.extend(values)
    elif not values and plain_type(kind) is not bool:
        fix = f"Pass {typed} VALUE."
        read.mistakes.append(UserError(typed, expected="a value", got="none", fix=fix))
        return
    elif option == "resume" and values and values[0].lower() not in TRUTH:
        read.mistakes.append(UserError(typed, expected="true or false", got=repr(values[0]), fix=RESUMING))
        return
    else:
        value = values[0] if values else "true"
        if read.values.get(option, value) != value:
            read.notes.append(f"note: {typed} is given twice; {value!r} holds, not {read.values[option]!r}")
        read.values[option] = value
    read.typed[option] = typed


def _place(
    read: Words, unnamed: list[tuple[str, str]], places: list[str], known: Mapping[str, Any], command: Command
) -> None:
    """Add the words without an option to the positional options, in order; the last of these gets all that remain.

    Each word comes with the flag typed before it, if any: in `--flip maybe` it is more likely the flag's value, and
    `--resume FOLDER`, as other programs have it, gets a message of its own.
    """
    for at, (word, before) in enumerate(unnamed):
        name = places[min(at, len(places) - 1)]
        shown = f"--{shorten(name, known, command)}"
        if is_list(known[name]):
            given = read.values.setdefault(name, [])
            assert isinstance(given, list)
            given.append(word)
        elif name in read.values:
            if before:
                fix = RESUMING if before == "--resume" else f"Leave it out, or write {before} false."
                read.mistakes.append(UserError(before, expected="true or false", got=repr(word), fix=fix))
            else:
                got = f"{read.values[name]!r} and {word!r}"
                read.mistakes.append(UserError(shown, expected="one value", got=got, fix=ONE_VALUE))
        else:
            read.values[name] = word
        read.typed.setdefault(name, shown)


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
    bare_flag = plain_type(kind) is bool and positional and word.lower() not in TRUTH
    return not values and not bare_flag


def _split_numbers(values: list[str], kind: Any) -> list[str]:  # noqa: ANN401 - a type annotation
    """Return the values of a list option; a list of numbers may also be one word, as in `[128, 64]`."""
    if len(values) == 1 and values[0].startswith("[") and _is_number_list(kind):
        return [part.strip() for part in values[0].strip("[]").split(",")]
    return values


def _is_number_list(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    return is_list(kind) and plain_type(get_args(plain_type(kind))[0]) in (int, float)


def _word_too_many(option: str, word: str) -> UserError:
    if option:
        got = f"{word!r} behind it"
        return UserError(option, expected="one value", got=got, fix=ONE_VALUE)
    fix = "See --help for the form."
    return UserError("command line", expected="options that begin with --", got=repr(word), fix=fix)
