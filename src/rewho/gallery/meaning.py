"""What the similarities of a search mean: how many strangers look as alike, by the gallery's calibration.

Letters: N candidates, D embedding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rewho.gallery.calibration import Calibration
from rewho.gallery.index import Index
from rewho.gallery.inputs import show_time
from rewho.gallery.query import Query
from rewho.gallery.records import NOT_CALIBRATED, WITHDRAWN, Found
from rewho.gallery.scan import Statistics
from rewho.gallery.scores import Scale, vectors_of
from rewho.rank.calibration import place_among_strangers
from rewho.rank.score_norm import Level, normalise

SHOWN_RATES = (0.001, 0.01, 0.0001)
"""False match rates of which the first that the people support is shown as the threshold."""


FEWEST = 10
"""Strangers among whom a calibration must place a score: of 2 one as alike would make the right one look wrong."""


def explain(
    found: Found,
    query: Query,
    index: Index,
    statistics: Statistics,
    calibration: Calibration,
    scale: Scale,
) -> Found:
    """Return a result with what its similarities mean, for the query as asked, not as judgements moved it."""
    if found.normalised != scale.centred:
        kinds = [("relative to cameras" if one else "plain") for one in (found.normalised, scale.centred)]
        return replace(found, calibration=f"{NOT_CALIBRATED}: this search is {kinds[0]}, the calibration {kinds[1]}")
    rows = index.find(np.array([one.sighting.id for one in found.candidates], np.int64))
    there = np.flatnonzero((rows >= 0) & (index.column("states")[rows] < WITHDRAWN))
    cameras = index.column("cameras")
    if scale.centred:
        there = there[[statistics.means.mean(int(camera)) is not None for camera in cameras[rows[there]]]]
    vector = query.centred(statistics) if scale.centred else query.plain()
    own = scale.level(vector[None], np.isin(scale.ids, query.sightings)[None])
    vectors = vectors_of(index, statistics, rows[there], centred=scale.centred)
    ids = index.column("ids")[rows[there]]
    level = scale.level(vectors, ids[:, None] == scale.ids)
    scores = normalise(vectors @ vector, Level(own.mean[0], own.deviation[0]), level)
    candidates = list(found.candidates)
    seen_by = set(query.cameras)
    for at, score in zip(there.tolist(), scores.tolist(), strict=True):
        both = (min(seen_by), int(cameras[rows[at]])) if len(seen_by) == 1 else None
        row = calibration.row(both) if both is not None else None
        strangers, text = _alike(score, row or calibration.row(None), calibration.unit, pair=row is not None)
        candidates[at] = candidates[at]._replace(score=score, strangers=strangers, alike=text)
    return replace(found, candidates=tuple(candidates), calibration=describe(calibration))


def _alike(score: float, row: Any, unit: str, *, pair: bool) -> tuple[int | None, str]:  # noqa: ANN401 - of a calibration
    """Return N, and in words that at most 1 of N strangers looks as alike."""
    if not row["strangers"] or row["strangers"][-1][0] < FEWEST:
        return None, f"too few {unit} here to say how many strangers look as alike"
    where = "on this camera pair" if pair else "on all cameras together"
    strangers = place_among_strangers(score, row["strangers"])
    if strangers == 1:
        return 1, f"more than 1 of 2 strangers {where} look as alike"
    return strangers, f"1 of {strangers:,} strangers {where} looks as alike"


def describe(calibration: Calibration) -> str:
    """Return the threshold of a calibration in one line."""
    content, when = calibration.content, f"{show_time(calibration.made)[:16].replace('T', ' ')} UTC"
    labels = "labels of " if content["basis"] == "labels" else ""
    made = f"calibrated with {labels}{content['people']:,} {calibration.unit}, {when}"
    points = {point["rate"]: point for row in content["rows"] if row["cameras"] is None for point in row["points"]}
    for rate in SHOWN_RATES:
        if rate in points and not points[rate]["refusal"]:
            low, high = points[rate]["threshold_interval"]
            return (
                f"threshold {points[rate]['threshold']:.2f} ({low:.2f} to {high:.2f}), which 1 of {round(1 / rate):,} "
                f"strangers reaches; {made}"
            )
    return f"no threshold: {next(iter(points.values()))['refusal']}; {made}"
