"""How many images and people the published data sets have, and whether a copy has as many.

Agreement is noted too, so that the user sees what was checked.
"""

from __future__ import annotations

from typing import NamedTuple

from rewho.data.table import ImageTable


class Counts(NamedTuple):
    """Published counts of one data set: images of each split without junk, and people of the training set."""

    train: int
    train_people: int
    query: int
    gallery: int


def compare_counts(table: ImageTable, published: Counts) -> tuple[str, ...]:
    """Return a sentence per split that has the published counts, and one on all splits that differ."""
    notes, differing = [], []
    for split, counts in table.counts().items():
        images, wanted, training = counts.images - counts.junk, getattr(published, split), split == "train"
        found = f"{images:,} {split} images" + (f" of {counts.people:,} people" if training else "")
        found += f" (besides {counts.junk:,} of junk)" if counts.junk else ""
        if images == wanted and (not training or counts.people == published.train_people):
            notes.append(f"{found}, as published.")
        else:
            people = f" of {published.train_people:,}" if training else ""
            differing.append(f"{found} instead of {wanted:,}{people}")
    if differing:
        notes.append(f"Not {table.name} as published: {', '.join(differing)}.")
    return tuple(notes)
