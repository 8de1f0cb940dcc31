"""Thresholds stored beside a model: measured by `rewho evaluate`, used by `rewho compare --threshold 1%`.

`decide.json` lies in the model folder and names the hash of the weights that it was measured with. It is no part of the
run that wrote the model: neither `model.json` nor `manifest.json` lists it, so both stay as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewho.core.artifact import hash_file, plain, write_json
from rewho.core.check import UserError, is_file
from rewho.core.record import read_sealed, rewho_version, seal
from rewho.core.shipped import TENSORS, name_of
from rewho.embedding.exported import ExportedModel
from rewho.rank.thresholds import OperatingPoint, PairScores

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

FILE = "decide.json"
FORMAT = 1


@dataclass(frozen=True)
class StoredThreshold:
    """A threshold, and what it was measured on.

    Args:
        threshold: Least cosine of a candidate.
        rate: Wanted false match rate.
        found: Share of the pairs of one person that reach it, with the ends of its 95 % interval.
        data: Name of the data set.
        people: People in it.
        date: Day of the measurement.
        warnings: Reasons why it may be wrong for other people.
        others: Other data sets with stored thresholds.
    """

    threshold: float
    rate: float
    found: tuple[float, float, float]
    data: str
    people: int
    date: str
    warnings: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def describe_points(
    points: Sequence[OperatingPoint], pairs: PairScores, *, data: str, digest: str, flip: bool, warnings: Sequence[str]
) -> dict[str, Any]:
    """Return thresholds and what they were measured on, as JSON can hold it; without a threshold, the refusal."""
    kept = [
        {name: value for name, value in plain(point).items() if value not in ("", "NaN") and value != ["NaN", "NaN"]}
        for point in points
    ]
    return {
        "data": data,
        "rows_sha256": digest,
        "people": len(pairs.people),
        "pairs_of_one_person": len(pairs.same),
        "pairs_of_two_people": pairs.compared or len(pairs.different),
        "flip": flip,
        "warnings": list(warnings),
        "rewho": rewho_version(),
        "date": time.strftime("%Y-%m-%d"),
        "thresholds": kept,
    }


def store_thresholds(model: Embedder | ExportedModel, described: Mapping[str, Any]) -> str:
    """Store thresholds in the model's folder; return in words what was stored, or why nothing was.

    They replace earlier thresholds on the same data, and a file that is damaged or of other weights.

    Nothing is stored where no threshold could be given, or where the model is a checkpoint and not a model folder.
    """
    weights = model.weights[0]
    if not any("threshold" in point for point in described["thresholds"]):
        return f"no threshold to store: {described['thresholds'][0]['refusal']}"
    if weights.name != TENSORS and not isinstance(model, ExportedModel):
        return f"thresholds are not stored: {weights.parent} is a checkpoint, and no model folder"
    path, sha256 = weights.with_name(FILE), hash_file(weights)
    earlier = _read(path)["measured"] if _is_of_weights(path, sha256) else []
    measured = [*(entry for entry in earlier if entry["data"] != described["data"]), dict(described)]
    try:
        write_json(path, seal({"format": FORMAT, "model_sha256": sha256, "measured": measured}))
    except OSError as error:
        return f"thresholds are not stored: {path}: {error.strerror}"
    return f"thresholds are stored in {path}"


def _is_of_weights(path: Path, sha256: str) -> bool:
    """Return whether `path` is an undamaged file of thresholds that were measured with these weights."""
    try:
        return is_file(path) and _read(path)["model_sha256"] == sha256
    except UserError:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_sealed(path)
        if content["format"] != FORMAT or not all(isinstance(entry["data"], str) for entry in content["measured"]):
            raise ValueError(f"format {content['format']}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        expected, fix = "thresholds as `rewho evaluate` writes them", "Remove it, and run `rewho evaluate` again."
        raise UserError(str(path), expected=expected, got=str(error), fix=fix) from error
    return content


def read_threshold(
    model: Embedder | ExportedModel, rate: float, data: str = "", *, flip: bool = True
) -> StoredThreshold:
    """Return a model's stored threshold for a false match rate: the one measured last, or that of one data set.

    Raises:
        UserError: None is stored for this rate, data set or `flip`, or it was measured with other weights.
    """
    weights = model.weights[0]
    path, what = weights.with_name(FILE), f"threshold for {100 * rate:g} % false matches"
    name = name_of(weights.parent)
    advice = f"Run `rewho evaluate {name} --data DATA`, or pass a number: --threshold 0.62."
    if not is_file(path):
        raise UserError(what, expected=f"one stored with {name}", got="none", fix=advice)
    content = _read(path)
    if content["model_sha256"] != hash_file(weights):
        raise UserError(str(path), expected=f"thresholds of {weights.name}", got="those of other weights", fix=advice)
    entries: dict[str, dict[str, Any]] = {entry["data"]: entry for entry in content["measured"]}
    if data and data not in entries:
        got = f"none; stored are those of {', '.join(entries)}"
        raise UserError(what, expected=f"one measured on {data}", got=got, fix=advice)
    chosen = entries[data] if data else list(entries.values())[-1]
    if chosen["flip"] is not flip:
        expected, got = f"one measured with --flip {str(flip).lower()}", f"--flip {str(chosen['flip']).lower()}"
        raise UserError(what, expected=expected, got=got, fix=f"Pass --flip {str(chosen['flip']).lower()}.")
    point = next((one for one in chosen["thresholds"] if math.isclose(one["rate"], rate)), {"refusal": ""})
    if "threshold" not in point:
        rates = ", ".join(f"{100 * one['rate']:g}%" for one in chosen["thresholds"] if "threshold" in one)
        got = f"none on {chosen['data']}: {point['refusal'] or f'stored are {rates}'}"
        raise UserError(what, expected="one that the data supports", got=got, fix=advice)
    return StoredThreshold(
        float(point["threshold"]),
        float(point["rate"]),
        (float(point["found"]), *map(float, point["found_interval"])),  # type: ignore[arg-type] # three numbers
        chosen["data"],
        int(chosen["people"]),
        str(chosen["date"]),
        tuple(map(str, chosen["warnings"])),
        tuple(name for name in entries if name != chosen["data"]),
    )
