"""A report's tables as Markdown and as LaTeX, to paste into notes and papers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewho.core.text import printable
from rewho.report.compared import comparison_table
from rewho.report.content import Report, Section, Table
from rewho.report.decide_card import decision_table

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "…": r"\ldots{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


def report_tables(report: Report) -> list[Table]:
    """Return all tables of a report, each titled with its section."""
    tables = [comparison_table(report)]
    for section in report.sections:
        where = f"{section.model} on {section.data}"
        own = [_scores(section), *section.tables]
        own += [decision_table(section.decision)] if section.decision else []
        tables += [Table(f"{where}: {table.title}", table.header, table.rows) for table in own]
    return tables


def _scores(section: Section) -> Table:
    rows = [[score.name, score.percent(), score.interval() or "–"] for score in section.scores]
    return Table("scores in percent", ["Score", "%", "95 % over people"], rows)


def markdown(tables: Sequence[Table]) -> str:
    r"""Return tables as Markdown.

    Example:
        >>> print(markdown([Table("Scores", ["Model", "mAP"], [["a|b", 50.5]])]))
        ## Scores
        <BLANKLINE>
        | Model | mAP |
        | --- | --- |
        | a\|b | 50.5 |
        <BLANKLINE>
    """
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    lines = [list(table.header), ["---"] * len(table.header), *table.rows]
    body = "\n".join("| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {_one_line(table.title)}\n\n{body}\n"


def _one_line(cell: object) -> str:
    return " ".join(printable(str(cell)).split())


def latex(tables: Sequence[Table]) -> str:
    r"""Return tables as LaTeX, which needs no package; the first column is at the left, the others at the right.

    Example:
        >>> print(latex([Table("Scores", ["Model", "mAP"], [["my_model", 50.5]])]))
        % Scores
        \begin{tabular}{lr}
        \hline
        Model & mAP \\
        \hline
        my\_model & 50.5 \\
        \hline
        \end{tabular}
        <BLANKLINE>
    """
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    head, *rows = [" & ".join(map(_escape, line)) + r" \\" for line in [list(table.header), *table.rows]]
    columns = "l" + "r" * (len(table.header) - 1)
    body = ["\\hline", head, "\\hline", *rows, "\\hline"]
    return "\n".join([f"% {_one_line(table.title)}", f"\\begin{{tabular}}{{{columns}}}", *body, "\\end{tabular}", ""])


def _escape(cell: object) -> str:
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], _one_line(cell))
