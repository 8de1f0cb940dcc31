"""One HTML page that holds everything: images as data URIs, no script, nothing from elsewhere, all names escaped.

A content security policy in the page forbids scripts and requests as well, so that a name that slipped through could
still do nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from rewho.core.artifact import flatten, plain, rewho_version
from rewho.core.text import html_head
from rewho.core.text import html_text as text
from rewho.report.content import MEASURES, CameraPairs, Report, Score, Section, Table
from rewho.report.figures import camera_matrix, cmc_plot, distance_histogram, score_matrix
from rewho.report.sheets import attention_card, data_uri, sheet_card
from rewho.report.style import STYLE_SHEET

TWO_CONVENTIONS = (
    "Published mAP figures mix two conventions. <em>Rectangular</em> averages the precision at each match: the mean "
    "of (i + 1) / (r<sub>i</sub> + 1), where r<sub>i</sub> is the rank of match i, both counted from 0. "
    "<em>Trapezoid</em>, of Market-1501’s own evaluation, averages that with the precision just before the match, "
    "i / r<sub>i</sub> (or 1 where r<sub>i</sub> is 0). They differ by about half a point to two points; compare only "
    "like with like."
)


def page(report: Report) -> str:
    """Return the report as one HTML page, the same text for the same report.

    Args:
        report: What to say.

    Example:
        >>> text = page(Report("<Evaluation>", [Section("student", "street", [Score("Rank-1", 0.5)], 2, 9)], {}))
        >>> "<h1>&lt;Evaluation&gt;</h1>" in text
        True
    """
    sections = "".join(_section(report, number, section) for number, section in enumerate(report.sections, 1))
    several = len(report.sections) > 1
    return (
        f"{html_head(report.title, STYLE_SHEET)}<header>\n"
        f"<h1>{text(report.title)}</h1>\n{_lead(report)}{_contents(report) if several else ''}</header>\n<main>\n"
        f"{_comparison(report) if several else ''}{sections}{_reading()}{_making(report)}</main>\n"
        "<footer><p>A ranking proposes candidates; whether two images show the same person is for people to decide."
        f"</p><p>Made by rewho {text(rewho_version())}. This page works offline.</p></footer>\n</body>\n</html>\n"
    )


def _paragraphs(notes: Iterable[str], kind: str = "soft") -> str:
    return "".join(f'<p class="{kind}">{text(note)}</p>\n' for note in notes)


def _lead(report: Report) -> str:
    models, data = " · ".join(report.models), " · ".join(report.data_sets)
    return f'<p class="lead">{text(models)} on {text(data)}. Ranges are 95 % intervals over people.</p>\n'


def _contents(report: Report) -> str:
    links = "".join(
        f'<li><a href="#section-{number}">{text(report.heading(section))}</a></li>'
        for number, section in enumerate(report.sections, 1)
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'


def _comparison(report: Report) -> str:
    """Return the matrices of models and data sets, and the table that they are drawn from."""
    plots = "".join(
        _plot(
            score_matrix(report.matrix(name), report.models, report.data_sets, name),
            f"Heat map: {name} of each model on each data set; the table below holds the same figures.",
            0.62,
        )
        for name in report.compared
    )
    rows = [
        [
            section.model,
            section.data,
            section.queries,
            section.people,
            *(_cell(section.score(name)) for name in report.compared),
        ]
        for section in report.sections
    ]
    header = ["Model", "Data set", "Queries", "People", *(f"{name} [95 % over people]" for name in report.compared)]
    table = _table(Table("Scores in percent", header, rows))
    return f'<h2>Comparison</h2>\n<div class="pair">{plots}</div>\n<div class="card">{table}</div>\n'


def _cell(score: Score) -> str:
    return f"{score.percent()} [{score.interval()}]" if score.interval() else score.percent()


def _section(report: Report, number: int, section: Section) -> str:
    parts = [
        f'<section id="section-{number}" aria-labelledby="title-{number}">\n',
        f'<h2 id="title-{number}">{text(report.heading(section))}</h2>\n{_counts(section)}{_scores(section)}',
        _plots(section),
        "".join(f'<div class="card"><h3>{text(t.title)}</h3>{_table(t)}</div>\n' for t in section.tables),
        _cameras(section.cameras) if section.cameras is not None else "",
        sheet_card("Queries and their nearest gallery images", "", section.sheet),
        sheet_card("Worst queries", "The queries with the lowest average precision, worst first.", section.worst),
        attention_card(section.attention),
        f'<div class="card"><h3>About the data</h3>{_paragraphs(section.notes)}</div>\n' if section.notes else "",
        "</section>\n",
    ]
    return "".join(parts)


def _counts(section: Section) -> str:
    dropped = sum(section.dropped.values())
    reasons = "; ".join(f"{count:,} {text(reason)}" for reason, count in section.dropped.items() if count)
    left_out = f"Dropped: {reasons}." if dropped else "No query was dropped."
    scored = f"{section.queries:,} valid {'query' if section.queries == 1 else 'queries'}"
    people = f" of {section.people:,} {'person' if section.people == 1 else 'people'}" if section.people else ""
    alone = " There is no interval: it takes two people or more." if section.people == 1 else ""
    return f'<p class="lead">{scored}{people} against {section.gallery:,} gallery images. {left_out}{alone}</p>\n'


def _scores(section: Section) -> str:
    over = f", {section.people:,} people" if section.people else ""
    tiles = []
    for score in section.scores:
        unit = "" if score.missing else "<small> %</small>"
        interval = f"{score.interval()} (95 %{over})" if score.interval() else "no interval"
        tiles.append(
            f'<li title="{text(MEASURES.get(score.name, ""))}"><span class="name">{text(score.name)}</span>'
            f'<span class="value">{score.percent()}{unit}</span>{_bar(score)}'
            f'<span class="interval">{interval}</span></li>\n'
        )
    return f'<ul class="scores">\n{"".join(tiles)}</ul>\n' if tiles else ""


def _bar(score: Score) -> str:
    """Return a bar from 0 to 100 % with the interval drawn darker; it repeats what the text beside it says."""
    shapes = '<rect class="track" width="100" height="6"/>'
    if score.value is not None and not score.missing:
        shapes += f'<rect class="reach" width="{100 * score.value:.2f}" height="6"/>'
        if score.interval() and score.low is not None and score.high is not None:
            width = max(0.8, 100 * (score.high - score.low))
            shapes += f'<rect class="span" x="{100 * score.low:.2f}" width="{width:.2f}" height="6"/>'
    return f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'


def _plots(section: Section) -> str:
    plots = ""
    if section.curves:
        words = "; ".join(f"{name}: {100 * float(curve[0]):.1f} % at rank 1" for name, curve in section.curves.items())
        alternative = f"Cumulative matching characteristic. {words}."
        plots += _plot(cmc_plot(section.curves), alternative, 0.56, "Queries with a match among the first k")
    if section.same_distances is not None and section.different_distances is not None:
        alternative = "Histogram of the distances of pairs of the same person and of different people."
        drawn = distance_histogram(section.same_distances, section.different_distances)
        plots += _plot(drawn, alternative, 0.56, "Distances of pairs")
    return f'<div class="pair">{plots}</div>\n' if plots else ""


def _plot(data: bytes, alternative: str, scale: float, title: str = "") -> str:
    heading = f"<h3>{text(title)}</h3>" if title else ""
    return f'<figure class="card">{heading}{_image(data, alternative, scale)}</figure>\n'


def _image(data: bytes, alternative: str, scale: float) -> str:
    width, height = struct.unpack(">II", data[16:24])  # where the PNG format has them
    return (
        f'<img class="plot" src="{data_uri("png", data)}" alt="{text(alternative)}" '
        f'width="{round(scale * width)}" height="{round(scale * height)}">'
    )


def _table(table: Table) -> str:
    """Return a table whose first column names the rows; columns of numbers or scores are aligned to the right."""
    kinds = [
        ' class="number"' if column and table.rows and all(_is_number(row[column]) for row in table.rows) else ""
        for column in range(len(table.header))
    ]
    header = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for kind, name in zip(kinds, table.header, strict=True))
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(f"<td{kind}>{_number(cell)}</td>" for kind, cell in zip(kinds[1:], cells, strict=True))
        + "</tr>\n"
        for name, *cells in table.rows
    )
    return f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>\n{rows}</tbody></table></div>'


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1].isdigit() or str(cell)[:1] == "–"


def _number(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else text(cell)


def _cameras(cameras: CameraPairs) -> str:
    values = cameras.mean_average_precision
    if values.size == 0:
        return ""
    drawn = camera_matrix(values, cameras.query_cameras, cameras.gallery_cameras)
    plot = _image(drawn, "Heat map: mAP of each pair of cameras; the table holds the same figures.", 0.62)
    rows = [
        [name, *(f"{Score('', value).percent()} ({count:,})" for value, count in zip(line, counts, strict=True))]
        for name, line, counts in zip(cameras.query_cameras, values.tolist(), cameras.queries.tolist(), strict=True)
    ]
    table = _table(Table("", ["Camera of the query", *cameras.gallery_cameras], rows))
    return (
        '<div class="card"><h3>Pairs of cameras</h3><p class="soft">mAP (rectangular) in percent of the queries of one '
        "camera against the gallery images of another. A dash: no query could be scored.</p>"
        f"{plot}<details><summary>As a table, with the number of queries</summary>{table}"
        "</details></div>\n"
    )


def _reading() -> str:
    terms = "".join(f"<dt>{text(name)}</dt><dd>{text(what)}</dd>" for name, what in MEASURES.items())
    return (
        f'<h2>How to read the figures</h2>\n<div class="card"><dl>{terms}</dl></div>\n'
        f'<div class="card"><h3>Two conventions of mAP</h3><p class="soft">{TWO_CONVENTIONS}</p>'
        '<h3>Intervals</h3><p class="soft">A 95 % interval says how far a figure may move with as many other people, '
        "each with all their queries, from the same place; it says nothing about other places.</p></div>\n"
    )


def _making(report: Report) -> str:
    facts = _definitions(report.made_with)
    settings = flatten(plain(report.settings)) if report.settings else {}
    details = f"<details><summary>Settings</summary>{_definitions(settings)}</details>" if settings else ""
    notes = _paragraphs(report.notes)
    return f'<h2>How it was made</h2>\n<div class="card">{notes}{facts}{details}<h3>Files</h3>{_files(report)}</div>\n'


def _files(report: Report) -> str:
    names = {"metrics.json": "every figure", "per_query.csv": "one line for each query", "cmc.csv": "the curves"}
    if any(section.curves for section in report.sections):
        names["cmc.png"] = "the plot"
    links = ", ".join(f'<a href="{name}">{name}</a> ({what})' for name, what in names.items())
    sheets = any(section.sheet or section.worst for section in report.sections)
    more = ", <code>rank_sheets</code> (the sheets as images)" if sheets else ""
    if any(section.attention for section in report.sections):
        more += ", <code>attention</code> (where the model looks)"
    return f'<p class="soft">Beside this page: {links}{more}.</p>'


def _definitions(values: Mapping[str, object]) -> str:
    lines = "".join(f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>" for name, value in values.items())
    return f"<dl>{lines}</dl>" if lines else ""
