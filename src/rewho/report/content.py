"""The content of an evaluation report. Scores are fractions from 0 to 1; names are untrusted, `page` escapes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.rank.thresholds import OperatingPoint
from rewho.report.attention_sheet import AttentionRow
from rewho.report.drawing import Drawing
from rewho.report.rank_sheet import SheetRow

Floats = NDArray[np.floating[Any]]

COMPARED = ("mAP (rectangular)", "Rank-1")


@dataclass(frozen=True)
class Score:
    """A headline score, 0 to 1, with the ends of its 95 % interval.

    `value` is None or NaN if nothing could be scored; the page prints `explanation` once per name.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    explanation: str = ""

    def percent(self) -> str:
        """Return the value in percent with one decimal, or a dash."""
        return "–" if self.value is None or self.missing else f"{100 * self.value:.1f}"

    def interval(self) -> str:
        """Return the interval in percent; an empty string where there is none."""
        if self.missing or self.low is None or self.high is None or not np.isfinite([self.low, self.high]).all():
            return ""
        return f"{100 * self.low:.1f} – {100 * self.high:.1f}"

    def words(self) -> str:
        """Return the value in percent, followed by the interval in brackets where there is one."""
        return f"{self.percent()} [{self.interval()}]" if self.interval() else self.percent()

    @property
    def missing(self) -> bool:
        """Whether there was nothing to score."""
        return self.value is None or not np.isfinite(self.value)


@dataclass(frozen=True)
class Table:
    """A table of a section; each row is its name, then as many numbers or texts as the header has further columns."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, eq=False)
class Plot:
    """A drawing with a heading and a caption.

    `alternative` is for readers who cannot see it; `table` holds the same figures, folded away.
    """

    title: str
    drawing: Drawing
    alternative: str
    caption: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Gain:
    """How much higher a model scores than another one on the same data: by score, the gain and its interval's ends.

    Args:
        over: Name of the other model.
        people: People whom the intervals resample.
        points: Gain, low and high, 1 is 100 points, by the score's name; the ends are NaN with one person.
    """

    over: str
    people: int
    points: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class ChangedQuery:
    """A query with its nearest gallery images by two models, and how much its average precision rose, -1 to 1."""

    before: SheetRow
    after: SheetRow
    gain: float


@dataclass(frozen=True, eq=False)
class Decision:
    """Thresholds of one model on one data set.

    Args:
        points: A threshold for each false match rate, or why there is none.
        same: Pairs of images of one person that were compared.
        different: Pairs of images of two people that were compared.
        people: People in these pairs.
        stored: Whether the thresholds are stored with the model, in words.
    """

    points: Sequence[OperatingPoint]
    same: int
    different: int
    people: int
    stored: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """One model evaluated on one data set.

    `people` is the number of identities among the scored queries, which the intervals resample; `dropped` counts
    unscored queries by reason; `cmc` holds match rates [R] for ranks 1 to R by ranking; `per_query` holds the columns
    of per_query.csv; `worst` has the lowest average precision first. `gain` and `changed` are over the first model.
    """

    model: str
    data: str
    scores: Sequence[Score]
    queries: int
    gallery: int
    people: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    cmc: Mapping[str, Floats] = field(default_factory=dict)
    per_query: Mapping[str, Sequence[object]] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    sheet: Sequence[SheetRow] = ()
    worst: Sequence[SheetRow] = ()
    attention: Sequence[AttentionRow] = ()
    notes: Sequence[str] = ()
    decision: Decision | None = None
    gain: Gain | None = None
    changed: Sequence[ChangedQuery] = ()

    def score(self, name: str) -> Score:
        """Return the headline score of that name; one without a value where there is none."""
        return next((score for score in self.scores if score.name == name), Score(name, None))


@dataclass(frozen=True, eq=False)
class Report:
    """A whole report, with at least one section.

    `metrics` is the content of metrics.json, with NaN written as null; `made_with` is what is needed to repeat the
    evaluation; `thresholds` is the content of decide.json; `compared` names the scores to compare between sections.
    """

    title: str
    sections: Sequence[Section]
    metrics: Mapping[str, Any]
    made_with: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    compared: Sequence[str] = COMPARED
    thresholds: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        pairs = [(section.model, section.data) for section in self.sections]
        if not pairs or len(set(pairs)) < len(pairs):
            raise ValueError(f"a report takes sections that differ in model or data set, not {pairs}")

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order of the sections."""
        return list(dict.fromkeys(section.model for section in self.sections))

    @property
    def data_sets(self) -> list[str]:
        """Names of the data sets, in the order of the sections."""
        return list(dict.fromkeys(section.data for section in self.sections))

    def heading(self, section: Section) -> str:
        """Return a section's heading: its data set, its model, or both, as far as sections differ in them."""
        several = [len(self.data_sets) > 1 or len(self.models) == 1, len(self.models) > 1]
        return " · ".join(name for name, wanted in zip((section.data, section.model), several, strict=True) if wanted)

    def matrix(self, name: str) -> NDArray[np.float64]:
        """Return a score as an array [models, data sets], NaN where there is none."""
        values = np.full((len(self.models), len(self.data_sets)), np.nan)
        for section in self.sections:
            score = section.score(name)
            if score.value is not None:
                values[self.models.index(section.model), self.data_sets.index(section.data)] = score.value
        return values
