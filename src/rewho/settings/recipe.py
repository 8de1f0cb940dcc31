"""Recipes: YAML documents with settings.

A recipe may also hold `about` (claim, command, cost, expected result), `extends` (the recipe that it builds on) and
`smoke` (settings of a run that ends within a minute).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewho.core.check import UserError, nearest
from rewho.core.files import check_extends, read_yaml
from rewho.core.record import flatten

OF_TORCHREID = ("model.name", "data.height", "train.optim", "train.lr", "train.max_epoch", "test.evaluate")
"""Some of the keys in every configuration of torchreid; no command of ours has them."""
SPECIAL = ("about", "extends", "smoke")


def read_recipe(path: Path, *, smoke: bool = False) -> dict[str, Any]:
    """Return the settings of a recipe and those it extends by dotted name; `smoke` adds their smoke variants."""
    settings, of_smoke = _layers(find_recipe(path))
    merged = {**settings, **of_smoke} if smoke else settings
    refuse_functions(f"--recipe {path}", merged)
    return merged


def refuse_functions(what: str, settings: Mapping[str, Any]) -> None:
    """Refuse a file that names a function to run: files are passed on, and loading one must not run code."""
    for name, value in settings.items():
        if name.rpartition(".")[2] == "layout" and ":" in str(value):
            fix = f"Leave it out of the file, and pass --{name} {value} on the command line."
            raise UserError(f"{what}: {name}", expected="the name of a layout", got=f"the function {value}", fix=fix)


def _layers(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    content = _read_yaml(path)
    extended = check_extends(f"--recipe {path}", path, content, above)
    below, smoke_below = _layers(extended, (*above, path)) if extended else ({}, {})
    own = flatten({key: value for key, value in content.items() if key not in SPECIAL})
    smoke = _mapping(f"--recipe {path}: smoke", content.get("smoke") or {})
    return {**below, **own}, {**smoke_below, **flatten(smoke)}


def recipe_folders() -> list[Path]:
    """Return the existing recipe folders: in the working directory, the installed package and its checkout."""
    package = Path(__file__).parents[1]
    places = (Path(), package, package.parents[1])
    return [place / "recipes" for place in places if (place / "recipes").is_dir()]


def list_recipes() -> dict[str, Path]:
    """Return the file of each recipe by name, such as fd/s-fast; the first folder that has one wins."""
    found: dict[str, Path] = {}
    for folder in recipe_folders():
        for file in sorted(folder.glob("*/*.yaml")):
            found.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    return found


def find_recipe(path: Path) -> Path:
    """Return the file of a recipe that is given by path, or by name, such as fd/s-fast.

    Raises:
        UserError: There is neither such a file nor such a name.
    """
    if path.exists():
        return path
    recipes = list_recipes()
    name = path.as_posix().removeprefix("recipes/").removesuffix(".yaml")
    if name in recipes:
        return recipes[name]
    beside = {file.as_posix(): file.as_posix() for file in path.parent.glob("*.yaml")} if path.suffix else {}
    last_parts = {full.rpartition("/")[2]: full for full in recipes}
    near = nearest(path.as_posix(), beside) or nearest(name, recipes) or nearest(name, last_parts)
    known = {**beside, **last_parts, **{full: full for full in recipes}}
    fix = f"Did you mean {known[near]}?" if near else "Check the path; `rewho recipes` lists the names."
    raise UserError(
        "--recipe", expected="a YAML file, or a name of `rewho recipes`", got=f"nothing readable at {path}", fix=fix
    )


def _read_yaml(path: Path) -> Mapping[str, Any]:
    return _mapping(f"--recipe {path}", read_yaml(path, f"--recipe {path}"))


def _mapping(what: str, content: object) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UserError(what, expected="names and values", got=f"{content!r:.100}", fix="Write `epochs: 80`.")
    return content


def check_recipe_command(path: Path, command: str) -> None:
    """Fail if the recipe's `about` names another command."""
    content = _read_yaml(find_recipe(path))
    capitals = [str(name) for name in content if str(name).isupper()]
    if foreign := capitals or [name for name in flatten(content) if name in OF_TORCHREID]:
        fix = "Start from a recipe of `rewho recipes`, such as luperson/bot or luperson/mgn; "
        fix += "docs/guide/coming-from.md has the equivalents."
        got = f"the configuration of another program, with {', '.join(foreign[:3])}"
        raise UserError(f"--recipe {path}", expected="a recipe of rewho", got=got, fix=fix)
    about = content.get("about") or {}
    named = re.match(r"rewho (\w+)", str(about.get("command", "")) if isinstance(about, Mapping) else "")
    if named and named.group(1) != command:
        expected = f"a recipe for `rewho {command}`"
        fix = f"Run `rewho {named.group(1)} --recipe {path}`, or pass another recipe."
        raise UserError(f"--recipe {path}", expected=expected, got=f"one for `rewho {named.group(1)}`", fix=fix)
