"""Similarities of a gallery on a scale that thresholds hold for: relative to cameras, then to a cohort (AS-norm).

The cohort is made of the gallery's own sightings. It is chosen when the gallery is calibrated and known by their ids,
so that nothing of a sighting is kept when it is forgotten.

Letters: N sightings, A cohort, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.gallery.index import Index
from rewho.gallery.records import WITHDRAWN
from rewho.gallery.scan import Statistics, relative
from rewho.rank.score_norm import LEAST_COHORT, Level, measure_level, normalise

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scale:
    """How similarities are measured.

    Args:
        centred: Whether embeddings are relative to the means of their cameras.
        cohort: Embeddings of the cohort, [A, D]; none where cosines are not normalised.
        ids: Their sightings, int64 [A].
    """

    centred: bool
    cohort: Floats
    ids: NDArray[np.int64]

    def level(self, vectors: Floats, own: NDArray[np.bool_]) -> Level:
        """Return the level of vectors [N, D]; `own`, bool [N, A], marks their own sightings in the cohort."""
        if not len(self.ids):
            return Level(np.zeros(len(vectors)), np.ones(len(vectors)))
        return measure_level(vectors @ self.cohort.T, own)

    @property
    def name(self) -> str:
        """What the scores are, in words."""
        kind = "cosine relative to cameras" if self.centred else "cosine"
        return f"{kind}, AS-norm(cohort {len(self.ids):,})" if len(self.ids) else kind


def scale_of(index: Index, statistics: Statistics, cohort: Sequence[int], *, centred: bool) -> Scale:
    """Return the scale with a cohort of sightings by their ids; those that are not there any more are left out.

    With fewer than `LEAST_COHORT` of them left the scale has no cohort.
    """
    rows = index.find(np.array(cohort, np.int64))
    rows = rows[rows >= 0]
    rows = rows[index.column("states")[rows] < WITHDRAWN]
    if len(rows) < LEAST_COHORT:
        rows = rows[:0]
    return Scale(centred, vectors_of(index, statistics, rows, centred=centred), index.column("ids")[rows].copy())


def vectors_of(index: Index, statistics: Statistics, rows: NDArray[np.int64], *, centred: bool) -> Floats:
    """Return the unit vectors of rows, relative to the means of their cameras or plain, [N, D]."""
    return relative(index, statistics.means if centred else None, rows)


def scores_of_pairs(one: Floats, other: Floats, one_level: Level, other_level: Level) -> Floats:
    """Return the scores of N pairs, given row by row."""
    return normalise((one * other).sum(axis=1), one_level, other_level)
