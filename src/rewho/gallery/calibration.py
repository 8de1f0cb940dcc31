"""What similarities mean in a gallery: thresholds with intervals, by labels of people or by tracks alone.

With named people, two of their sightings are a genuine pair, and sightings of two named people an impostor pair. With
tracks alone, the halves of a track are a genuine pair, and two sightings in one frame are two people. Pairs that were
judged one by one take no part: they were chosen because they are hard, or easy.

Letters: N sightings, L those of named people, S genuine and D impostor pairs, D embedding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import plain
from rewho.core.check import UserError
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.index import Index
from rewho.gallery.model import SINCE
from rewho.gallery.records import NOT_CALIBRATED, SHOWN, Actor, Step, no_step
from rewho.gallery.scan import Statistics
from rewho.gallery.scores import Floats, Scale, scale_of, scores_of_pairs, vectors_of
from rewho.gallery.vectors import mean_vector, unit
from rewho.rank.calibration import CameraPairs, Searches, measure_det, measure_rows, measure_searches
from rewho.rank.camera_norm import LEAST_CROPS
from rewho.rank.score_norm import LEAST_COHORT, Level, choose_cohort, normalise
from rewho.rank.thresholds import MOST_PAIRS, PairScores, find_refusal

Basis = Literal["auto", "labels", "tracks"]
UNITS = {"labels": "people", "tracks": "tracks"}
"""What is counted, and drawn anew for intervals: a track stands for a person, though somebody may have several."""
COARSEST = 0.01
"""False match rate that labels must support to be preferred to tracks."""
ROWS = 512  # of a block of similarities
PARTS = 4
"""Of a calibration: vectors, pairs, searches, thresholds."""


class Material(NamedTuple):
    """Pairs and searches to calibrate with, and what they are made of."""

    basis: Literal["labels", "tracks"]
    found: CameraPairs
    searches: Searches


class Rows(NamedTuple):
    """Sightings that take part, with their vectors and levels on the scale.

    Attributes:
        rows: Rows of the index, [N].
        ids: Their sightings, int64 [N].
        cameras: int64 [N].
        vectors: [N, D].
        level: Of each.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    cameras: NDArray[np.int64]
    vectors: Floats
    level: Level


