"""Print a script that completes rewho's command line in a shell."""

from __future__ import annotations

from rewho.settings import CompletionSettings
from rewho.settings.commands import find_commands
from rewho.settings.completion import write_script
from rewho.settings.fields import check
from rewho.settings.recipe import list_recipes


def run(settings: CompletionSettings) -> str:
    """Return the script."""
    check(settings)
    return write_script(settings.shell, find_commands(), tuple(list_recipes()))
