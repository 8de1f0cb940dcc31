"""The values that pass between a gallery and those who use it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rewho.core.check import UserError

Per = Literal["sighting", "crop"]
SHOWN, HIDDEN, WITHDRAWN = range(3)
"""States of a sighting: in results; out of results; without embedding and thumbnail."""
DAY_S = 86_400.0
FIRST_S, LAST_S = -62_135_424_000.0, 253_402_128_000.0
"""Two days within the years 1 to 9999, so that dates show a time in every zone."""
NOT_CALIBRATED = "not calibrated here"
Step = Callable[[int, int], None]
"""Called between the parts of long work: how many are done, of how many; raises `Interrupted` to end it there."""


def no_step(done: int, total: int) -> None:
    """Continue: the `Step` of work that nobody watches."""
    del done, total


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return "unknown"


@dataclass(frozen=True)
class Actor:
    """Who asks, why, and what they may see.

    Args:
        who: Name of the user, for the audit.
        purpose: Why, for the audit.
        cameras: Ids of the cameras that they may see; None is all, also sightings without a camera. What lies outside
            is neither shown, nor counted, nor searched with.
    """

    who: str = field(default_factory=_current_user)
    purpose: str = ""
    cameras: frozenset[int] | None = None

    def sees(self, camera: int | None) -> bool:
        """Return whether a camera is among those that the user may see."""
        return self.cameras is None or camera in self.cameras

    def need_all(self, what: str) -> None:
        """Raise a UserError if the user does not see all cameras."""
        if self.cameras is not None:
            expected = "a user who may see every camera"
            raise UserError(what, expected=expected, got=self.who, fix="Ask an administrator.")


def check_time(what: str, seconds: float | None) -> float | None:
    """Return a time in seconds since 1970, which dates can show; None where it is not known.

    Example:
        >>> check_time("expires", 1e300)
        Traceback (most recent call last):
        rewho.core.check.UserError: expires: expected seconds since 1970, from the year 1 to 9999, got 1e+300.
          Fix: Check the time and its unit.
    """
    if seconds is None:
        return None
    number = hasattr(seconds, "__float__") and not isinstance(seconds, bool)
    if not number or not FIRST_S <= seconds <= LAST_S:
        expected = "seconds since 1970, from the year 1 to 9999"
        raise UserError(what, expected=expected, got=f"{seconds!r:.60}", fix="Check the time and its unit.")
    return float(seconds)


@dataclass(frozen=True)
class Filters:
    """Which sightings a search goes through; applied before the best are chosen.

    Args:
        cameras: Names of cameras; empty is every camera.
        after: Only sightings that end at or after this time, in seconds since 1970, UTC.
        before: Only sightings that begin before this time.
        sources: Ids of sources; empty is all. One of which the user sees no sighting is refused, as are people's.
        people: Ids of people; empty is everybody, also sightings that belong to no person.
        cases: Ids of cases that there are; empty is all.
        new: Only sightings that this user has not been shown for this query, and that have no verdict for it.
    """

    cameras: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None
    sources: tuple[int, ...] = ()
    people: tuple[int, ...] = ()
    cases: tuple[int, ...] = ()
    new: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.cameras, str):
            fix = f"Pass ({self.cameras!r},)."
            raise UserError("cameras", expected="names of cameras", got=repr(self.cameras)[:60], fix=fix)
        check_time("after", self.after)
        check_time("before", self.before)


@dataclass(frozen=True)
class NewCrop:
    """A crop to add.

    Args:
        name: Its name, unique in its source.
        image: The encoded image; it is not stored, only its thumbnail. Empty where there is only an embedding.
        heads: Row with `rewho.crops.faces.FACE_COLUMNS`, which locate the faces to hide; None hides the upper band.
        camera: Name of its camera, or None.
        time: Seconds since 1970, UTC, or None.
        track: Name of its track within the source, or None for a sighting of its own.
        frame: What the crop was cut out of, such as a video's hash and a frame's number; crops of one frame show
            different people. None where it is not known.
        number: The frame's number, or None.
        box: Left, top, right, bottom in pixels of the frame, or None.
        quality: Weight in the mean of a track, 0 to 1.
        sha256: Hash of the encoded image.
        licence: Of the image.
        person: Label of the person, where somebody knows it; None otherwise.
    """

    name: str
    image: bytes = b""
    heads: Mapping[str, Any] | None = None
    camera: str | None = None
    time: float | None = None
    track: str | None = None
    frame: str | None = None
    number: int | None = None
    box: tuple[float, float, float, float] | None = None
    quality: float = 1.0
    sha256: str = ""
    licence: str = ""
    person: str | None = None


class Sighting(NamedTuple):
    """A sighting as it is shown.

    Attributes:
        id: Its number.
        camera: Name of its camera, or None.
        began: Seconds since 1970, UTC, of its first crop; None where not known.
        ended: The same of its last.
        crops: Number of its crops.
        best: Id of its best crop.
        person: Id of its person, or None.
        name: The person's name; "" without.
        source: Id of its source.
        state: 0 shown, 1 hidden, 2 withdrawn.
    """

    id: int
    camera: str | None
    began: float | None
    ended: float | None
    crops: int
    best: int | None
    person: int | None
    name: str
    source: int
    state: int


class Candidate(NamedTuple):
    """One row of a result: a candidate, never a certainty.

    Attributes:
        sighting: The sighting.
        crop: The crop that was found, or the sighting's best.
        similarity: Cosine, -1 to 1, of the embeddings as they were compared.
        verdict: yes, skip or "" for this query; those judged no do not return.
        note: What to keep in mind, such as that clothes change from day to day.
        score: The similarity on the calibration's scale, which its thresholds are on; None without.
        strangers: At most 1 of so many strangers looks as alike; None where that is not known.
        alike: The same in words.
    """

    sighting: Sighting
    crop: int | None
    similarity: float
    verdict: str = ""
    note: str = ""
    score: float | None = None
    strangers: int | None = None
    alike: str = NOT_CALIBRATED


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Args:
        search: Its number, for judgements and the next page.
        candidates: The most alike first; equal ones by id.
        total: How many sightings, or crops, the filters leave.
        normalised: Whether embeddings were compared relative to their cameras' means.
        after: The next page begins behind this (similarity, id); None where there is none.
        notes: What the user should know of how the search was done.
        model: Hash of the model.
        version: Number of the gallery's state.
        calibration: The threshold and what it was measured with, or that the gallery is not calibrated.
    """

    search: int
    candidates: tuple[Candidate, ...]
    total: int
    normalised: bool
    after: tuple[float, int] | None
    notes: tuple[str, ...]
    model: str
    version: int
    calibration: str = NOT_CALIBRATED


@dataclass(frozen=True)
class Added:
    """What an addition did.

    Args:
        source: Id of the source.
        sightings: New sightings.
        crops: New crops.
        present: Crops that were there already.
        suppressed: Crops that were left out because somebody was forgotten.
        notes: What was left out or assumed.
    """

    source: int
    sightings: int = 0
    crops: int = 0
    present: int = 0
    suppressed: int = 0
    notes: tuple[str, ...] = ()


Terms = Mapping[str, Any]
