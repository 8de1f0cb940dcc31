"""What each setting may be, read from its annotation, and the one check of it.

A field's annotation says everything: `Literal` its choices, `Annotated[int, Range(1)]` its range, `Only("export")` the
actions it belongs to. Rules between fields of one class stand in that class's `mistakes` method. The command line,
recipes and Python all pass through `check`, which reports every mistake at once and reads nothing.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from rewho.core.check import UserError, list_choices, nearest

Settings = TypeVar("Settings")
Extra = TypeVar("Extra")


@dataclass(frozen=True)
class Range:
    """The values that a number may have; infinity and NaN are never allowed.

    Args:
        low: The smallest value.
        high: The largest value.
        above: Exclude `low` itself.

    Example:
        >>> Range(1).words("a whole number"), Range(0, 1, above=True).words("a number")
        ('a whole number from 1', 'a number above 0, at most 1')
    """

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return self.low <= value <= self.high and value != math.inf and not (self.above and value == self.low)

    def words(self, number: str) -> str:
        """Return the range in words."""
        low = f"{number} {'above' if self.above else 'from'} {self.low:,}"
        return low if self.high == math.inf else f"{low}{', at most' if self.above else ' to'} {self.high:,}"


class Only(tuple[str, ...]):
    """The actions of a command that an option belongs to; help on another action leaves it out."""

    def __new__(cls, *actions: str) -> Only:  # noqa: D102 - see the class
        return super().__new__(cls, actions)


class Mistake(NamedTuple):
    """A broken rule between fields of one settings class.

    Args:
        option: The field to name.
        expected: What it would have to be.
        fix: What to type; `{at}` stands for what precedes the options' names.
    """

    option: str
    expected: str
    fix: str


Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0, 1, above=True)]
Processes = Annotated[int, Range(0, 1024)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Device = Literal["auto", "cpu", "cuda"]
YesNoAuto = Literal["auto", "yes", "no"]

_KINDS: dict[type[Any], dict[str, Any]] = {}  # reading annotations takes a millisecond a class


def kinds_of(settings: type[Any]) -> dict[str, Any]:
    """Return the annotation of each field of a settings class, with its range."""
    if settings not in _KINDS:
        _KINDS[settings] = get_type_hints(settings, include_extras=True)
    return _KINDS[settings]


def options_of(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the annotation of every option of a settings class.

    Example:
        >>> from rewho.settings import DemoSettings
        >>> [name for name, _ in options_of(DemoSettings)]
        ['chapter', 'out', 'identities', 'epochs', 'seed']
    """
    for name, kind in kinds_of(settings).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from options_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def bare(kind: Any) -> Any:  # noqa: ANN401 - a type annotation
    """Return an annotation without its range and without `| None`."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return bare(next(item for item in get_args(kind) if item is not type(None)))
    return kind


def extra(kind: Any, wanted: type[Extra]) -> Extra | None:  # noqa: ANN401 - a type annotation
    """Return what an annotation holds of one class: its range, or its actions."""
    return next((item for item in getattr(kind, "__metadata__", ()) if isinstance(item, wanted)), None)


def takes_several(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option takes a list of values."""
    return get_origin(bare(kind)) is tuple


