"""Ranking: the immutable value between search and everything that follows.

The rules on cameras, junk and distractors are applied here and nowhere else: metrics, re-ranking and figures leave out
the same images. The order itself is never stored: a ranking computes the distances of some queries on demand.

Letters: Q queries, G gallery, K gallery images that are ranked, D embedding, B queries of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewho.core.check import UserError, check_count, check_flag
from rewho.core.people import JUNK, UNKNOWN_CAMERA
from rewho.rank.blocks import map_row_blocks
from rewho.rank.distance import DistanceSource, EmbeddingDistances, GivenDistances, smallest
from rewho.rank.labels import ImageLabels

T = TypeVar("T")


class RankingBlock(NamedTuple):
    """Some queries against all ranked images.

    Attributes:
        rows: Query numbers, int64 [B].
        distances: [B, K]; a new array. Images left out for a query are +inf.
        match_rows: Row of the block of each match, int64 [M], ascending.
        match_columns: Column of each match, int64 [M].
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.floating[Any]]
    match_rows: NDArray[np.int64]
    match_columns: NDArray[np.int64]


class Nearest(NamedTuple):
    """The k nearest gallery images of some queries, nearest first; equal distances by gallery number.

    Attributes:
        indices: Gallery numbers, int64 [B, k]; -1 where fewer than k images are left.
        distances: [B, k]; +inf where fewer than k images are left.
        matches: bool [B, k]: same person, and not left out.
        left_out: bool [B, k]: left out for this query (same person and camera, or the query itself); all False
            unless requested with `with_left_out`.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.floating[Any]]
    matches: NDArray[np.bool_]
    left_out: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Queries, a gallery, and a source of the distances between them; build one with `from_embeddings`.

    Gallery images of person -1 (junk) are dropped from every ranking. An image of the query's person from the query's
    camera is left out for that query, unless one of the two cameras is unknown (-1), and so is an image of the query's
    own name. All others stay; they match if they show the query's person and the id is >= 0.

    Args:
        query: Labels of the Q queries.
        gallery: Labels of the G gallery images, junk among them.
        source: Distances of the Q queries to the K images that are not junk, in the order of the gallery.
        description: How the distances were made, such as "cosine".

    Raises:
        UserError: No query, no gallery image but junk, or labels and distances differ in number.
    """

    query: ImageLabels
    gallery: ImageLabels
    source: DistanceSource
    description: str

    def __post_init__(self) -> None:
        for what, count in (("query set", len(self.query)), ("gallery without junk", len(self.kept))):
            if count == 0:
                raise UserError(what, expected="at least one image", got="none", fix="Check the folder and its labels.")
        _check_count("rows of distances", self.source.shape[0], len(self.query))
        _check_count("columns of distances without junk", self.source.shape[1], len(self.kept))

    @classmethod
    def from_embeddings(
        cls,
        query_embeddings: NDArray[Any],
        query: ImageLabels,
        gallery_embeddings: NDArray[Any],
        gallery: ImageLabels,
        metric: str = "cosine",
        precision: str = "float64",
    ) -> Ranking:
        """Rank by the distance between embeddings [Q, D] and [G, D]; metric and precision as of `EmbeddingDistances`.

        Raises:
            UserError: An embedding is NaN, infinite or zero (the message names the image); numbers or dimensions
                differ; a set is empty.

        Example:
            >>> query = ImageLabels(np.array([7]), np.array([0]))
            >>> gallery = ImageLabels(np.array([7, 8, 7]), np.array([0, 1, 1]))
            >>> ranking = Ranking.from_embeddings(np.eye(2)[:1], query, np.array([[1.0, 0], [1, 1], [0, 1]]), gallery)
            >>> ranking.top(3).indices.tolist()  # image 0 shows person 7 from the same camera
            [[1, 2, -1]]
        """
        for what, embeddings, labels in (("query", query_embeddings, query), ("gallery", gallery_embeddings, gallery)):
            _check_count(f"{what} embeddings", len(embeddings), len(labels))
        source = EmbeddingDistances(
            query_embeddings,
            gallery_embeddings,
            metric,
            precision,
            junk=gallery.person_ids == JUNK,
            query_names=query.names,
            gallery_names=gallery.names,
        )
        return cls(query, gallery, source, metric.replace("_", " "))

    @classmethod
    def from_distances(
        cls,
        distances: NDArray[np.floating[Any]],
        query: ImageLabels,
        gallery: ImageLabels,
        description: str = "given distances",
    ) -> Ranking:
        """Rank by a given matrix of distances, float32 or float64 [Q, G], junk columns included.

        Raises:
            UserError: Numbers differ, an entry is not finite, or a set is empty.
        """
        whole = GivenDistances(distances)
        _check_count("columns of distances", whole.shape[1], len(gallery))
        source = GivenDistances(whole.matrix[:, gallery.person_ids != JUNK])
        return cls(query, gallery, source, description)

    @cached_property
    def kept(self) -> NDArray[np.int64]:
        """Gallery numbers of the K images that are not junk, ascending."""
        return np.flatnonzero(self.gallery.person_ids != JUNK)

    def map_blocks(self, function: Callable[[RankingBlock], T], threads: int | None = None) -> list[T]:
        """Apply `function` to every block, in threads; returns the results in the order of the queries."""
        return map_row_blocks(lambda rows: function(self.block(rows)), *self.source.shape, threads)

    def block(self, rows: NDArray[np.int64]) -> RankingBlock:
        """Return the queries `rows` against all ranked images, with the rules applied."""
        distances = self.source.block(rows)
        match_rows, match_columns, out_rows, out_columns = self._pairs(rows)
        distances[out_rows, out_columns] = np.inf
        return RankingBlock(rows, distances, match_rows, match_columns)

    def same_person(self) -> NDArray[np.int64]:
        """Return for each query the number of ranked images of its person, left out or not, int64 [Q]."""
        _, start, stop = self._people
        return stop - start

    def top(self, k: int, rows: NDArray[np.int64] | None = None, *, with_left_out: bool = False) -> Nearest:
        """Return the k nearest gallery images of the queries `rows` (None: of all), at most K.

        `with_left_out` keeps the images that the rules leave out in their places, marked; junk never appears.

        Raises:
            UserError: k is below 1.

        Example:
            >>> query = ImageLabels(np.array([7]), np.array([0]))
            >>> gallery = ImageLabels(np.array([7, 7]), np.array([0, 1]))
            >>> ranking = Ranking.from_distances(np.array([[0.1, 0.2]]), query, gallery)
            >>> found = ranking.top(2, with_left_out=True)
            >>> found.indices.tolist(), found.left_out.tolist(), found.matches.tolist()
            ([[0, 1]], [[True, False]], [[False, True]])
        """
        k, with_left_out = check_count("number of results", k), check_flag("with_left_out", with_left_out)
        wanted = np.arange(len(self.query)) if rows is None else _query_numbers(rows, len(self.query))
        parts = map_row_blocks(
            lambda numbers: self._top_block(wanted[numbers], k, with_left_out), len(wanted), self.source.shape[1]
        )
        if not parts:
            return self._top_block(wanted, k, with_left_out)
        return Nearest(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _top_block(self, rows: NDArray[np.int64], k: int, with_left_out: bool) -> Nearest:
        distances = self.source.block(rows)
        match_rows, match_columns, out_rows, out_columns = self._pairs(rows)
        kind = np.zeros(distances.shape, np.int8)
        kind[match_rows, match_columns] = 1
        kind[out_rows, out_columns] = 2
        if not with_left_out:
            distances[out_rows, out_columns] = np.inf
        columns, nearest = smallest(distances, k)
        kinds = np.take_along_axis(kind, columns, axis=1)
        indices = np.where(np.isinf(nearest), -1, self.kept[columns])
        return Nearest(indices, nearest, kinds == 1, (kinds == 2) & (indices >= 0))

    @cached_property
    def _people(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Columns grouped by person, and for each query where its person's group starts and stops."""
        people = self.gallery.person_ids[self.kept]
        grouped = np.argsort(people, kind="stable")
        start = np.searchsorted(people[grouped], self.query.person_ids, "left")
        stop = np.searchsorted(people[grouped], self.query.person_ids, "right")
        return grouped, start, np.where(self.query.person_ids >= 0, stop, start)

    @cached_property
    def same_image(self) -> NDArray[np.int64]:
        """Pairs of a query and a ranked column that are one image by their name, int64 [P, 2], by query."""
        if self.query.names is None or self.gallery.names is None:
            return np.empty((0, 2), np.int64)
        columns: dict[str, list[int]] = {}
        for column, index in enumerate(self.kept):
            columns.setdefault(self.gallery.names[index], []).append(column)
        pairs = [(row, column) for row, name in enumerate(self.query.names) for column in columns.get(name, [])]
        return np.array(pairs, np.int64).reshape(-1, 2)

    def _pairs(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return rows and columns of the matches, then rows and columns of the images left out."""
        grouped, start, stop = self._people
        counts = (stop - start)[rows]
        pair_rows = np.repeat(np.arange(len(rows)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - start[rows], counts)
        pair_columns = grouped[place]
        query_cameras = self.query.cameras[rows][pair_rows]
        left_out = (query_cameras == self.gallery.cameras[self.kept][pair_columns]) & (query_cameras != UNKNOWN_CAMERA)
        same_rows, same_columns = self._same_image_within(rows)
        width = len(self.kept)
        left_out |= np.isin(pair_rows * width + pair_columns, same_rows * width + same_columns)
        return (
            pair_rows[~left_out],
            pair_columns[~left_out],
            np.concatenate([pair_rows[left_out], same_rows]),
            np.concatenate([pair_columns[left_out], same_columns]),
        )

    def _same_image_within(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = np.searchsorted(self.same_image[:, 0], rows, "left")
        counts = np.searchsorted(self.same_image[:, 0], rows, "right") - first
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
        return np.repeat(np.arange(len(rows)), counts), self.same_image[place, 1]


def no_match_error(ranking: Ranking) -> UserError:
    """Return the error for a ranking in which no query has a match."""
    absent = int((ranking.same_person() == 0).sum())
    return UserError(
        "evaluation",
        expected="at least one query whose person another camera saw too",
        got=f"none of {len(ranking.query)} ({absent} people are not in the gallery, the others only from the query's "
        "own camera)",
        fix="Check that query and gallery belong together, and that person and camera ids were read as meant.",
    )


def _query_numbers(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return numbers of queries as an array; UserError for fractions, a mask, and numbers out of range."""
    given = np.asarray(rows)
    if given.size == 0:
        return np.empty(0, np.int64)
    if given.ndim == 1 and given.dtype.kind in "iu" and given.min() >= 0 and given.max() < count:
        return given.astype(np.int64)
    expected, fix = f"numbers from 0 to {count - 1}", "Pass np.flatnonzero(mask) for a mask."
    raise UserError("query rows", expected=expected, got=f"{rows!r:.100}", fix=fix)


def _check_count(what: str, count: int, expected: int) -> None:
    if count != expected:
        fix = "Pass labels and embeddings of the same images, in the same order."
        raise UserError(what, expected=f"{expected}, one for each labelled image", got=str(count), fix=fix)
