"""Verifies every byte of a crop set, and rebuilds damaged shards from the videos.

A rebuilt shard must have the hash that stands in the index: a repair restores exactly what was there. The images and
the rows of a shard both name its crops; where both are damaged, the shard cannot be rebuilt.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewho.core.artifact import MANIFEST, hash_file, write_file
from rewho.core.check import UserError, describe_error, resolve_inside
from rewho.core.progress import Progress
from rewho.core.record import STARTED, read_sealed
from rewho.crops.forget import NOTE, RECEIPTS, is_unfinished, read_receipt
from rewho.crops.inputs import VideoTask
from rewho.crops.one_video import PartMaker
from rewho.crops.page import write_description
from rewho.crops.rows import FORMAT, import_pyarrow, matches_row
from rewho.crops.shards import INDEX, CropSet, Shard, no_crop_set
from rewho.crops.statistics import VIDEOS, compute_statistics, read_videos
from rewho.crops.suppression import FORGOTTEN, read_suppressed
from rewho.crops.tracks import find_shared_frames, read_tracks
from rewho.crops.writer import ShardWriter

SHOWN_NAMES = 4  # of crops that a check names; the message counts the others
REPAIR = ".repair"  # folder in which shards are rebuilt
REBUILD_ALL = "Run the command that built the set with another --out."


@dataclass(frozen=True)
class Damage:
    """One damaged file of a crop set."""

    file: str  # path within the set
    what: str  # what is wrong
    crops: tuple[str, ...] = ()  # names of the damaged crops, where they are known

    def __str__(self) -> str:
        named = f": {', '.join(self.crops[:3])}" if self.crops else ""
        more = f" and {len(self.crops) - 3:,} more" if len(self.crops) > 3 else ""
        return f"{self.file} {self.what}{named}{more}"


def verify(folder: Path) -> list[Damage]:
    """Return all damage to a crop set, from reading every byte; raise UserError if there is no crop set."""
    if not any((folder / name).is_file() for name in (INDEX, MANIFEST)):
        raise no_crop_set(folder)
    found = [*_verify_manifest(folder)]
    if is_unfinished(folder):
        found.append(Damage(NOTE, f"says that an erasure was interrupted; `rewho crops forget {folder}` finishes it"))
    found += _verify_receipts(folder)
    try:
        read_sealed(folder / INDEX)
    except (OSError, ValueError) as error:
        return [one for one in found if one.file != INDEX] + [Damage(INDEX, f"is damaged ({describe_error(error)})")]
    crops = CropSet.open(folder)
    try:
        read_suppressed(folder, crops.contents.about)
    except UserError as error:
        found.append(Damage(FORGOTTEN, f"is not as it was written: {error.got}"))
    progress = Progress("verify", len(crops), unit="crops")
    for number, shard in enumerate(crops.contents.shards):
        found += _verify_file(folder, shard.rows, shard.rows_sha256)
        for damage in _verify_file(folder, shard.images, shard.images_sha256):
            found.append(Damage(damage.file, damage.what, tuple(_find_damaged_crops(crops, number, shard))))
        progress.advance(shard.crops)
    progress.close()
    if not found:
        found += _find_duplicate_names(crops)
        found += _find_doubled_people(crops)
    videos = crops.contents.about.get("videos")
    if videos and not any(one.file == videos["file"] for one in found):
        found += _verify_file(folder, videos["file"], videos.get("sha256"))
    return found


def _verify_manifest(folder: Path) -> Iterator[Damage]:
    """Verify the stage's manifest and the files that it lists; sets made by `merge` have none."""
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / STARTED).is_file():
            yield Damage(MANIFEST, "is missing")
        return
    try:
        for name, entry in read_sealed(path)["files"].items():
            yield from _verify_file(folder, name, entry["sha256"])
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Damage(MANIFEST, f"is damaged ({describe_error(error)})")


def _verify_receipts(folder: Path) -> Iterator[Damage]:
    for file in sorted((folder / RECEIPTS).glob("*.json")):
        try:
            read_receipt(file)
        except (OSError, ValueError) as error:
            yield Damage(f"{RECEIPTS}/{file.name}", describe_error(error))


def _verify_file(folder: Path, name: str, sha256: object) -> Iterator[Damage]:
    file = resolve_inside(folder, name, f"the lists of {folder}")
    if not file.is_file():
        yield Damage(name, "is missing")
    elif hash_file(file) != sha256:
        yield Damage(name, "does not match its sha256")


def _find_duplicate_names(crops: CropSet) -> Iterator[Damage]:
    """Report names of more than one crop: an export would write only one of them."""
    counts = crops.manifest(["name"]).column("name").value_counts()
    repeated = counts.filter(import_pyarrow().compute.greater(counts.field(1), 1))
    if names := [str(one["values"]) for one in repeated.to_pylist()]:
        yield Damage(INDEX, f"has {len(names):,} names of more than one crop", tuple(names))


def _find_doubled_people(crops: CropSet) -> Iterator[Damage]:
    """Report crops that share track and frame with another one: nobody is twice in a frame."""
    if len(rows := find_shared_frames(read_tracks(crops))):
        names = tuple(crops.name(int(row)) for row in rows[:SHOWN_NAMES])
        yield Damage(INDEX, f"has {len(rows):,} crops of tracks that have another crop in the same frame", names)
    crops.close()


