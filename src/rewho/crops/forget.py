"""Removes crops from a crop set and proves that they are gone; what is killed in between is finished by the next call.

First the hashes of what is forgotten are written, then a note of what is under way, then new shards beside the old
ones, and the index last: from then on readers see the set without the crops. The old files are searched for until
nothing of them is left elsewhere in the folder, and only then removed, so that an interrupted search can be repeated.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rewho.core.artifact import ASIDE, MANIFEST, compute_hashes, hash_file, json_bytes, write_file, write_json
from rewho.core.byte_scan import Pieces, Scan, scan_folder
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.lock import LOCK, Lock
from rewho.core.record import read_sealed, seal
from rewho.core.signing import check_receipt, make_key, public_of, sign
from rewho.crops.inputs import VideoTask
from rewho.crops.joining import select_crops
from rewho.crops.one_video import PARTS, UNFINISHED
from rewho.crops.page import write_description
from rewho.crops.set_page import EXPLAINED
from rewho.crops.shards import INDEX, Contents, CropSet, Shard, read_index
from rewho.crops.statistics import VIDEOS, compute_statistics, read_videos, write_videos
from rewho.crops.suppression import COLUMNS, COUNT, FORGOTTEN, add_suppressed, find_suppressed, read_suppressed
from rewho.crops.writer import ShardWriter

NOTE = "forgetting.json"
"""What is being forgotten; there only while it is under way."""
RECEIPTS = "receipts"
KEY = "key"
"""Name of the file beside the receipts with the private key that signs them; readable by its owner only."""


@dataclass(frozen=True)
class _Task:
    """An erasure that was begun, as its note holds it."""

    number: int  # of the receipt
    before: str  # hash of the index that still has the crops
    keys: tuple[str, ...]  # what is forgotten now
    old: tuple[Shard, ...]  # the shards that have such crops
    old_videos: str  # the list of videos of that index; "" without one
    videos: tuple[str, ...]  # hashes of the videos that the crops are from


def is_unfinished(folder: Path) -> bool:
    """Return whether an erasure from a crop set was interrupted."""
    return (folder / NOTE).is_file()


def check_finished(folder: Path) -> None:
    """Raise a UserError if an erasure from a crop set was interrupted."""
    if is_unfinished(folder):
        fix = f"Run `rewho crops forget {folder}`, which finishes it."
        raise UserError(str(folder), expected="a set from which nothing is being forgotten", got=NOTE, fix=fix)


def forget(folder: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Remove the crops that keys stand for, see `suppression`; return the receipts.

    Without keys an interrupted erasure is finished; with them too, before the new one. The caller holds no lock.

    Raises:
        UserError: No crop set there, or pieces of the crops are in files that are not the set's.
    """
    place = folder.absolute()
    join = Lock(place.with_name(f".{place.name}.join.lock"), str(folder))  # a running `rewho crop` may join the set
    with join, Lock(folder / LOCK, str(folder)):
        key = _key(folder) if keys or is_unfinished(folder) else ""  # before anything is removed: it may be impossible
        made = [_carry_out(folder, _read_note(folder), key)] if is_unfinished(folder) else []
        if keys:
            add_suppressed(folder, keys)
            made.append(_carry_out(folder, _begin(folder, keys), key))
    return made


def _key(folder: Path) -> str:
    """Return the set's private key, which the first erasure makes."""
    file = folder / RECEIPTS / KEY
    if not file.is_file():
        made = make_key()

        def write(out: BinaryIO) -> None:
            os.fchmod(out.fileno(), 0o600)
            out.write(made.encode())

        write_file(file, write)
    return file.read_text().strip()


def read_receipt(file: Path) -> dict[str, Any]:
    """Return the content of a receipt.

    Raises:
        ValueError: It is not as it was signed, or with another key than the set's.
    """
    found = read_json(file)
    if "signature" not in found:  # of a version that only sealed them
        return read_sealed(file)
    key = file.parent / KEY
    if not check_receipt(found, public_of(key.read_text().strip()) if key.is_file() else ""):
        raise ValueError("is not as it was signed")
    return dict(found["content"])


