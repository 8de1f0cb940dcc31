"""k-reciprocal re-ranking: a ranking in, a ranking out (Zhong et al., CVPR 2017).

Memory grows with (Q + G) k1 instead of (Q + G)^2, and the re-ranked distances are computed a block of queries at a
time. An image that is query and gallery image counts once. Cosines are float32; `neighbours.py` lists the differences
from the dense form. The parameters are part of the result's description, because published scores use different ones.

Letters: Q queries, F of them in no gallery, G gallery, J junk, N = F + G (+ J), B queries of a block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_count, check_flag, check_range
from rewho.rank.distance import EmbeddingDistances
from rewho.rank.nearest import nearest_neighbours
from rewho.rank.neighbours import (
    JaccardDistances,
    expanded_reciprocal_sets,
    gaussian_weights,
    half_size,
    local_query_expansion,
)
from rewho.rank.ranking import Ranking


class RerankedDistances:
    """(1 - lambda) x Jaccard distance + lambda x original distance / largest distance of the query.

    `farthest` is the distance of the image farthest from each query, among queries and gallery, float32 [Q].
    """

    def __init__(
        self, original: EmbeddingDistances, farthest: NDArray[np.float32], jaccard: JaccardDistances, lambda_: float
    ) -> None:
        self.original, self.farthest, self.jaccard, self.lambda_ = original, farthest, jaccard, lambda_
        self.shape = original.shape

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distances of the queries `rows`, float32 [B, G], as a new array."""
        distances = self.original.block(rows)
        distances *= np.float32(self.lambda_) / self.farthest[rows, None]
        jaccard = self.jaccard.block(rows)
        jaccard *= np.float32(1 - self.lambda_)
        distances += jaccard
        return distances


def rerank(
    ranking: Ranking,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    keep_junk: bool = False,
    threads: int | None = None,
) -> Ranking:
    """Re-rank by shared k-reciprocal neighbours.

    Args:
        ranking: Made by `Ranking.from_embeddings`.
        k1: Neighbours in the k-reciprocal sets, besides the image itself.
        k2: Neighbours over which the sets are averaged, the image itself included; 1 is off.
        lambda_: Share of the original distance in the result, 0 to 1.
        keep_junk: Count junk images as neighbours, as the original MATLAB scripts do. They are never ranked.
        threads: Threads; None uses one per processor.

    Returns:
        A ranking of the same images, with the parameters in its description.

    Raises:
        UserError: The ranking was not made from embeddings, or a parameter is out of range.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> query, gallery = ImageLabels(np.array([1])), ImageLabels(np.array([1, 2]))
        >>> ranking = Ranking.from_embeddings(np.array([[1.0, 0]]), query, np.array([[1.0, 0.1], [0, 1]]), gallery)
        >>> rerank(ranking).description
        'cosine + k-reciprocal(k1=20, k2=6, lambda=0.3)'
    """
    source = ranking.source
    if not isinstance(source, EmbeddingDistances):
        fix = "Re-rank once, a ranking made by Ranking.from_embeddings: distances between gallery images are needed."
        raise UserError("re-ranking", expected="a ranking made from embeddings", got=ranking.description, fix=fix)
    k1 = check_count("k1", k1)
    k2 = check_count("k2", k2, 1, k1 + 1)
    check_range("lambda", lambda_, 0, 1)
    check_flag("keep_junk", keep_junk)
    places, own = _find_places(ranking)
    everyone = np.concatenate([source.query[own], source.gallery, *([source.bystanders] if keep_junk else [])])
    if source.metric == "cosine":
        everyone = everyone.astype(np.float32, copy=False)
    neighbours = nearest_neighbours(everyone, k1 + 1, source.metric, threads)
    farthest = np.where(neighbours.farthest > 0, neighbours.farthest, np.float32(1))
    sets = expanded_reciprocal_sets(neighbours.indices, half_size(k1))
    # The squared distance of unit vectors is twice their cosine distance.
    weights = gaussian_weights(sets, everyone, farthest * (2 if source.metric == "cosine" else 1))
    weights = local_query_expansion(weights, neighbours.indices[:, :k2])
    jaccard = JaccardDistances(weights, places, len(own) + np.arange(source.shape[1]))
    parameters = f"k1={k1}, k2={k2}, lambda={lambda_:g}" + (", with junk" if keep_junk else "")
    original = EmbeddingDistances(source.query, source.gallery, source.metric, "float32")
    return Ranking(
        ranking.query,
        ranking.gallery,
        RerankedDistances(original, farthest[places], jaccard, lambda_),
        f"{ranking.description} + k-reciprocal({parameters})",
    )


def _find_places(ranking: Ranking) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each query's row among all images, and the numbers of the F queries that are no gallery image.

    These F come first, then the gallery. A pool, whose images are queries and gallery, would otherwise hold every image
    twice: each copy would be the other's nearest neighbour, and only half as many people would fit into k1.
    """
    column = np.full(len(ranking.query), -1)
    pairs = ranking.same_image[::-1]
    column[pairs[:, 0]] = pairs[:, 1]
    own = np.flatnonzero(column < 0)
    places = len(own) + column
    places[own] = np.arange(len(own))
    return places, own
