"""Finding the teachers that a user names: model folders, and YAML files that describe other networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError, describe_path
from rewho.core.record import STARTED
from rewho.core.shipped import CARD
from rewho.training.checkpoint import STATE, has_checkpoint


def find_teachers(paths: Sequence[Path]) -> list[Path]:
    """Return the teachers at `paths`: models, YAML files (see `foreign_networks`), all models of a folder, sorted."""
    if not paths:
        raise UserError(
            "--teachers", expected="at least one model folder", got="none", fix="Pass --teachers FOLDER [FOLDER ...]."
        )
    found: list[Path] = []
    for path in paths:
        runs = [path] if (path / STARTED).is_file() else sorted(file.parent for file in path.glob(f"*/{STARTED}"))
        if (path / STATE).is_file() or (path in runs and has_checkpoint(path)):
            found.append(path)
            continue
        _refuse_unfinished(path, [run for run in runs if not (run / MANIFEST).is_file()])
        # A run's folder is one teacher: `best` in it is not another.
        inside = sorted(card.parent for card in path.glob(f"*/{CARD}")) if path not in runs else []
        if (path / CARD).is_file() or (path.suffix in (".yaml", ".yml") and path.is_file()):
            found.append(path)
        elif inside:
            found += inside
        else:
            raise _no_teacher(path)
    return found


def _no_teacher(path: Path) -> UserError:
    fix = "Give what `rewho teachers --out` or `rewho train --out` wrote."
    network = path.name if path.suffix == ".onnx" else str(path) if str(path).startswith("timm:") else ""
    if network:
        fix = f"Describe it in a YAML file: `network: {network}`, and its view, mean and std."
    elif path.is_file():
        fix = f"Give its folder, {path.parent}." if (path.parent / CARD).is_file() else fix
    return UserError(
        f"--teachers {path}",
        expected="a finished model folder, a folder that holds some, or a YAML file that describes a network",
        got="a network without a description" if network else describe_path(path),
        fix=fix,
    )


def _refuse_unfinished(path: Path, runs: Sequence[Path]) -> None:
    if runs:
        raise UserError(
            f"--teachers {path}",
            expected="teachers whose training is finished",
            got=f"unfinished runs: {', '.join(str(run) for run in runs)}",
            fix="Run the `rewho teachers` or `rewho train` that began them again: it resumes where it was. Or name the "
            "teachers one by one; of an unfinished run that is named, the newest checkpoint is used.",
        )


def check_one_per_view(views: Sequence[str]) -> None:
    """Raise a UserError if there are two teachers for one view."""
    twice = sorted({view for view in views if views.count(view) > 1})
    if twice:
        expected, fix = "one teacher for each view", "Name the teachers' folders one by one, and leave the others out."
        raise UserError("--teachers", expected=expected, got=f"two or more for {', '.join(twice)}", fix=fix)
