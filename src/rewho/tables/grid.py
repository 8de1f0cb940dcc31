"""Expand grids: steps and rows of a table, written once for every combination of some values.

A grid has `over`, which lists values by name, and `steps` and `rows`, in which `<NAME>` becomes the value. A value may
have fields: `<NAME.FIELD>` becomes the field, `<NAME>` the field `is`. A text that is only one such placeholder becomes
the value itself, which may be a number or a list; within other text it is written out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from rewho.core.check import UserError, check_choice

FIELDS = ("over", "steps", "rows")
_PLACEHOLDER = re.compile(r"<([\w.]+)>")


def expand_grids(what: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table's content with every grid replaced by its steps and rows; they follow the content's own.

    Args:
        what: Name of the table in messages.
        content: As it was read.

    Example:
        >>> row = {"label": "share <share>", "model": "s-<share>", "paper": {"market1501": "<share.paper>"}}
        >>> grid = [{"over": {"share": [{"is": 10, "paper": [5, 4]}, {"is": 30, "paper": [9, 8]}]}, "rows": [row]}]
        >>> expand_grids("t", {"grid": grid})["rows"][1]
        {'label': 'share 30', 'model': 's-30', 'paper': {'market1501': [9, 8]}}
    """
    whole = {name: value for name, value in content.items() if name != "grid"}
    for number, grid in enumerate(content.get("grid") or (), start=1):
        part = f"{what}, grid {number}"
        if not isinstance(grid, Mapping) or not isinstance(grid.get("over"), Mapping):
            raise UserError(
                part, expected="over, and steps or rows", got=repr(grid), fix="Look at docs/guide/tables.md."
            )
        for name in grid:
            check_choice(f"{part}: field", str(name), FIELDS)
        for values in itertools.product(*(_listed(part, name, values) for name, values in grid["over"].items())):
            chosen = dict(zip(grid["over"], values, strict=True))
            if "steps" in grid:
                whole["steps"] = {**(whole.get("steps") or {}), **_filled(part, grid["steps"], chosen)}
            if "rows" in grid:
                whole["rows"] = [*(whole.get("rows") or ()), *_filled(part, grid["rows"], chosen)]
    return whole


def _listed(what: str, name: str, values: object) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise UserError(f"{what}, over {name}", expected="a list of values", got=repr(values), fix="Write [1, 2].")
    return values


def _filled(what: str, template: Any, chosen: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any YAML value
    """Return a template with its placeholders replaced; text that is one placeholder takes the value's type."""
    if isinstance(template, Mapping):
        return {_filled(what, name, chosen): _filled(what, value, chosen) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(what, item, chosen) for item in template]
    if not isinstance(template, str):
        return template
    alone = _PLACEHOLDER.fullmatch(template)
    if alone:
        return _value(what, alone[1], chosen)
    return _PLACEHOLDER.sub(lambda word: str(_value(what, word[1], chosen)), template)


def _value(what: str, word: str, chosen: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any YAML value
    """Return the value of a placeholder `NAME` or `NAME.FIELD`; a value with fields stands for its field `is`."""
    name, _, entry = word.partition(".")
    value = chosen[check_choice(f"{what}: <{word}>", name, list(chosen))]
    if isinstance(value, Mapping):
        return value[check_choice(f"{what}: <{word}>", entry or "is", list(value))]
    if entry:
        raise UserError(f"{what}: <{word}>", expected="a value with fields", got=repr(value), fix=f"Write <{name}>.")
    return value
