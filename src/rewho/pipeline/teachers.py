"""Finding teachers: model folders, or files that describe other networks, that each speak for one view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewho.core.check import UserError
from rewho.models.weights import CARD


def find_teachers(paths: Sequence[Path]) -> list[Path]:
    """Return the teachers among `paths`; a folder of model folders stands for all in it, sorted by name.

    A YAML file describes a network that is not ours, see `foreign_teachers`.

    Raises:
        UserError: None were named, or a path is neither.
    """
    if not paths:
        raise UserError(
            "--teachers", expected="at least one model folder", got="none", fix="Pass --teachers FOLDER [FOLDER ...]."
        )
    found: list[Path] = []
    for path in paths:
        inside = sorted(card.parent for card in path.glob(f"*/{CARD}")) if path.is_dir() else []
        if (path / CARD).is_file() or (path.suffix in (".yaml", ".yml") and path.is_file()):
            found.append(path)
        elif inside:
            found += inside
        else:
            raise UserError(
                f"--teachers {path}",
                expected="a finished model folder, a folder that holds some, or a YAML file that describes a network",
                got="neither" if path.is_dir() else "no such folder",
                fix="Give what `rewho teachers --out` or `rewho train --out` wrote; unfinished runs have no model.",
            )
    return found


def check_one_per_view(views: Sequence[str]) -> None:
    """Refuse two teachers for one view.

    Args:
        views: The view of each teacher.

    Raises:
        UserError: Names the views that there is more than one teacher for.
    """
    twice = sorted({view for view in views if views.count(view) > 1})
    if twice:
        raise UserError(
            "--teachers",
            expected="one teacher for each view",
            got=f"two or more for {', '.join(twice)}",
            fix="Name the teachers' folders one by one, and leave the others out.",
        )
