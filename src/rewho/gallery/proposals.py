"""What a gallery proposes from its own content: groups, thresholds, and pairs to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rewho.core.check import check_choice, check_count, check_range
from rewho.gallery import calibration as calibrations
from rewho.gallery.calibration import Basis, Calibration
from rewho.gallery.grouping import Grouped, Seen, copy_sightings, graph_of, group_people, read_known
from rewho.gallery.material import Material, read_material
from rewho.gallery.meaning import describe, explain
from rewho.gallery.model import check_same
from rewho.gallery.present import Present
from rewho.gallery.query import Query, from_sightings
from rewho.gallery.records import NOT_CALIBRATED, Actor, Found, Per, Step, no_step
from rewho.gallery.review import ASKED, Answer, Pair, answer_pair, find_pairs, read_judged
from rewho.gallery.scan import Statistics
from rewho.gallery.scores import Scale, scale_of
from rewho.gallery.views import check_visible
from rewho.rank.grouping import LIMIT


class Proposals(Present):
    """The part of a gallery that groups, calibrates and asks."""

    _scale: tuple[int, int, int, Scale] | None = None
    _near: tuple[object, tuple[NDArray[np.int64], NDArray[np.int64]], sparse.csr_array] | None = None

    def group(self, *, limit: float = LIMIT, by: Actor | None = None, step: Step = no_step) -> Grouped:
        """Propose people across cameras, as one event that can be undone.

        People that somebody named, merged, split or took sightings out of stay, and may gain sightings. Two sightings
        in one frame, and two that were judged to be two people, never come together.

        Args:
            limit: Mean Jaccard distance up to which groups are united, 0 to 1; less makes fewer mistakes, and more
                groups.
            by: Who asks; they must see every camera.
            step: Called between its parts; may end it by raising `Interrupted`.

        Raises:
            UserError: Judgements contradict one another.
        """
        check_range("limit", limit, 0, 0.99)
        return group_people(self.database, lambda: self._copy(Actor()), by or Actor(), limit, step)

    def _copy(self, by: Actor, newest: int = 0) -> Seen:
        with self._guard, self.database.reading():
            return copy_sightings(self.index(), self.statistics(), by, newest)

    def calibrate(
        self, basis: Basis = "auto", *, seed: int = 1, by: Actor | None = None, step: Step = no_step
    ) -> Calibration:
        """Measure what similarities mean here, keep that in the gallery, and return it.

        Args:
            basis: labels (named people), tracks (no labels), or auto: labels where they support a threshold.
            seed: Of the cohort and of the resamples.
            by: Who asks; they must see every camera.
            step: Called between its parts; may end it by raising `Interrupted`.

        Raises:
            UserError: There are neither named people nor tracks to measure with.
        """
        user = by or Actor()
        user.need_all("calibrate")
        check_choice("basis", basis, get_args(Basis))
        check_count("seed", seed, 0)
        with self._guard, self.database.reading():  # copies, so that others search meanwhile
            model, index, crops = self.model_sha256, self.index().copy(), self.index("crop").copy()
        content = calibrations.measure(index, crops, Statistics(index), self.database, basis, seed, step)
        calibrations.store(self.database, content, index.version, model, user)
        check_same(self.model_sha256, model, "calibrate")
        found = self.calibration()
        assert found is not None
        return found

    def calibration(self) -> Calibration | None:
        """Return the last calibration with the gallery's model; None if there is none."""
        return calibrations.latest(self.database, self.model_sha256)

    def calibration_text(self) -> str:
        """Return the threshold of the last calibration in one line, or that there is none."""
        made = self.calibration()
        return calibrations.describe_missing(self.database) if made is None else describe(made)

    def review(self, count: int = 20, *, limit: float = LIMIT, by: Actor | None = None) -> Sequence[Pair]:
        """Return the pairs of sightings whose answer would tell most; none that somebody has answered.

        Of a large gallery it asks about the newest sightings, so that the first question comes within seconds.

        Args:
            count: How many.
            limit: As of `group`.
            by: Who asks; decides which cameras are looked at.
        """
        check_count("count", count)
        check_range("limit", limit, 0, 0.99)
        seen, graph = self._find_near(by or Actor())
        return find_pairs(seen, graph, read_known(self.database), read_judged(self.database), count, limit)

    def _find_near(self, by: Actor) -> tuple[Seen, sparse.csr_array]:
        """Return the sightings and their distances, which answers do not change: computed once for many of them."""
        with self._guard, self.database.reading():
            seen, key = self._copy(by, ASKED), (self._changes, by.cameras, self.statistics().number)
        kept = self._near
        if kept is None or kept[0] != key or not all(map(np.array_equal, kept[1], seen[:2])):
            kept = self._near = key, seen[:2], graph_of(seen)
        return seen, kept[2]

    def answer(self, one: int, other: int, answer: Answer, *, by: Actor | None = None) -> None:
        """Store an answer about a pair: same, different or skip; it is a judgement as those of searches."""
        user = by or Actor()
        check_visible(self.database, [one, other], user)
        with self._guard:
            query = from_sightings([one], self.index(), self.database, user)
        answer_pair(self.database, query, other, answer, user)

    def material(self, seed: int = 1, *, folder: str = "", by: Actor | None = None) -> Material:
        """Return what a training may use of the gallery, with some judgements held out; see `rewho adapt`.

        Args:
            seed: Of the choice of what is held out.
            folder: Where the training writes its model, for the audit.
            by: Who asks; they must see every camera.

        Raises:
            UserError: Judgements contradict one another, or are too few.
        """
        return read_material(self.database, seed, by or Actor(), folder)

    def _explain(self, found: Found, query: Query, per: Per, by: Actor) -> Found:
        """Return a result with what its similarities mean, by the last calibration.

        The cohort is of all cameras, so a score tells something of them: only users who may see every camera get it.
        """
        if by.cameras is not None:
            return replace(found, calibration=f"{NOT_CALIBRATED}: scores are for users who may see every camera")
        calibration, index, statistics = self.calibration(), self.index(per), self.statistics(per)
        if calibration is None:
            return replace(found, calibration=calibrations.describe_missing(self.database))
        if per == "crop":
            return replace(found, calibration=f"{NOT_CALIBRATED}: sightings are, single crops are not")
        key = calibration.id, statistics.number, self._changes
        if self._scale is None or self._scale[:3] != key:
            content = calibration.content
            made = scale_of(index, statistics, content["cohort"], centred=content["centred"])
            self._scale = *key, made
        return explain(found, query, index, statistics, calibration, self._scale[3])
