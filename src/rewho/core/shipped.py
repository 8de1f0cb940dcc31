"""Models that come with the package, by name: `--model starter` needs no training and no download.

A name works wherever a model folder does. A folder of that name in the current directory goes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say

STARTER = "starter"
"""Name of the model that is used where none is given."""
FOLDER = Path(__file__).parents[1] / "shipped"
CARD = "model.json"
TENSORS = "model.safetensors"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def shipped_models() -> dict[str, Path]:
    """Return the folder of each shipped model by its name.

    Example:
        >>> STARTER in shipped_models()
        True
    """
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def find_model(given: Path | str) -> Path:
    """Return the folder that a path or the name of a shipped model stands for; paths that exist go first.

    Raises:
        UserError: The shipped model that is used where none is given is not there: a damaged installation.

    Example:
        >>> find_model("starter").name, find_model("runs/mine").as_posix()
        ('starter', 'runs/mine')
    """
    path, name = Path(given), str(given)
    if not _NAME.fullmatch(name) or path.exists():
        return path
    found = shipped_models().get(name)
    if found is None and name == STARTER:
        fix = "Install rewho again, or pass --model FOLDER."
        raise UserError("--model starter", expected=f"it at {FOLDER / name}", got="nothing there", fix=fix)
    return found or path


def name_of(folder: Path) -> str:
    """Return the name of a shipped model's folder, and of another folder its path.

    Example:
        >>> name_of(find_model("starter")), name_of(Path("runs/mine"))
        ('starter', 'runs/mine')
    """
    return folder.name if folder.parent == FOLDER else str(folder)


def open_model(given: Path | str) -> Path:
    """Return the same as `find_model`, and say in one line which model it is if it came with the package."""
    path = find_model(given)
    if path.parent == FOLDER:
        say(introduce(path.name))
    return path


def introduce(name: str) -> str:
    """Return one line about a shipped model: what it was trained on, and its figures on images of real people."""
    card = read_json(FOLDER / name / CARD)
    return f"model {name}, which comes with rewho: trained on {what_trained(card)}; {measured(card)}"


def what_trained(card: Mapping[str, Any]) -> str:
    """Return in a few words what a model was trained on."""
    trained = card.get("trained_on", {})
    return str(trained.get("what") or trained.get("name") or "unknown images")


def measured(card: Mapping[str, Any]) -> str:
    """Return a model's figures, Rank-1 and mAP in percent by data set."""
    figures = [
        f"{name} Rank-1 {100 * scores['rank1']:.1f}, mAP {100 * scores['mAP']:.1f}"
        for name, scores in card.get("metrics", {}).items()
        if isinstance(scores, Mapping) and {"rank1", "mAP"} <= set(scores)
    ]
    return "; ".join(figures) or "no figures"
