"""A ranking and its scores → the section of the report that shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewho.core.runtime import generator
from rewho.data.images import decode
from rewho.data.splits import scored_part
from rewho.data.table import ImageTable
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Scores
from rewho.report.attention_sheet import AttentionRow
from rewho.report.content import CameraPairs, Score, Section, Table
from rewho.report.rank_sheet import SheetCell, SheetRow, Verdict

SHEET_COLUMNS = 10
SAMPLED_QUERIES = 200  # whose distances are in the histogram
SAMPLED_DISTANCES = 100_000


def build_section(
    model: str,
    data: str,
    table: ImageTable,
    scored: Sequence[tuple[Ranking, Scores]],
    *,
    tables: Sequence[Table] = (),
    attention: Sequence[AttentionRow] = (),
    sheets: int = 10,
    seed: int = 1,
) -> Section:
    """Return what a report says about one model on one data set.

    Args:
        model: The model's name.
        data: The data set's name.
        table: Its images.
        scored: Rankings with their scores; the first is the main one, the others (re-ranked) are compared with it.
        tables: Further tables.
        attention: Queries with where the model looks.
        sheets: Queries shown at random, and as many of the worst.
        seed: Seed of which queries are shown.
    """
    ranking, scores = scored[0]
    part = scored_part(table)
    query, gallery = part.query, part.gallery
    random = generator(seed, "report")
    valid = np.flatnonzero(scores.per_query.valid)
    shown = np.sort(random.permutation(valid)[:sheets])
    worst = valid[np.argsort(scores.per_query.ap_rectangular[valid], kind="stable")][:sheets]
    same, different = _sampled_distances(ranking, random)
    return Section(
        model=model,
        data=data,
        scores=_headline(scores),
        queries=scores.valid_queries,
        people=scores.people,
        gallery=len(ranking.kept),
        dropped={
            "their person is not in the gallery": scores.not_in_gallery,
            "all images of their person are from the same camera": scores.only_left_out,
        },
        cmc={ranking_.description: scores_.cmc for ranking_, scores_ in scored},
        per_query=_per_query(query, scores),
        tables=[*([_comparison(scored)] if len(scored) > 1 else []), *tables],
        cameras=_cameras(scores, table),
        same_distances=same,
        different_distances=different,
        sheet=_rows(ranking, scores, query, gallery, shown),
        worst=_rows(ranking, scores, query, gallery, worst),
        attention=attention,
        notes=table.notes,
    )


def _headline(scores: Scores) -> list[Score]:
    def score(name: str, value: float, key: str = "") -> Score:
        return Score(name, value, *scores.intervals.get(key, (None, None)))

    longest = len(scores.cmc)
    return [
        score("Rank-1", scores.rank(1), "rank_1"),
        *(score(f"Rank-{k}", scores.rank(k)) for k in (5, 10) if k <= longest),
        score("mAP (rectangular)", scores.mAP_rectangular, "mAP_rectangular"),
        score("mAP (trapezoid)", scores.mAP_trapezoid, "mAP_trapezoid"),
        score("mINP", scores.mINP),
    ]


def _comparison(scored: Sequence[tuple[Ranking, Scores]]) -> Table:
    rows = [[ranking.description, *(f"{score.percent()}" for score in _headline(scores))] for ranking, scores in scored]
    return Table("Rankings compared, in percent", ["ranking", *(score.name for score in _headline(scored[0][1]))], rows)


def _per_query(query: ImageTable, scores: Scores) -> dict[str, Sequence[object]]:
    per_query = scores.per_query
    return {
        "query": query.paths,
        "person": [query.person_name(int(person)) for person in query.person_ids],
        "camera": [query.camera_name(int(camera)) for camera in query.camera_ids],
        "has_match": per_query.valid.tolist(),
        "first_match_rank": per_query.first_match.tolist(),
        "ap_rectangular": per_query.ap_rectangular.tolist(),
        "ap_trapezoid": per_query.ap_trapezoid.tolist(),
        "inp": per_query.inp.tolist(),
    }


def _cameras(scores: Scores, table: ImageTable) -> CameraPairs | None:
    if not scores.camera_pairs or not table.knows_cameras:
        return None
    rows = sorted({pair.query_camera for pair in scores.camera_pairs})
    columns = sorted({pair.gallery_camera for pair in scores.camera_pairs})
    values = np.full((len(rows), len(columns)), np.nan)
    queries = np.zeros((len(rows), len(columns)), np.int64)
    for pair in scores.camera_pairs:
        place = rows.index(pair.query_camera), columns.index(pair.gallery_camera)
        values[place], queries[place] = pair.mAP_rectangular, pair.valid_queries
    names, others = ([table.camera_name(number) for number in numbers] for numbers in (rows, columns))
    return CameraPairs(names, others, values, queries)


def _sampled_distances(
    ranking: Ranking, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances of matching and of other pairs, of some queries."""
    rows = np.sort(random.permutation(len(ranking.query))[:SAMPLED_QUERIES])
    block = ranking.block(rows)
    matching = np.zeros(block.distances.shape, bool)
    matching[block.match_rows, block.match_columns] = True
    ranked = np.isfinite(block.distances)
    same = block.distances[matching & ranked]
    different = random.permutation(block.distances[~matching & ranked])[:SAMPLED_DISTANCES]
    return same.astype(np.float64), different.astype(np.float64)


def _rows(
    ranking: Ranking, scores: Scores, query: ImageTable, gallery: ImageTable, rows: NDArray[np.int64]
) -> list[SheetRow]:
    if rows.size == 0:
        return []
    found = ranking.top(SHEET_COLUMNS, rows, with_left_out=True)
    sheet = []
    for place, row in enumerate(rows.tolist()):
        cells = []
        for index, distance, match, left_out in zip(*(column[place] for column in found), strict=True):
            if index >= 0:
                verdict: Verdict = "same camera" if left_out else "hit" if match else "miss"
                image = gallery.file(int(index))
                cells.append(SheetCell(decode(image), verdict, float(distance), gallery.paths[int(index)]))
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
