"""What an evaluation report says, as plain frozen dataclasses; how it looks is the business of `report_page`.

All scores are shares from 0 to 1 here, and percent on the page. Names may hold anything: the page escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.report.attention_sheet import AttentionRow
from rewho.report.rank_sheet import SheetRow

Floats = NDArray[np.floating[Any]]

COMPARED = ("mAP (rectangular)", "Rank-1")
MEASURES = {
    "Rank-1": "Share of queries whose nearest ranked image shows the same person.",
    "Rank-5": "Share of queries with a match among the nearest five.",
    "Rank-10": "Share of queries with a match among the nearest ten.",
    "mAP (rectangular)": "Mean average precision as fast-reid, torchreid and scikit-learn compute it.",
    "mAP (trapezoid)": "Mean average precision as Market-1501's own evaluation computes it.",
    "mINP": "How early the last match comes: matches divided by the last match's rank.",
}
"""The names of the usual scores, with a sentence for the reader; a report may hold other names too."""


@dataclass(frozen=True)
class Score:
    """A headline figure with its 95 % interval.

    Args:
        name: Its name; those of `MEASURES` are explained on the page.
        value: A share from 0 to 1; None or NaN where there was nothing to score.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end of it.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None

    def percent(self) -> str:
        """Return the value in percent with one decimal, or a dash.

        Example:
            >>> Score("Rank-1", 0.9406).percent(), Score("Rank-1", float("nan")).percent()
            ('94.1', '–')
        """
        return "–" if self.missing else f"{100 * (self.value or 0):.1f}"

    def interval(self) -> str:
        """Return the interval in percent, or nothing where there is none.

        Example:
            >>> Score("Rank-1", 0.94, 0.931, 0.949).interval()
            '93.1 – 94.9'
        """
        if self.missing or self.low is None or self.high is None or not np.isfinite([self.low, self.high]).all():
            return ""
        return f"{100 * self.low:.1f} – {100 * self.high:.1f}"

    @property
    def missing(self) -> bool:
        """Whether there was nothing to score."""
        return self.value is None or not np.isfinite(self.value)


@dataclass(frozen=True)
class Table:
    """A further table of a section, such as the re-ranked scores.

    Args:
        title: What it shows.
        header: Name of each column.
        rows: Cells of each row, as many as the header has: the row's name, then numbers or text.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Scores of each pair of cameras.

    Args:
        query_cameras: Name of each row, K in all.
        gallery_cameras: Name of each column, L in all.
        mean_average_precision: Shares [K, L]; NaN where no query could be scored.
        queries: How many queries were scored [K, L].
    """

    query_cameras: Sequence[str]
    gallery_cameras: Sequence[str]
    mean_average_precision: Floats
    queries: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str, float, int]]) -> CameraPairs:
        """Make the table from its filled cells: camera of the query, of the gallery, mAP, number of queries.

        Example:
            >>> CameraPairs.of([("1", "2", 0.5, 7), ("2", "1", 0.4, 6)]).mean_average_precision.tolist()
            [[nan, 0.5], [0.4, nan]]
        """
        cells = list(pairs)
        rows, columns = (sorted(set(names), key=_natural) for names in ([c[0] for c in cells], [c[1] for c in cells]))
        values, queries = np.full((len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), np.int64)
        for query, gallery, value, count in cells:
            place = rows.index(query), columns.index(gallery)
            values[place], queries[place] = value, count
        return cls(rows, columns, values, queries)


def _natural(name: str) -> tuple[bool, int, str]:
    """Return a key that sorts numbers by their value, before all other names."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


@dataclass(frozen=True, eq=False)
class Section:
    """One model evaluated on one data set.

    Args:
        model: Name of the model.
        data: Name of the data set.
        scores: Headline figures, in order.
        queries: Number of queries that were scored.
        gallery: Number of gallery images.
        people: Number of people that the scored queries show, over whom intervals are.
        dropped: Number of queries that could not be scored, by reason.
        cmc: Match rates [R] for the ranks 1 to R, by the name of the ranking, such as "cosine". May be empty.
        per_query: Columns of per_query.csv: Q values each, by the column's name.
        tables: Further tables.
        cameras: Scores by pairs of cameras; None where cameras are unknown.
        same_distances: A sample of distances between images of one person; None draws no histogram.
        different_distances: The same between images of different people.
        sheet: Queries with their nearest gallery images.
        worst: The queries with the lowest average precision, worst first.
        attention: Queries with where the model looks.
        notes: What a reader should know about the data.
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
    cameras: CameraPairs | None = None
    same_distances: Floats | None = None
    different_distances: Floats | None = None
    sheet: Sequence[SheetRow] = ()
    worst: Sequence[SheetRow] = ()
    attention: Sequence[AttentionRow] = ()
    notes: Sequence[str] = ()

    @property
    def curves(self) -> dict[str, Floats]:
        """Those of `cmc` that can be drawn; without a single valid query there is none.

        Example:
            >>> Section("student", "street", [], 0, 9, cmc={"cosine": np.array([np.nan])}).curves
            {}
        """
        return {name: curve for name, curve in self.cmc.items() if len(curve) and np.isfinite(curve).all()}

    def score(self, name: str) -> Score:
        """Return the headline figure of that name; one without a value where there is none.

        Example:
            >>> Section("student", "market1501", [Score("Rank-1", 0.9)], 3368, 15913).score("Rank-1").value
            0.9
        """
        return next((score for score in self.scores if score.name == name), Score(name, None))


@dataclass(frozen=True, eq=False)
class Report:
    """A whole report.

    Args:
        title: Its heading.
        sections: One for each model and data set; at least one.
        metrics: Goes into metrics.json: numbers, text, arrays, lists, dictionaries; NaN is written as null.
        made_with: How the report came about: command line, version, seed, date, and what else replays it.
        settings: The resolved settings; may be nested.
        notes: What a reader should know about the whole.
        compared: Names of the scores that are compared in a matrix where there are several sections.

    Raises:
        ValueError: There is no section, or two of the same model and data set.
    """

    title: str
    sections: Sequence[Section]
    metrics: Mapping[str, Any]
    made_with: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    compared: Sequence[str] = COMPARED

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
        """Return what tells this section from the others: the data set, the model, or both.

        Example:
            >>> sections = [Section(model, "market1501", [], 0, 0) for model in ("student", "teacher")]
            >>> Report("Evaluation", sections, {}).heading(sections[1])
            'teacher'
        """
        several = [len(self.data_sets) > 1 or len(self.models) == 1, len(self.models) > 1]
        return " · ".join(name for name, wanted in zip((section.data, section.model), several, strict=True) if wanted)

    def matrix(self, name: str) -> NDArray[np.float64]:
        """Return a score as an array [models, data sets], NaN where there is none.

        Example:
            >>> section = Section("student", "market1501", [Score("Rank-1", 0.9)], 3368, 15913)
            >>> Report("Evaluation", [section], {}).matrix("Rank-1").tolist()
            [[0.9]]
        """
        values = np.full((len(self.models), len(self.data_sets)), np.nan)
        for section in self.sections:
            score = section.score(name)
            if score.value is not None:
                values[self.models.index(section.model), self.data_sets.index(section.data)] = score.value
        return values
