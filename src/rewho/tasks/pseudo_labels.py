"""The classes of an epoch: clusters unlabelled images, checks the clusters and measures them.

Letters: N images, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rewho.core.check import UserError
from rewho.core.people import UNKNOWN_CAMERA
from rewho.rank.cluster_scores import mutual_information, purity, silhouette
from rewho.rank.clustering import (
    OUTLIER,
    ROUNDING,
    bend,
    count_clusters,
    dbscan,
    jaccard_graph,
    jaccard_weights,
    largest_sound_eps,
    neighbour_distances,
)
from rewho.rank.grouping import Constraints, group
from rewho.rank.reliability import select_reliable, split_outliers
from rewho.settings import ClusterSettings
from rewho.settings.adapt import MOST_EPS
from rewho.tasks.contrast import COLLAPSED

FEWEST_TO_STANDARDISE = 16
"""Images of a camera below which its mean and standard deviation are too inexact to use."""
FEWEST_CLUSTERS = 2
MOST_ALONE = 0.5
"""Share of images in no cluster up to which a single cluster means that all clusters have merged."""


class PseudoLabels(NamedTuple):
    """Classes of images without labels.

    Attributes:
        labels: int64 [N]; -1 is dropped.
        eps: The radius that DBSCAN used.
        threshold: Largest independence of a cluster that is kept; NaN without self-paced learning.
        figures: Measurements by name, see `figure_names`.
        curve: The k-distance curve, float32 [N], ascending.
        bend: The distance at the bend of the curve; NaN if it has none.
    """

    labels: NDArray[np.int64]
    eps: float
    threshold: float
    figures: dict[str, float]
    curve: NDArray[np.float32]
    bend: float


def figure_names(*, cameras: bool, identities: bool) -> list[str]:
    """Return the names of the measurements; some need several cameras, others need identities."""
    return [
        *("clusters", "outliers", "trained_on", "silhouette", "eps"),
        *(["camera_nmi"] if cameras else []),
        *(["nmi", "purity"] if identities else []),
    ]


def standardise_cameras(embeddings: NDArray[Any], cameras: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return embeddings [N, D], standardised per camera and dimension, then scaled to length 1.

    Cameras with fewer than `FEWEST_TO_STANDARDISE` images, and unknown ones, are not standardised. Neither are copies
    of one image, nor dimensions that are the same for all images of a camera: their deviation is only rounding.
    """
    moved = np.array(embeddings, np.float32)
    for camera in np.unique(cameras[cameras != UNKNOWN_CAMERA]):
        rows = np.flatnonzero(cameras == camera)
        if len(rows) >= FEWEST_TO_STANDARDISE:
            own = moved[rows]
            deviation = own.std(axis=0)
            moved[rows] = (own - own.mean(axis=0)) / np.where(deviation > ROUNDING, deviation, 1)
    same = np.linalg.norm(moved, axis=1) <= ROUNDING
    moved[same] = embeddings[same]  # images that are their camera's mean in every dimension
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def make_labels(
    embeddings: NDArray[np.float32],
    cameras: NDArray[np.int64],
    identities: NDArray[np.int64] | None,
    settings: ClusterSettings,
    *,
    drop: bool,
    eps: float | None = None,
    threshold: float | None = None,
    draw: Callable[[NDArray[np.float32], float, float], object] = lambda curve, bend, eps: None,
    known: Constraints | None = None,
) -> PseudoLabels:
    """Cluster images and return their classes.

    Args:
        embeddings: [N, D].
        cameras: int64 [N].
        identities: int64 [N], only to measure the clusters; None if unknown.
        settings: Settings of the clustering.
        drop: Drop images that are in no cluster; otherwise each becomes a class of its own.
        eps: The eps of the first epoch, to use it again; None chooses one from the settings or the curve.
        threshold: The threshold of the first epoch, to use it again; None computes it.
        draw: Called with the k-distance curve, its bend and eps, just before an error about the clusters is raised.
        known: What is certain. Clusters are then those of average linkage under it, up to a mean distance of eps, in
            place of DBSCAN's, which cannot keep two images apart.

    Raises:
        UserError: There are no clusters, only one, or too many outliers; or all embeddings are nearly the same.
    """
    spread = _spread(embeddings)
    if settings.standardise_cameras:
        embeddings = standardise_cameras(embeddings, cameras)
    graph = jaccard_graph(jaccard_weights(embeddings, settings.k1, settings.k2))
    curve = neighbour_distances(graph, settings.min_samples)
    bent = bend(curve)
    shown = float("nan") if bent is None else bent
    first = eps is None
    if eps is None:
        eps = settings.eps or largest_sound_eps(graph, MOST_EPS, settings.min_samples) or MOST_EPS
    found = _cluster(graph, eps, settings.min_samples, known)
    outliers, clusters = float((found == OUTLIER).mean()), count_clusters(found)
    labels = found if drop else split_outliers(found)
    failure = None
    if spread < COLLAPSED:
        failure = _collapsed(spread, first=first)
    elif clusters < FEWEST_CLUSTERS or outliers > settings.most_outliers:
        failure = _no_clusters(len(found), clusters, outliers, eps, shown, settings)
    elif settings.self_paced:
        gaps = (-settings.eps_gap, settings.eps_gap)
        tight, loose = (_cluster(graph, eps + gap, settings.min_samples, known) for gap in gaps)
        reliable = select_reliable(found, tight, loose, threshold)
        labels, threshold = reliable.labels, reliable.threshold
        if reliable.clusters < FEWEST_CLUSTERS:
            failure = _not_reliable(reliable.clusters, clusters, settings)
        elif drop:
            labels = np.where(np.bincount(labels)[labels] > 1, labels, OUTLIER)
    if failure is not None:
        draw(curve, shown, eps)
        later = "" if first else " Choose another --out: this run keeps the eps of its first epoch."
        raise UserError(failure.what, expected=failure.expected, got=failure.got, fix=failure.fix + later)
    sizes = np.bincount(labels[labels != OUTLIER])
    trained_on = float(sizes[sizes > 1].sum() / len(labels))
    figures = {"clusters": float(clusters), "outliers": outliers, "trained_on": trained_on, "eps": eps}
    figures |= _measure(embeddings, found, cameras, identities)
    threshold = float("nan") if threshold is None else threshold
    return PseudoLabels(labels, eps, threshold, figures, curve, shown)


