"""Pairs of images of one track: which image gives the other view of each image of a batch.

Letters: N images, B images of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.data.tracks import ImageTracks


class PairCounts(NamedTuple):
    """Images without another one of their track, with some but none far enough in time, and with one far enough."""

    alone: int
    near: int
    apart: int


class TrackPairs:
    """Draws for each image another one of its track: at least `apart` seconds away where there is one, else any other.

    Args:
        tracks: Of all N images; an image without a track is a track of its own.
        apart: Least time between the two, in seconds.

    Example:
        >>> tracks = ImageTracks(np.array([0, 0, 0, -1]), np.array([0.0, 0.4, 2.0, 0.0]))
        >>> pairs = TrackPairs(tracks, apart=1.0)
        >>> pairs.draw(np.array([0, 1, 3]), np.random.default_rng(0)).tolist(), pairs.counts
        ([2, 2, 3], PairCounts(alone=1, near=0, apart=3))
    """

    def __init__(self, tracks: ImageTracks, apart: float) -> None:
        count = len(tracks.numbers)
        untracked = tracks.numbers < 0
        numbers = np.where(untracked, tracks.numbers.max(initial=-1) + 1 + np.arange(count), tracks.numbers)
        self.numbers: NDArray[np.int64] = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
        self._order = np.lexsort((tracks.times, self.numbers))
        self._place = np.empty(count, np.int64)
        self._place[self._order] = np.arange(count)
        track, time = self.numbers[self._order], tracks.times[self._order]
        ends = np.concatenate([[0], np.cumsum(np.bincount(track))])
        self._begin, self._end = ends[track], ends[track + 1]
        if apart > 0 and count:
            # One ascending key for all tracks: times from 0, and tracks farther apart than any time.
            span = time.max() - time.min() + 2 * apart + 1
            key = track * span + time - time.min()
            self._before = np.maximum(np.searchsorted(key, key - apart, side="right"), self._begin)
            self._after = np.minimum(np.searchsorted(key, key + apart, side="left"), self._end)
        else:
            self._before, self._after = self._begin, self._end
        apart_count = int((self._far_count() > 0).sum())
        alone = int((self._end - self._begin == 1).sum())
        self.counts = PairCounts(alone, count - alone - apart_count, apart_count)

    def _far_count(self) -> NDArray[np.int64]:
        count: NDArray[np.int64] = self._before - self._begin + self._end - self._after
        return count

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return the partner of each of B images: [B]; an image alone in its track is its own."""
        share = random.random(len(rows))
        place = self._place[rows]
        begin, end, before, after = (values[place] for values in (self._begin, self._end, self._before, self._after))
        far = before - begin + end - after
        nth = (share * far).astype(np.int64)
        chosen = np.where(nth < before - begin, begin + nth, after + nth - (before - begin))
        other = begin + (share * (end - begin - 1)).astype(np.int64)
        other += other >= place
        found = np.where(far > 0, chosen, np.where(end - begin > 1, other, place))
        partners: NDArray[np.int64] = self._order[found]
        return partners
