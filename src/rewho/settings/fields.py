"""Reading each option's choices and range from its annotation, and the one check of settings.

A field's annotation is complete: `Literal` holds its choices, `Annotated[int, Range(1)]` its range, `Only("export")`
the actions it belongs to. Rules between fields are in the class's `mistakes` method. The command line, recipes and
Python all call `check`, which reports every mistake at once and reads no file.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from rewho.core.check import UserError, list_choices, nearest

Settings = TypeVar("Settings")
Extra = TypeVar("Extra")


@dataclass(frozen=True)
class Command:
    """A sub-command; the attribute `command` of its settings class. Its stage is `rewho.stages.NAME`.

    Args:
        name: Name of the command and of its stage.
        help: One line of help.
        positional: Options that values without a name are assigned to, in order; the last takes all that are left.
        required: Options without which there is nothing to do; a default that lies there, such as ./data, will do.
        actions: One line of help for each value of the option `action`.
        common: The options that people use most, which --help explains; all of them where there are few.
        examples: Three command lines, without `rewho`, for --help.
        short: Short names of its own → options, several of which are set together.
        numbered: Without --out, a run with other settings gets a folder of its own: runs/NAME, runs/NAME-2, …
        again: Run the stage at every call, also where its folder is finished, because it prints or shares it.
        light: The stage starts within a moment, so no first line announces it.
        secondary: Groups whose options need their full name where another has the same last part.
    """

    name: str
    help: str
    positional: str = ""
    actions: Mapping[str, str] = field(default_factory=dict)
    common: str = ""
    examples: tuple[str, ...] = ()
    short: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = True
    again: bool = False
    light: bool = False
    secondary: str = ""
    required: str = ""


@dataclass(frozen=True)
class Range:
    """Allowed values of a number; infinity and NaN are never allowed.

    Args:
        low: Smallest value.
        high: Largest value.
        above: Exclude `low` itself.

    Example:
        >>> Range(1).describe("a whole number"), Range(0, 1, above=True).describe("a number")
        ('a whole number from 1', 'a number above 0, at most 1')
    """

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return self.low <= value <= self.high and value != math.inf and not (self.above and value == self.low)

    def describe(self, number: str) -> str:
        """Return the range in words."""
        low = f"{number} {'above' if self.above else 'from'} {self.low:,}"
        return low if self.high == math.inf else f"{low}{', at most' if self.above else ' to'} {self.high:,}"


class Only(tuple[str, ...]):
    """The actions of a command that an option belongs to; the help of other actions omits it."""

    def __new__(cls, *actions: str) -> Only:  # noqa: D102 - see the class
        return super().__new__(cls, actions)


class Names(tuple[str, ...]):
    """The choices of a text option that also accepts MODULE:FUNCTION, a function of the user."""

    def __new__(cls, *names: str) -> Names:  # noqa: D102 - see the class
        return super().__new__(cls, names)


class Mistake(NamedTuple):
    """A broken rule between fields of one settings class.

    Args:
        option: The field to name.
        expected: What it would have to be.
        fix: What to type; `{at}` stands for the prefix of the options' names.
    """

    option: str
    expected: str
    fix: str


Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0, 1, above=True)]
Processes = Annotated[int, Range(0, 1024)]
Batch = Annotated[int, Range(1, 100_000)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["auto", "torch", "onnxruntime", "openvino"]
YesNoAuto = Literal["auto", "yes", "no"]

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
_ANNOTATIONS: dict[type[Any], dict[str, Any]] = {}  # a cache, because reading takes 1 ms per class


def annotations_of(settings: type[Any]) -> dict[str, Any]:
    """Return the annotation of each field of a settings class."""
    if settings not in _ANNOTATIONS:
        _ANNOTATIONS[settings] = get_type_hints(settings, include_extras=True)
    return _ANNOTATIONS[settings]


def options_of(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the annotation of every option of a settings class."""
    for name, kind in annotations_of(settings).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from options_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def plain_type(kind: Any) -> Any:  # noqa: ANN401 - a type annotation
    """Return an annotation without `Annotated` and without `| None`."""
    if get_origin(kind) is Annotated:
        return plain_type(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return plain_type(next(item for item in get_args(kind) if item is not type(None)))
    return kind


def is_optional(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option may be None, also one with metadata around its type."""
    return type(None) in get_args(get_args(kind)[0] if get_origin(kind) is Annotated else kind)


def find_metadata(kind: Any, wanted: type[Extra]) -> Extra | None:  # noqa: ANN401 - a type annotation
    """Return an annotation's metadata of one class, such as its `Range`; None without."""
    return next((item for item in getattr(kind, "__metadata__", ()) if isinstance(item, wanted)), None)


def name_function(what: str, function: Callable[..., object]) -> str:
    """Return MODULE:FUNCTION, which is written into a run's settings and from which the function is imported again.

    Raises:
        UserError: The function is not at the top level of its module.

    Example:
        >>> name_function("--data.layout", name_function)
        'rewho.settings.fields:name_function'
    """
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', repr(function))}"
    if not _FUNCTION.fullmatch(name):
        fix = "Define it with `def` in a module, outside of functions and classes."
        raise UserError(what, expected="a function at the top level of a module", got=name, fix=fix)
    return name


def is_list(kind: Any) -> bool:  # noqa: ANN401 - a type annotation
    """Return whether an option takes a list of values."""
    return get_origin(plain_type(kind)) is tuple


def build(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings from values by dotted name, unchecked.

    Values are converted to their field's type where possible; `check` reports the others.

    Args:
        settings: The settings class; fields without a value keep their defaults.
        values: Text as on the command line, or numbers, lists and None as in a recipe.

    Example:
        >>> from rewho.settings import TrainSettings
        >>> build(TrainSettings, {"epochs": "3", "model.input_size": [64, 32]}).model.input_size
        (64, 32)
    """
    made: Settings = _fill(settings(), values)
    return made


def _fill(made: Any, values: Mapping[str, Any], prefix: str = "") -> Any:  # noqa: ANN401 - any settings
    new = {}
    for name, kind in annotations_of(type(made)).items():
        if is_dataclass(part := getattr(made, name)):
            if any(option.startswith(f"{prefix}{name}.") for option in values):
                new[name] = _fill(part, values, f"{prefix}{name}.")
        elif prefix + name in values:
            new[name] = _convert(values[prefix + name], kind)
    return replace(made, **new)


def _convert(value: Any, kind: Any) -> Any:  # noqa: ANN401, PLR0911 - any value; each kind has its own conversion
    """Return a value converted to an annotation's type, or unchanged if impossible."""
    optional, kind = is_optional(kind), plain_type(kind)
    if optional and (value is None or (isinstance(value, str) and value.lower() in ("null", "none", ""))):
        return None
    if get_origin(kind) is tuple and isinstance(value, str) and value.startswith("["):  # as in `--override`
        value = [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        if plain_type(get_args(kind)[0]) is int:  # 64,32 is two numbers; a comma in 0,5 may be a decimal one
            value = [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
        return tuple(_convert(item, get_args(kind)[0]) for item in value)
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
    if (kind is float and type(value) is int) or (kind in (int, float) and isinstance(value, str)):
        word = str(value).strip()
        try:  # YAML's .inf and .nan are converted too; `check` rejects them with the range
            return kind({".inf": "inf", "-.inf": "-inf", ".nan": "nan"}.get(word, word))
        except (ValueError, OverflowError):
            return value
    return value


def find_mismatch(value: Any, kind: Any) -> str:  # noqa: ANN401 - any value, a type annotation
    """Return in words what a setting should be; an empty text if its value is right.

    Example:
        >>> find_mismatch(0, Annotated[int, Range(1)]), find_mismatch(3, Annotated[int, Range(1)])
        ('a whole number from 1', '')
        >>> find_mismatch("rows", Literal["people", "images"])
        'one of people, images'
    """
    allowed, plain = find_metadata(kind, Range) or Range(-math.inf), plain_type(kind)
    if is_optional(kind) and value is None:
        return ""
    if get_origin(plain) is tuple:
        each = get_args(plain)[0]
        if plain_type(each) in (int, float):
            each = Annotated[each, allowed]
        if not isinstance(value, tuple):
            return f"a {'tuple' if isinstance(value, list) else 'list'}, each {find_mismatch(object(), each)}"
        return next((f"each {words}" for item in value if (words := find_mismatch(item, each))), "")
    names = find_metadata(kind, Names)
    if names or get_origin(plain) is Literal:
        choices = names or get_args(plain)
        fits = value in choices or bool(names and isinstance(value, str) and _FUNCTION.fullmatch(value))
        return "" if fits else f"one of {list_choices(choices)}{', or MODULE:FUNCTION' if names else ''}"
    if plain in (int, float):
        fits = isinstance(value, int if plain is int else (int, float)) and not isinstance(value, bool)
        number = "a whole number" if plain is int else "a number"
        words = number if allowed.low == -math.inf else allowed.describe(number)
        if fits and plain is int and allowed.holds(value) and value >= 2**63:  # no library takes more
            words, fits = f"{words}, below 2^63", False
        return "" if fits and allowed.holds(value) else words
    words = {bool: "true or false", str: "text", Path: "a path"}[plain]
    return "" if isinstance(value, plain) and "\0" not in str(value) else words


def check(settings: Any, prefix: str = "--", kind: type = object) -> None:  # noqa: ANN401 - any settings
    """Check settings, nested groups included, and report every wrong value at once; reads no file.

    Args:
        settings: An object of a settings class.
        prefix: Prefix of the options' names in messages.
        kind: Class that the settings must be of.

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
    raise_all(list(find_mistakes(settings, prefix)))


def raise_all(wrong: list[UserError]) -> None:
    """Raise one error for all mistakes; return if there are none."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        lines = [f"  {error.what} {error.got}: expected {error.expected}" for error in wrong]
        expected, fix = "values that their options can have", " ".join(dict.fromkeys(error.fix for error in wrong))
        raise UserError(f"{len(wrong)} options", expected=expected, got="\n".join(["these:", *lines]), fix=fix)


def find_mistakes(settings: Any, prefix: str = "--") -> Iterator[UserError]:  # noqa: ANN401 - any settings
    """Yield an error per wrong option; rules between fields are checked only if every field is right."""
    sound = True
    for name, kind in annotations_of(type(settings)).items():
        value = getattr(settings, name)
        if is_dataclass(kind):
            if isinstance(value, kind):  # type: ignore[arg-type] # a class, for `is_dataclass` holds
                nested = list(find_mistakes(value, f"{prefix}{name}."))
                sound = sound and not nested
                yield from nested
            else:
                sound = False
                yield _wrong_value(prefix + name, value, kind, f"an object of {kind}")
        elif expected := find_mismatch(value, kind):
            sound = False
            yield _wrong_value(prefix + name, value, kind, expected)
    if sound and hasattr(settings, "mistakes"):
        for option, expected, fix in settings.mistakes():
            got = _show(attrgetter(option)(settings))
            yield UserError(prefix + option, expected=expected, got=got, fix=fix.replace("{at}", prefix))


def find_missing(settings: Any, given: Collection[str], prefix: str = "--") -> Iterator[UserError]:  # noqa: ANN401
    """Yield an error per option that the command needs, that was not given and whose default is empty or not there."""
    command: Command = settings.command
    for name in command.required.split():
        value = attrgetter(name)(settings)
        if name in given or (isinstance(value, Path) and value.exists()):
            continue
        group, _, last = name.rpartition(".")
        short = group if last == "root" else next((one for one, full in command.short.items() if full == name), name)
        fix = f"Type it as in `rewho {command.examples[0]}`."
        yield UserError(prefix + short, expected="a path", got="nothing", fix=fix)


def _wrong_value(what: str, value: Any, kind: Any, expected: str) -> UserError:  # noqa: ANN401 - any value
    if choices := find_metadata(kind, Names) or (
        get_origin(plain_type(kind)) is Literal and get_args(plain_type(kind))
    ):
        near = nearest(str(value), map(str, choices))
        fix = f"Did you mean {near!r}? Choose a name from the list." if near else "Choose a name from the list."
    elif plain_type(kind) is Path and isinstance(value, str) and value:
        fix = f"In Python, pass pathlib.Path({value!r})."
    elif is_list(kind) and isinstance(value, list):
        fix = f"In Python, pass {tuple(value)!r}."
    else:
        fix = "Choose a value in the range." if find_metadata(kind, Range) else f"Pass {expected}."
    return UserError(what, expected=expected, got=_show(value), fix=fix)


def _show(value: Any) -> str:  # noqa: ANN401 - any value
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return repr(value) if isinstance(value, str) else str(value)
