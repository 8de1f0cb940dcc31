"""Tracks: detections of one person in neighbouring sampled frames, linked by motion, overlap and assignment.

Per frame, as in SORT (Bewley et al., 2016): predict every track's box with a constant-velocity Kalman filter, assign
detections to tracks at the least total cost, start tracks from the rest. Confident detections are assigned first, the
others to the tracks that are left, as in ByteTrack (Zhang et al., 2022).

What is unusual: time is in seconds and noise in heights of the person, so that one setting fits every sampling and
every distance from the camera; and the cost is the likelihood of a detection under a track's uncertainty, because
people who walk leave their own box between two frames half a second apart, where overlap alone sees nothing.

Letters: N detections of a frame, T open tracks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rewho.settings import TrackingSettings
from rewho.video.boxes import compute_iou
from rewho.video.people import FramePeople, VideoFailure

Floats = NDArray[np.float64]

PLACE_NOISE = 0.05  # standard deviation of a detected centre, in heights of the person
SPEED = np.array([0.6, 0.2])  # deviations of an unknown speed, across and up, in heights per second; people walk at 0.8
ACCELERATION = 0.12  # growth of the speed's deviation, in heights per second in a second
SIZE_NOISE = np.array([0.4, 0.12])  # deviations of the logarithms of width, which swings at every step, and of height
SIZE_DRIFT = 0.15  # its growth in a second: people come nearer
SIZE_GAIN = 0.4  # share of a new detection in a track's size
OVERLAP_WEIGHT = 2.0  # cost of no overlap at all, in units of squared deviations
FARTHEST = 18.0  # cost of a person unlike any track: of 4 squared deviations, 0.1 % are larger


@dataclass
class _Tracks:
    """Open tracks: number [T], time of the last detection [T], centre, speed and size [T, 2], covariance [T, 3, 2].

    The covariance is that of place, of speed and between the two, for each axis, in heights and seconds.
    """

    number: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    seen: Floats = field(default_factory=lambda: np.zeros(0))
    centre: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    speed: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    size: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 3, 2)))

    def select(self, which: NDArray[np.bool_]) -> _Tracks:
        return _Tracks(*(value[which] for value in vars(self).values()))

    def append(self, other: _Tracks) -> _Tracks:
        return _Tracks(*map(np.concatenate, zip(vars(self).values(), vars(other).values(), strict=True)))

    def predict(self, seconds: float) -> None:
        """Move every track on by a time."""
        self.centre = self.centre + seconds * self.speed
        place, speed, both = self.covariance.swapaxes(0, 1)
        noise = ACCELERATION**2
        place = place + 2 * seconds * both + seconds**2 * speed + noise * seconds**3 / 3
        both, speed = both + seconds * speed + noise * seconds**2 / 2, speed + noise * seconds
        self.covariance = np.stack([place, speed, both], axis=1)

    def update(self, rows: NDArray[np.intp], time: float, centre: Floats, size: Floats) -> None:
        """Correct some tracks by their detections (Kalman's update with place as the measurement)."""
        place, speed, both = self.covariance[rows].swapaxes(0, 1)
        total = place + PLACE_NOISE**2
        missed = centre - self.centre[rows]
        self.centre[rows] += place / total * missed
        self.speed[rows] += both / total * missed
        left = PLACE_NOISE**2 / total
        self.covariance[rows] = np.stack([left * place, speed - both**2 / total, left * both], axis=1)
        self.size[rows] *= (size / self.size[rows]) ** SIZE_GAIN
        self.seen[rows] = time


@dataclass
class LinkedPeople:
    """The frames of a video with the track of every detection; `unlinked` counts frames without, once they were read.

    A frame farther than `settings.gap` from both of its neighbours has no tracks, because nobody knows who in it is in
    another one. One frame more than usual is in memory, because the next one's time decides.

    Args:
        frames: The sampled frames of a video, in order; what they raise is raised here after the frames before it.
        settings: How tracks are linked.
    """

    frames: Iterable[FramePeople]
    settings: TrackingSettings
    unlinked: int = 0

    def __iter__(self) -> Iterator[FramePeople]:
        linker, source = TrackLinker(self.settings), iter(self.frames)
        before, held = -np.inf, None
        while True:
            failure = None
            try:
                found = next(source, None)
            except VideoFailure as error:
                found, failure = None, error
            if held is not None:
                after = np.inf if found is None else found.frame.time
                yield self._with_tracks(linker, held, min(held.frame.time - before, after - held.frame.time))
                before = held.frame.time
            if failure is not None:
                raise failure
            if found is None:
                return
            held = found

    def _with_tracks(self, linker: TrackLinker, found: FramePeople, nearest: float) -> FramePeople:
        """Return a frame with the tracks of its people; `nearest` is the time to the nearer neighbour in seconds."""
        if self.settings.kind == "file":
            return found
        people = [verdict.person for verdict in found.people]
        numbers: Sequence[int | None] = [None] * len(people)
        if self.settings.kind == "motion":
            self.unlinked += nearest > self.settings.gap
            if nearest <= self.settings.gap:
                boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
                confidence = np.array([person.confidence for person in people], np.float64)
                numbers = linker.link(found.frame.time, boxes, confidence).tolist()
        tracked = zip(found.people, numbers, strict=True)
        return FramePeople(found.frame, tuple(replace(one, person=replace(one.person, track=n)) for one, n in tracked))


class TrackLinker:
    """Gives each detection of a video the number of its track, frame by frame.

    Args:
        settings: How tracks are linked.

    Example:
        >>> linker = TrackLinker(TrackingSettings("motion"))
        >>> walker, other = [10.0, 10, 30, 70], [200.0, 10, 220, 70]
        >>> linker.link(0.0, np.array([walker, other]), np.ones(2)).tolist()
        [1, 2]
        >>> linker.link(0.1, np.array([[201.0, 10, 221, 70], [14, 10, 34, 70]]), np.ones(2)).tolist()
        [2, 1]
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.settings = settings
        self._tracks, self._time, self._next = _Tracks(), -np.inf, 1

    def link(self, time: float, boxes: Floats, confidence: Floats) -> NDArray[np.int64]:
        """Return the track of each detection, from 1: no two of a frame are in one track.

        Args:
            time: Time of the frame in seconds. If it is not later than at the last call, all tracks end.
            boxes: [N, 4], left, top, right, bottom.
            confidence: [N], 0 to 1.
        """
        passed = time - self._time
        fresh = passed <= 0 or passed > self.settings.gap
        kept = np.zeros(len(self._tracks.number), bool) if fresh else time - self._tracks.seen <= self.settings.gap
        tracks = self._tracks = self._tracks.select(kept)
        tracks.predict(0.0 if fresh else passed)
        self._time = time
        centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
        found, taken = np.full(len(boxes), -1, np.intp), np.zeros(len(tracks.number), bool)
        # As in ByteTrack: confident boxes are assigned first, the others to the tracks that are left.
        for chosen in (confidence >= self.settings.confident, confidence < self.settings.confident):
            rows = np.flatnonzero(chosen)
            free = np.flatnonzero(~taken)
            if len(rows) and len(free):
                cost = self._cost(tracks, free, time, boxes[rows], centre[rows], size[rows])
                own, theirs = linear_sum_assignment(cost)
                good = cost[own, theirs] < FARTHEST
                found[rows[theirs[good]]] = free[own[good]]
                taken[free[own[good]]] = True
        linked = found >= 0
        tracks.update(found[linked], time, centre[linked], size[linked])
        numbers = np.empty(len(boxes), np.int64)
        numbers[linked] = tracks.number[found[linked]]
        if not linked.all():
            numbers[~linked] = self._start(time, centre[~linked], size[~linked])
        return numbers

    @staticmethod
    def _cost(
        tracks: _Tracks, rows: NDArray[np.intp], time: float, boxes: Floats, centre: Floats, size: Floats
    ) -> Floats:
        """Return each detection's cost under each track, [T, N]: -2 log of its likelihood, at most FARTHEST."""
        own_size, own_centre = tracks.size[rows], tracks.centre[rows]
        variance = (tracks.covariance[rows, 0] + PLACE_NOISE**2)[:, None]
        spread = SIZE_NOISE**2 + SIZE_DRIFT**2 * (time - tracks.seen[rows])[:, None, None]
        away = (own_centre[:, None] - centre[None]) / own_size[:, None, 1:]
        grown = np.log(own_size[:, None] / size[None])
        distance = (away**2 / variance).sum(2) + (grown**2 / spread).sum(2)
        overlap = compute_iou(np.concatenate([own_centre - own_size / 2, own_centre + own_size / 2], axis=1), boxes)
        uncertainty = np.log(variance / (2 * PLACE_NOISE**2)).sum(2) + np.log(spread / SIZE_NOISE**2).sum(2)
        cost: Floats = np.minimum(distance + uncertainty + OVERLAP_WEIGHT * (1 - overlap), FARTHEST)
        return cost

    def _start(self, time: float, centre: Floats, size: Floats) -> NDArray[np.int64]:
        count = len(centre)
        numbers = np.arange(self._next, self._next + count)
        unknown = np.tile([np.full(2, PLACE_NOISE**2), SPEED**2, np.zeros(2)], (count, 1, 1))
        new = _Tracks(numbers, np.full(count, time), centre.copy(), np.zeros((count, 2)), size.copy(), unknown)
        self._tracks, self._next = self._tracks.append(new), self._next + count
        return numbers
