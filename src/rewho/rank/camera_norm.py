"""Camera normalisation: embeddings relative to the mean of their own camera.

What all images of a camera share - light, colours, height - makes two people on one camera look more alike than one
person on two. The mean embedding of a camera holds it. It is subtracted, not divided by a deviation: that measured
better (docs/LOG.md).

Letters: N images, Q queries, G gallery, D embedding, C cameras, B queries of a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.rank.distance import EmbeddingDistances
from rewho.rank.ranking import Ranking

LEAST_CROPS = 20
"""Fewest crops from which the mean of a camera is used."""


class CameraMeans(NamedTuple):
    """Sums of the unit embeddings of each camera.

    Attributes:
        sums: float64 [C, D].
        counts: Crops of each camera, float64 [C].
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    def mean(self, camera: int) -> NDArray[np.float64] | None:
        """Return the mean embedding of a camera, float64 [D]; None if it has fewer than `LEAST_CROPS` crops."""
        if not 0 <= camera < len(self.counts) or self.counts[camera] < LEAST_CROPS:
            return None
        return np.asarray(self.sums[camera] / self.counts[camera], np.float64)


def camera_means(unit: NDArray[Any], cameras: NDArray[np.int64], weights: NDArray[Any] | None = None) -> CameraMeans:
    """Return the sums of unit embeddings [N, D] by camera, [N] from 0; negative cameras are not known and left out.

    Args:
        unit: Unit embeddings.
        cameras: Camera of each.
        weights: Crops that each stands for; 1 by default.
    """
    count = int(cameras.max(initial=-1)) + 1
    heavy = np.ones(len(unit)) if weights is None else np.asarray(weights, np.float64)
    sums, counts = np.zeros((count, unit.shape[1])), np.zeros(count)
    for camera in range(count):
        rows = np.flatnonzero(cameras == camera)
        sums[camera] = heavy[rows] @ unit[rows].astype(np.float64)
        counts[camera] = heavy[rows].sum()
    return CameraMeans(sums, counts)


