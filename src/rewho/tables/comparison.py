"""A table with our figures beside a paper's, as Markdown, as an HTML page, and as what JSON can hold.

Papers seldom say which convention of mAP they follow, so both of ours stand beside theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewho.core.artifact import plain, rewho_version
from rewho.core.text import html_head
from rewho.core.text import html_text as text
from rewho.report.content import Score
from rewho.report.style import STYLE_SHEET

OURS = ("Rank-1", "mAP (rectangular)", "mAP (trapezoid)")
COLUMNS = ("Rank-1", "paper", "mAP rect.", "mAP trap.", "paper")
NOTHING = "–"


@dataclass(frozen=True)
class PaperCell:
    """One row's figures on one data set.

    Args:
        scores: Ours, under the names of `OURS`; empty where it was not measured.
        paper: The paper's Rank-1 and mAP, 0 to 1; None where it gives none.
        detail: More for the JSON file: folders, counts of queries and people.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    paper: tuple[float | None, float | None] = (None, None)
    detail: Mapping[str, Any] = field(default_factory=dict)

    def words(self) -> list[str]:
        """Return the cell's five figures in percent, ours with their 95 % intervals.

        Example:
            >>> PaperCell({"Rank-1": Score("Rank-1", 0.5, 0.4, 0.6)}, (0.55, 0.3)).words()
            ['50.0 [40.0 – 60.0]', '55.00', '–', '–', '30.00']
        """
        rank_1, rectangular, trapezoid = (_ours(self.scores.get(name)) for name in OURS)
        return [rank_1, _theirs(self.paper[0]), rectangular, trapezoid, _theirs(self.paper[1])]


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Args:
        label: What stands at its left.
        parameters: Our model's number of parameters; None where there is none.
        paper_parameters: The paper's, in millions.
        cells: By data set.
    """

    label: str
    parameters: int | None
    paper_parameters: float | None
    cells: Mapping[str, PaperCell]


@dataclass(frozen=True)
class PaperTable:
    """The whole table.

    Args:
        title: What it shows.
        data_sets: Headings by data set.
        rows: From top to bottom.
        notes: What a reader has to know, such as that it is a small variant.
        made_with: How it came about.
    """

    title: str
    data_sets: Mapping[str, str]
    rows: Sequence[PaperRow]
    notes: Sequence[str] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> list[str]:
        """Return the names of all columns."""
        return [
            "",
            "M parameters",
            "paper",
            *(f"{data}: {column}" for data in self.data_sets.values() for column in COLUMNS),
        ]

    def lines(self) -> list[list[str]]:
        """Return the words of all rows."""
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
        """Return everything as JSON can hold it; figures are shares from 0 to 1."""
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
    """Return the table that `PaperTable.as_dict` wrote down.

    Raises:
        KeyError: Something is missing in it.

    Example:
        >>> table = PaperTable("t", {"a": "A"}, [PaperRow("S", None, 1.0, {"a": PaperCell(paper=(0.5, None))})])
        >>> from_dict(table.as_dict()).as_dict() == table.as_dict()
        True
    """
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


def _ours(score: Score | None) -> str:
    if score is None or score.missing:
        return NOTHING
    return f"{score.percent()} [{score.interval()}]" if score.interval() else score.percent()


def _theirs(value: float | None) -> str:
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
    """Return the table as an HTML page, the same text for the same table; it needs no network and runs no script."""
    head = "".join(
        f'<th scope="colgroup" colspan="{len(COLUMNS)}">{text(name)}</th>' for name in table.data_sets.values()
    )
    names = "".join(f'<th scope="col" class="number">{text(name)}</th>' for _ in table.data_sets for name in COLUMNS)
    rows = "".join(
        f'<tr><th scope="row">{text(line[0])}</th>'
        + "".join(f'<td class="number">{text(word)}</td>' for word in line[1:])
        + "</tr>\n"
        for line in table.lines()
    )
    notes = "".join(f'<p class="soft">{text(note)}</p>\n' for note in table.notes)
    facts = "".join(
        f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>" for name, value in table.made_with.items()
    )
    return (
        f"{html_head(table.title, STYLE_SHEET)}<header>\n"
        f"<h1>{text(table.title)}</h1>\n"
        '<p class="lead">In percent; ranges are 95 % intervals over people. Columns called “paper” are quoted.</p>\n'
        f'</header>\n<main>\n{notes}<div class="card"><div class="wide"><table><thead>'
        f'<tr><th></th><th scope="colgroup" colspan="2">Size</th>{head}</tr>'
        f'<tr><th></th><th class="number">M parameters</th><th class="number">paper</th>{names}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div></div>\n"
        f'<h2>How it was made</h2>\n<div class="card"><dl>{facts}</dl></div>\n</main>\n'
        f"<footer><p>Made by rewho {text(rewho_version())}.</p></footer>\n</body>\n</html>\n"
    )
