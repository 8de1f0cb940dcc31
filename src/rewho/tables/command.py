"""Write a step of a table as the command that runs it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def format_command(stage: str, options: Mapping[str, Any], recipe: Path | None = None, *, smoke: bool = False) -> str:
    """Return a `rewho` command, quoted for a shell.

    Args:
        stage: The command's name.
        options: Values by dotted name, as a recipe holds them.
        recipe: The recipe to start from.
        smoke: Whether the recipe's smoke variant is used.

    Example:
        >>> format_command("train", {"model.input_size": [64, 32], "out": "my run"}, Path("a.yaml"))
        "rewho train --recipe a.yaml --model.input_size 64 32 --out 'my run'"
    """
    words = ["rewho", *stage.split()]
    if recipe:
        words += ["--recipe", recipe.as_posix(), *(["--smoke"] if smoke else [])]
    for name, value in options.items():
        words += [f"--{name}", *map(_word, value if isinstance(value, list | tuple) else [value])]
    return shlex.join(words)


def _word(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
