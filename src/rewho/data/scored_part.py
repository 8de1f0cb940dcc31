"""Which queries and gallery images of a table are scored, without copies of training images.

Copies are files with the same bytes, found by size first and by hash among files of one size.
"""

from __future__ import annotations

import hashlib
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK
from rewho.data.table import ImageTable


class ScoredPart(NamedTuple):
    """The part of a table that is scored.

    Attributes:
        query: The Q queries.
        gallery: The G gallery images.
        query_rows: The queries' rows in the gallery, int64 [Q], if both are one pool.
        query_names: For each query, the first file of the table with the same bytes.
        gallery_names: The same for the gallery. A ranking leaves out images with the query's name, and so its copies.
        notes: One sentence on each kind of copy.
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
    with the bytes of a training image are left out.
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
        expected = "query and gallery images of known people that are not trained on"
        got, fix = "junk and distractors only", f"Number the people from 0: {JUNK} is junk, {DISTRACTOR} a distractor."
        if copied.any():
            got = f"none: {int(copied.sum()):,} files have the bytes of training images, the others are junk"
            fix = "Split the people: no person in query and gallery may be in train."
        raise UserError(f"{table.name}: test part", expected=expected, got=got, fix=fix)
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


def content_ids(files: Sequence[Path]) -> NDArray[np.int64]:
    """Return for each file the row of the first file with the same bytes, int64 [N]; unreadable files equal none."""
    return _content_ids(tuple(map(_status, files)), tuple(map(str, files)))


@lru_cache(maxsize=8)  # a training scores at each of its evaluations
def _content_ids(states: tuple[tuple[int, int], ...], files: tuple[str, ...]) -> NDArray[np.int64]:
    of_size = Counter(size for size, _ in states)
    alike = [row for row, (size, _) in enumerate(states) if size >= 0 and of_size[size] > 1]
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(alike, pool.map(_hash, (files[row] for row in alike)), strict=True))
    first: dict[str, int] = {}
    ids = np.array([first.setdefault(hashes.get(row, str(row)), row) for row in range(len(files))], np.int64)
    ids.flags.writeable = False
    return ids


def _status(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return -1, 0
    return (
        (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, 0)
    )  # reading a pipe would never end


def _hash(file: str) -> str:
    try:
        return hash_file(Path(file))
    except OSError:
        return hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()
