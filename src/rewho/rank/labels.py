"""Person and camera of each image, as a ranking needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.people import UNKNOWN_CAMERA


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """Person and camera of each of N images.

    Args:
        person_ids: int64 [N]; -1 is junk, dropped from every gallery; any other negative id is a distractor and never
            matches.
        camera_ids: int64 [N]; -1 is unknown. None means all unknown.
        names: N names, used in messages and to leave an image out of its own ranking. None means no names.

    Raises:
        UserError: Not whole numbers, not one-dimensional, or lengths differ.

    Example:
        >>> len(ImageLabels(np.array([1, 1, 2]), np.array([0, 1, 0])))
        3
    """

    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        people = _whole_numbers("person ids", self.person_ids)
        given = self.camera_ids
        cameras = np.full(len(people), UNKNOWN_CAMERA) if given is None else _whole_numbers("camera ids", given)
        for what, length in (("camera ids", len(cameras)), ("names", len(self.names or people))):
            if length != len(people):
                raise UserError(
                    what, expected=f"{len(people)}, one for each person id", got=str(length), fix="Pass one per image."
                )
        object.__setattr__(self, "person_ids", people)
        object.__setattr__(self, "camera_ids", cameras)

    def __len__(self) -> int:
        return len(self.person_ids)

    @property
    def cameras(self) -> NDArray[np.int64]:
        """Camera ids, int64 [N]; -1 is unknown."""
        assert self.camera_ids is not None
        return self.camera_ids


def _whole_numbers(what: str, given: NDArray[Any]) -> NDArray[np.int64]:
    numbers = np.asarray(given)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        raise UserError(
            what,
            expected="a one-dimensional array of whole numbers",
            got=f"{numbers.dtype} of shape {list(numbers.shape)}",
            fix="Pass one whole number per image.",
        )
    whole = numbers.astype(np.int64)
    whole.flags.writeable = False
    return whole
