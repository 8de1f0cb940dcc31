"""List the recipes by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rewho.core.check import UserError, nearest
from rewho.core.files import read_yaml
from rewho.core.text import printable
from rewho.settings import RecipesSettings
from rewho.settings.fields import check
from rewho.settings.recipe import list_recipes


def run(settings: RecipesSettings) -> str:
    """Return one line per recipe: its name, its command, and the first sentence of its claim."""
    check(settings)
    rows = []
    for name, file in list_recipes().items():
        content = read_yaml(file)
        about = content.get("about") if isinstance(content, Mapping) else None
        about = about if isinstance(about, Mapping) else {}
        command = re.match(r"(?:rewho )?(\S+)", str(about.get("command", "")))
        claim = re.split(r"; |(?<!\bal)\. ", " ".join(str(about.get("claim", "")).split()))[0].rstrip(".")
        rows.append((name, command[1] if command and command[1] != "none" else "", claim))
    words = [word.lower().removesuffix(".yaml") for word in settings.words]
    names = [name for name, _, _ in rows]
    rows = [row for row in rows if all(word in " ".join(row).lower() for word in words)]
    if not rows:
        near = nearest(" ".join(words), names) or nearest(" ".join(words), [name.split("/")[-1] for name in names])
        fix = f"Did you mean {near}?" if near else "`rewho recipes` lists all."
        raise UserError("--words", expected="words of a recipe", got=" ".join(settings.words), fix=fix)
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}}  {command:{widths[1]}}  {claim}" for name, command, claim in rows]
    return printable("\n".join([*lines, "", "Use one with `rewho COMMAND --recipe NAME`."]))
