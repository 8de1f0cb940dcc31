"""Distances between embeddings, computed a block of rows at a time.

Distances are computed in float64, subtractions included, and rounded once to float32. The last bit of a matrix product
depends on where in the matrix a pair of vectors stands; two images with equal embeddings would then be ranked by their
position in the gallery, and shuffling the gallery would change the score. So distances are first rounded to multiples
of `GRID`, which removes these bits near 0, where they would show.

Letters: Q queries, G gallery, D embedding, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_choice, check_embeddings

METRICS = ("cosine", "squared_euclidean")
PRECISIONS = ("float64", "float32")
GRID = 2.0**-43
"""Step of distances, relative to the largest possible; above the error of products, far below float32's resolution."""


class DistanceSource(Protocol):
    """Distances of queries to the whole ranked gallery, computed on demand."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries Q and of gallery images G."""
        ...

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return the distances of the queries `rows`, [B, G], as a new array that the caller may change."""
        ...


def unit_vectors(embeddings: NDArray[Any], dtype: str = "float64") -> NDArray[Any]:
    """Return embeddings [N, D] scaled to length 1, as float64 or float32; none may be zero.

    Lengths are computed in float64, also very small and large ones.
    """
    exact = embeddings.astype(np.float64)
    squared = np.einsum("nd,nd->n", exact, exact)
    extreme = ~((squared > 1e-200) & (squared < 1e200))  # squares of float64 numbers may overflow or vanish
    if extreme.any():
        exact[extreme] /= np.abs(exact[extreme]).max(axis=1, keepdims=True)
        squared = np.einsum("nd,nd->n", exact, exact)
    exact /= np.sqrt(squared)[:, None]
    return exact.astype(dtype, copy=False)


class EmbeddingDistances:
    """Distances between query and gallery embeddings, float32.

    Args:
        query: Query embeddings [Q, D], any floating-point type. Stored in `precision`: for cosine at length 1, else
            with the gallery's mean subtracted, which changes no distance and keeps more of its digits.
        gallery: Gallery embeddings [G + J, D]; without junk there are G = all of them.
        metric: cosine (1 - cos, from 0 to 2; vectors of any length) or squared_euclidean (>= 0).
        precision: Type in which cosines are summed: float64, or float32, which takes half the time and memory but
            ranks images with equal embeddings by their position, see the top of this file. Squared distances are
            differences of large numbers and always float64.
        junk: bool [G + J], True for the J gallery images that are not ranked. They are stored as `bystanders`, because
            re-ranking may count them as neighbours. None means none.
        query_names, gallery_names: Names of the images, for messages.

    Raises:
        UserError: An embedding is NaN, infinite or, for cosine, zero; dimensions D differ; an unknown metric or
            precision; squared distances too large or too small for float32.

    Example:
        >>> source = EmbeddingDistances(np.array([[1.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]))
        >>> source.block(np.array([0])).tolist()
        [[0.0, 1.0, 2.0]]
    """

    def __init__(
        self,
        query: NDArray[Any],
        gallery: NDArray[Any],
        metric: str = "cosine",
        precision: str = "float64",
        *,
        junk: NDArray[np.bool_] | None = None,
        query_names: Sequence[str] | None = None,
        gallery_names: Sequence[str] | None = None,
    ) -> None:
        self.metric = check_choice("metric", metric, METRICS)
        self.precision = check_choice("precision", precision, PRECISIONS)
        zero, same = metric != "cosine", query is gallery and junk is None
        query = check_embeddings("query", np.asarray(query), query_names, zero=zero)
        everyone = query if same else check_embeddings("gallery", np.asarray(gallery), gallery_names, zero=zero)
        if query.shape[1] != everyone.shape[1]:
            expected = f"{query.shape[1]} dimensions, as the query embeddings have"
            fix = "Embed both sets with the same model."
            raise UserError("gallery embeddings", expected=expected, got=str(everyone.shape[1]), fix=fix)
        ranked, bystanders = (everyone, everyone[:0]) if junk is None else (everyone[~junk], everyone[junk])
        centre = None if metric == "cosine" else _centre(everyone)
        self.gallery, self.bystanders, *others = (
            unit_vectors(part, precision) if centre is None else part.astype(np.float64) - centre
            for part in (ranked, bystanders, *([] if same else [query]))
        )
        self.query = others[0] if others else self.gallery
        self.shape = len(self.query), len(self.gallery)
        self._squared: list[NDArray[np.float64]] = []
        self._grid = 2.0**52 * GRID
        if centre is not None:
            self._squared = [np.einsum("nd,nd->n", part, part) for part in (self.query, self.gallery)]
            self._grid *= _largest_squared(*self._squared)

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distances of the queries `rows`, [B, G], as a new array."""
        return self.tile(rows, slice(None))

    def tile(self, rows: NDArray[np.int64], columns: slice) -> NDArray[np.float32]:
        """Return the distances of the queries `rows` to consecutive gallery images, as a new array."""
        gallery = self.gallery[columns]
        distances: NDArray[np.float32] = np.empty((len(rows), len(gallery)), np.float32)
        if not self._squared:
            exact = self.query[rows] @ gallery.T
            if exact.dtype == np.float32:
                np.subtract(np.float32(1), exact, out=distances)
                return distances
            np.subtract(1 + self._grid, exact, out=exact)
        else:
            exact = (-2 * self.query[rows]) @ gallery.T
            exact += self._squared[0][rows, None]
            exact += self._squared[1][None, columns]
            exact += self._grid
        # Adding `_grid` and subtracting it again drops all digits below GRID.
        np.subtract(exact, self._grid, out=distances, casting="same_kind")
        return distances


class GivenDistances:
    """A matrix of distances that the caller computed, [Q, G] float32 or float64; used unchanged.

    Raises:
        UserError: Not a floating-point matrix, or an entry is NaN or infinite.
    """

    def __init__(self, matrix: NDArray[np.floating[Any]]) -> None:
        self.matrix = np.asarray(matrix)
        kind, shape = self.matrix.dtype, self.matrix.shape
        if len(shape) != 2 or kind not in (np.float32, np.float64) or not np.isfinite(self.matrix).all():
            expected = "a finite float32 or float64 array of shape [queries, gallery]"
            got = f"{kind} of shape {list(shape)}" + (", not all finite" if len(shape) == 2 else "")
            fix = "Pass one row per query and one column per gallery image."
            raise UserError("distances", expected=expected, got=got, fix=fix)
        self.shape = shape[0], shape[1]

    def block(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return the distances of the queries `rows`, [B, G], as a new array."""
        return self.matrix[rows]


def smallest(values: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """Return columns and values, [B, k] each, of the k smallest entries of each row, in ascending order.

    Equal entries are ordered by column. Of fewer than k columns all are returned.
    """
    k = min(k, values.shape[1])
    rows, columns = _candidates(values, k)
    candidates = values[rows, columns]
    order = np.lexsort((columns, candidates, rows))
    first = np.searchsorted(rows[order], np.arange(len(values)))
    chosen = order[first[:, None] + np.arange(k)]
    return columns[chosen], candidates[chosen]


def _candidates(values: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of entries that include the k smallest of each row, with ties, and few others.

    Wide rows are cut into `width` slices of 32 entries, `width` apart. The k smallest lie in slices whose minimum does
    not exceed the k-th smallest minimum, so only those slices are searched.
    """
    height, width = len(values), values.shape[1] // 32
    if width <= 4 * k:
        bound = np.partition(values, k - 1, axis=1)[:, k - 1]
        rows, columns = np.divmod(np.flatnonzero(values <= bound[:, None]), values.shape[1])
        return rows, columns
    sliced = values[:, : 32 * width].reshape(height, 32, width)
    minima = sliced.min(axis=1)
    bound = np.partition(minima, k - 1, axis=1)[:, k - 1]
    rows, slices = np.divmod(np.flatnonzero(minima <= bound[:, None]), width)
    found, place = np.nonzero(sliced[rows, :, slices] <= bound[rows, None])
    rest_rows, rest = np.nonzero(values[:, 32 * width :] <= bound[:, None])
    return np.r_[rows[found], rest_rows], np.r_[slices[found] + width * place, 32 * width + rest]


def _centre(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean [D], rounded to float32, so that it does not depend on the order of the images."""
    with np.errstate(over="ignore"):  # `_largest_squared` refuses embeddings that float32 cannot hold
        return np.asarray(embeddings.mean(axis=0, dtype=np.float64).astype(np.float32), np.float64)


def _largest_squared(query: NDArray[np.float64], gallery: NDArray[np.float64]) -> float:
    """Return a power of two that no squared distance exceeds, from the squared lengths of both sets.

    Raises:
        UserError: float32 could not hold such distances.
    """
    reach = sum(float(np.sqrt(squared.max(initial=0))) for squared in (query, gallery))
    if not 1e-15 < reach < 1e19 and reach != 0:
        expected = "distances from 1e-15 to 1e19, whose squares float32 can hold"
        got, fix = f"embeddings up to {reach:.1e} apart", "Multiply all embeddings by one number, or use cosine."
        raise UserError("embeddings for squared_euclidean", expected=expected, got=got, fix=fix)
    return float(2.0 ** np.ceil(2 * np.log2(reach))) if reach else 1.0
