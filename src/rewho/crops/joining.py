"""Joins the parts of videos into one crop set: removes duplicate videos, selects crops, writes shards in a fixed order.

Videos are ordered by their hashes, so the set does not depend on their names, or on where and when they were processed.
Crops are selected from manifest rows; images are copied unchanged.
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
    """A video's record and its part."""

    record: dict[str, Any]  # see `one_video.new_record`; `choose_crops` adds `crops`
    part: CropSet


def order_videos(videos: Iterable[Joined], screen: ScreenSettings) -> list[Joined]:
    """Return the videos ordered by hash, then path, with the records of later duplicates set to refused."""
    ordered = sorted(videos, key=lambda one: (one.record["sha256"] or "~", one.record["path"]))
    seen = DuplicateFilter(screen)
    for one in ordered:
        record = one.record
        if record["status"] == "ok" and (reason := seen.check(record["sha256"], record["key"])):
            record |= {"status": "refused", "reason": reason, "kept": 0, "persons": 0}
    return ordered


def check_failures(records: Sequence[dict[str, Any]], limit: float) -> None:
    """Raise UserError if more than a share `limit` of the videos failed; the message counts them by reason."""
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
        fix="Raise --failure_limit to resume from here, or repair or remove these videos and choose another --out.",
    )


def choose_crops(videos: Sequence[Joined], selection: SelectionSettings) -> list[NDArray[np.bool_]]:
    """Return which crops of each video enter the set, as one bool mask per video (empty for a video without crops).

    Steps, in this order: near-duplicates within a video or the set, the most per video, the best share of all.
    """
    used = [number for number, one in enumerate(videos) if one.record["status"] == "ok" and len(one.part)]
    tables = [videos[number].part.manifest(["quality", "sha256", "fingerprint"]) for number in used]
    ends = np.cumsum([len(table) for table in tables])[:-1]
    masks = [np.ones(len(table), bool) for table in tables]
    if selection.near_duplicates == "video":
        masks = [_find_distinct(table, selection.distance) for table in tables]
    if selection.near_duplicates == "set" and used:
        masks = np.split(_find_distinct(import_pyarrow().concat_tables(tables), selection.distance), ends)
    quality = [table.column("quality").to_numpy() for table in tables]
    if selection.most_per_video:
        masks = [_find_best(mask, one, selection.most_per_video) for mask, one in zip(masks, quality, strict=True)]
    if selection.share < 1 and used:
        mask = np.concatenate(masks)
        most = round(selection.share * int(mask.sum()))
        masks = np.split(_find_best(mask, np.concatenate(quality), most), ends)
    chosen = [np.zeros(0, bool)] * len(videos)
    for number, mask in zip(used, masks, strict=True):
        chosen[number] = mask
    for one, mask in zip(videos, chosen, strict=True):
        one.record["crops"] = int(mask.sum())
    return chosen


def _find_distinct(table: Any, distance: int) -> NDArray[np.bool_]:  # noqa: ANN401 - pyarrow's
    return find_distinct(
        stack_fingerprints(table.column("fingerprint").to_pylist()), table.column("sha256").to_pylist(), distance
    )


def _find_best(mask: NDArray[np.bool_], quality: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
    """Return a mask of the `most` rows of a mask with the highest quality, the first ones among equals."""
    rows = np.flatnonzero(mask)
    best = np.zeros_like(mask)
    best[rows[np.argsort(-quality[rows], kind="stable")[:most]]] = True
    return best


def write_set(out: Path, videos: Sequence[Joined], chosen: Sequence[NDArray[np.bool_]]) -> ShardWriter:
    """Write the shards of a set, replacing those of an interrupted join, and return the writer, not yet committed."""
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
            one.part.close()  # a process may map fewer files than there are parts
    progress.close()
    return writer


def _check_names(records: Sequence[dict[str, Any]]) -> None:
    """Raise UserError if two videos share the first 64 bits of their hashes, and so the names of their crops."""
    seen: dict[str, str] = {}
    for record in records:
        other = seen.setdefault(record["sha256"][:16], record["path"])
        if other != record["path"]:
            raise UserError(
                record["path"],
                expected="a video with other content",
                got=f"the content of {other}",
                fix="Remove one of them, or leave --screen.duplicates_by_content on.",
            )


def select_crops(part: CropSet, mask: NDArray[np.bool_]) -> Iterator[tuple[Any, Any]]:
    """Yield the rows and images of the crops in a mask, one record batch at a time."""
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