def centre(unit: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit embeddings [N, D], or one [D], minus a mean [D], as unit vectors, float64; zero stays zero.

    Example:
        >>> centre(np.array([[1.0, 0], [0, 1]]), np.array([0.5, 0.5])).round(3).tolist()
        [[0.707, -0.707], [-0.707, 0.707]]
    """
    moved = np.asarray(unit, np.float64) - mean
    length = np.sqrt((moved * moved).sum(axis=-1, keepdims=True))
    return np.asarray(moved / np.where(length > 0, length, 1.0), np.float64)


def centre_by_camera(
    unit: NDArray[Any], cameras: NDArray[np.int64], means: CameraMeans, instead: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return unit embeddings [N, D] relative to the mean of the camera of each, as unit vectors, float64.

    Args:
        unit: Unit embeddings.
        cameras: Camera of each, [N].
        means: Of the cameras.
        instead: Mean [D] for cameras that have none; None leaves their embeddings as they are.

    Example:
        >>> unit, cameras = np.tile([[1.0, 0], [0, 1]], (10, 1)), np.zeros(20, np.int64)
        >>> centre_by_camera(unit, cameras, camera_means(unit, cameras))[:2].round(3).tolist()
        [[0.707, -0.707], [-0.707, 0.707]]
    """
    known, places = np.unique(cameras, return_inverse=True)
    table, has = np.zeros((len(known), unit.shape[1])), np.zeros(len(known), bool)
    for place, camera in enumerate(known.tolist()):
        mean = means.mean(camera)
        if (own := instead if mean is None else mean) is not None:
            table[place], has[place] = own, True
    moved = np.asarray(unit, np.float64) - table[places]
    length = np.sqrt((moved * moved).sum(axis=-1, keepdims=True))
    moved /= np.where((length > 0) & has[places, None], length, 1.0)
    return moved


class CameraDistances:
    """Cosine distances relative to the cameras' means, for queries whose camera has one; plain ones for the others.

    Args:
        plain: Distances of all queries.
        query_cameras: [Q].
        gallery_cameras: Of the ranked images, [G].
        means: Of the cameras. Images whose camera has no mean are compared by the mean of the query's camera.
    """

    def __init__(
        self,
        plain: EmbeddingDistances,
        query_cameras: NDArray[np.int64],
        gallery_cameras: NDArray[np.int64],
        means: CameraMeans,
    ) -> None:
        self.plain, self.shape = plain, plain.shape
        with_mean = np.array([means.mean(int(camera)) is not None for camera in gallery_cameras], bool)
        self._with, self._without = np.flatnonzero(with_mean), np.flatnonzero(~with_mean)
        own = {int(camera): means.mean(int(camera)) for camera in np.unique(query_cameras)}
        self._cameras = query_cameras
        known = np.isin(query_cameras, [camera for camera, mean in own.items() if mean is not None])
        self._place = np.where(known, np.cumsum(known) - 1, -1)  # of a query among those relative to a camera
        query = centre_by_camera(plain.query[known], query_cameras[known], means)
        gallery = centre_by_camera(plain.gallery[self._with], gallery_cameras[self._with], means)
        self._near = EmbeddingDistances(query, gallery)
        self._rest = {
            camera: EmbeddingDistances(query, centre(plain.gallery[self._without], mean))
            for camera, mean in own.items()
            if mean is not None and len(self._without)
        }

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distances of the queries `rows`, [B, G], as a new array."""
        found: NDArray[np.float32] = np.empty((len(rows), self.shape[1]), np.float32)
        places = self._place[rows]
        if (plain := np.flatnonzero(places < 0)).size:
            found[plain] = self.plain.block(rows[plain])
        relative = np.flatnonzero(places >= 0)
        found[relative[:, None], self._with] = self._near.block(places[relative])
        for camera, rest in self._rest.items():
            inside = relative[self._cameras[rows[relative]] == camera]
            found[inside[:, None], self._without] = rest.block(places[inside])
        return found


def normalise_cameras(ranking: Ranking) -> Ranking:
    """Rank by cosines relative to the means of the cameras, which the ranked gallery images give.

    A query whose camera has fewer than `LEAST_CROPS` gallery images is compared by plain embeddings on both sides.
    Where every camera has a mean the result can be re-ranked.

    Raises:
        UserError: The ranking was not made from embeddings by cosine, or no query's camera has a mean.

    Example:
        >>> from rewho.rank.labels import ImageLabels
        >>> random = np.random.default_rng(1)
        >>> labels = ImageLabels(np.arange(40), np.arange(40) % 2)
        >>> plain = Ranking.from_embeddings(random.normal(size=(40, 8)), labels, random.normal(size=(40, 8)), labels)
        >>> normalise_cameras(plain).description
        'cosine relative to cameras'
    """
    source = ranking.source
    if not isinstance(source, EmbeddingDistances) or source.metric != "cosine":
        fix = "Pass a ranking made by Ranking.from_embeddings, by cosine."
        raise UserError("camera normalisation", expected="cosines of embeddings", got=ranking.description, fix=fix)
    queried, shown = ranking.query.cameras, ranking.gallery.cameras[ranking.kept]
    means = camera_means(source.gallery, shown)
    plain = count_without_mean(queried, shown)
    if plain == len(queried):
        got = "unknown cameras, or fewer images of each" if len(queried) else "no query"
        expected = f"queries of cameras with {LEAST_CROPS} gallery images or more"
        fix = "Leave the option out: without statistics of the cameras there is nothing to subtract."
        raise UserError("camera normalisation", expected=expected, got=got, fix=fix)
    description = f"{ranking.description} relative to cameras" + (f" ({plain:,} queries plain)" if plain else "")
    if not plain and not count_without_mean(shown, shown):
        query, gallery = (
            centre_by_camera(unit, cameras, means)
            for unit, cameras in ((source.query, queried), (source.gallery, shown))
        )
        return Ranking(ranking.query, ranking.gallery, EmbeddingDistances(query, gallery), description)
    return Ranking(ranking.query, ranking.gallery, CameraDistances(source, queried, shown, means), description)


def count_without_mean(cameras: NDArray[np.int64], gallery_cameras: NDArray[np.int64]) -> int:
    """Return how many images are of a camera that is unknown or has fewer than `LEAST_CROPS` gallery images.

    Example:
        >>> count_without_mean(np.array([-1, 0, 1, 1]), np.zeros(20, np.int64))
        3
    """
    known, counts = np.unique(gallery_cameras[gallery_cameras >= 0], return_counts=True)
    return int(np.count_nonzero(~np.isin(cameras, known[counts >= LEAST_CROPS])))
