"""Results of a gallery as rows for a terminal, and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from rewho.core.text import aligned_table, quantity
from rewho.gallery.audit import Record
from rewho.gallery.calibration import Calibration
from rewho.gallery.grouping import Grouped
from rewho.gallery.inputs import show_time
from rewho.gallery.meaning import describe
from rewho.gallery.people import Stay
from rewho.gallery.records import DAY_S, NOT_CALIBRATED, Found, Sighting
from rewho.gallery.review import Pair

Zones = Mapping[str, str]
"""Time zone of each camera, by its name."""


def as_json(value: Any) -> Any:  # noqa: ANN401 - any result
    """Return named tuples and dataclasses as mappings, so that JSON has their fields' names."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(item) for name, item in value._asdict().items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: as_json(getattr(value, name)) for name in asdict(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def seen(sighting: Sighting, zones: Zones) -> str:
    """Return when a sighting began, in its camera's zone."""
    return show_time(sighting.began, zones.get(sighting.camera or "", "UTC"))


NOBODY = "no sighting is left to compare with: look at the filters; times without a zone are of --zone"


def search_text(found: Found, zones: Zones, folder: str = "") -> str:
    """Return the candidates of a search as text; of a gallery in a folder with what shows them."""
    rows = [
        (
            *(one.sighting.id, f"{one.similarity:.4f}", one.sighting.camera or "-", seen(one.sighting, zones) or "-"),
            *(one.sighting.crops, one.crop, one.sighting.name or one.sighting.person or "-", one.verdict),
            *("-" if one.score is None else f"{one.score:.2f}", one.alike, one.note),
        )
        for one in found.candidates
    ]
    header = (
        "sighting",
        "cosine",
        "camera",
        "time",
        "crops",
        "crop",
        "person",
        "verdict",
        "score",
        "strangers",
        "note",
    )
    lines = [
        f"search {found.search}: {quantity(len(rows), 'candidates')} of {found.total:,} "
        f"({'relative to camera means' if found.normalised else 'plain'})",
        *(f"note: {note}" for note in found.notes),
        *([] if found.total else [f"note: {NOBODY}"]),
        found.calibration,
        aligned_table(*_told_columns(header, rows)),
    ]
    if found.after:
        lines.append(f"next page: --search {found.search} --page_after {found.after[0]!r} {found.after[1]}")
    if folder and rows:
        lines.append(f"see them: rewho serve {shlex.quote(folder)}")
    return "\n".join(lines)


