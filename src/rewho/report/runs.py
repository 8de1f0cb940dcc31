"""The evaluations and trainings in a folder of runs: their figures, their curves, and the files that may be shown."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError, resolve_inside
from rewho.core.files import parse_json, read_json, read_text
from rewho.core.record import STARTED, read_record

PAGE, SCORES, LOG = "index.html", "metrics.json", "log.jsonl"
STAGES = {
    "evaluate": "evaluation",
    "train": "training",
    "distill": "training of a student",
    "adapt": "adaptation",
    "pretrain": "pre-training",
    "teachers": "training of a teacher",
}
"""The kinds of runs that are shown; others hold people's images, which only the gallery may show."""
TYPES = {
    ".html": "text/html",
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/plain",
    ".tex": "text/plain",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
}
"""The files of a run that may be shown, by their endings: what its page links to, and no weights."""
DEEPEST, MOST_RUNS = 3, 500
LONGEST_LOG, LARGEST_FILE = 64 * 2**20, 64 * 2**20


class Run(NamedTuple):
    """A run.

    Attributes:
        name: Its path within the folder.
        kind: What it is, in words.
        started: When, as the run wrote it, or "".
        finished: Whether it is.
        figures: Scores from 0 to 1 by their names, of its first result.
        page: Whether it has a page of its own.
        log: Whether it has a log of a training.
    """

    name: str
    kind: str
    started: str
    finished: bool
    figures: Mapping[str, float]
    page: bool
    log: bool


def find_runs(folder: Path) -> list[Run]:
    """Return the evaluations and trainings in a folder, the newest first; links to folders are not followed.

    Example:
        >>> find_runs(Path("no such folder"))
        []
    """
    found = [run for place in _places(folder) if (run := _read(folder, place)) is not None]
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs, at most `MOST_RUNS`."""
    count = 0
    for place, names, files in os.walk(folder):
        path = Path(place)
        depth = len(path.relative_to(folder).parts)
        names[:] = sorted(name for name in names if depth < DEEPEST and not name.startswith("."))
        if MANIFEST in files or STARTED in files:
            names.clear()
            count += 1
            yield path
        if count == MOST_RUNS:
            return


def _read(folder: Path, place: Path) -> Run | None:
    finished = (place / MANIFEST).is_file()
    try:
        record = read_record(place / (MANIFEST if finished else STARTED))
        scores = read_json(place / SCORES) if (place / SCORES).is_file() else {}
    except UserError:
        return None  # damaged: `rewho look` says how
    kind = STAGES.get(str(record.get("stage")))
    if kind is None:
        return None
    files = {name: (place / name).is_file() for name in (PAGE, LOG)}
    figures = _figures(record.get("counts"), scores)
    started = str(record.get("started", ""))
    return Run(str(place.relative_to(folder)), kind, started, finished, figures, files[PAGE], files[LOG])


def _figures(counts: object, scores: Mapping[str, Any]) -> dict[str, float]:
    """Return Rank-1 and mAP, of a training's own test or of the first ranking of an evaluation."""
    try:
        values = scores["results"][0]["rankings"][0] if scores else dict(counts)["figures"]  # type: ignore[call-overload]
        values = dict(values)
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
    found = {"Rank-1": values.get("rank_1"), "mAP": values.get("mAP_rectangular", values.get("mAP"))}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def find_file(folder: Path, path: str) -> tuple[Run, Path]:
    """Return the run and the place of one of its files that may be shown.

    Args:
        folder: The folder of runs.
        path: Untrusted: the run's name, and the file's within it.

    Raises:
        UserError: There is none, it leaves the run's folder, or is of a kind that is not shown.
    """
    run = next((one for one in find_runs(folder) if path.startswith(f"{one.name}/")), None)
    if run is not None:
        place = resolve_inside(folder / run.name, path.removeprefix(f"{run.name}/"), "the address")
        if place.suffix.lower() in TYPES and place.is_file() and place.stat().st_size <= LARGEST_FILE:
            return run, place
    expected = "a page, table or image of a run"
    raise UserError("run", expected=expected, got="no such file", fix="Choose a run in the list.")


def read_curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the loss and the scores of a training by epoch, as points; the keys are their names."""
    try:
        lines = read_text(folder / LOG, LONGEST_LOG, expected="the log of a training").splitlines()
    except UserError:
        return {}
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        try:
            row = parse_json(line)
        except ValueError:
            row = None  # the last line, which is being written
        epoch = row.get("epoch") if isinstance(row, dict) else None
        for name, shown in (("epoch_total", "loss"), ("mAP", "mAP"), ("rank_1", "Rank-1")):
            if isinstance(epoch, int | float) and isinstance(row.get(name), int | float):
                found.setdefault(shown, []).append((float(epoch), float(row[name])))
    return found


def policy_of(page: bytes) -> str:
    """Return the content security policy of a page of a run: its own style sheets, its own images, no script.

    Example:
        >>> policy_of(b"<style>p {}</style>")[:70]
        "default-src 'none'; img-src data: 'self'; style-src 'sha256-SNJDlN1Iy2"
    """
    from base64 import b64encode

    sheets = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [f"'sha256-{b64encode(hashlib.sha256(one).digest()).decode()}'" for one in sheets[:20]]
    styles = " ".join(hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data: 'self'; style-src {styles}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