def build(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings from values by dotted name, converted from text where they fit; `check` names the others.

    Args:
        settings: The settings class to fill; fields that are not named keep their defaults.
        values: Text as on the command line, or numbers, lists and None as in a recipe.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> build(TrainSettings, {"epochs": "3", "model.input_size": [64, 32]}).model.input_size
        (64, 32)
    """
    made: Settings = _filled(settings(), values)
    return made


def _filled(made: Any, values: Mapping[str, Any], prefix: str = "") -> Any:  # noqa: ANN401 - any settings
    new = {}
    for name, kind in kinds_of(type(made)).items():
        if is_dataclass(part := getattr(made, name)):
            if any(option.startswith(f"{prefix}{name}.") for option in values):
                new[name] = _filled(part, values, f"{prefix}{name}.")
        elif prefix + name in values:
            new[name] = _converted(values[prefix + name], kind)
    return replace(made, **new)


def _converted(value: Any, kind: Any) -> Any:  # noqa: ANN401, PLR0911 - any value; each kind has an answer of its own
    """Return a value as its kind, or unchanged where it does not fit."""
    optional, kind = _optional(kind), bare(kind)
    if optional and (value is None or (isinstance(value, str) and value.lower() in ("null", "none", ""))):
        return None
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_converted(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Literal:
        if isinstance(value, bool):  # YAML 1.1 reads a bare yes or no as a truth value
            value = "yes" if value else "no"
        return str(value) if str(value) in get_args(kind) else value
    if kind is bool and isinstance(value, str):
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        return words.get(value.lower(), value)
    if kind in (str, Path) and type(value) is int:  # a name such as 2024, which YAML reads as a number
        value = str(value)
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return _number(value, float)
    if kind in (int, float) and isinstance(value, str):
        return _number(value.strip(), kind)
    return value


def _number(value: Any, kind: type[float]) -> Any:  # noqa: ANN401 - what does not fit is returned unchanged
    """Return a number from text, also from YAML's `.inf` and `.nan`, which `check` then refuses."""
    try:
        return kind({".inf": "inf", "-.inf": "-inf", ".nan": "nan"}.get(value, value))
    except (ValueError, OverflowError):
        return value


def _optional(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    return type(None) in get_args(kind)


def mismatch(value: Any, kind: Any) -> str:  # noqa: ANN401 - any value, a type annotation
    """Return in words what a setting should be, or the empty text where its value fits.

    Example:
        >>> mismatch(0, Annotated[int, Range(1)]), mismatch(3, Annotated[int, Range(1)])
        ('a whole number from 1', '')
        >>> mismatch("rows", Literal["people", "images"])
        'one of people, images'
    """
    allowed, optional, plain = extra(kind, Range) or Range(-math.inf), _optional(kind), bare(kind)
    if optional and value is None:
        return ""
    if get_origin(plain) is tuple:
        each = get_args(plain)[0]
        if bare(each) in (int, float):
            each = Annotated[each, allowed]
        if not isinstance(value, tuple):
            return f"a list, each {mismatch(object(), each)}"
        return next((f"each {words}" for item in value if (words := mismatch(item, each))), "")
    if get_origin(plain) is Literal:
        return "" if value in get_args(plain) else f"one of {list_choices(get_args(plain))}"
    if plain in (int, float):
        fits = isinstance(value, int if plain is int else (int, float)) and not isinstance(value, bool)
        number = "a whole number" if plain is int else "a number"
        words = number if allowed.low == -math.inf else allowed.words(number)
        if fits and plain is int and allowed.holds(value) and value >= 2**63:  # more than any library counts
            words, fits = f"{words}, below 2^63", False
        return "" if fits and allowed.holds(value) else words
    words = {bool: "true or false", str: "text", Path: "a path"}[plain]
    return "" if isinstance(value, plain) and "\0" not in str(value) else words


def check(settings: Any, prefix: str = "--", kind: type = object) -> None:  # noqa: ANN401 - any settings
    """Refuse settings with wrong values, all mistakes at once, those of the groups within them too.

    Reads no file and starts nothing. What depends on the data or on the machine is found where that is read.

    Args:
        settings: An object of a settings class.
        prefix: What stands before the options' names in messages.
        kind: The class that they have to be of.

    Raises:
        UserError: Names every option that is wrong.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> check(TrainSettings(epochs=0))
        Traceback (most recent call last):
        rewho.core.check.UserError: --epochs: expected a whole number from 1, got 0.
          Fix: Choose a value in the range.
    """
    if isinstance(settings, type) or not is_dataclass(settings) or not isinstance(settings, kind):
        got, fix = f"{settings!r:.100}", "Pass TrainSettings(epochs=3), and so on, of rewho.settings."
        raise UserError("settings", expected="an object of a settings class", got=got, fix=fix)
    refuse(list(mistakes_in(settings, prefix)))


def refuse(wrong: list[UserError]) -> None:
    """Raise one error for all mistakes; return where there is none."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        lines = [f"  {error.what} {error.got}: expected {error.expected}" for error in wrong]
        raise UserError(
            f"{len(wrong)} options",
            expected="values that their options can have",
            got="\n".join(["these:", *lines]),
            fix=" ".join(dict.fromkeys(error.fix for error in wrong)),
        )


def mistakes_in(settings: Any, prefix: str = "--") -> Iterator[UserError]:  # noqa: ANN401 - any settings
    """Yield an error per wrong option."""
    sound = True
    for name, kind in kinds_of(type(settings)).items():
        value = getattr(settings, name)
        if is_dataclass(kind):
            if isinstance(value, kind):  # type: ignore[arg-type] # a class, for `is_dataclass` holds
                yield from mistakes_in(value, f"{prefix}{name}.")
            else:
                yield _wrong(prefix + name, value, kind, f"an object of {kind}")
        elif expected := mismatch(value, kind):
            sound = False
            yield _wrong(prefix + name, value, kind, expected)
    if sound and hasattr(settings, "mistakes"):
        for option, expected, fix in settings.mistakes():
            got = _shown(attrgetter(option)(settings))
            yield UserError(prefix + option, expected=expected, got=got, fix=fix.replace("{at}", prefix))


def _wrong(what: str, value: Any, kind: Any, expected: str) -> UserError:  # noqa: ANN401 - any value
    fix = "Choose a value in the range." if extra(kind, Range) else "Choose one of these."
    if get_origin(bare(kind)) is Literal:
        near = nearest(str(value), map(str, get_args(bare(kind))))
        fix = f"Did you mean {near!r}? Choose a name from the list." if near else "Choose a name from the list."
    elif bare(kind) is Path and isinstance(value, str) and value:
        fix = f"In Python, pass pathlib.Path({value!r})."
    elif not extra(kind, Range):
        fix = f"Pass {expected}."
    return UserError(what, expected=expected, got=_shown(value), fix=fix)


def _shown(value: Any) -> str:  # noqa: ANN401 - any value
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return repr(value) if isinstance(value, str) else str(value)
