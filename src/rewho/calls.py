"""The commands as Python functions: the same names, the same rules, the same checks as on the command line.

A keyword is an option without its hyphens. The last part of a dotted name is enough where it is unique; elsewhere two
underscores stand for the dot: `data__share` is `--data.share`. Groups also take a settings object or a dictionary.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from numbers import Number
from pathlib import Path
from typing import Any, TypeVar, cast

from rewho.core.artifact import plain
from rewho.core.check import UserError, check_choice
from rewho.core.progress import say
from rewho.core.record import flatten
from rewho.settings import DistillSettings, PretrainSettings, TrainSettings
from rewho.settings.commands import find_commands
from rewho.settings.fields import build, find_missing, find_mistakes, is_list, options_of, raise_all
from rewho.settings.initial import read_architecture
from rewho.settings.names import describe_unknown, find_options

Settings = TypeVar("Settings")


def fill_settings(kind: type[Settings], words: tuple[Any, ...], options: Mapping[str, Any]) -> Settings:
    """Return the checked settings of a command; every mistake is reported at once.

    Args:
        kind: The command's settings class.
        words: Values without a name, as on the command line; the last positional option takes all that are left.
        options: Values by name, see the top of this module.

    Example:
        >>> fill_settings(TrainSettings, ("people",), {"epochs": 3, "lr": 0.1}).optimizer.learning_rate
        0.1
        >>> fill_settings(TrainSettings, ("people",), {"epohs": 3, "lr": -1})
        Traceback (most recent call last):
        rewho.core.check.UserError: 2 options: expected values that their options can have, got these:
          epohs an unknown option (nearest: epochs): expected an option that the command has
          optimizer.learning_rate -1.0: expected a number from 0.
          Fix: Use the nearest name, or see --help-all. Choose a value in the range.
    """
    command = kind.command  # type: ignore[attr-defined] # every command's class has it
    known, values, mistakes = dict(options_of(kind)), dict[str, Any](), list[UserError]()
    places = command.positional.split()
    if words and not places:
        got = f"{len(words)} values without a name"
        raise UserError(f"rewho {command.name}", expected="named options only", got=got, fix="Name them.")
    for at, value in enumerate(words):
        name = places[min(at, len(places) - 1)]
        if is_list(known[name]):
            values.setdefault(name, []).extend([value] if isinstance(value, str | Path) else value)
        elif name in values:
            got = f"also {value!r}"
            mistakes.append(UserError(name, expected="one value", got=got, fix="Pass the other by its name."))
        else:
            values[name] = value
    for given, value in options.items():
        name = given.replace("__", ".")
        if (is_dataclass(value) and not isinstance(value, type)) or isinstance(value, Mapping):
            parts = {f"{name}.{part}": item for part, item in flatten(plain(value)).items()}
        else:
            parts = {name: value}
        for part, item in parts.items():
            found = command.short.get(part, "").split() or [
                one for one in find_options(part, known, command) if one in known
            ]
            if len(found) != 1:
                mistakes.append(describe_unknown(given, part, known, command))
            else:
                single = is_list(known[found[0]]) and isinstance(item, str | Path | Number)
                values[found[0]] = _unwrapped([item] if single else item)
    taken, note = read_architecture(command.name, values, known)
    made = build(kind, {**taken, **values})
    raise_all([*mistakes, *find_mistakes(made, ""), *find_missing(made, values, "")])
    say(note)
    return made


def _unwrapped(value: Any) -> Any:  # noqa: ANN401
    """Return numbers of NumPy, alone or in a list, as those of Python."""
    if isinstance(value, list | tuple):
        return type(value)(_unwrapped(item) for item in value) if type(value) in (list, tuple) else value
    return value.item() if isinstance(value, Number) and hasattr(value, "item") else value


def run(command: str, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - each command has its own
    """Run a command and return its result: the path of what it wrote, or the text that it prints.

    Args:
        command: Its name, such as "export".
        *words: Values without a name, as on the command line.
        **options: Options by name: `epochs=3`, `lr=0.1`, `data__share=0.5`, `sampler={"batch": 16}`.

    Raises:
        UserError: An unknown command, or wrong options, all of them at once; see the command too.

    Example:
        >>> run("train", "people", epochs=0)
        Traceback (most recent call last):
        rewho.core.check.UserError: epochs: expected a whole number from 1, got 0.
          Fix: Choose a value in the range.
    """
    commands = find_commands()
    settings = fill_settings(commands[check_choice("command", command, tuple(commands))], words, options)
    return importlib.import_module(f"rewho.stages.{command}").run(settings)


def train(data: TrainSettings | str | Path, *, losses: Mapping[str, Any] | None = None, **options: Any) -> Path:  # noqa: ANN401
    """Train a model on labelled images, and return its folder.

    Args:
        data: Folder of the data set or a CSV file; or the settings of the whole training, without `options`.
        losses: Weight and builder of losses of your own, by name.
        **options: Options of `rewho train`, by name; see `run`.

    Raises:
        UserError: Wrong options, all of them at once; wrong data; a diverged training.
    """
    if not isinstance(data, TrainSettings):
        data = fill_settings(TrainSettings, (data,), options)
    elif options:
        got = f"also {', '.join(options)}"
        raise UserError("train", expected="settings or options", got=got, fix="Put the options into the settings.")
    from rewho.stages import train as stage

    return stage.run(data, losses)


def pretrain(*images: PretrainSettings | str | Path, **options: Any) -> Path:  # noqa: ANN401
    """Pre-train an encoder on images without labels, and return its folder.

    Args:
        *images: Folders of images, crop sets and data sets; or the settings of the whole training alone.
        **options: Options of `rewho pretrain`, by name; see `run`.

    Raises:
        UserError: Wrong options, all of them at once; no images; a diverged training.
    """
    if len(images) == 1 and isinstance(images[0], PretrainSettings) and not options:
        from rewho.stages import pretrain as stage

        return stage.run(images[0])
    return cast("Path", run("pretrain", *images, **options))


def distill(settings: DistillSettings | None = None, **options: Any) -> Path:  # noqa: ANN401
    """Distil teachers' embeddings into a student, and return the better student's folder.

    Args:
        settings: The settings of the whole distillation, without `options`.
        **options: Options of `rewho distill`, by name; see `run`.

    Raises:
        UserError: Wrong options, all of them at once; a student or representations that do not fit.
    """
    if settings is not None and not options:
        from rewho.stages import distill as stage

        return stage.run(settings)
    return cast("Path", run("distill", *(() if settings is None else (settings,)), **options))
