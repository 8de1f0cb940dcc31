"""Person and camera of each image, as a ranking needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.people import UNKNOWN_CAMERA


class ImageLabels:
    """Person and camera of each of N images.

    Args:
        person_ids: int64 [N]; -1 is junk, dropped from every gallery; any other negative id is a distractor and never
            matches.
        camera_ids: int64 [N], stored as `cameras`; -1 is unknown. None means all unknown.
        names: N names, used in messages and to leave an image out of its own ranking. None means no names.
    """

    def __init__(
        self,
        person_ids: NDArray[np.int64],
        camera_ids: NDArray[np.int64] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.person_ids, self.names = _whole_numbers("person ids", person_ids), names
        unknown = np.full(len(self.person_ids), UNKNOWN_CAMERA)
        self.cameras = _whole_numbers("camera ids", unknown if camera_ids is None else camera_ids)
        for what, length in (("camera ids", len(self.cameras)), ("names", len(names or unknown))):
            if length != len(unknown):
                expected = f"{len(unknown)}, one for each person id"
                raise UserError(what, expected=expected, got=str(length), fix="Pass one per image.")

    def __len__(self) -> int:
        return len(self.person_ids)


def _whole_numbers(what: str, given: NDArray[Any]) -> NDArray[np.int64]:
    numbers = np.asarray(given)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        got = f"{numbers.dtype} of shape {list(numbers.shape)}"
        fix = "Pass one whole number per image."
        raise UserError(what, expected="a one-dimensional array of whole numbers", got=got, fix=fix)
    if numbers.size and numbers.dtype.kind == "u" and int(numbers.max()) >= 2**63:  # a cast would make it negative
        fix = "Number people and cameras from 0."
        raise UserError(what, expected="numbers below 2^63", got=str(numbers.max()), fix=fix)
    whole = numbers.astype(np.int64)
    whole.flags.writeable = False
    return whole
