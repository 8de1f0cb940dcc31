"""Every byte of a crop set looked at, and what is damaged built again from the videos, and that alone.

What is unusual: a repaired shard must have the hash that the index remembers, so that a repair can only give back what
was there. Images and rows of a shard each name its crops; where both are damaged, nothing says which crops it had.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewho.core.artifact import MANIFEST, digest, hash_file, json_bytes, write_file
from rewho.core.check import UserError, describe_error, resolve_inside
from rewho.core.files import parse_json
from rewho.core.progress import Progress
from rewho.core.record import STARTED
from rewho.crops.inputs import VideoTask
from rewho.crops.one_video import PartMaker
from rewho.crops.page import write_description
from rewho.crops.rows import import_pyarrow, matches_row
from rewho.crops.shards import INDEX, CropSet, Shard, unsealed
from rewho.crops.statistics import VIDEOS, compute_statistics, read_videos
from rewho.crops.writer import ShardWriter

SEAL = "seal"
REPAIR = ".repair"  # where shards are built again


@dataclass(frozen=True)
class Damage:
    """One damaged file.

    Args:
        file: Its path within the set.
        what: What is wrong.
        crops: Names of the damaged crops, where they are known.
    """

    file: str
    what: str
    crops: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f": {', '.join(self.crops[:3])}" if self.crops else ""
        more = f" and {len(self.crops) - 3:,} more" if len(self.crops) > 3 else ""
        return f"{self.file} {self.what}{named}{more}"


def verify(folder: Path) -> list[Damage]:
    """Return all damage to a crop set; every byte that a stage wrote is read.

    Raises:
        UserError: There is no crop set.
    """
    if not any((folder / name).is_file() for name in (INDEX, MANIFEST)):
        fix = "Check the path, or build it."
        raise UserError(str(folder), expected=f"a crop set (a folder with {INDEX})", got="none", fix=fix)
    found = [*_manifest(folder)]
    try:
        unsealed((folder / INDEX).read_bytes())
    except (OSError, ValueError) as error:
        return [one for one in found if one.file != INDEX] + [Damage(INDEX, f"is damaged ({describe_error(error)})")]
    crops = CropSet.open(folder)
    progress = Progress("verify", len(crops), unit="crops")
    for number, shard in enumerate(crops.contents.shards):
        found += _shard(crops, number, shard)
        progress.advance(shard.crops)
    progress.close()
    if not found:
        found += _names_twice(crops)
    videos = crops.contents.about.get("videos")
    if videos and not any(one.file == VIDEOS for one in found):
        found += _file(folder, videos["file"], videos.get("sha256"))
    return found


def _manifest(folder: Path) -> Iterator[Damage]:
    """Check the stage's own manifest and the small files that it names; sets made by `merge` have none."""
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / STARTED).is_file():
            yield Damage(MANIFEST, "is missing")
        return
    try:
        written = path.read_bytes()
        content = parse_json(written)
        seal = content.pop(SEAL)
        if seal != digest(content) or json_bytes({**content, SEAL: seal}) != written:
            raise ValueError("does not match its own seal")
        for name, entry in content["files"].items():
            yield from _file(folder, name, entry["sha256"])
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Damage(MANIFEST, f"is damaged ({describe_error(error)})")


def _file(folder: Path, name: str, sha256: object) -> Iterator[Damage]:
    file = resolve_inside(folder, name, f"the lists of {folder}")
    if not file.is_file():
        yield Damage(name, "is missing")
    elif hash_file(file) != sha256:
        yield Damage(name, "does not match its sha256")


def _names_twice(crops: CropSet) -> Iterator[Damage]:
    """Name the crops that share a name; exports would write one of them."""
    counted = crops.manifest(["name"]).column("name").value_counts()
    twice = [
        str(one["values"]) for one in counted.filter(import_pyarrow().compute.greater(counted.field(1), 1)).to_pylist()
    ]
    if twice:
        yield Damage(INDEX, f"has {len(twice):,} names of more than one crop", tuple(twice))


def _shard(crops: CropSet, number: int, shard: Shard) -> Iterator[Damage]:
    yield from _file(crops.folder, shard.rows, shard.rows_sha256)
    for damage in _file(crops.folder, shard.images, shard.images_sha256):
        yield Damage(damage.file, damage.what, tuple(_damaged_crops(crops, number, shard)))


