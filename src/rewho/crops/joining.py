"""Parts of videos → one crop set: duplicates among videos, which crops enter, and the shards, in one fixed order.

What is unusual: the order is that of the videos' hashes, so the set does not depend on what the videos are called, on
who worked on them, or on when. Which crops enter is decided from rows alone; images are copied as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.core.progress import Progress
from rewho.crops.near_duplicates import find_distinct, stack_fingerprints
from rewho.crops.rows import import_pyarrow
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.writer import ShardWriter
from rewho.settings import ScreenSettings, SelectionSettings
from rewho.video.screen import DuplicateFilter


@dataclass
class Joined:
    """One video's record, and the crop set that is its part.

    Args:
        record: See `rewho.crops.one_video.blank_record`; `crops` is added when crops are chosen.
        part: Its part.
    """

    record: dict[str, Any]
    part: CropSet


def order_videos(videos: Iterable[Joined], screen: ScreenSettings) -> list[Joined]:
    """Return the videos in the set's order: by hash, then path; later duplicates are refused, with their reason."""
    ordered = sorted(videos, key=lambda one: (one.record["sha256"] or "~", one.record["path"]))
    seen = DuplicateFilter(screen)
    for one in ordered:
        record = one.record
        if record["status"] == "ok" and (reason := seen.check(record["sha256"], record["key"])):
            record |= {"status": "refused", "reason": reason, "kept": 0, "persons": 0}
    return ordered


def check_failures(records: Sequence[dict[str, Any]], limit: float) -> None:
    """Refuse to go on where too many videos failed.

    Raises:
        UserError: More than this share; the message counts them by reason.

    Example:
        >>> check_failures([{"status": "failed", "reason": "empty"}, {"status": "ok", "reason": ""}], 0.5)
    """
    failed = [record for record in records if record["status"] in ("failed", "given up")]
    if len(failed) <= limit * len(records):
        return
    reasons = [record["reason"] for record in failed]
    named = ", ".join(f"{record['path']} ({record['reason']})" for record in failed[:3])
    counted = "; ".join(f"{reason}: {reasons.count(reason):,}" for reason in sorted(set(reasons)))
    raise UserError(
        "videos",
        expected=f"at most {limit:.1%} that fail",
        got=f"{len(failed):,} of {len(records):,} ({len(failed) / len(records):.1%}): {counted}; first {named}",
        fix="Raise --failure_limit, which goes on from here; or mend or take away these videos, with another --out.",
    )


def choose_crops(videos: Sequence[Joined], selection: SelectionSettings) -> list[NDArray[np.bool_]]:
    """Return which crops of each video enter the set.

    In this order: near-duplicates within videos, across videos, the most per video, the share of all.

    Args:
        videos: Videos in the set's order.
        selection: Which crops to take.

    Raises:
        UserError: A setting is out of range.
    """
    used = [one for one in videos if one.record["status"] == "ok" and len(one.part)]
    tables = {id(one): one.part.manifest(["quality", "sha256", "fingerprint"]) for one in used}
    keep = {id(one): np.ones(len(one.part), bool) for one in used}
    if selection.near_duplicates == "video":
        keep = {id(one): _different(tables[id(one)], selection.distance) for one in used}
    if selection.near_duplicates == "set" and used:
        whole = _different(import_pyarrow().concat_tables([tables[id(one)] for one in used]), selection.distance)
        ends = np.cumsum([len(one.part) for one in used])[:-1]
        keep = {id(one): mask for one, mask in zip(used, np.split(whole, ends), strict=True)}
    grades = {name: table.column("quality").to_numpy() for name, table in tables.items()}
    if selection.most_per_video:
        keep = {name: _best(mask, grades[name], selection.most_per_video) for name, mask in keep.items()}
    if selection.share < 1 and used:
        masks = [keep[id(one)] for one in used]
        grade = np.concatenate([grades[id(one)] for one in used])
        whole = _best(np.concatenate(masks), grade, round(selection.share * sum(int(mask.sum()) for mask in masks)))
        ends = np.cumsum([len(mask) for mask in masks])[:-1]
        keep = {id(one): mask for one, mask in zip(used, np.split(whole, ends), strict=True)}
    none = np.zeros(0, bool)
    chosen = [keep.get(id(one), none) for one in videos]
    for one, mask in zip(videos, chosen, strict=True):
        one.record["crops"] = int(mask.sum())
    return chosen


def _different(table: Any, distance: int) -> NDArray[np.bool_]:  # noqa: ANN401 - pyarrow's
    return find_distinct(
        stack_fingerprints(table.column("fingerprint").to_pylist()), table.column("sha256").to_pylist(), distance
    )


def _best(mask: NDArray[np.bool_], grades: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
    """Return the `most` best of those in a mask; of equal ones the first."""
    rows = np.flatnonzero(mask)
    best = rows[np.argsort(-grades[rows], kind="stable")[:most]]
    taken = np.zeros_like(mask)
    taken[best] = True
    return taken


def write_set(out: Path, videos: Sequence[Joined], chosen: Sequence[NDArray[np.bool_]]) -> ShardWriter:
    """Write the shards of a set; what an interrupted join left is replaced. The caller commits.

    Raises:
        UserError: Two crops have one name, or the disk is full.
    """
    for name in ("shards", "manifest"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / INDEX).unlink(missing_ok=True)
    writer = ShardWriter(out)
    _check_names([one.record for one, mask in zip(videos, chosen, strict=True) if mask.any()])
    progress = Progress("join", sum(int(mask.sum()) for mask in chosen), unit="crops")
    for one, mask in zip(videos, chosen, strict=True):
        if mask.any():
            for rows, images in select_crops(one.part, mask):
                writer.add(rows, images)
                progress.advance(len(rows))
            one.part.close()  # there may be more parts than a process may map files
    progress.close()
    return writer


def _check_names(records: Sequence[dict[str, Any]]) -> None:
    """Names begin with 64 bits of the video's hash; two videos that share them would share names."""
    seen: dict[str, str] = {}
    for record in records:
        other = seen.setdefault(record["sha256"][:16], record["path"])
        if other != record["path"]:
            raise UserError(
                record["path"],
                expected="a content of its own",
                got=f"that of {other}",
                fix="Take one of them away, or leave --screen.duplicates_by_content on.",
            )


def select_crops(part: CropSet, mask: NDArray[np.bool_]) -> Iterator[tuple[Any, Any]]:
    """Yield (rows, images) of a mask's crops, a record batch at a time."""
    pa = import_pyarrow()
    start = 0
    for number, shard in enumerate(part.contents.shards):
        rows = part.rows_of(shard)
        at = 0
        for batch in part.batches_of(number):
            here = pa.array(mask[start + at : start + at + len(batch)])
            some = rows.slice(at, len(batch)).filter(here)
            if len(some):
                yield some, batch.column(1).filter(here)
            at += len(batch)
        start += shard.crops
