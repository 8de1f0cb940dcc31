"""Every command's settings class by the command's name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from rewho import settings
from rewho.settings.fields import Command


def find_commands() -> dict[str, type[Any]]:
    """Return each command's settings class by the command's name: the classes in `settings` with a `command`."""
    names = [f"rewho.settings.{found.name}" for found in pkgutil.iter_modules(settings.__path__)]
    modules = [importlib.import_module(name) for name in names if name != __name__]
    values = [value for module in modules for value in vars(module).values()]
    commands = {value.command.name: value for value in values if isinstance(getattr(value, "command", 0), Command)}
    return dict(sorted(commands.items()))
