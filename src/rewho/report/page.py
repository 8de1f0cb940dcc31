"""Lay out an evaluation report as one HTML page that holds everything."""

from __future__ import annotations

from collections.abc import Sequence

from rewho.core.artifact import plain
from rewho.core.record import flatten
from rewho.core.text import html_text as text
from rewho.core.text import quantity
from rewho.report import html_page as html
from rewho.report.compared import comparison_plots, comparison_table
from rewho.report.content import Plot, Report, Score, Section
from rewho.report.decide_card import decide_card
from rewho.report.sheets import attention_card, changed_card, sheet_card
from rewho.report.verdict import compared_with_first, write_verdict

TWO_CONVENTIONS = (
    "Published mAP figures mix two conventions. <em>Rectangular</em> averages the precision at each match: the mean "
    "of (i + 1) / (r<sub>i</sub> + 1), where r<sub>i</sub> is the rank of match i, both counted from 0. "
    "<em>Trapezoid</em>, of Market-1501’s own evaluation, averages that with the precision just before the match, "
    "i / r<sub>i</sub> (or 1 where r<sub>i</sub> is 0). They differ by about half a point to two points; compare only "
    "like with like."
)
INTERVALS = (
    "A 95 % interval resamples the people of this data set, each with all their queries: it estimates how far a score "
    "moves with as many other people from the same place. It says nothing about other places."
)


def page(report: Report, compared: Sequence[Plot] | None = None) -> str:
    """Return the report as one HTML page, the same text for the same report.

    `compared` are the plots of `comparison_plots`, if they are drawn already.

    Example:
        >>> text = page(Report("<Evaluation>", [Section("student", "street", [Score("Rank-1", 0.5)], 2, 9)], {}))
        >>> "<h1>&lt;Evaluation&gt;</h1>" in text
        True
    """
    plots = comparison_plots(report) if compared is None else compared
    sections = "".join(_section(report, number, section) for number, section in enumerate(report.sections, 1))
    verdict = "".join(
        html.paragraph(sentence.replace(" %", "\N{NO-BREAK SPACE}%"), "verdict") for sentence in write_verdict(report)
    )
    return html.build_page(
        report.title,
        f"{_comparison(report, plots)}{sections}{_reading(report)}{_making(report, plots)}",
        above=verdict,
        contents=_contents(report) if len(report.sections) > 1 else "",
        footer="A ranking proposes candidates; whether two images show the same person is for people to decide.",
    )


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(map(html.paragraph, notes))


def _contents(report: Report) -> str:
    links = "".join(
        f'<li><a href="#section-{number}">{text(report.heading(section))}</a></li>'
        for number, section in enumerate(report.sections, 1)
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'


def _comparison(report: Report, plots: Sequence[Plot]) -> str:
    """Return plots and table over all sections, and what changed between two models on each data set."""
    if len(report.sections) < 2:
        return ""
    table = comparison_table(report)
    changed = "".join(
        changed_card(one.gain.over, one.model, one.changed)
        for data in report.data_sets
        if (one := compared_with_first(report, data)) is not None and one.gain is not None
    )
    listed = html.card(table.title, html.table(table.rows, table.header, label=table.title))
    return html.heading("Comparison") + html.pair("".join(map(_plot, plots)) + listed) + changed


def _section(report: Report, number: int, section: Section) -> str:
    shown_above = compared_with_first(report, section.data) is section
    changed = changed_card(section.gain.over, section.model, section.changed) if section.gain else ""
    parts = [
        f'<section id="section-{number}" aria-labelledby="title-{number}">\n',
        f'<h2 id="title-{number}">{text(report.heading(section))}</h2>\n',
        html.paragraph(_counts(section), "lead"),
        html.tiles("".join(_tile(score, section.people) for score in section.scores)),
        decide_card(section.decision, section.data),
        html.pair("".join(map(_plot, section.plots))),
        *(html.card(table.title, html.table(table.rows, table.header, label=table.title)) for table in section.tables),
        "" if shown_above else changed,
        sheet_card("Queries and their nearest gallery images", "", section.sheet),
        sheet_card("Worst queries", "The queries with the lowest average precision, worst first.", section.worst),
        attention_card(section.attention),
        html.card("About the data", _paragraphs(section.notes)) if section.notes else "",
        "</section>\n",
    ]
    return "".join(parts)


def _counts(section: Section) -> str:
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in section.dropped.items() if count)
    dropped = f"Dropped: {reasons}." if reasons else "No query was dropped."
    scored = f"{section.queries:,} valid {'query' if section.queries == 1 else 'queries'}"
    people = f" of {section.people:,} {'person' if section.people == 1 else 'people'}" if section.people else ""
    alone = " There is no interval: it takes two people or more." if section.people == 1 else ""
    return f"{scored}{people} against {quantity(section.gallery, 'gallery images')}. {dropped}{alone}"