def _begin(folder: Path, keys: Sequence[str]) -> _Task:
    """Write the note of an erasure and return it."""
    crops, wanted = CropSet.open(folder), frozenset(keys)
    old, videos = [], set[str]()
    for shard in crops.contents.shards:
        rows = crops.rows_of(shard, COLUMNS)
        found = find_suppressed(rows, wanted)
        if found.any():
            old.append(shard)
            videos |= set(rows.column("video").filter(found).to_pylist())
    crops.close()
    listed = crops.contents.about.get("videos") or {}
    number = len(list((folder / RECEIPTS).glob("*.json"))) + 1
    before = hash_file(folder / INDEX)
    task = _Task(number, before, tuple(sorted(wanted)), tuple(old), listed.get("file", ""), tuple(sorted(videos)))
    content = json_bytes(seal(asdict(task)))
    write_file(folder / NOTE, lambda file: file.write(content))
    return task


def _read_note(folder: Path) -> _Task:
    try:
        found = read_sealed(folder / NOTE)
        shards = tuple(Shard(**one) for one in found.pop("old"))
        keys, videos = (tuple(found.pop(name)) for name in ("keys", "videos"))
        return _Task(old=shards, keys=keys, videos=videos, **found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "Remove it and forget the same crops again."
        raise UserError(str(folder / NOTE), expected="the note that was written", got=str(error), fix=fix) from error


def _carry_out(folder: Path, task: _Task, key: str) -> dict[str, Any]:
    """Do what is left of an erasure and return its receipt."""
    receipt = folder / RECEIPTS / f"{task.number:04d}.json"
    if not receipt.is_file():
        removed = _removed(folder, task)
        if hash_file(folder / INDEX) == task.before:
            _write_without(folder, task)
        _renew(folder, task)
        signed = json_bytes(sign(key, _prove(folder, task, removed)))
        write_file(receipt, lambda file: file.write(signed))
    for name in _old_files(task):
        (folder / name).unlink(missing_ok=True)
    (folder / NOTE).unlink()
    return read_receipt(receipt)


def _old_files(task: _Task) -> list[str]:
    files = [name for shard in task.old for name in (shard.images, shard.rows)]
    return [*files, task.old_videos] if task.old and task.old_videos else files


def _removed(folder: Path, task: _Task) -> dict[str, bytes]:
    """Return the images that go, by their hashes, from the old shards."""
    crops, found = CropSet(folder, Contents(task.old, {})), dict[str, bytes]()
    for rows, images in _select(crops, frozenset(task.keys), forgotten=True):
        found |= dict(zip(rows.column("sha256").to_pylist(), images.to_pylist(), strict=True))
    crops.close()
    return found


def _select(crops: CropSet, keys: frozenset[str], *, forgotten: bool) -> Iterator[tuple[Any, Any]]:
    mask = find_suppressed(crops.manifest(COLUMNS), keys)
    yield from select_crops(crops, mask if forgotten else ~mask)


def _write_without(folder: Path, task: _Task) -> None:
    """Write new shards and the new list of videos, then the index that names them."""
    contents, keys = read_index(folder), frozenset(task.keys)
    shards = list[Shard]()
    for shard in contents.shards:
        shards += _rewrite(folder, shard, keys, task.number) if shard in task.old else [shard]
    about = {**contents.about, COUNT: len(read_suppressed(folder))}
    if task.old and task.old_videos:
        gone = CropSet(folder, Contents(task.old, {}))
        rows = gone.manifest(COLUMNS)
        hashes = rows.column("video").filter(find_suppressed(rows, keys)).to_pylist()
        records = read_videos(folder)
        for record in records:
            record["crops"] -= hashes.count(record["sha256"]) if record["status"] == "ok" else 0
        listed = write_videos(folder, records, f"{Path(VIDEOS).stem}-{task.number}.parquet")
        about["videos"] = {"file": listed.name, "sha256": hash_file(listed)}
    encoded = Contents(tuple(shards), about).encode()
    write_file(folder / INDEX, lambda file: file.write(encoded))


def _rewrite(folder: Path, shard: Shard, keys: frozenset[str], number: int) -> list[Shard]:
    """Write a shard without the forgotten crops beside the old one; return it, or nothing if no crop is left."""
    aside = folder / f"{ASIDE}forget"
    shutil.rmtree(aside, ignore_errors=True)
    crops = CropSet(folder, Contents((shard,), {}))
    writer = ShardWriter(aside, shard_rows=shard.crops)
    for rows, images in _select(crops, keys, forgotten=False):
        writer.add(rows, images)
    crops.close()
    made = list(writer.commit().contents.shards)
    for at, one in enumerate(made):
        name = f"{shard.name.partition('-')[0]}-{number}"
        files = {"images": f"shards/{name}.arrow", "rows": f"manifest/{name}.parquet"}
        for kind, target in files.items():
            (aside / getattr(one, kind)).replace(folder / target)
        made[at] = Shard(**{**asdict(one), "name": name, **files})
    shutil.rmtree(aside)
    return made


def _renew(folder: Path, task: _Task) -> None:
    """Write page, sheets and lists of the new set, and remove parts and images of the videos that the crops are from.

    A part is made again when it is needed, without what is forgotten.
    """
    for name in (UNFINISHED, PARTS):
        for index in sorted((folder / name).rglob(INDEX)):
            video = read_index(index.parent).about.get("video", {}).get("sha256")
            if name == UNFINISHED or video in task.videos:
                shutil.rmtree(index.parent)
    crops, records = CropSet.open(folder), read_videos(folder)
    for record in records:
        if record["sha256"] in task.videos:
            known = VideoTask(**{name: record[name] for name in ("path", "size", "key", "city", "source", "licence")})
            for image in (folder / EXPLAINED).glob(f"{known.id[:12]}-*.jpg"):
                image.unlink()
    written = write_description(crops, records, compute_statistics(crops, records))
    crops.close()
    if not (folder / MANIFEST).is_file():
        return
    record, gone = read_sealed(folder / MANIFEST), set(_old_files(task))
    listed = [folder / name for name in record["files"] if name not in gone and (folder / name).is_file()]
    videos = [folder / one["file"] for one in [crops.contents.about.get("videos")] if one]
    files = compute_hashes(folder, sorted({*listed, *written, *videos, folder / INDEX, folder / FORGOTTEN}))
    write_json(folder / MANIFEST, seal({**record, "files": files}))


def _prove(folder: Path, task: _Task, removed: Mapping[str, bytes]) -> dict[str, Any]:
    """Search every byte of the folder but the old files for the images, and return the content of the receipt."""
    kept = set(CropSet.open(folder).manifest(["sha256"]).column("sha256").to_pylist())
    hashes = [sha256.encode() for sha256 in removed if sha256 not in kept]
    pieces = Pieces([*removed.values(), *hashes])
    scan = scan_folder(folder, pieces, skip=_old_files(task))
    shared, left = _hits_in_kept_crops(folder, scan, pieces)
    if left:
        file, at = left[0]
        fix = f"Remove {folder / file}, which is not the set's, and run `rewho crops forget {folder}`."
        got = f"a piece of a forgotten image at byte {at:,} of {file}"
        raise UserError(str(folder), expected="nothing of it in any file", got=got, fix=fix)
    return {
        "action": "forget",
        "receipt": task.number,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "crops": len(removed),
        "forgotten": list(task.keys),
        "index before": task.before,
        "index after": hash_file(folder / INDEX),
        "files": scan.files,
        "bytes": scan.length,
        "pieces": scan.windows,
        "found": 0,
        "pieces that kept crops share": shared,
    }


def _hits_in_kept_crops(folder: Path, scan: Scan, pieces: Pieces) -> tuple[int, list[tuple[str, int]]]:
    """Return how many pieces are part of crops that are kept, and those that are elsewhere.

    Neighbouring frames of a camera that stands still begin with the same bytes. Pieces in a shard are a kept crop's if
    its images alone, each compared with the hash in its row, hold as many.
    """
    left, shared = list[tuple[str, int]](), 0
    crops = CropSet.open(folder)
    numbers = {shard.images: number for number, shard in enumerate(crops.contents.shards)}
    for file in sorted({file for file, _ in scan.found}):
        hits = [hit for hit in scan.found if hit[0] == file]
        inside = 0
        if file in numbers:
            images = (image.as_py() for batch in crops.batches_of(numbers[file]) for image in batch.column(1))
            inside = sum(len(pieces.find(image)) for image in images)
        if inside == len(hits):
            shared += inside
        else:
            left += hits
    crops.close()
    return shared, left
