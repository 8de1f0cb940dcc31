"""Which people of a data set a model's own training held out, so that an evaluation scores the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.progress import say
from rewho.core.record import STARTED, flatten, read_record
from rewho.core.shipped import CARD
from rewho.settings import DataSettings, EvaluateDataSettings
from rewho.settings.use import SPLIT_OPTIONS

OPTIONS = (*SPLIT_OPTIONS, "share_by")


def describe_split(settings: DataSettings) -> dict[str, Any]:
    """Return what `model.json` says about the choice of the people that were trained on."""
    return {"folder": settings.root.name, **{name: getattr(settings, name) for name in OPTIONS}}


def find_own_split(model: Path, root: Path) -> dict[str, Any] | None:
    """Return hold-out, split seed and share of a model's own training on a data set; None if it is not known.

    They stand in the run's record, of which a model folder that was copied alone has `model.json`.

    Args:
        model: Model folder, run, or a file.
        root: The data set's folder or list.
    """
    for folder in (model, model.parent):  # best/ lies in the run
        for name in (MANIFEST, STARTED):
            settings = _settings(folder / name) if (folder / name).is_file() else {}
            if "data.root" in settings:
                return _of_run(settings, root)
    card = read_json(model / CARD) if (model / CARD).is_file() else {}
    split = card.get("trained_on", {}).get("split", {}) if isinstance(card.get("trained_on"), dict) else {}
    if not isinstance(split, dict) or split.get("folder") != root.name:
        return None
    return {name: split[name] for name in OPTIONS if name in split}


def _settings(record: Path) -> dict[str, Any]:
    return flatten(read_record(record).get("settings", {}))


def _of_run(settings: Mapping[str, Any], root: Path) -> dict[str, Any] | None:
    trained_on = Path(str(settings["data.root"])).expanduser()
    same = trained_on.resolve() == root.expanduser().resolve()
    moved = not trained_on.exists() and trained_on.name == root.name
    if not (same or moved):
        return None
    return {name: settings[f"data.{name}"] for name in OPTIONS if f"data.{name}" in settings}


def choose_split(models: Sequence[Path], data: EvaluateDataSettings, root: Path) -> DataSettings:
    """Return the settings of a data set, with what is not given taken from the models' own trainings on it.

    Raises:
        UserError: The models were trained with different ones.
    """
    wanted = [name for name in SPLIT_OPTIONS if getattr(data, name) is None]
    known = {path: own for path in models if (own := find_own_split(path, root)) is not None}
    if not known or not wanted:
        return data.of(root)
    usual = vars(DataSettings(root))
    for name in wanted:
        values = {path: own.get(name, usual[name]) for path, own in known.items()}
        if len(set(values.values())) > 1:
            got = ", ".join(f"{path} with {value}" for path, value in values.items())
            raise UserError(
                f"--data.{name}",
                expected=f"models that were trained with the same one on {root}, or a given one",
                got=got,
                fix=f"Pass --{name} for all of them, or evaluate them one by one: their scores are of other people.",
            )
    own = next(iter(known.values()))
    taken = {name: own[name] for name in wanted if own.get(name, usual[name]) != usual[name]}
    if taken:
        shown = ", ".join(f"--{name} {value}" for name, value in taken.items())
        trained = "its training" if len(known) == 1 else "their trainings"
        say(f"note: {root}: {shown}, as in {trained} ({', '.join(map(str, known))})")
    return data.of(root, own)
