"""Which rows are trained on, and people held out for testing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.people import UNKNOWN_CAMERA
from rewho.core.runtime import generator
from rewho.data.table import ImageTable

HELD_OUT = "-held-out-"
"""Precedes the number of held-out people in a table's name."""


def training_rows(table: ImageTable) -> NDArray[np.int64]:
    """Return the rows of "train", or of "pool" where there is no "train", without junk and distractors."""
    split = "train" if "train" in table.splits else "pool"
    rows = np.flatnonzero(table.in_split(split) & (table.person_ids >= 0))
    if rows.size == 0:
        fix = "Use data that has a training part."
        raise UserError(table.name, expected="training images (split train or pool)", got="none", fix=fix)
    return rows


def has_test_part(table: ImageTable) -> bool:
    """Return whether the table has the splits query and gallery."""
    return {"query", "gallery"} <= set(table.splits)


def hold_out(table: ImageTable, identities: int, seed: int = 1) -> ImageTable:
    """Split some training people into query and gallery, for data without a test part.

    A held-out person gives one query image per camera that saw them at least twice. Their other images are the gallery,
    so that every query has a match under another camera. Where no camera is known, a person gives one query. Query and
    gallery of the table are dropped. Results compare only with the same table, number and seed; the new table's name
    shows the number.

    Args:
        table: A data set; its training set is the split "train", or "pool" where there is none.
        identities: Number of people to hold out; each is seen by two cameras or more, and twice or more by one of them.
            Where no camera is known, each has two images or more.
        seed: Seed of the draw; for one seed a larger number contains a smaller one.

    Returns:
        The training images in their order, with the splits "train", "query" and "gallery".

    Example:
        >>> from pathlib import Path
        >>> names = tuple(f"{i}.jpg" for i in range(6))
        >>> table = ImageTable("six", Path("."), names, [1, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 1], ("pool",) * 6)
        >>> sorted(hold_out(table, 1).splits)
        ['gallery', 'gallery', 'query', 'train', 'train', 'train']
    """
    training = table.rows(training_rows(table))
    candidates = _people_to_hold_out(training)
    people = len(np.unique(training.person_ids))
    most = min(len(candidates), people - 1)
    if not 1 <= identities <= most:
        enough = "are seen by two cameras and twice by one of them" if training.knows_cameras else "have two images"
        raise UserError(
            "--data.hold_out",
            expected=f"at least 1, at most {most:,}: {len(candidates):,} of {people:,} people {enough}, and one person "
            "must be left to train on",
            got=f"{identities:,}",
            fix="Hold fewer people out." if most else "Test on other data: nobody here can be held out.",
        )
    splits = np.full(len(training), "train", dtype="U7")
    for person in generator(seed, "hold out").permutation(candidates)[:identities]:
        rows = np.flatnonzero(training.person_ids == person)
        splits[rows] = "gallery"
        splits[_one_per_camera(rows, training.camera_ids[rows], seed, int(person))] = "query"
    note = f"{identities:,} of {people:,} training people (seed {seed}) are held out for testing: not the benchmark."
    name = f"{table.name}{HELD_OUT}{identities}"
    return replace(training, name=name, splits=tuple(splits.tolist())).with_notes(note)


def _people_to_hold_out(training: ImageTable) -> NDArray[np.int64]:
    unknown = int((training.camera_ids == UNKNOWN_CAMERA).sum())
    if unknown == len(training):
        people, images = np.unique(training.person_ids, return_counts=True)
        return people[images > 1]
    if unknown:  # a query with a camera may have no match but under its own one
        expected = "the camera of every image, or of none, to choose queries that can be found"
        got = f"{unknown:,} of {len(training):,} images without"
        fix = "Give a camera column (CSV), or --data.person_pattern with a group (?P<camera>...)."
        raise UserError(f"{training.name}: cameras", expected=expected, got=got, fix=fix)
    pairs, counts = np.unique(np.stack([training.person_ids, training.camera_ids]), axis=1, return_counts=True)
    people, cameras = np.unique(pairs[0], return_counts=True)
    return np.intersect1d(people[cameras > 1], pairs[0][counts > 1])


def _one_per_camera(rows: NDArray[np.int64], cameras: NDArray[np.int64], seed: int, person: int) -> list[int]:
    draw = generator(seed, "hold out query", person)
    seen = [rows[cameras == camera] for camera in np.unique(cameras)]
    return [int(draw.choice(group)) for group in seen if len(group) > 1]