def measure(
    index: Index,
    crops: Index,
    statistics: Statistics,
    database: Database,
    basis: Basis,
    seed: int,
    step: Step = no_step,
) -> dict[str, Any]:
    """Return the content of a calibration, as JSON holds it.

    Args:
        index: Of sightings.
        crops: Of crops.
        statistics: Of the sightings' cameras.
        database: The gallery's.
        basis: labels, tracks, or auto: labels where they support a false match rate of 1 %.
        seed: Of the cohort and the resamples.
        step: Called between its parts.

    Raises:
        UserError: There are neither named people nor tracks to measure with.
    """
    step(0, PARTS)
    shown = np.flatnonzero(index.column("states") == SHOWN)
    cameras = index.column("cameras")
    means = {int(one): statistics.means.mean(int(one)) for one in np.unique(cameras[shown])}
    centred = any(mean is not None for mean in means.values())
    rows = (
        shown[np.isin(cameras[shown], [one for one, mean in means.items() if mean is not None])] if centred else shown
    )
    notes = []
    if len(rows) < len(shown):
        left = len(shown) - len(rows)
        notes.append(f"{left:,} sightings of cameras that are unknown or have fewer than {LEAST_CROPS} crops left out")
    cohort = index.column("ids")[rows[choose_cohort(len(rows), seed)]].tolist() if len(rows) >= LEAST_COHORT else []
    if not cohort:
        notes.append(f"scores are not normalised: a cohort takes {LEAST_COHORT} sightings, here are {len(rows):,}")
    scale = scale_of(index, statistics, cohort, centred=centred)
    vectors, ids = vectors_of(index, statistics, rows, centred=centred), index.column("ids")[rows]
    part = Rows(rows, ids, cameras[rows].astype(np.int64), vectors, scale.level(vectors, ids[:, None] == scale.ids))
    step(1, PARTS)
    material = _choose(part, index, crops, statistics, database, scale, basis)
    step(2, PARTS)
    pairs = material.found.pairs
    searched = measure_searches(material.searches, len(shown), seed=seed)
    step(3, PARTS)
    content = {
        "basis": material.basis,
        "scores": scale.name,
        "centred": centred,
        "cohort": cohort,
        "seed": seed,
        "size": len(shown),
        "people": len(pairs.people),
        "genuine": len(pairs.same),
        "impostor": pairs.compared or len(pairs.different),
        "rows": [plain(row) for row in measure_rows(material.found, seed=seed)],
        "searches": [plain(point) for point in searched],
        "det": measure_det(pairs)._asdict(),
        "notes": notes,
    }
    return dict(_without_nan(content))


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON values with None in place of numbers that were refused."""
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _choose(
    part: Rows, index: Index, crops: Index, statistics: Statistics, database: Database, scale: Scale, basis: Basis
) -> Material:
    labels = _by_labels(part, index, database) if basis != "tracks" else None
    if basis == "labels" or (labels is not None and not find_refusal(labels.found.pairs, COARSEST)):
        chosen = labels
    else:
        tracks = _by_tracks(part, crops, statistics, database, scale)
        chosen = tracks if basis == "tracks" or _usable(tracks) or labels is None else labels
    if chosen is None or not _usable(chosen):
        pairs = "no pair to compare" if chosen is None else (
            f"{len(chosen.found.pairs.same):,} pairs of one person, {len(chosen.found.pairs.different):,} of two"
        )  # fmt: skip
        expected = "named people, of whom some were seen twice, or tracks of which two share a frame"
        fix = "Name people with `rewho gallery name`, or add crop sets with tracks."
        raise UserError("calibrate", expected=expected, got=pairs, fix=fix)
    return chosen


def _usable(material: Material) -> bool:
    return bool(len(material.found.pairs.same) and len(material.found.pairs.different))


def _by_labels(part: Rows, index: Index, database: Database) -> Material:
    """Return all pairs of sightings of named people; of more than `MOST_PAIRS` of two people every n-th."""
    named = [row[0] for row in database.rows("SELECT id FROM people WHERE name <> ''")]
    people = index.column("people")[part.rows]
    chosen = np.flatnonzero(np.isin(people, named))
    people, cameras, vectors = people[chosen], part.cameras[chosen], part.vectors[chosen]
    level = Level(part.level.mean[chosen], part.level.deviation[chosen])
    count = len(chosen)
    step = max(1, math.ceil(count * (count - 1) / 2 / MOST_PAIRS))
    kept: dict[str, list[NDArray[Any]]] = {"same": [], "same_at": [], "different": [], "different_at": []}
    stranger, mate, strangers, compared = np.full(count, -np.inf), np.full(count, np.nan), 0, 0
    for start in range(0, count, ROWS):
        own = np.arange(start, min(start + ROWS, count))
        block = Level(level.mean[own, None], level.deviation[own, None])
        scores = normalise(vectors[own] @ vectors.T, block, level)
        same = people[own, None] == people
        strangers += int(np.count_nonzero(~same))
        stranger[own] = np.where(same, -np.inf, scores).max(axis=1)
        same[np.arange(len(own)), own] = False
        found = np.where(same, scores, -np.inf).max(axis=1)
        mate[own] = np.where(np.isfinite(found), found, np.nan)
        later = np.arange(count) > own[:, None]
        apart = later & (people[own, None] != people)
        compared += int(np.count_nonzero(apart))
        apart &= (own[:, None] + np.arange(count)) % step == 0
        for name, wanted in (("same", same & later), ("different", apart)):
            at, others = np.nonzero(wanted)
            kept[name].append(scores[at, others])
            kept[f"{name}_at"].append(np.stack([own[at], others], axis=1))
    empty = {"same": np.empty(0), "different": np.empty(0)}
    joined = {
        name: np.concatenate(parts) if parts else empty.get(name, np.empty((0, 2), np.int64))
        for name, parts in kept.items()
    }
    same_at, different_at = joined["same_at"], joined["different_at"]
    pairs = PairScores(joined["same"], people[same_at[:, 0]], joined["different"], people[different_at], compared)
    searches = Searches(people, stranger, mate, strangers / max(count, 1))
    return Material("labels", CameraPairs(pairs, cameras[same_at], cameras[different_at]), searches)


def _by_tracks(part: Rows, crops: Index, statistics: Statistics, database: Database, scale: Scale) -> Material:
    """Return the halves of tracks as pairs of one person, sightings in one frame as pairs of two.

    A track stands for a person here; somebody who was tracked twice counts as two.
    """
    halves = _halves(part, crops, statistics, database, scale)
    frames = database.rows(
        "SELECT DISTINCT a.sighting, b.sighting FROM crops a JOIN crops b "
        "ON a.frame = b.frame AND a.sighting < b.sighting"
    )
    place = {number: at for at, number in enumerate(part.ids.tolist())}
    both = np.array([(place[a], place[b]) for a, b in frames if a in place and b in place], np.int64).reshape(-1, 2)
    one, other = both[:, 0], both[:, 1]
    different = scores_of_pairs(part.vectors[one], part.vectors[other], *(
        Level(part.level.mean[side], part.level.deviation[side]) for side in (one, other)
    ))  # fmt: skip
    tracks = np.array(sorted(halves), np.int64)
    same = np.array([halves[track] for track in tracks.tolist()], np.float64)
    mate, stranger = np.full(len(part.ids), np.nan), np.full(len(part.ids), -np.inf)
    mate[tracks] = same
    for side in (one, other):
        np.maximum.at(stranger, side, different)
    met = np.unique(both)
    pairs = PairScores(same, part.ids[tracks], different, part.ids[both], unit=UNITS["tracks"])
    found = CameraPairs(pairs, np.repeat(part.cameras[tracks, None], 2, axis=1), part.cameras[both])
    searches = Searches(part.ids[met], stranger[met], mate[met], 2 * len(both) / max(len(met), 1), UNITS["tracks"])
    return Material("tracks", found, searches)


def _halves(part: Rows, crops: Index, statistics: Statistics, database: Database, scale: Scale) -> dict[int, float]:
    """Return the score of the first and the second half of each track of two crops or more, by its place."""
    owners, times = crops.column("owners"), crops.column("began")
    order = np.lexsort((crops.column("ids"), np.where(np.isnan(times), 0, times), owners))
    order = order[np.isin(owners[order], part.ids)]
    starts = np.searchsorted(owners[order], part.ids)
    stops = np.searchsorted(owners[order], part.ids, "right")
    long = np.flatnonzero(stops - starts > 1)
    if not len(long):
        return {}
    quality = {int(one): float(value) for one, value in database.rows("SELECT id, quality FROM crops")}
    found = np.empty((2, len(long), crops.size))
    for at, track in enumerate(long.tolist()):
        rows = order[starts[track] : stops[track]]
        vectors, weights = crops.vectors(rows), [quality.get(int(one), 1.0) for one in crops.column("ids")[rows]]
        middle = len(rows) // 2
        for half, place in enumerate((slice(None, middle), slice(middle, None))):
            found[half, at] = mean_vector(vectors[place], weights[place])
    halves = unit(found)
    if scale.centred:
        for camera in np.unique(part.cameras[long]):
            mean = statistics.means.mean(int(camera))
            assert mean is not None
            inside = part.cameras[long] == camera
            halves[:, inside] = unit(halves[:, inside] - mean)
    levels = [scale.level(half, part.ids[long][:, None] == scale.ids) for half in halves]
    return dict(zip(long.tolist(), scores_of_pairs(*halves, *levels).tolist(), strict=True))


def store(database: Database, content: Mapping[str, Any], version: int, model: str, by: Actor) -> int:
    """Keep a calibration in the gallery; return its id."""
    with database.writing() as link:
        number = link.execute(
            "INSERT INTO calibrations (made, who, version, model, content) VALUES (?, ?, ?, ?, ?)",
            (database.now(), by.who, version, model, json.dumps(content, sort_keys=True, allow_nan=False)),
        ).lastrowid
        assert number is not None
        asked = {"basis": content["basis"], "calibration": number}
        audit.append(database, by.who, by.purpose, "calibrate", asked)
    return number


class Calibration(NamedTuple):
    """A calibration as it is stored.

    Attributes:
        id: Its number.
        made: When, in seconds since 1970.
        who: Who made it.
        version: The gallery's state then.
        content: See `measure`.
    """

    id: int
    made: float
    who: str
    version: int
    content: Mapping[str, Any]

    @property
    def unit(self) -> str:
        """What was counted, and is drawn anew for intervals: people with names, or tracks."""
        return UNITS[self.content["basis"]]

    def row(self, cameras: Sequence[int] | None) -> Mapping[str, Any] | None:
        """Return the thresholds of a pair of cameras, or of all together; None where there are none."""
        wanted = None if cameras is None else sorted(cameras)
        return next((row for row in self.content["rows"] if row["cameras"] == wanted), None)


def latest(database: Database, model: str) -> Calibration | None:
    """Return the last calibration of this model; None if the gallery is not calibrated."""
    row = database.one(
        "SELECT id, made, who, version, content FROM calibrations WHERE model = ? AND version >= ? "
        "ORDER BY id DESC LIMIT 1",
        (model, int(database.read(SINCE, "0"))),
    )
    if row is None:
        return None
    number, made, who, version, content = row
    return Calibration(int(number), float(made), str(who), int(version), json.loads(content))


def describe_missing(database: Database) -> str:
    """Return that a gallery is not calibrated, and why."""
    measure = "`rewho gallery calibrate` measures what scores mean"
    if database.one("SELECT 1 FROM calibrations LIMIT 1"):
        return f"{NOT_CALIBRATED}: the last calibration was with another model; {measure}"
    return f"{NOT_CALIBRATED}: {measure}"
