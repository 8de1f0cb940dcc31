"""Write an evaluation's report: one HTML page, and beside it scores, plots, tables and sheets as files.

Every file is written aside and renamed, the page last: a page that exists links only to files that exist.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewho.core.artifact import write_file, write_json
from rewho.core.text import csv_table
from rewho.report.attention_sheet import attention_sheet
from rewho.report.compared import comparison_plots
from rewho.report.content import Floats, Plot, Report, Section
from rewho.report.figures import cmc_plot
from rewho.report.page import page
from rewho.report.rank_sheet import encode_jpeg, rank_sheet
from rewho.report.table_text import latex, markdown, report_tables

ROWS_PER_SHEET = 20


def write_report(folder: Path, report: Report) -> Path:
    """Write a report into a folder and return the path of its page; the same report gives the same bytes.

    Example:
        >>> import tempfile
        >>> from rewho.report.content import Score
        >>> section = Section("student", "street", [Score("Rank-1", 0.5)], queries=2, gallery=9)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_report(Path(folder), Report("Evaluation", [section], metrics={"Rank-1": 0.5}))
        ...     sorted(file.name for file in path.parent.iterdir())
        ['cmc.csv', 'index.html', 'metrics.json', 'per_query.csv', 'tables.md', 'tables.tex']
    """
    compared = comparison_plots(report)
    content = page(report, compared).encode()
    write_json(folder / "metrics.json", _storable(report.metrics))
    _write(folder / "per_query.csv", csv_table(_query_rows(report)))
    _write(folder / "cmc.csv", csv_table(_cmc_rows(report)))
    if report.thresholds:
        write_json(folder / "decide.json", {"measured": report.thresholds})
    tables = report_tables(report)
    _write(folder / "tables.md", markdown(tables).encode())
    _write(folder / "tables.tex", latex(tables).encode())
    curves = _all_curves(report)
    if curves:
        _write(folder / "cmc.png", cmc_plot(curves).png)
    _write_plots(folder, "", compared)
    for number, section in enumerate(report.sections, 1):
        _write_plots(folder, _stem(number, section), section.plots)
    for number, section in enumerate(report.sections, 1):
        _write_sheets(folder, number, section)
    return _write(folder / "index.html", content)


def _write(path: Path, data: bytes) -> Path:
    return write_file(path, lambda file: file.write(data))


def _storable(value: Any) -> Any:  # noqa: ANN401 - any value of a metric
    """Return metrics as JSON can hold them: arrays as lists, null for NaN, valid UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _storable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _query_rows(report: Report) -> list[list[object]]:
    """Return the queries of all sections under one header; columns that a section lacks stay empty."""
    names = list(dict.fromkeys(name for section in report.sections for name in section.per_query))
    rows: list[list[object]] = [["model", "data", *names]]
    for section in report.sections:
        for line in zip(*section.per_query.values(), strict=True):
            values = dict(zip(section.per_query, line, strict=True))
            rows.append([section.model, section.data, *(values.get(name, "") for name in names)])
    return rows


def _cmc_rows(report: Report) -> list[list[object]]:
    rows: list[list[object]] = [["model", "data", "ranking", "rank", "match_rate"]]
    for section in report.sections:
        for name, curve in section.cmc.items():
            rows += [[section.model, section.data, name, rank, float(rate)] for rank, rate in enumerate(curve, 1)]
    return rows


def _all_curves(report: Report) -> dict[str, Floats]:
    """Return the curves of all sections, named by what differs between them."""
    several = len(report.sections) > 1
    lone = all(len(section.cmc) <= 1 for section in report.sections)
    return {
        " · ".join(([report.heading(section)] if several else []) + ([] if several and lone else [name])): curve
        for section in report.sections
        for name, curve in section.cmc.items()
    }


def _stem(number: int, section: Section) -> str:
    return "-".join([str(number), *_words(f"{section.data} {section.model}")])[:80]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _write_plots(folder: Path, stem: str, plots: Sequence[Plot]) -> None:
    """Write plots as SVG and PDF; file names hold only ASCII letters and digits of section and title."""
    names: dict[str, int] = {}
    for plot in plots:
        name = "-".join(filter(None, [stem, *_words(plot.title)]))[:120] or "plot"
        names[name] = names.get(name, 0) + 1
        name += f"-{names[name]}" if names[name] > 1 else ""
        _write(folder / "figures" / f"{name}.svg", plot.drawing.svg)
        _write(folder / "figures" / f"{name}.pdf", plot.drawing.pdf)


def _write_sheets(folder: Path, number: int, section: Section) -> None:
    """Write a section's sheets as JPEG; file names hold only ASCII letters and digits of the data set and model."""
    stem = _stem(number, section)
    for kind, rows in (("queries", section.sheet), ("worst", section.worst)):
        for start in range(0, len(rows), ROWS_PER_SHEET):
            part = f"-{start // ROWS_PER_SHEET + 1}" if len(rows) > ROWS_PER_SHEET else ""
            image = encode_jpeg(rank_sheet(rows[start : start + ROWS_PER_SHEET]))
            _write(folder / "rank_sheets" / f"{stem}-{kind}{part}.jpg", image)
    if section.attention:
        _write(folder / "attention" / f"{stem}.jpg", encode_jpeg(attention_sheet(section.attention)))
