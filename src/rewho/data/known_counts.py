"""How many pictures and people the published data sets have, and whether what was read agrees.

What is unusual: agreement is said as well as difference, because a number that was checked is worth more than one
that was not. Junk is not counted in the gallery (Market-1501: 15,913 pictures, 19,732 with junk).
"""

from __future__ import annotations

from typing import NamedTuple

from rewho.data.table import ImageTable


class Known(NamedTuple):
    """Published counts of one data set; people are those of the training set."""

    train: int
    train_people: int
    query: int
    gallery: int


KNOWN = {
    "market1501": Known(12_936, 751, 3_368, 15_913),
    "cuhk03-np-labeled": Known(7_368, 767, 1_400, 5_328),
    "cuhk03-np-detected": Known(7_365, 767, 1_400, 5_332),
    "dukemtmc-reid": Known(16_522, 702, 2_228, 17_661),
    "msmt17-v1-train": Known(30_248, 1_041, 11_659, 82_161),
    "msmt17-v1-trainval": Known(32_621, 1_041, 11_659, 82_161),
    "msmt17-v2-train": Known(30_248, 1_041, 11_659, 82_161),
    "msmt17-v2-trainval": Known(32_621, 1_041, 11_659, 82_161),
}
"""Counts by table name."""


def compare_counts(table: ImageTable) -> tuple[str, ...]:
    """Return one sentence per split that says whether its counts are the published ones; nothing for other data.

    Example:
        >>> from pathlib import Path
        >>> compare_counts(ImageTable("market1501", Path("."), ("a.jpg",), [2], [0], ("train",)))
        ('Expected 12,936 train images of 751 people (market1501 as published), found 1 of 1 people.',)
    """
    known = KNOWN.get(table.name)
    if known is None:
        return ()
    notes = []
    for split, counts in table.counts().items():
        people = f" of {known.train_people:,} people" if split == "train" else ""
        expected = f"{getattr(known, split):,} {split} images{people}"
        images = counts.images - counts.junk
        found = f"{images:,}" + (f" of {counts.people:,} people" if split == "train" else "")
        junk = f" (besides {counts.junk:,} of junk)" if counts.junk else ""
        if images == getattr(known, split) and (split != "train" or counts.people == known.train_people):
            notes.append(f"{expected}{junk}, as published.")
        else:
            notes.append(f"Expected {expected} ({table.name} as published), found {found}{junk}.")
    return tuple(notes)
