"""Smaller training sets: a share of the people or of the images (LUPerson section 5.3).

Shares are decimal numbers: 0.29 of 100 is 29, which binary fractions miss. For one seed both kinds of share are nested:
what 10 % keeps, 30 % keeps too. The published few-shot lists are not nested; to train on those very images, see
`share_lists`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_share, whole_share
from rewho.core.runtime import generator
from rewho.core.text import quantity
from rewho.data.splits import training_rows
from rewho.data.table import ImageTable


def select_share(table: ImageTable, share: float, by: str = "identities", seed: int = 1) -> ImageTable:
    """Keep a share of the training set; query and gallery stay as they are.

    Args:
        table: A data set; its training set is the split "train", or "pool" where there is none.
        share: Above 0, at most 1.
        by: "identities" (small-scale: `int(people * share)` people with all their images) or "images" (few-shot:
            `int(images * share)` images, at least one of every person, spread as evenly as possible).
        seed: Seed of the draw; for one seed a larger share contains a smaller one.

    Example:
        >>> from pathlib import Path
        >>> names = tuple(f"{i}.jpg" for i in range(6))
        >>> table = ImageTable("six", Path("."), names, [1, 1, 1, 1, 2, 3], [0] * 6, ("train",) * 6)
        >>> len(select_share(table, 0.7, by="images")), len(select_share(table, 0.4).labels()) in (1, 4)
        (4, True)
    """
    check_share("--data.share", share)
    training = training_rows(table)
    people = table.person_ids[training]
    kept = _share_of_images(people, share, seed) if by == "images" else _share_of_identities(people, share, seed)
    if not kept.any():
        expected = f"enough to keep one of {len(np.unique(people)):,} people"
        fix = "Choose a larger share."
        raise UserError("--data.share", expected=expected, got=f"{share:g}", fix=fix)
    keep = np.ones(len(table), np.bool_)
    keep[training] = kept
    found = f"{quantity(int(kept.sum()), 'training images')} of {quantity(len(np.unique(people[kept])), 'people')}"
    return table.rows(keep).with_notes(f"Share {share:g} by {by} (seed {seed}): {found}.")


def _share_of_identities(person_ids: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    people = np.unique(person_ids)
    order = generator(seed, "small-scale").permutation(people)
    return np.isin(person_ids, order[: whole_share(len(people), share)])


def _share_of_images(person_ids: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    people, who, available = np.unique(person_ids, return_inverse=True, return_counts=True)
    total = max(whole_share(len(person_ids), share), len(people))
    counts = even_counts(available, total, generator(seed, "few-shot people").permutation(len(people)))
    shuffled = generator(seed, "few-shot images").permutation(len(person_ids))
    by_person = shuffled[np.argsort(who[shuffled], kind="stable")]  # each person's images together, in random order
    first = np.cumsum(available) - available
    place = np.empty(len(person_ids), np.int64)
    place[by_person] = np.arange(len(person_ids)) - np.repeat(first, available)
    kept: NDArray[np.bool_] = place < counts[who]
    return kept


def even_counts(available: NDArray[np.int64], total: int, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many images to keep of each person, int64 [people]: min(available, L or L - 1), `total` in all.

    `order` is a permutation of the people: the first in it keep an L-th image, if there are not enough for all.
    """
    level = 0
    while np.minimum(available, level + 1).sum() <= total and level < available.max():
        level += 1
    counts = np.minimum(available, level)
    more = order[available[order] > level][: total - counts.sum()]
    counts[more] += 1
    return counts
