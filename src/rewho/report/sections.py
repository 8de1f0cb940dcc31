"""Build a report's section from the rankings of one model on one data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.data.images import decode
from rewho.data.scored_part import scored_part
from rewho.data.table import ImageTable
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Scores
from rewho.report.attention_sheet import AttentionRow
from rewho.report.content import ChangedQuery, Decision, Gain, Score, Section, Table
from rewho.report.plots import Evaluation, draw_plots
from rewho.report.rank_sheet import SheetCell, SheetRow, Verdict

SHEET_COLUMNS = 10  # gallery images per query
CHANGED, CHANGED_COLUMNS = 3, 5  # queries that gained, and that lost; their gallery images


def build_section(
    model: str,
    data: str,
    table: ImageTable,
    scored: Sequence[tuple[Ranking, Scores]],
    *,
    tables: Sequence[Table] = (),
    decision: Decision | None = None,
    gain: Gain | None = None,
    changed: Sequence[ChangedQuery] = (),
    overlaid: bool = False,
    attention: Sequence[AttentionRow] = (),
    sheets: int = 10,
    seed: int = 1,
) -> Section:
    """Return the report's section on one model and one data set; the first of `scored` is the main ranking.

    `sheets` is the number of random queries to draw, and of the worst. With `overlaid`, the report draws the curves of
    all models in one plot, and the section none.
    """
    ranking, scores = scored[0]
    part = scored_part(table)
    evaluation = Evaluation(table, scored, generator(seed, "report"), model, overlaid)
    valid = np.flatnonzero(scores.per_query.valid)
    shown = np.sort(evaluation.random.permutation(valid)[:sheets])
    worst = valid[np.argsort(scores.per_query.ap_rectangular[valid], kind="stable")][:sheets]
    return Section(
        model=model,
        data=data,
        scores=[Score(*headline) for headline in scores.headlines()],
        queries=scores.valid_queries,
        people=scores.people,
        gallery=len(ranking.kept),
        dropped={
            "their person is not in the gallery": scores.not_in_gallery,
            "all images of their person are from the same camera": scores.only_left_out,
        },
        cmc=evaluation.curves,
        per_query=_per_query(part.query, scores),
        tables=[*([_comparison(scored)] if len(scored) > 1 else []), *tables],
        plots=draw_plots(evaluation),
        sheet=_rows(ranking, scores, part.query, part.gallery, shown),
        worst=_rows(ranking, scores, part.query, part.gallery, worst),
        attention=attention,
        notes=table.notes,
        decision=decision,
        gain=gain,
        changed=changed,
    )


def find_changed_queries(
    table: ImageTable, before: tuple[Ranking, Scores], after: tuple[Ranking, Scores], count: int = CHANGED
) -> list[ChangedQuery]:
    """Return the queries whose average precision rose most, then those where it fell most, `count` each at most."""
    part = scored_part(table)
    gains = after[1].per_query.ap_rectangular - before[1].per_query.ap_rectangular
    order = np.argsort(np.where(np.isnan(gains), 0, -gains), kind="stable")
    rows = np.array([*(row for row in order[:count] if gains[row] > 0),
                     *(row for row in order[::-1][:count] if gains[row] < 0)], np.int64)  # fmt: skip
    one, other = (
        _rows(*scored, part.query, part.gallery, rows, CHANGED_COLUMNS, left_out=False) for scored in (before, after)
    )
    return [ChangedQuery(*row) for row in zip(one, other, gains[rows].tolist(), strict=True)]


def _comparison(scored: Sequence[tuple[Ranking, Scores]]) -> Table:
    rows = [
        [ranking.description, *(Score(*headline).percent() for headline in scores.headlines())]
        for ranking, scores in scored
    ]
    labels = [headline.label for headline in scored[0][1].headlines()]
    return Table("Rankings compared, in percent", ["ranking", *labels], rows)


def _per_query(query: ImageTable, scores: Scores) -> dict[str, Sequence[object]]:
    per_query = scores.per_query
    return {
        "query": query.paths,
        "person": [query.person_name(int(person)) for person in query.person_ids],
        "camera": [query.camera_name(int(camera)) for camera in query.camera_ids],
        "has_match": per_query.valid.tolist(),
        "first_match_rank": per_query.first_match.tolist(),
        **{name: values.tolist() for name, values in per_query.values.items()},
    }


def _rows(
    ranking: Ranking,
    scores: Scores,
    query: ImageTable,
    gallery: ImageTable,
    rows: NDArray[np.int64],
    columns: int = SHEET_COLUMNS,
    *,
    left_out: bool = True,
) -> list[SheetRow]:
    if rows.size == 0:
        return []
    found = ranking.top(columns, rows, with_left_out=left_out)
    sheet = []
    for place, row in enumerate(rows.tolist()):
        cells = []
        for index, distance, match, unranked in zip(*(column[place] for column in found), strict=True):
            if index >= 0:
                verdict: Verdict = "same camera" if unranked else "hit" if match else "miss"
                image = decode(gallery.file(int(index)))
                cells.append(SheetCell(image, verdict, float(distance), gallery.paths[int(index)]))
        sheet.append(
            SheetRow(
                image=decode(query.file(row)),
                name=query.paths[row],
                person=query.person_name(int(query.person_ids[row])),
                camera=query.camera_name(int(query.camera_ids[row])),
                cells=cells,
                note=f"AP {100 * scores.per_query.ap_rectangular[row]:.1f} %",
            )
        )
    return sheet
