"""The card of an evaluation that helps to decide: thresholds for false matches, and what they find."""

from __future__ import annotations

import math

from rewho.rank.thresholds import Interval, OperatingPoint
from rewho.report import html_page as html
from rewho.report.content import Decision, Table

TITLE = "Decide: how alike must two images be?"
HEADER = ("False matches", "Threshold", "True matches found", "False matches of other people")


def decision_table(decision: Decision) -> Table:
    """Return the thresholds as a table; a refused row says why and what it would take."""
    return Table(TITLE, HEADER, [_row(point) for point in decision.points])


def _row(point: OperatingPoint) -> list[str]:
    name = f"{100 * point.rate:g} %"
    if point.refusal:
        return [name, "not given", point.refusal, "–"]
    found = f"{100 * point.found:.1f} % [{_ends(point.found_interval, 1)}]"
    return [name, f"{point.threshold:.4f}", found, f"{_ends(point.false_match_interval, 2)} %"]


def _ends(interval: Interval, decimals: int) -> str:
    return " – ".join("" if math.isnan(end) else f"{100 * end:.{decimals}f}" for end in interval)


def decide_card(decision: Decision | None, data: str) -> str:
    """Return the card; nothing where nothing was measured."""
    if decision is None:
        return ""
    words = (
        "Two images are candidates for the same person if their similarity (cosine) reaches the threshold. A higher "
        "one lets fewer strangers through and finds fewer true matches. Measured on "
        f"{data}: {decision.same:,} pairs of images of one person, {decision.different:,} of different people, "
        f"{decision.people:,} people. Ranges are 95 % intervals over people. Other cameras and places need thresholds "
        "of their own."
    )
    table = decision_table(decision)
    use = ""
    if any(not point.refusal for point in decision.points):
        rate = next(f"{100 * point.rate:g}%" for point in decision.points if not point.refusal)
        command = f"rewho compare FIRST.jpg SECOND.jpg --model MODEL --threshold {rate}"
        use = html.paragraph(f"{decision.stored}. Use them:" if decision.stored else "Use them:") + html.code(command)
    return html.card(TITLE, html.paragraph(words) + html.table(table.rows, table.header, label=TITLE) + use)
