"""Whether a crop set would put people into a gallery twice, who are there from another set of the same videos.

A gallery knows a crop again by its frame and box. Another detector or other sampled frames give other ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.invocation import read_invocation
from rewho.core.record import list_differences
from rewho.crops.inputs import VideoTask
from rewho.crops.shards import INDEX
from rewho.crops.statistics import read_videos
from rewho.gallery.gallery import Gallery

BOXES = ("detector", "pose", "sampling", "rules")
"""Groups of settings of `crop` that decide which boxes of which frames are kept."""
_FREE = tuple(f"{group}.{name}" for group in ("detector", "pose") for name in ("device", "threads"))


def refuse_repeated(
    gallery: Path, sets: Iterable[Path], crop: Path, wanted: Mapping[str, Any], tasks: Iterable[VideoTask]
) -> None:
    """Raise UserError if the gallery has people of a task's video out of a set that was made with other settings.

    Args:
        gallery: A folder of a gallery.
        sets: Finished crop sets that may be in it; `crop` itself is passed over.
        crop: The crop set that is to be added.
        wanted: Its settings by dotted name.
        tasks: Its videos.
    """
    there, files = None, list(tasks)
    for old in sorted(sets):
        if old == crop:
            continue
        before = read_invocation(old).get("settings")
        changed = _changed(before, wanted) if isinstance(before, dict) else []
        if not changed or not (same := _same_videos(old, files)):
            continue
        there = _digests(gallery) if there is None else there
        if hash_file(old / INDEX) not in there or ((crop / INDEX).is_file() and hash_file(crop / INDEX) in there):
            continue
        assert isinstance(before, dict)
        raise UserError(
            f"{gallery}, which has the people of {same[0]} out of {old}",
            expected="the same settings of `crop` as there",
            got=f"others, which would put everybody into it twice ({'; '.join(changed)})",
            fix=f"Repeat {_typed(before, changed)}, or choose another --out.",
        )


def _changed(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the differences of what decides on boxes, without names that one of both does not know."""
    names = [name for name in before if name in wanted and name.startswith(tuple(f"{group}." for group in BOXES))]
    same = [name for name in names if name.endswith(".weights") and _same_file(before[name], wanted[name])]
    return list_differences({n: before[n] for n in names}, {n: wanted[n] for n in names}, (*_FREE, *same))


def _same_file(one: object, other: object) -> bool:
    files = [Path(path) for path in (one, other) if isinstance(path, str)]
    return len(files) == 2 and all(file.is_file() for file in files) and len({hash_file(file) for file in files}) == 1


def _same_videos(old: Path, tasks: Iterable[VideoTask]) -> list[str]:
    """Return the paths of the videos that a crop set has people of; the content decides on those of another path."""
    known = [one for one in read_videos(old) if one["kept"]]
    by_size = {
        int(one["size"]): {str(other["path"]) for other in known if other["size"] == one["size"]} for one in known
    }
    contents = {one["sha256"] for one in known}
    return [
        task.path
        for task in tasks
        if task.size in by_size and (task.path in by_size[task.size] or hash_file(Path(task.path)) in contents)
    ]


def _digests(gallery: Path) -> set[str]:
    """Return the digests of the sources of which the gallery has sightings."""
    with Gallery(gallery) as opened:
        rows = opened.database.rows("SELECT digest FROM sources WHERE id IN (SELECT source FROM sightings)")
        return {str(row[0]) for row in rows}


def _typed(before: Mapping[str, Any], changed: Iterable[str]) -> str:
    """Return the options of `rewho run` that give the settings as they were."""
    found, names = list[str](), [line.partition(": ")[0] for line in changed]
    for group in ("detector", "pose"):
        if {f"{group}.kind", f"{group}.weights"}.intersection(names):
            found.append(f"--{group} {before.get(f'{group}.weights') or before[f'{group}.kind']}")
    if "sampling.seconds" in names:
        found.append(f"--seconds {before['sampling.seconds']:g}")
    typed = ("detector.kind", "detector.weights", "pose.kind", "pose.weights", "sampling.seconds")
    found += [f"--override crop.{name}={before[name]}" for name in names if name not in typed]
    return " ".join(found)
