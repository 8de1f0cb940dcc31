"""The first sentences of an evaluation's page: which model is better on each data set, by how much, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rewho.report.content import Report, Section

MEASURE = "mAP (rectangular)"  # the score that tells which model is better


def write_verdict(report: Report) -> list[str]:
    """Return one sentence per data set.

    Example:
        >>> from rewho.report.content import Gain, Score
        >>> first = Section("first", "street", [Score(MEASURE, 0.5)], queries=9, gallery=9)
        >>> gain = Gain("first", 30, {MEASURE: (0.1, 0.02, 0.18)})
        >>> second = Section("second", "street", [Score(MEASURE, 0.6)], queries=9, gallery=9, gain=gain)
        >>> write_verdict(Report("Evaluation", [first, second], {}))[0]
        'On street, second is better than first: mAP 60.0 % against 50.0 %, +10.0 points (95 % over 30 people: +2.0 to \
+18.0).'
    """
    by_data = [[one for one in report.sections if one.data == data] for data in report.data_sets]
    return [_about_one(sections[0]) if len(sections) == 1 else _about_several(sections) for sections in by_data]


def _about_one(section: Section) -> str:
    first, mean = section.score("Rank-1"), section.score(MEASURE)
    if first.missing:
        return f"Nothing could be scored: {section.model} on {section.data}."
    over = f" (95 % over {section.people:,} people: {first.interval()} %)" if first.interval() else ""
    also = "" if mean.missing else f" mAP is {mean.percent()} %{f' ({mean.interval()} %)' if mean.interval() else ''}."
    return (
        f"On {section.data}, {section.model} shows the right person first for {first.percent()} % of the "
        f"queries{over}.{also}"
    )


def _about_several(sections: Sequence[Section]) -> str:
    """Compare the best model with the first one, or the first with the next best if the first is the best."""
    scored = [section for section in sections if not section.score(MEASURE).missing]
    if len(scored) < 2:
        return f"On {sections[0].data}, there are no two models to compare: {len(scored)} could be scored."
    ordered = sorted(scored, key=lambda section: -float(section.score(MEASURE).value or 0))
    best, other = ordered[0], ordered[1] if ordered[0] is sections[0] else sections[0]
    gain = best.gain or other.gain
    shares = f"mAP {best.score(MEASURE).percent()} % against {other.score(MEASURE).percent()} %"
    where, rank = f"On {best.data}", f", the best of {len(scored)}," if len(scored) > 2 else ""
    if gain is None or MEASURE not in gain.points:
        return f"{where}, {best.model}{rank} scores more than {other.model}: {shares}."
    sign = 1 if best.gain else -1
    points, *ends = (100 * sign * value for value in gain.points[MEASURE])
    low, high = sorted(ends)
    if math.isnan(low):
        return f"{where}, {best.model}{rank} scores more than {other.model}: {shares}; one person gives no interval."
    interval = f"95 % over {gain.people:,} people: {low:+.1f} to {high:+.1f}"
    if low > 0:
        return f"{where}, {best.model}{rank} is better than {other.model}: {shares}, {points:+.1f} points ({interval})."
    return (
        f"{where}, no clear winner: {best.model}{rank} scores {points:+.1f} points over {other.model}, {shares}, "
        f"but the difference may be chance ({interval})."
    )


def compared_with_first(report: Report, data: str) -> Section | None:
    """Return the section whose comparison with the first model is shown: the best model's, or the second best's."""
    later = [one for one in report.sections if one.data == data and one.gain is not None]
    return max(later, key=lambda one: one.score(MEASURE).value or 0.0, default=None)
