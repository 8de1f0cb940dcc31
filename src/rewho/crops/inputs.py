"""Turns the user's files, folders, lists and CSV files into one task per video.

The order of tasks depends on the videos' paths only. The id of a task is computed from path and file size, so that a
finished part is found again on resume.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS, find_spelling
from rewho.core.progress import say
from rewho.data.file_lists import read_text

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"))
COLUMNS = ("path", "key", "city", "source", "licence")
"""Columns of a CSV file; only the first is required."""


@dataclass(frozen=True, slots=True)
class VideoTask:
    """One video to process."""

    path: str
    size: int  # of the file in bytes; -1 where it is no plain file
    key: str = ""  # id at its source, such as a platform; videos with the same key are the same
    city: str = ""  # where it was recorded
    source: str = ""  # where it comes from
    licence: str = ""  # identifier of its licence

    @property
    def id(self) -> str:
        """Name of the folder of the video's part: 32 hexadecimal digits."""
        return hashlib.sha256(f"{self.size}\n{self.path}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Plan:
    """The videos to process, in the order of their paths.

    Args:
        known: Path of each video → its key, city, source and licence, or nothing.

    Example:
        >>> plan = Plan({"b.mp4": (), "a.mp4": ()})
        >>> len(plan), [task.path for task in plan], [task.path for task in plan.tasks("1/1")]
        (2, ['a.mp4', 'b.mp4'], ['a.mp4', 'b.mp4'])
    """

    def __init__(self, known: dict[str, tuple[str, ...]]) -> None:
        self._known = dict(sorted(known.items()))

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[VideoTask]:
        for path, rest in self._known.items():
            file = Path(path)
            yield VideoTask(path, file.stat().st_size if file.is_file() else -1, *rest)

    def tasks(self, shard: str) -> Iterator[VideoTask]:
        """Return the tasks of part i of n, written "i/n"."""
        part, parts = parse_shard(shard)
        return (task for task in self if int(task.id[:8], 16) % parts == part - 1)

    def digest(self) -> str:
        """Return the sha256 of all fields of all tasks."""
        whole = hashlib.sha256()
        for task in self:
            fields = (task.path, str(task.size), task.key, task.city, task.source, task.licence)
            whole.update("\0".join((*fields, "")).encode("utf-8", "surrogateescape"))
        return whole.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n" where 1 <= i <= n; raise UserError otherwise."""
    part, _, parts = text.partition("/")
    if part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise UserError("--shard", expected="i/n with 1 <= i <= n", got=repr(text), fix="Write --shard 1/8 to --shard 8/8.")


def plan_videos(named: Sequence[Path]) -> Plan:
    """Return the plan for the user's files, folders and lists.

    A missing file in a list is still a task: that video fails, the others do not.
    """
    if not named:
        fix = "Name at least one."
        raise UserError("videos", expected="files, folders, .txt lists or .csv files", got="none", fix=fix)
    known: dict[str, tuple[str, ...]] = {}
    for path in named:
        for name, fields in _read(Path(path)):
            known[name] = max(known.get(name, ()), fields)  # named twice: keep the fuller entry, in either order
    return Plan(known)


def _read(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the videos that one path names, each with its key, city, source and licence."""
    if path.is_dir():
        yield from ((name, ()) for name in _search_folder(path))
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        fix = "Make a video of the images, or `rewho embed` them if each shows one person."
        raise UserError(str(path), expected="a video, a folder, or a list", got="an image", fix=fix)
    elif path.suffix.lower() == ".csv":
        yield from _read_csv(path)
    elif path.suffix.lower() == ".txt":
        lines = (line.strip() for line in read_text(path).splitlines())
        yield from ((_resolve(path, line), ()) for line in lines if line and not line.startswith("#"))
    elif not path.exists():
        raise UserError(str(path), expected="a video, a folder, or a list", got="nothing there", fix="Check the path.")
    else:
        yield str(path), ()


def _search_folder(folder: Path) -> Iterator[str]:
    found = images = hidden = 0
    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        images += suffix in IMAGE_SUFFIXES
        if suffix not in VIDEO_ENDINGS or path.is_dir():  # a folder's own files are found below it
            continue
        if path.name.startswith("."):  # such as ._clip.mp4, in which macOS stores attributes of clip.mp4
            hidden += 1
            continue
        found += 1
        yield str(path)
    if hidden:
        say(f"{folder}: {hidden:,} hidden files are skipped, such as ._clip.mp4; to read one, pass its own path")
    if not found:
        make = "Make a video of them (`ffmpeg -i %06d.jpg clip.mp4`), or `rewho embed` them if each shows one person."
        raise UserError(
            str(folder),
            expected=f"video files ({', '.join(sorted(VIDEO_ENDINGS))})",
            got=f"none, but {images:,} images" if images else "none",
            fix=make if images else "Name the files themselves if they have other endings.",
        )


def _read_csv(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    lines = csv.DictReader(read_text(path).splitlines())
    columns = lines.fieldnames or ()
    unknown = [name for name in columns if name not in COLUMNS]
    if "path" not in columns or unknown:
        got = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "no column 'path'"
        raise UserError(str(path), expected=f"the columns {', '.join(COLUMNS)}", got=got, fix="Rename the columns.")
    for line in lines:
        if not line["path"]:
            what, fix = f"{path}, line {lines.line_num}", "Fill it in, or delete the line."
            raise UserError(what, expected="a path", got="an empty cell", fix=fix)
        yield _resolve(path, line["path"]), tuple(line.get(name) or "" for name in COLUMNS[1:])


def _resolve(listing: Path, name: str) -> str:
    """Return a listed path as the disk spells it; a relative one is relative to the list's folder."""
    return str(find_spelling(listing.parent / name))