def _damaged_crops(crops: CropSet, number: int, shard: Shard) -> Iterator[str]:
    """Yield the names of the crops whose bytes changed, as far as the file can still be read."""
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
    """Build damaged shards again from their videos; return the files that were replaced.

    Args:
        folder: The crop set.
        damage: What `verify` found.
        maker: Makes parts, with the settings of the set.

    Raises:
        UserError: What is damaged cannot be told from what is left, or a video is not what it was.
    """
    names = {one.file for one in damage}
    lost = sorted(names & {INDEX, VIDEOS, STARTED, MANIFEST})
    if lost:
        raise UserError(
            f"{folder}: {', '.join(lost)}",
            expected="a set whose lists are whole",
            got="damage to what the shards would be built from",
            fix="Run the command that built the set with another --out; nothing less can be trusted.",
        )
    crops = CropSet.open(folder)
    replaced: list[str] = []
    for shard in crops.contents.shards:
        if names & {shard.rows, shard.images}:
            rebuild(crops, shard, names, maker)
            replaced += sorted(names & {shard.rows, shard.images})
    others = names - set(replaced)
    if others:
        whole = CropSet.open(folder)
        videos = read_videos(folder)
        write_description(whole, videos, compute_statistics(whole, videos))
        replaced += sorted(others)
    return replaced


def rebuild(crops: CropSet, shard: Shard, damaged: set[str], maker: PartMaker) -> None:
    """Replace one shard by what its videos give, if that is to the byte what it was.

    Raises:
        UserError: Both files of the shard are damaged, or its videos do not give the same crops any more.
    """
    wanted = _names(crops, shard, damaged)
    needed = {name[:16] for name in wanted}
    place = crops.folder / REPAIR
    _remove(place)
    try:
        parts = []
        for number, video in enumerate(read_videos(crops.folder)):
            if video["status"] == "ok" and video["sha256"][:16] in needed:
                task = VideoTask(**{name: video[name] for name in ("path", "size", "key", "city", "source", "licence")})
                if not Path(task.path).is_file():  # a pipe by that name would hold us up
                    fix = "Put the video back, or build the set again with another --out."
                    raise UserError(task.path, expected="the video that the set was made of", got="none", fix=fix)
                (place / str(number)).mkdir(parents=True)
                maker.fill(place / str(number), task)
                parts.append(CropSet.open(place / str(number)))
        _replace(crops, shard, wanted, parts, place / "new")
    finally:
        _remove(place)
        crops.close()


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()  # where it leads is no business of ours
    shutil.rmtree(place, ignore_errors=True)


def _names(crops: CropSet, shard: Shard, damaged: set[str]) -> list[str]:
    """Return the names of a shard's crops, from whichever of its two files is whole."""
    if shard.rows not in damaged:
        return [str(name) for name in crops.rows_of(shard, ["name"]).column("name").to_pylist()]
    if shard.images not in damaged:
        number = crops.contents.shards.index(shard)
        return [str(name) for batch in crops.batches_of(number, check=False) for name in batch.column(0).to_pylist()]
    raise UserError(
        f"{crops.folder}, shard {shard.name}",
        expected="images or rows that are whole",
        got="damage to both",
        fix="Run the command that built the set with another --out.",
    )


def _replace(crops: CropSet, shard: Shard, wanted: list[str], parts: Sequence[CropSet], place: Path) -> None:
    found: dict[str, tuple[CropSet, int]] = {}
    for part in parts:
        for row, name in enumerate(part.manifest(["name"]).column("name").to_pylist()):
            found[name] = (part, row)
    missing = [name for name in wanted if name not in found]
    if not missing:
        writer = ShardWriter(place, shard_rows=max(1, len(wanted)))
        tables = {id(part): part.manifest() for part in parts}
        for name in wanted:
            part, row = found[name]
            writer.add(tables[id(part)].slice(row, 1), [part.bytes(row)])
        made = writer.commit().contents.shards[0]
        if (made.images_sha256, made.rows_sha256) == (shard.images_sha256, shard.rows_sha256):
            for new, old in ((made.images, shard.images), (made.rows, shard.rows)):
                _copy(place / new, resolve_inside(crops.folder, old, INDEX))
            return
    raise UserError(
        f"{crops.folder}, shard {shard.name}",
        expected="the crops that were in it",
        got=f"{len(missing):,} of {len(wanted):,} missing" if missing else "others",
        fix="The videos, the models or their libraries have changed; build the set again with another --out.",
    )


def _copy(source: Path, target: Path) -> None:
    """Put a copy of a file in place of another, whole or not at all."""
    with source.open("rb") as data:
        write_file(target, lambda file: shutil.copyfileobj(data, file))
