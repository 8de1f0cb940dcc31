"""The plots of a section, in the order of `PLOTS`: functions from `Evaluation` to `Plot`, None if nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewho.data.table import ImageTable
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Scores
from rewho.report.content import Floats, Plot, Score, Table
from rewho.report.figures import cmc_plot, distance_histogram, heat_map

SAMPLED_QUERIES = 200  # whose distances are in the histogram
SAMPLED_DISTANCES = 100_000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model's rankings on one data set: the main one first, then re-ranked ones.

    Args:
        table: The data set.
        scored: Rankings with their scores.
        random: Draws the pairs of the histogram.
        model: Name of the model.
        overlaid: Whether the report draws the curves of all models in one plot.
    """

    table: ImageTable
    scored: Sequence[tuple[Ranking, Scores]]
    random: np.random.Generator
    model: str = ""
    overlaid: bool = False

    @property
    def curves(self) -> dict[str, Floats]:
        """Match rates [R] by the name of the ranking; without a single valid query there is none."""
        found = {ranking.description: scores.cmc for ranking, scores in self.scored}
        return {name: curve for name, curve in found.items() if len(curve) and np.isfinite(curve).all()}


def draw_curves(evaluation: Evaluation) -> Plot | None:
    """Draw the cumulative matching characteristic of every ranking, unless the report has one plot for all models."""
    found = evaluation.curves
    if not found or evaluation.overlaid:
        return None
    curves = found if len(found) > 1 or not evaluation.model else {evaluation.model: next(iter(found.values()))}
    words = "; ".join(f"{name}: {100 * float(curve[0]):.1f} % at rank 1" for name, curve in curves.items())
    alternative = f"Cumulative matching characteristic. {words}."
    return Plot("Queries with a match among the first k", cmc_plot(curves), alternative)


def draw_distances(evaluation: Evaluation) -> Plot:
    """Draw the distances of matching and of other pairs."""
    same, different = sample_distances(evaluation.scored[0][0], evaluation.random)
    alternative = "Histogram of the distances of pairs of the same person and of different people."
    return Plot("Distances of pairs", distance_histogram(same, different), alternative)


def sample_distances(ranking: Ranking, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances of matching pairs and of a sample of the other pairs, of some queries."""
    rows = np.sort(random.permutation(len(ranking.query))[:SAMPLED_QUERIES])
    block = ranking.block(rows)
    matching = np.zeros(block.distances.shape, bool)
    matching[block.match_rows, block.match_columns] = True
    ranked = np.isfinite(block.distances)
    same = block.distances[matching & ranked]
    different = random.permutation(block.distances[~matching & ranked])[:SAMPLED_DISTANCES]
    return same.astype(np.float64), different.astype(np.float64)


def draw_cameras(evaluation: Evaluation) -> Plot | None:
    """Draw the mAP of each pair of cameras, with the numbers of queries in a table."""
    table, pairs = evaluation.table, evaluation.scored[0][1].camera_pairs
    if not pairs or not table.knows_cameras:
        return None
    rows = sorted({pair.query_camera for pair in pairs})
    columns = sorted({pair.gallery_camera for pair in pairs})
    values = np.full((len(rows), len(columns)), np.nan)
    counts = np.zeros(values.shape, np.int64)
    for pair in pairs:
        place = rows.index(pair.query_camera), columns.index(pair.gallery_camera)
        values[place], counts[place] = pair.mAP_rectangular, pair.valid_queries
    queries, galleries = ([table.camera_name(number) for number in numbers] for numbers in (rows, columns))
    cells = [
        [name, *(f"{Score('', value).percent()} ({count:,})" for value, count in zip(line, numbers, strict=True))]
        for name, line, numbers in zip(queries, values.tolist(), counts.tolist(), strict=True)
    ]
    axes = {"row_axis": "Camera of the query", "column_axis": "Camera of the gallery"}
    return Plot(
        "Pairs of cameras",
        heat_map(values, queries, galleries, **axes),
        "Heat map: mAP of each pair of cameras; the table holds the same figures.",
        "mAP (rectangular) in percent of the queries of one camera against the gallery images of another. "
        "A dash: no query could be scored.",
        Table("As a table, with the number of queries", ["Camera of the query", *galleries], cells),
    )


PLOTS: tuple[Callable[[Evaluation], Plot | None], ...] = (draw_curves, draw_distances, draw_cameras)


def draw_plots(evaluation: Evaluation) -> list[Plot]:
    """Return all plots of a section that there is something to draw for."""
    return [plot for draw in PLOTS if (plot := draw(evaluation)) is not None]
