"""Score normalisation: each similarity relative to those of both images with a cohort of other people's images.

A similarity of 0.6 is much for an image that resembles nobody, and little for one in the clothes that everybody wears.
AS-norm measures both images against a cohort: from the similarity the mean of an image's highest similarities with the
cohort is subtracted, the rest is divided by their deviation, and the results of the two images are averaged (Matejka et
al., "Analysis of Score Normalization in Multilingual Speaker Recognition", Interspeech 2017). What comes out counts
deviations above a look-alike, so that one threshold fits many cameras.

Letters: Q queries, G gallery, N images, A cohort, K of the highest, D embedding, B queries of a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.rank.blocks import map_row_blocks
from rewho.rank.distance import DistanceSource, EmbeddingDistances
from rewho.rank.ranking import Ranking

COHORT = 1000
"""Images of the cohort, chosen evenly at random."""
HIGHEST = 100
"""Highest similarities with the cohort that an image's mean and deviation are taken of; at most a tenth of them."""
LEAST_COHORT = 100
"""Fewest images of a cohort: the mean of fewer than ten look-alikes says little."""
LEAST_DEVIATION = 1e-4  # of similarities; below it lie copies of one image


class Level(NamedTuple):
    """What the highest similarities of images with the cohort are like.

    Attributes:
        mean: float64 [N].
        deviation: float64 [N], above 0.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def choose_cohort(images: int, seed: int = 1) -> NDArray[np.int64]:
    """Return the numbers of the images that make the cohort, ascending, int64 [A].

    Raises:
        UserError: There are fewer than `LEAST_COHORT`.
    """
    if images < LEAST_COHORT:
        fix = "Leave score normalisation out, or add images."
        raise UserError("cohort", expected=f"{LEAST_COHORT} gallery images or more", got=f"{images:,}", fix=fix)
    return np.sort(generator(seed, "cohort").permutation(images)[:COHORT])


def measure_level(similarities: NDArray[np.floating[Any]], own: NDArray[np.bool_] | None = None) -> Level:
    """Return the level of images by their similarities with the cohort [N, A].

    Args:
        similarities: Of each image with each of the cohort.
        own: bool [N, A], True where the image itself is of the cohort, which does not count. None: nowhere.

    Example:
        >>> level = measure_level(np.r_[np.zeros(90), 0.4 * np.ones(5), 0.6 * np.ones(5)][None])
        >>> level.mean.round(3).tolist(), level.deviation.round(3).tolist()
        ([0.5], [0.1])
    """
    values = np.array(similarities, np.float64)
    if own is not None:
        values[own] = -np.inf
    highest = max(1, min(HIGHEST, values.shape[1] // 10))
    top = np.partition(values, values.shape[1] - highest, axis=1)[:, values.shape[1] - highest :]
    return Level(top.mean(axis=1), np.maximum(top.std(axis=1), LEAST_DEVIATION))


def normalise(similarities: NDArray[np.floating[Any]], one: Level, other: Level) -> NDArray[np.float64]:
    """Return normalised similarities of pairs; the arguments broadcast against one another.

    Example:
        >>> level = Level(np.array([0.5]), np.array([0.1]))
        >>> normalise(np.array([0.7]), level, Level(np.array([0.4]), np.array([0.1]))).round(3).tolist()
        [2.5]
    """
    first = (similarities - one.mean) / one.deviation
    second = (similarities - other.mean) / other.deviation
    return np.asarray((first + second) / 2, np.float64)


class NormalisedDistances:
    """1 - the normalised similarity; below 0 for pairs far more alike than look-alikes are.

    Args:
        source: Cosine distances.
        query: Level of the queries, [Q].
        gallery: Level of the ranked images, [G].
    """

    def __init__(self, source: DistanceSource, query: Level, gallery: Level) -> None:
        self.source, self.query, self.gallery = source, query, gallery
        self.shape = source.shape

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distances of the queries `rows`, [B, G], as a new array."""
        level = Level(self.query.mean[rows, None], self.query.deviation[rows, None])
        return (1 - normalise(1 - self.source.block(rows), level, self.gallery)).astype(np.float32)


def normalise_scores(ranking: Ranking, seed: int = 1) -> Ranking:
    """Rank by AS-norm of the cosine, with a cohort of the ranked gallery images.

    Who is in the cohort is not known, so it holds images of the query's own person too: about as many of a hundred as
    the person has of the gallery.

    Raises:
        UserError: The ranking was not made from embeddings by cosine, or the gallery is smaller than a cohort.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> random = np.random.default_rng(1)
        >>> labels = ImageLabels(np.arange(200))
        >>> plain = Ranking.from_embeddings(random.normal(size=(200, 8)), labels, random.normal(size=(200, 8)), labels)
        >>> normalise_scores(plain).description
        'cosine, AS-norm(cohort 200, highest 20)'
    """
    source = ranking.source
    if not isinstance(source, EmbeddingDistances) or source.metric != "cosine":
        fix = "Pass a ranking made by Ranking.from_embeddings, by cosine; with camera normalisation, every camera of "
        fix += "queries and gallery needs a mean."
        raise UserError("score normalisation", expected="cosines of embeddings", got=ranking.description, fix=fix)
    cohort = choose_cohort(len(source.gallery), seed)
    pairs = ranking.same_image
    column = np.full(len(ranking.query), -1)
    column[pairs[::-1, 0]] = pairs[::-1, 1]  # an image that is query and gallery image is not its own look-alike
    query = _level(source.query, column, source.gallery, cohort)
    gallery = _level(source.gallery, np.arange(len(source.gallery)), source.gallery, cohort)
    highest = max(1, min(HIGHEST, len(cohort) // 10))
    description = f"{ranking.description}, AS-norm(cohort {len(cohort):,}, highest {highest:,})"
    return Ranking(ranking.query, ranking.gallery, NormalisedDistances(source, query, gallery), description)


def _level(unit: NDArray[Any], column: NDArray[np.int64], gallery: NDArray[Any], cohort: NDArray[np.int64]) -> Level:
    """Return the level of unit vectors [N, D]; `column` is the number of each in the gallery, -1 without."""
    others = gallery[cohort].T

    def read(rows: NDArray[np.int64]) -> Level:
        return measure_level(unit[rows] @ others, column[rows, None] == cohort)

    parts = map_row_blocks(read, len(unit), len(cohort))
    return Level(*(np.concatenate(part) for part in zip(*parts, strict=True)))