def _spread(embeddings: NDArray[Any]) -> float:
    """Return the spread of embeddings [N, D] around their mean, relative to their length, 0 to 1."""
    squares = float(np.einsum("nd,nd->", embeddings, embeddings, dtype=np.float64)) / len(embeddings)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return float(np.sqrt(max(0.0, 1 - mean @ mean / squares)))


def _cluster(graph: sparse.csr_array, eps: float, min_samples: int, known: Constraints | None) -> NDArray[np.int64]:
    return dbscan(graph, eps, min_samples) if known is None else group(graph, eps, known)


def _measure(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    cameras: NDArray[np.int64],
    identities: NDArray[np.int64] | None,
) -> dict[str, float]:
    inside = labels != OUTLIER
    figures = {"silhouette": silhouette(embeddings, labels) or 0.0}
    seen = inside & (cameras != UNKNOWN_CAMERA)
    if len(np.unique(cameras[cameras != UNKNOWN_CAMERA])) > 1:
        figures["camera_nmi"] = mutual_information(labels[seen], cameras[seen]) if seen.any() else 0.0
    if identities is not None:
        figures["nmi"] = mutual_information(labels[inside], identities[inside])
        figures["purity"] = purity(labels[inside], identities[inside])
    return figures


def _collapsed(spread: float, *, first: bool) -> UserError:
    return UserError(
        "embeddings",
        expected="different ones for different images",
        got=f"collapsed: all images get nearly the same embedding (spread {spread:.4f}, below {COLLAPSED:g}); "
        "clusters.png shows the distances",
        fix="Check that the images differ, and --init." if first else "Lower --optimizer.learning_rate.",
    )


def _no_clusters(
    images: int, clusters: int, outliers: float, eps: float, bent: float, settings: ClusterSettings
) -> UserError:
    where = f" The k-distance curve bends at {bent:.2f}." if np.isfinite(bent) else ""
    where += "" if settings.eps == 0 else " --cluster.eps 0 looks for one."
    if clusters == 1 and outliers < MOST_ALONE:
        fix = f"Lower --cluster.eps: everything runs together.{where}"
        fewer = max(4, images // 10)
        if 2 * settings.k1 > images and fewer < settings.k1:
            fix = (
                f"Pass --cluster.k1 {fewer} --cluster.k2 {max(1, fewer // 5)}, or add images: of {images:,} images, "
                f"the {settings.k1} nearest of each are most of all."
            )
    else:
        fix = (
            f"Raise --cluster.eps, or lower --cluster.min_samples.{where} If that does not help, begin from weights "
            "that know people (--init), lower --optimizer.learning_rate, or check that people are seen several times."
        )
    return UserError(
        "clusters",
        expected=f"{FEWEST_CLUSTERS} or more, and at most {settings.most_outliers:.0%} of the images in none",
        got=f"{clusters} at eps {eps:.3g}, and {outliers:.1%} of the images in none; clusters.png shows the distances",
        fix=fix,
    )


def _not_reliable(reliable: int, clusters: int, settings: ClusterSettings) -> UserError:
    return UserError(
        "reliable clusters",
        expected=f"{FEWEST_CLUSTERS} or more that stay the same at eps - {settings.eps_gap:g} and + "
        f"{settings.eps_gap:g}",
        got=f"{reliable} of {clusters}; clusters.png shows the distances",
        fix="Lower --cluster.eps_gap, or pass --cluster.self_paced false, which keeps all clusters.",
    )
