"""How many images and people the published data sets have, and whether what was read agrees.

What is unusual: agreement is said as well as difference, because a number that was checked is worth more than one
that was not. Junk is not counted in the gallery (Market-1501: 15,913 images, 19,732 with junk).
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
    """Return a sentence per split whose counts are the published ones, and one on all others; nothing for other data.

    Example:
        >>> from pathlib import Path
        >>> compare_counts(ImageTable("market1501", Path("."), ("a.jpg",), [2], [0], ("train",)))
        ('Not market1501 as published: 1 train images of 1 people instead of 12,936 of 751.',)
    """
    known = KNOWN.get(table.name)
    if known is None:
        return ()
    notes, differing = [], []
    for split, counts in table.counts().items():
        images, wanted, training = counts.images - counts.junk, getattr(known, split), split == "train"
        found = f"{images:,} {split} images" + (f" of {counts.people:,} people" if training else "")
        found += f" (besides {counts.junk:,} of junk)" if counts.junk else ""
        if images == wanted and (not training or counts.people == known.train_people):
            notes.append(f"{found}, as published.")
        else:
            people = f" of {known.train_people:,}" if training else ""
            differing.append(f"{found} instead of {wanted:,}{people}")
    if differing:
        notes.append(f"Not {table.name} as published: {', '.join(differing)}.")
    return tuple(notes)
