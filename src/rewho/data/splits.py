"""Which rows are trained on, drawn from, held out and scored; shares (LUPerson section 5.3) and lists of training sets.

What is unusual: one rule for all stages, in `training_rows` and `scored_part`. Junk and distractors are never
trained on and never queries. Test images that are copies of training images are not scored.

Shares are taken as decimal numbers (0.29 of 100 is 29, which binary fractions miss), and for one seed
both kinds of share are nested: what 10 % keeps, 30 % keeps too. The published few-shot lists are not nested; where
those very images matter, read the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_share, whole_share
from rewho.core.runtime import generator
from rewho.data.copies import content_ids
from rewho.data.file_lists import read_text
from rewho.data.table import ImageTable, first_three

HELD_OUT = "-held-out-"
"""Stands in a table's name before the number of people that were held out of its training set."""


def select_share(table: ImageTable, share: float, by: str = "identities", seed: int = 1) -> ImageTable:
    """Keep a share of the training set; query and gallery stay as they are.

    Source: LUPerson section 5.3.

    Args:
        table: A data set; its training set is the split "train", or "pool" where there is none.
        share: Above 0, at most 1.
        by: "identities" (small-scale: `int(people * share)` people with all their images) or "images" (few-shot:
            every person, `int(images * share)` images in all but at least one each, spread as evenly as they go).
        seed: Decides who and what is kept; for one seed a larger share contains a smaller one.

    Raises:
        UserError: No training set, a share out of range, or one that leaves nobody.

    Example:
        >>> names = tuple(f"{i}.jpg" for i in range(6))
        >>> table = ImageTable("six", Path("."), names, [1, 1, 1, 1, 2, 3], [0] * 6, ("train",) * 6)
        >>> len(select_share(table, 0.7, by="images")), len(select_share(table, 0.4).labels()) in (1, 4)
        (4, True)
    """
    chosen: dict[str, Callable[[NDArray[np.int64], float, int], NDArray[np.bool_]]] = {
        "identities": _share_of_identities,
        "images": _share_of_images,
    }
    check_share("--data.share", share)
    training = training_rows(table)
    keep = np.ones(len(table), np.bool_)
    keep[training] = chosen[by](table.person_ids[training], share, seed)
    if not keep[training].any():
        people = len(np.unique(table.person_ids[training]))
        raise UserError(
            "--data.share",
            expected=f"enough to keep one of {people:,} people",
            got=f"{share:g}",
            fix="Take a larger share.",
        )
    kept = len(np.unique(table.person_ids[training][keep[training]]))
    note = f"Share {share:g} by {by} (seed {seed}): {int(keep[training].sum()):,} training images of {kept:,} people."
    return table.rows(keep).with_notes(note)


