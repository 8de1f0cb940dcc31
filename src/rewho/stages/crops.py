"""Work with finished crop sets: verify, repair, count, merge, export, compare, forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rewho.core.artifact import plain
from rewho.core.check import UserError
from rewho.core.lock import LOCK, Lock
from rewho.core.progress import say
from rewho.core.record import STARTED, flatten, read_record
from rewho.core.runtime import run_in_processes
from rewho.core.text import quantity
from rewho.crops.export import export, find_overlap, merge
from rewho.crops.forget import forget, is_unfinished
from rewho.crops.forget_choice import find_keys, find_models
from rewho.crops.one_video import PartMaker, hash_config
from rewho.crops.people_source import PeopleSource, VideoPeople
from rewho.crops.shards import CropSet
from rewho.crops.statistics import compute_statistics, read_videos
from rewho.crops.verify import Damage, repair, verify
from rewho.settings import CropSettings, CropsSettings
from rewho.settings.command_line import fill
from rewho.settings.fields import check

SHOWN = 20  # lines of a list that are printed


@run_in_processes
def run(settings: CropsSettings, source: PeopleSource | None = None) -> Path | str:
    """Run the action on the crop sets; return the folder that was written, or text to print."""
    check(settings)
    action = settings.action
    least, most, work = ACTIONS[action]
    if not least <= len(settings.folders) <= most:
        expected = f"{least} folder{'s' if least > 1 else ''}" + (" or more" if most > least else "")
        fix = f"Write `rewho crops {action}{' FOLDER' * least}`."
        raise UserError(f"rewho crops {action}", expected=expected, got=str(len(settings.folders)), fix=fix)
    return work(settings, source)


def _verify(settings: CropsSettings, source: PeopleSource | None) -> str:
    folder = settings.folders[0]
    damage = verify(folder)
    if damage and settings.repair:
        with Lock(folder / LOCK, str(folder)):
            replaced = repair(folder, damage, maker_of(folder, damage, source))
        say(f"built again: {', '.join(replaced)}")
        damage = verify(folder)
    if damage:
        raise UserError(
            f"{folder}: {len(damage)} damaged file{'s' if len(damage) > 1 else ''}",
            expected="the bytes that were written",
            got="others:\n    " + "\n    ".join(str(one) for one in damage[:SHOWN]),
            fix=f"`rewho crops verify {folder} --repair` builds them again from the videos.",
        )
    return f"{folder}: {quantity(len(CropSet.open(folder)), 'crops')}, every byte as it was written"


def maker_of(folder: Path, damage: list[Damage], source: PeopleSource | None = None) -> PartMaker:
    """Return the maker of a set's damaged parts, with the settings that the set was built with."""
    started = folder / STARTED
    if not started.is_file() or any(one.file == STARTED for one in damage):
        fix = "Repair the sets that it was merged from, or build it again."
        raise UserError(str(started), expected="the settings that the set was built with", got="none", fix=fix)
    settings = fill(CropSettings, flatten(read_record(started)["settings"]), "crop")
    source = source or VideoPeople(settings)
    return PartMaker(folder, settings, hash_config(settings, source.models()), source, folder)


def _stats(settings: CropsSettings, _source: PeopleSource | None) -> str:
    figures = [compute_statistics(CropSet.open(folder), read_videos(folder)) for folder in settings.folders]
    shown = figures[0] if len(figures) == 1 else dict(zip(map(str, settings.folders), figures, strict=True))
    return json.dumps(plain(shown), indent=1, ensure_ascii=False, allow_nan=False)


def _merge(settings: CropsSettings, _source: PeopleSource | None) -> Path:
    with _output_lock(settings.out):
        return merge(settings.folders, settings.out).folder


def _export(settings: CropsSettings, _source: PeopleSource | None) -> Path:
    crops = CropSet.open(settings.folders[0])
    if settings.blur_faces:
        say(
            "note: images with hidden faces find the wrong people in a search; search a gallery by `--sightings N`, "
            "or export with --blur_faces false"
        )
    with _output_lock(settings.out):
        return export(crops, settings.out, settings.layout, blur_faces=settings.blur_faces, people=settings.people)


def _forget(settings: CropsSettings, _source: PeopleSource | None) -> str:
    """Forget crops in all sets that have them; finish interrupted erasures. Models trained on the sets are named."""
    asked = [*settings.names, *settings.videos, *settings.tracks]
    found = {folder: find_keys(folder, settings.names, settings.videos, settings.tracks) for folder in settings.folders}
    unfinished = [folder for folder in settings.folders if is_unfinished(folder)]
    if not asked and not unfinished:
        fix = "Pass --names, --videos or --tracks."
        raise UserError("rewho crops forget", expected="what is to be forgotten", got="nothing", fix=fix)
    for one in asked:
        if not any(keys[one] for keys in found.values()):
            fix = "`name`, `video` and `track` in the manifest say what is there."
            raise UserError("rewho crops forget", expected="what one of the sets has", got=repr(one), fix=fix)
    lines = []
    for folder, keys in found.items():
        for receipt in forget(folder, sorted({key for some in keys.values() for key in some})):
            lines.append(
                f"{folder}: {quantity(receipt['crops'], 'crops')} forgotten; {receipt['files']:,} files, "
                f"{receipt['bytes']:,} bytes searched for {receipt['pieces']:,} pieces of them, none left; "
                f"receipt {receipt['receipt']}"
            )
    models = find_models(settings.folders, settings.runs) if settings.runs.is_dir() else []
    named = [f"{model} was trained on it; train it again, or remove it" for model in models]
    kept = "Galleries, exported images and merged sets are copies: forget there too."
    return "\n".join([*lines, *(named or [f"no model below {settings.runs} was trained on it"]), kept])


def _output_lock(out: Path) -> Lock:
    """Return the lock of an output folder or file; the lock file is beside it."""
    place = out.absolute()
    return Lock(place.with_name(f".{place.name}{LOCK}"), f"--out {out}")


def _overlap(settings: CropsSettings, _source: PeopleSource | None) -> str:
    first, second = (CropSet.open(folder) for folder in settings.folders)
    shared = find_overlap(first, second, settings.distance)
    lines = [f"{one} = {other} ({how.bits} of 256 bits differ)" for one, other, how in shared[:SHOWN]]
    more = [f"and {len(shared) - SHOWN:,} more"] if len(shared) > SHOWN else []
    return "\n".join([f"in both sets, or nearly: {quantity(len(shared), 'images')}", *lines, *more])


MANY = 10_000
ACTIONS: dict[str, tuple[int, int, Callable[[CropsSettings, PeopleSource | None], Path | str]]] = {
    "verify": (1, 1, _verify),
    "stats": (1, MANY, _stats),
    "merge": (2, MANY, _merge),
    "export": (1, 1, _export),
    "overlap": (2, 2, _overlap),
    "forget": (1, MANY, _forget),
}
"""Each action with the least and most folders that it takes."""
