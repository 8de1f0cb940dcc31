"""User-defined views from YAML: a box, a size, and optionally masks."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from rewho.core.check import UserError, check_choice
from rewho.core.files import read_yaml
from rewho.data.view_masks import known_fields, read_mask
from rewho.data.views import VIEWS, View
from rewho.settings import ModelSettings

_NUMBER = re.compile(r"[0-9]{1,5}/[1-9][0-9]{0,4}|[0-9](\.[0-9]{1,4})?")


def read_view(name_or_yaml: str | Path) -> View:
    """Return a view of the paper by its name, or a user-defined view from a YAML file.

    The file holds `name`, `box` (`top`, `bottom`, and optionally `left`, `right`; each a fraction such as 1/4 or a
    decimal with up to four digits) and `size` (height, width)::

        name: left_torso
        box: {top: 1/4, bottom: 3/4, left: 0, right: 1/2}
        size: [224, 224]

    and optionally `mask`, either a folder of masks or a file of keypoints, see `view_masks.read_mask`::

        mask: {files: masks}
        mask: {keypoints: points.json, parts: [torso, arms]}

    Args:
        name_or_yaml: A key of `VIEWS`, or the path of a file that ends in .yaml or .yml.

    Example:
        >>> read_view("up2").top
        Fraction(1, 7)
    """
    path = Path(name_or_yaml)
    if path.suffix not in {".yaml", ".yml"}:
        return VIEWS[check_choice("view", str(name_or_yaml), list(VIEWS))]
    what = f"view file {path}"
    fields = known_fields(what, read_yaml(path, what), ("name", "box", "size"), ("mask",))
    box = {"left": 0, "right": 1} | known_fields(f"{what}, box", fields["box"], ("top", "bottom"), ("left", "right"))
    top, bottom, left, right = (_fraction(f"{what}, {side}", box[side]) for side in ("top", "bottom", "left", "right"))
    size = fields["size"] if isinstance(fields["size"], list) else [fields["size"]]
    view = View(str(fields["name"]), top, bottom, left, right, cast("tuple[int, int]", tuple(size)))
    if fields.get("mask") is not None:
        view = replace(view, mask=read_mask(f"{what}, mask", fields["mask"], path.parent))
    if view.name in VIEWS:
        raise UserError(
            f"{what}, name", expected="a name of its own", got=f"the paper's {view.name!r}", fix="Rename it."
        )
    return view


def _fraction(what: str, value: object) -> Fraction:
    """Return 1/4, 0.25 or 1 as a fraction; refuse what would take long to convert, such as 1e999999999."""
    text = str(value).replace(" ", "")
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        got = repr(value)
        fix = "Give a share of the image, 0 to 1."
        raise UserError(what, expected="a fraction such as 1/4, or a decimal with up to four digits", got=got, fix=fix)
    return Fraction(text)


def view_of_settings(settings: ModelSettings) -> View:
    """Return the view of a model's settings, at the input size of the settings."""
    view = read_view(settings.view)
    size = settings.input_size
    if not size:
        return view
    if len(size) != 2 or min(size) < 32:
        raise UserError(
            "--model.input_size", expected="height and width, 32 or more", got=f"{size}", fix="Pass 256 128."
        )
    return replace(view, size=(size[0], size[1]))
