"""Plots and tables over all sections of a report: scores as dots with intervals, and one overlaid CMC per data set."""

from __future__ import annotations

from rewho.report.content import Floats, Plot, Report, Table
from rewho.report.drawing import PALETTE
from rewho.report.figures import Dot, cmc_plot, dot_plot

MOST_CURVES = len(PALETTE)


def comparison_plots(report: Report) -> list[Plot]:
    """Return the plots that compare sections; none where there is one section only."""
    if len(report.sections) < 2:
        return []
    dots = [plot for name in report.compared if (plot := _dots(report, name)) is not None]
    return dots + [plot for data in report.data_sets if (plot := _curves(report, data)) is not None]


def _dots(report: Report, name: str) -> Plot | None:
    several = len(report.data_sets) > 1
    dots = []
    for data in report.data_sets:
        for section in (one for one in report.sections if one.data == data):
            score = section.score(name)
            if score.value is not None and not score.missing:
                dots.append(Dot(section.model, data if several else "", score.value, score.low, score.high))
    if not dots:
        return None
    words = "; ".join(f"{dot.name}{f' on {dot.group}' if dot.group else ''}: {100 * dot.value:.1f} %" for dot in dots)
    caption = "Dot: the score. Bar: its 95 % interval over people. The highest is in bold."
    return Plot(name, dot_plot(dots), f"{name}. {words}.", caption)


def _curves(report: Report, data: str) -> Plot | None:
    """Overlay the curves of all models: of all their rankings, or of the main ones if those are too many."""
    sections = [section for section in report.sections if section.data == data and section.cmc]
    curves: dict[str, Floats] = {}
    names = list(dict.fromkeys(name for section in sections for name in section.cmc))
    for section in sections:
        for number, (name, curve) in enumerate(section.cmc.items()):
            ranking = f", {'re-ranked' if len(names) == 2 else name}" if number else ""
            curves[section.model + ranking] = curve
    caption = f"Re-ranked: {names[1]}." if len(names) == 2 else ""
    if len(curves) > MOST_CURVES:
        curves = {section.model: next(iter(section.cmc.values())) for section in sections}
        caption = "Without re-ranking, which cmc.csv has."
    if not curves:
        return None
    title = "Queries with a match among the first k" + (f": {data}" if len(report.data_sets) > 1 else "")
    words = "; ".join(f"{name}: {100 * float(curve[0]):.1f} % at rank 1" for name, curve in curves.items())
    return Plot(title, cmc_plot(curves), f"Cumulative matching characteristic on {data}. {words}.", caption)


def comparison_table(report: Report) -> Table:
    """Return the compared scores of all sections with their intervals."""
    several = len(report.data_sets) > 1
    rows = [
        [
            one.model,
            *([one.data] if several else []),
            *(one.score(name).words() for name in report.compared),
            one.queries,
            one.people,
        ]
        for one in report.sections
    ]
    header = ["Model", *(["Data set"] if several else []), *(f"{name}, %" for name in report.compared)]
    return Table("Scores [95 % over people]", [*header, "Queries", "People"], rows)
