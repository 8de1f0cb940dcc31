"""Recipes: YAML documents with settings.

Beside the settings a recipe may hold `about` (claim, command, cost, expected result), `extends` (a recipe to start
from) and `smoke` (settings of a run that ends in a minute).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rewho.core.artifact import flatten
from rewho.core.check import UserError, nearest

SPECIAL = ("about", "extends", "smoke")


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


def refuse_foreign(path: Path, command: str) -> None:
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
