"""A table with our scores beside a paper's, as Markdown, HTML page and JSON.

Papers seldom state their mAP convention, so both of ours are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewho.core.artifact import plain
from rewho.report import html_page as html
from rewho.report.content import Score

OURS = ("Rank-1", "mAP (rectangular)", "mAP (trapezoid)")
SIZES = ("M parameters", "paper")
COLUMNS = ("Rank-1", "paper", "mAP rect.", "mAP trap.", "paper")
NOTHING = "–"


@dataclass(frozen=True)
class PaperCell:
    """One row's scores on one data set.

    Args:
        scores: Ours, by the names of `OURS`; empty where nothing was measured.
        paper: The paper's Rank-1 and mAP, 0 to 1; None where it gives none.
        detail: More for the JSON file: folders, counts of queries and people.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    paper: tuple[float | None, float | None] = (None, None)
    detail: Mapping[str, Any] = field(default_factory=dict)

    def words(self) -> list[str]:
        """Return the five columns of `COLUMNS` in percent, ours with their 95 % intervals."""
        rank_1, rectangular, trapezoid = (self.scores.get(name, Score(name, None)).words() for name in OURS)
        return [rank_1, _quoted(self.paper[0]), rectangular, trapezoid, _quoted(self.paper[1])]


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Args:
        label: Name of the row.
        parameters: Our model's number of parameters; None where there is no model.
        paper_parameters: The paper's number of parameters, in millions.
        cells: By data set.
    """

    label: str
    parameters: int | None
    paper_parameters: float | None
    cells: Mapping[str, PaperCell]


@dataclass(frozen=True)
class PaperTable:
    """A whole table.

    Args:
        title: What it shows.
        data_sets: Headings by data set.
        rows: From top to bottom.
        notes: Sentences above the table, such as that it is a smoke run.
        made_with: Command, version, date and seed.
    """

    title: str
    data_sets: Mapping[str, str]
    rows: Sequence[PaperRow]
    notes: Sequence[str] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> list[str]:
        """Return the names of all columns."""
        return ["", *SIZES, *(f"{data}: {column}" for data in self.data_sets.values() for column in COLUMNS)]

    def lines(self) -> list[list[str]]:
        """Return the cells of all rows as text."""
        return [
            [
                row.label,
                f"{row.parameters / 1e6:.1f}" if row.parameters else NOTHING,
                NOTHING if row.paper_parameters is None else f"{row.paper_parameters:.1f}",
                *(word for data in self.data_sets for word in row.cells.get(data, PaperCell()).words()),
            ]
            for row in self.rows
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the table as JSON can hold it; scores are from 0 to 1."""
        return {
            "title": self.title,
            "data_sets": dict(self.data_sets),
            "notes": list(self.notes),
            "made_with": dict(self.made_with),
            "rows": [
                {
                    "label": row.label,
                    "parameters": row.parameters,
                    "paper_parameters_in_millions": row.paper_parameters,
                    "cells": {data: _cell_dict(cell) for data, cell in row.cells.items()},
                }
                for row in self.rows
            ],
        }


def from_dict(content: Mapping[str, Any]) -> PaperTable:
    """Return the table that `PaperTable.as_dict` returned as `content`."""
    rows = [
        PaperRow(
            row["label"],
            row["parameters"],
            row["paper_parameters_in_millions"],
            {data: _cell_of(cell) for data, cell in row["cells"].items()},
        )
        for row in content["rows"]
    ]
    return PaperTable(content["title"], content["data_sets"], rows, content["notes"], content["made_with"])


def _cell_of(content: Mapping[str, Any]) -> PaperCell:
    scores = {name: Score(name, score["value"], *score["interval_95"]) for name, score in content["ours"].items()}
    detail = {name: value for name, value in content.items() if name not in ("ours", "paper")}
    return PaperCell(scores, (content["paper"]["Rank-1"], content["paper"]["mAP"]), detail)


def _cell_dict(cell: PaperCell) -> dict[str, Any]:
    ours = {name: {"value": score.value, "interval_95": [score.low, score.high]} for name, score in cell.scores.items()}
    return {"ours": ours, "paper": {"Rank-1": cell.paper[0], "mAP": cell.paper[1]}, **plain(cell.detail)}


def _quoted(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def markdown(table: PaperTable) -> str:
    """Return the table as Markdown.

    Example:
        >>> row = PaperRow("S", 1_000_000, 1.0, {"market1501": PaperCell(paper=(0.8245, 0.624))})
        >>> print(markdown(PaperTable("Table 3", {"market1501": "Market-1501"}, [row])).splitlines()[-1])
        | S | 1.0 | 1.0 | – | 82.45 | – | – | 62.40 |
    """
    lines = [[cell.replace("|", "\\|") for cell in line] for line in table.lines()]
    header = [table.header(), ["---"] + ["---:"] * (len(table.header()) - 1)]
    notes = [f"{note}\n" for note in table.notes]
    return "\n".join([f"# {table.title}\n", *notes, *("| " + " | ".join(line) + " |" for line in [*header, *lines])])


def page(table: PaperTable) -> str:
    """Return the table as an HTML page, the same text for the same table."""
    groups = [("", 1), ("Size", 2), *((name, len(COLUMNS)) for name in table.data_sets.values())]
    header = ["", *SIZES, *(COLUMNS * len(table.data_sets))]
    notes = "".join(map(html.paragraph, table.notes))
    made = html.heading("How it was made") + html.card("", html.definitions(table.made_with))
    return html.build_page(
        table.title,
        f"{notes}{html.card('', html.table(table.lines(), header, groups))}{made}",
        lead="In percent; ranges are 95 % intervals over people. Columns called “paper” are quoted.",
    )