def _find_damaged_crops(crops: CropSet, number: int, shard: Shard) -> Iterator[str]:
    """Yield the names of crops whose bytes changed, as far as the file can be read."""
    pa = import_pyarrow()
    try:
        rows = crops.rows_of(shard, ["name", "sha256"]).to_pylist()
        at = 0
        for batch in crops.batches_of(number, check=False):
            for row, image in zip(rows[at : at + len(batch)], batch.column(1), strict=True):
                if not matches_row(row, image.as_py()):
                    yield row["name"]
            at += len(batch)
    except (UserError, OSError, ValueError, IndexError, pa.ArrowException) as error:
        yield f"(the rest cannot be read: {type(error).__name__})"
    finally:
        crops.close()


def repair(folder: Path, damage: Sequence[Damage], maker: PartMaker) -> list[str]:
    """Rebuild damaged shards from their videos and return the files that were replaced."""
    names = {one.file for one in damage}
    listed = {name for name in names if name.startswith(Path(VIDEOS).stem)}
    if lists := sorted(listed | names & {INDEX, STARTED, MANIFEST, NOTE, FORGOTTEN}):
        raise UserError(
            f"{folder}: {', '.join(lists)}",
            expected="intact lists",
            got="damage to the files from which shards are rebuilt",
            fix=REBUILD_ALL,
        )
    crops = CropSet.open(folder)
    replaced: list[str] = []
    for shard in crops.contents.shards:
        if damaged := names & {shard.rows, shard.images}:
            _rebuild(crops, shard, damaged, maker)
            replaced += sorted(damaged)
    others = names - set(replaced)
    if others:
        whole = CropSet.open(folder)
        videos = read_videos(folder)
        write_description(whole, videos, compute_statistics(whole, videos))
        replaced += sorted(others)
    return replaced


def _rebuild(crops: CropSet, shard: Shard, damaged: set[str], maker: PartMaker) -> None:
    """Replace one shard by one made from its videos, provided that it has the same bytes."""
    wanted = _read_names(crops, shard, damaged)
    needed = {name[:16] for name in wanted}
    place = crops.folder / REPAIR
    _remove(place)
    try:
        parts = []
        for number, video in enumerate(read_videos(crops.folder)):
            if video["status"] == "ok" and video["sha256"][:16] in needed:
                task = VideoTask(**{name: video[name] for name in ("path", "size", "key", "city", "source", "licence")})
                if not Path(task.path).is_file():  # opening a named pipe would block
                    fix = "Put the video back, or build the set again with another --out."
                    raise UserError(task.path, expected="the video that the set was made from", got="none", fix=fix)
                (place / str(number)).mkdir(parents=True)
                maker.fill(place / str(number), task)
                parts.append(CropSet.open(place / str(number)))
        _replace(crops, shard, wanted, parts, place / "new")
    finally:
        _remove(place)
        crops.close()


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()  # the link only, not its target
    shutil.rmtree(place, ignore_errors=True)


def _read_names(crops: CropSet, shard: Shard, damaged: set[str]) -> list[str]:
    """Return the names of a shard's crops from the intact one of its two files."""
    if shard.rows not in damaged:
        return [str(name) for name in crops.rows_of(shard, ["name"]).column("name").to_pylist()]
    if shard.images not in damaged:
        number = crops.contents.shards.index(shard)
        return [str(name) for batch in crops.batches_of(number, check=False) for name in batch.column(0).to_pylist()]
    what = f"{crops.folder}, shard {shard.name}"
    raise UserError(what, expected="intact images or rows", got="damage to both", fix=REBUILD_ALL)


def _replace(crops: CropSet, shard: Shard, wanted: list[str], parts: Sequence[CropSet], place: Path) -> None:
    found: dict[str, tuple[CropSet, int]] = {}
    for part in parts:
        for row, name in enumerate(part.manifest(["name"]).column("name").to_pylist()):
            found[name] = (part, row)
    missing = [name for name in wanted if name not in found]
    if not missing:
        tables = {id(part): part.manifest() for part in parts}
        for version in range(FORMAT, 0, -1):  # the shard may be older than this program
            writer = ShardWriter(place / str(version), shard_rows=max(1, len(wanted)), version=version)
            for name in wanted:
                part, row = found[name]
                writer.add(tables[id(part)].slice(row, 1), [part.bytes(row)])
            made = writer.commit().contents.shards[0]
            if (made.images_sha256, made.rows_sha256) == (shard.images_sha256, shard.rows_sha256):
                for new, old in ((made.images, shard.images), (made.rows, shard.rows)):
                    _copy(writer.folder / new, resolve_inside(crops.folder, old, INDEX))
                return
    raise UserError(
        f"{crops.folder}, shard {shard.name}",
        expected="the crops that were in it",
        got=f"{len(missing):,} of {len(wanted):,} missing" if missing else "others",
        fix="The videos, the models or their libraries have changed; build the set again with another --out.",
    )


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as data:
        write_file(target, lambda file: shutil.copyfileobj(data, file))