def even_counts(available: NDArray[np.int64], total: int, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spread `total` images evenly over people: `count_i = min(available_i, L or L - 1)`.

    Source: LUPerson section 5.3.

    Args:
        available: Images of each person, int64 [people].
        total: How many to keep, at most their sum.
        order: A permutation of the people: the first in it get the L-th image where it is not enough for all.

    Returns:
        How many to keep of each person, int64 [people], with the sum `total`.

    Example:
        >>> even_counts(np.array([5, 1, 4]), 6, np.array([2, 1, 0])).tolist()
        [2, 1, 3]
    """
    level = 0
    while np.minimum(available, level + 1).sum() <= total and level < available.max():
        level += 1
    counts = np.minimum(available, level)
    more = order[available[order] > level][: total - counts.sum()]
    counts[more] += 1
    return counts


def hold_out(table: ImageTable, identities: int, seed: int = 1) -> ImageTable:
    """Make a test part of some training people, for data that has none, or none to spare.

    Each held-out person gives one query image per camera that saw them at least twice; all their other images are
    the gallery, so that every query can be found under another camera. Query and gallery that the table had are
    dropped. Not a benchmark's test: results compare only with the same table, number and seed, and the table's name
    says so.

    Args:
        table: A data set; its training set is the split "train", or "pool" where there is none.
        identities: People to hold out; each is seen by two cameras or more, and twice or more by one of them.
        seed: Decides who and which images; for one seed a larger number contains a smaller one.

    Returns:
        The training images in their order, with the splits "train", "query" and "gallery".

    Raises:
        UserError: Cameras unknown, or too few people that can be held out, or nobody left to train on.

    Example:
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
        raise UserError(
            "--data.hold_out",
            expected=f"at least 1, at most {most:,}: {len(candidates):,} of {people:,} people are seen by two cameras "
            "and twice by one, and somebody must be left to train on",
            got=f"{identities:,}",
            fix="Hold fewer people out." if most else "This data cannot be tested on; use other data for that.",
        )
    splits = np.full(len(training), "train", dtype="U7")
    for person in generator(seed, "hold out").permutation(candidates)[:identities]:
        rows = np.flatnonzero(training.person_ids == person)
        splits[rows] = "gallery"
        splits[_one_per_camera(rows, training.camera_ids[rows], seed, int(person))] = "query"
    note = f"{identities:,} of {people:,} training people (seed {seed}) are held out for testing: not the benchmark."
    name = f"{table.name}{HELD_OUT}{identities}"
    return replace(training, name=name, splits=tuple(splits.tolist())).with_notes(note)


def training_rows(table: ImageTable) -> NDArray[np.int64]:
    """Return the rows of "train", or of "pool" where there is no "train", without junk and distractors.

    Raises:
        UserError: There are none.
    """
    split = "train" if "train" in table.splits else "pool"
    rows = np.flatnonzero(table.in_split(split) & (table.person_ids >= 0))
    if rows.size == 0:
        raise UserError(
            table.name,
            expected="training images (split train or pool)",
            got="none",
            fix="Use data that has a training part.",
        )
    return rows


def has_test_part(table: ImageTable) -> bool:
    """Return whether the table has queries and a gallery of their own."""
    return {"query", "gallery"} <= set(table.splits)


class ScoredPart(NamedTuple):
    """The part of a table that is scored.

    Attributes:
        query: The Q queries.
        gallery: The G gallery images.
        query_rows: Where the gallery is the pool that the queries are part of: their rows in it, int64 [Q].
        query_names: A file for each query: the first of the table that has the query's bytes.
        gallery_names: The same for the gallery. A ranking leaves out what has the query's name, and so its copies.
        notes: What was left out or counts twice, one sentence each.
    """

    query: ImageTable
    gallery: ImageTable
    query_rows: NDArray[np.int64] | None
    query_names: tuple[str, ...]
    gallery_names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images to embed."""
        return len(self.gallery) + (len(self.query) if self.query_rows is None else 0)


def scored_part(table: ImageTable) -> ScoredPart:
    """Return the queries and the gallery that are scored.

    A pool is its own gallery, and no image is compared with itself. Junk and distractors are no queries. Test images
    with the very bytes of a training image are left out.

    Raises:
        UserError: The table has no queries or no gallery, or all of them are copies of training images.
    """
    pool = "pool" in table.splits
    if not pool:
        table.select("query"), table.select("gallery")
    contents = content_ids([table.file(row) for row in range(len(table))])
    trained = table.in_split("train")
    copied = np.isin(contents, contents[trained]) & ~trained
    in_gallery = table.in_split("pool" if pool else "gallery") & ~copied
    in_query = table.in_split("pool" if pool else "query") & (table.person_ids >= 0) & ~copied
    if not in_query.any() or not in_gallery.any():
        raise UserError(
            f"{table.name}: test part",
            expected="query and gallery images of known people that are not trained on",
            got=f"none: {int(copied.sum()):,} files have the bytes of training images, the others are junk",
            fix="Split the people: nobody in query and gallery may be in train.",
        )
    query, gallery = table.rows(in_query), table.rows(in_gallery)
    rows = np.flatnonzero(in_query[in_gallery]) if pool else None
    notes = _copy_notes(table, contents, copied, in_query, in_gallery)
    names = [tuple(str(table.file(row)) for row in contents[mask].tolist()) for mask in (in_query, in_gallery)]
    return ScoredPart(query, gallery, rows, names[0], names[1], tuple(notes))


def _copy_notes(
    table: ImageTable,
    contents: NDArray[np.int64],
    copied: NDArray[np.bool_],
    in_query: NDArray[np.bool_],
    in_gallery: NDArray[np.bool_],
) -> list[str]:
    """Return a sentence on each kind of byte-identical files among training, query and gallery."""
    notes = []
    if copied.any():
        queries = int((copied & table.in_split("query")).sum())
        notes.append(
            f"{queries:,} query and {int(copied.sum()) - queries:,} gallery files have the bytes of training files "
            f"and are left out of the ranking, such as {table.paths[int(np.argmax(copied))]!r}."
        )
    rows = np.flatnonzero(in_query | in_gallery)
    paths: dict[int, set[str]] = {}
    people: dict[int, set[int]] = {}
    for row, content in zip(rows.tolist(), contents[rows].tolist(), strict=True):
        paths.setdefault(content, set()).add(table.paths[row])
        people.setdefault(content, set()).add(int(table.person_ids[row]))
    twice = [content for content, named in paths.items() if len(named) > 1]
    queries = int((in_query & np.isin(contents, np.intersect1d(twice, contents[in_gallery]))).sum())
    such = ", such as " + " and ".join(map(repr, sorted(paths[twice[0]])[:2])) if twice else ""
    if queries:
        notes.append(
            f"{queries:,} queries have byte-identical copies in the gallery, left out of their rankings{such}."
        )
    repeated = int(in_gallery.sum()) - len(np.unique(contents[in_gallery]))
    if repeated:
        notes.append(f"{repeated:,} gallery files are byte-identical copies of other gallery files{such}.")
    split = [content for content in twice if len(people[content]) > 1]
    if split:
        files = " and ".join(map(repr, sorted(paths[split[0]])[:2]))
        notes.append(f"{len(split):,} byte-identical images are of two people by their labels, such as {files}.")
    return notes


def read_identity_list(file: Path | str) -> tuple[int, ...]:
    """Read a published small-scale list: one original person id per line.

    Raises:
        UserError: No such file, a line that is no number, or no line at all.
    """
    lines = _lines(Path(file))
    bad = [f"line {n}: {line}" for n, line in lines if not line.isdecimal() or len(line) > 18]
    if bad:
        raise _wrong_lines(Path(file), bad)
    return tuple(int(line) for _, line in lines)


def read_image_list(file: Path | str) -> tuple[str, ...]:
    """Read the file names of a published few-shot list, whose lines are `name; label; camera from 0`.

    Raises:
        UserError: No such file, a line of another form, or no line at all.
    """
    names, bad = [], []
    for n, line in _lines(Path(file)):
        cells = [cell.strip() for cell in line.split(";")]
        if len(cells) == 3 and cells[0] and cells[1].isdecimal():
            names.append(cells[0])
        else:
            bad.append(f"line {n}: {line}")
    if bad:
        raise _wrong_lines(Path(file), bad)
    return tuple(names)


def keep_identities(table: ImageTable, people: Collection[int]) -> ImageTable:
    """Keep only some people in the training set; query and gallery stay as they are.

    Raises:
        UserError: Some of the people are not in the training set.
    """
    training = training_rows(table)
    unknown = sorted(set(people) - set(table.person_ids[training].tolist()))
    if unknown:
        raise _not_in_training(table, "people", [str(person) for person in unknown], len(set(people)))
    keep = np.ones(len(table), np.bool_)
    keep[training] = np.isin(table.person_ids[training], list(people))
    return table.rows(keep)


def keep_images(table: ImageTable, names: Collection[str]) -> ImageTable:
    """Keep only listed images in the training set; query and gallery stay as they are.

    Args:
        table: A data set.
        names: Paths relative to the data set's folder, or their ends from a folder on, such as the file name, where
            only one training image has that end.

    Raises:
        UserError: Some of the names are not in the training set, or could be several images.
    """
    training = training_rows(table)
    rows: dict[str, list[int]] = {}
    for row in training.tolist():
        parts = table.paths[row].split("/")
        for start in range(len(parts)):
            rows.setdefault("/".join(parts[start:]), []).append(row)
    exact = {table.paths[row]: [row] for row in training.tolist()}
    wanted = {name: exact.get(name) or rows.get(name, []) for name in {name.removeprefix("./") for name in names}}
    unknown = sorted(name for name, found in wanted.items() if not found)
    if unknown:
        raise _not_in_training(table, "images", unknown, len(wanted))
    several = sorted(name for name, found in wanted.items() if len(found) > 1)
    if several:
        raise UserError(
            "--data.share_list, list of images",
            expected="names of one training image each",
            got=f"{first_three(several)}, which is {first_three([table.paths[row] for row in wanted[several[0]]])}",
            fix=f"Write paths relative to {table.root}.",
        )
    keep = np.ones(len(table), np.bool_)
    keep[training] = np.isin(training, [found[0] for found in wanted.values()])
    return table.rows(keep)


def keep_listed(table: ImageTable, file: Path | str) -> ImageTable:
    """Keep what a published list names in the training set, some people or some images; the rest stays as it is.

    Args:
        table: A data set.
        file: A list that `read_identity_list` or `read_image_list` reads; its first line tells which of them.

    Raises:
        UserError: No such list, a wrong one, or one that names what is not in the training set.

    Example:
        >>> import tempfile
        >>> table = ImageTable("two", Path("."), ("a.jpg", "b.jpg"), [7, 9], [0, 1], ("train", "train"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "people.txt").write_text("9")
        ...     keep_listed(table, Path(folder, "people.txt")).paths
        ('b.jpg',)
    """
    if ";" in _lines(Path(file))[0][1]:
        kept = keep_images(table, read_image_list(file))
    elif isinstance(table.person_names, tuple) and table.person_names:
        raise UserError(
            str(file),
            expected=f"a list of images, as the people of {table.name} go by names of their own",
            got="a list of numbers of people",
            fix="Write lines like 'FILE NAME; 0; 0'.",
        )
    else:
        kept = keep_identities(table, read_identity_list(file))
    rows = training_rows(kept)
    people = len(np.unique(kept.person_ids[rows]))
    return kept.with_notes(f"Listed in {Path(file).name}: {len(rows):,} training images of {people:,} people.")


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


def _people_to_hold_out(training: ImageTable) -> NDArray[np.int64]:
    if not training.knows_cameras:
        raise UserError(
            f"{training.name}: cameras",
            expected="the camera of every image, because a query must be found under another camera",
            got=f"{int((training.camera_ids < 0).sum()):,} images without",
            fix="Give a camera column (CSV), or --data.person_pattern with a group (?P<camera>...).",
        )
    pairs, counts = np.unique(np.stack([training.person_ids, training.camera_ids]), axis=1, return_counts=True)
    people, cameras = np.unique(pairs[0], return_counts=True)
    return np.intersect1d(people[cameras > 1], pairs[0][counts > 1])


def _one_per_camera(rows: NDArray[np.int64], cameras: NDArray[np.int64], seed: int, person: int) -> list[int]:
    draw = generator(seed, "hold out query", person)
    seen = [rows[cameras == camera] for camera in np.unique(cameras)]
    return [int(draw.choice(group)) for group in seen if len(group) > 1]


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number in the file."""
    lines = [(n, line.strip()) for n, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
    if not lines:
        raise _wrong_list(file, "an empty file")
    return lines


def _wrong_list(file: Path, got: str) -> UserError:
    return UserError(
        f"--data.share_list {file}",
        expected="one person id per line, or lines like '0002_c1s2_000841_01.jpg; 0; 0'",
        got=got,
        fix="Mend these lines, or get the list again.",
    )


def _wrong_lines(file: Path, bad: Sequence[str]) -> UserError:
    return _wrong_list(file, f"{len(bad):,} of another form: {first_three(list(bad))}")


def _not_in_training(table: ImageTable, what: str, unknown: list[str], wanted: int) -> UserError:
    return UserError(
        f"--data.share_list, list of {what}",
        expected=f"{what} of the training set of {table.name}",
        got=f"{len(unknown):,} of {wanted:,} that are not in it: {first_three(unknown)}",
        fix="Check that list and data set belong together (same data set, boxes, version and file naming).",
    )