def _told_columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return header and rows without the columns of which no row tells anything."""
    kept = [
        at for at in range(len(header)) if not rows or any(row[at] not in ("", "-", NOT_CALIBRATED) for row in rows)
    ]
    return [[line[at] for at in kept] for line in (header, *rows)]


def timeline_text(stays: Sequence[Stay], zones: Zones) -> str:
    """Return a timeline as text, with the gap before each sighting."""
    rows = [
        (stay.sighting.id, stay.sighting.camera or "-", seen(stay.sighting, zones) or "-", span(stay.gap))
        for stay in stays
    ]
    return aligned_table(("sighting", "camera", "time", "after a gap of"), *rows)


def span(seconds: float | None) -> str:
    """Return a duration in its largest unit.

    Example:
        >>> span(59), span(7200), span(None)
        ('59 s', '2.0 h', '-')
    """
    if seconds is None:
        return "-"
    for unit, length in (("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def audit_text(records: Sequence[Record]) -> str:
    """Return records of the audit as text."""
    rows = [
        (
            *(one.id, show_time(one.time), one.who, one.action, one.purpose or "-"),
            "; ".join(f"{kind} {_short(ids)}" for kind, ids in one.ids.items() if ids),
        )
        for one in records
    ]
    return aligned_table(("record", "time", "who", "action", "purpose", "ids"), *rows) if rows else "no record fits"


def _short(ids: Sequence[int], most: int = 8) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(map(str, ids[:most])) + more


def group_text(found: Grouped) -> str:
    """Return what grouping did as text."""
    done = (
        f"event {found.event}: {quantity(len(found.people), 'people')} proposed or changed, by moving "
        f"{quantity(found.moved, 'sightings')}; "
        f"`rewho gallery undo GALLERY {found.event}` takes it back"
    )
    counts = f"{found.sightings:,} sightings belong to somebody, {found.alone:,} shown ones to nobody"
    return f"{done if found.event else 'nothing to change'}\n{counts}"


def review_text(pairs: Sequence[Pair], folder: str) -> str:
    """Return pairs to compare as text, with what to type."""
    if not pairs:
        return "no pair is open: everything near the limit is judged, or in one frame"
    rows = [(pair.one, pair.other, f"{pair.distance:.3f}") for pair in pairs]
    example = f"rewho gallery review {folder} {pairs[0].one} {pairs[0].other} --answer same"
    return f"{aligned_table(('sighting', 'sighting', 'distance'), *rows)}\nanswer: {example}   (or different, or skip)"


THRESHOLD_COLUMNS = ("cameras", "FMR", "threshold", "found", "refused", "genuine", "impostor")
SEARCH_COLUMNS = ("FPIR", "sightings", "threshold", "FNIR", "refused")
Row = tuple[object, ...]


def calibration_text(made: Calibration, names: Mapping[int, str]) -> str:
    """Return thresholds, and what searches miss, as text; a refusal says how many people it would take."""
    return "\n".join(
        [
            describe(made),
            f"scores: {made.content['scores']}; intervals: 95 % over {made.unit}",
            aligned_table(THRESHOLD_COLUMNS, *threshold_rows(made, names)),
            aligned_table(SEARCH_COLUMNS, *search_rows(made)),
            *(f"note: {note}" for note in made.content["notes"]),
        ]
    )


def threshold_rows(made: Calibration, names: Mapping[int, str]) -> list[Row]:
    """Return the thresholds of a calibration, see `THRESHOLD_COLUMNS`, by the cameras' names."""
    rows: list[Row] = []
    for row in made.content["rows"]:
        both = row["cameras"]
        where = "all" if both is None else " and ".join(names.get(one, "unknown") for one in both)
        for point in row["points"]:
            shown = ("-", "-", point["refusal"])
            if not point["refusal"]:
                low, high = point["threshold_interval"]
                threshold = f"{point['threshold']:.3f} ({low:.3f} to {high:.3f})"
                shown = (threshold, _percent(point["found"], point["found_interval"]), "")
            rows.append((where, f"{100 * point['rate']:g} %", *shown, row["same"], row["different"]))
    return rows


def search_rows(made: Calibration) -> list[Row]:
    """Return what searches of this gallery's size miss, see `SEARCH_COLUMNS`."""
    rows: list[Row] = []
    for point in made.content["searches"]:
        shown = ("-", "-", point["refusal"])
        if not point["refusal"]:
            shown = (f"{point['threshold']:.3f}", _percent(point["missed"], point["missed_interval"]), "")
        rows.append((f"{100 * point['rate']:g} %", f"{point['size']:,}", *shown))
    return rows


def _percent(share: float, ends: Sequence[float]) -> str:
    return f"{100 * share:.1f} % ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def receipts_text(signed: Sequence[Mapping[str, Any]]) -> str:
    """Return what was erased as text, and which models were trained on it."""
    lines = [
        f"receipt {one['content']['receipt']}: {one['content']['action']} of {len(one['content']['sightings']):,} "
        f"sightings; {one['content']['found']} of {one['content']['pieces']:,} pieces found in "
        f"{one['content']['files']:,} files of {one['content']['bytes']:,} bytes; signature {one['signature'][:16]}…"
        for one in signed
    ]
    models = {model["folder"]: model for one in signed for model in one["content"]["models trained on them"]}
    for folder, model in models.items():
        kind = f"model {model['model'][:12]}…" if model["model"] else "the unfinished training"
        used = ", which the gallery uses," if model["used"] else ""
        lines.append(f"{kind} of {folder}{used} was trained on it: train it again, or remove it")
    return "\n".join(lines) or "nothing to erase"