def _tile(score: Score, people: int) -> str:
    over = f", {people:,} people" if people else ""
    interval = f"{score.interval()} (95 %{over})" if score.interval() else "no interval"
    below = f'{_bar(score)}<span class="interval">{interval}</span>'
    unit = "" if score.missing else "%"
    return html.tile(score.name, score.percent(), unit=unit, body=below, explanation=score.explanation)


def _bar(score: Score) -> str:
    """Return a bar from 0 to 100 % with the interval drawn darker; it repeats what the text beside it says."""
    shapes = '<rect class="track" width="100" height="6"/>'
    if score.value is not None and not score.missing:
        shapes += f'<rect class="reach" width="{100 * score.value:.2f}" height="6"/>'
        if score.interval() and score.low is not None and score.high is not None:
            width = max(0.8, 100 * (score.high - score.low))
            shapes += f'<rect class="span" x="{100 * score.low:.2f}" width="{width:.2f}" height="6"/>'
    return f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'


def _plot(plot: Plot) -> str:
    table = plot.table
    folded = html.details(table.title, html.table(table.rows, table.header, label=table.title)) if table else ""
    return html.figure(plot.title, html.plot(plot.drawing.svg, plot.alternative) + folded, plot.caption)


def _reading(report: Report) -> str:
    explained = {score.name: score.explanation for section in report.sections for score in section.scores}
    terms = "".join(f"<dt>{text(name)}</dt><dd>{text(what)}</dd>" for name, what in explained.items() if what)
    return (
        html.heading("How to read the figures")
        + html.card("", f"<dl>{terms}</dl>")
        + html.card("Two conventions of mAP", f'<p class="soft">{TWO_CONVENTIONS}</p>')
        + html.card("Intervals", html.paragraph(INTERVALS))
    )


def _making(report: Report, plots: Sequence[Plot]) -> str:
    settings = flatten(plain(report.settings)) if report.settings else {}
    folded = html.details("Settings", html.definitions(settings)) if settings else ""
    facts = _paragraphs(report.notes) + html.definitions(report.made_with) + folded
    return html.heading("How it was made") + html.card("", f"{facts}<h3>Files</h3>{_files(report, plots)}")


def _files(report: Report, plots: Sequence[Plot]) -> str:
    names = {
        "metrics.json": "every figure",
        "per_query.csv": "one line for each query",
        "cmc.csv": "the curves",
        "tables.md": "the tables as Markdown",
        "tables.tex": "and as LaTeX",
    }
    if report.thresholds:
        names["decide.json"] = "the thresholds"
    if any(section.cmc for section in report.sections):
        names["cmc.png"] = "all curves"
    links = ", ".join(f'<a href="{name}">{name}</a> ({what})' for name, what in names.items())
    folders = {
        "figures": ("the plots as SVG and PDF", bool(plots) or any(section.plots for section in report.sections)),
        "rank_sheets": ("the sheets as images", any(section.sheet or section.worst for section in report.sections)),
        "attention": ("where the model looks", any(section.attention for section in report.sections)),
    }
    more = "".join(f", <code>{name}</code> ({what})" for name, (what, there) in folders.items() if there)
    return f'<p class="soft">Beside this page: {links}{more}.</p>'
