"""From what the user named to one task per video: files, folders, lists, CSV files with what is known of each video.

What is unusual: a plan holds one short line per video and makes tasks as they are asked for, in an order that depends
on the videos' paths alone. A task's id follows from its path and length, so that a finished part is found again.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS
from rewho.core.progress import say
from rewho.data.file_lists import read_text

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"))
COLUMNS = ("path", "key", "city", "source", "licence")
"""Columns of a CSV file; only the first must be there."""


@dataclass(frozen=True, slots=True)
class VideoTask:
    """One video to work on.

    Args:
        path: Where it is.
        size: Its length in bytes; -1 where it is no plain file.
        key: Its id elsewhere, such as at a platform; videos with the same key are the same.
        city: Where it was taken.
        source: Where it comes from.
        licence: Identifier of its licence.
    """

    path: str
    size: int
    key: str = ""
    city: str = ""
    source: str = ""
    licence: str = ""

    @property
    def id(self) -> str:
        """What the video's part is filed under: 32 hexadecimal digits.

        Example:
            >>> len(VideoTask("a.mp4", 3).id), VideoTask("a.mp4", 3).id == VideoTask("a.mp4", 4).id
            (32, False)
        """
        return hashlib.sha256(f"{self.size}\n{self.path}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Plan:
    """The videos to work on, in the order of their paths.

    Args:
        known: What is known of each video, by path.

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
        """Yield the tasks of part i of n, written "i/n"."""
        part, parts = parse_shard(shard)
        return (task for task in self if int(task.id[:8], 16) % parts == part - 1)

    def digest(self) -> str:
        """Return what tells this plan from another: every path, length and note."""
        whole = hashlib.sha256()
        for task in self:
            fields = (task.path, str(task.size), task.key, task.city, task.source, task.licence)
            whole.update("\0".join((*fields, "")).encode("utf-8", "surrogateescape"))
        return whole.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n", where 1 <= i <= n.

    Raises:
        UserError: It is not of that form.

    Example:
        >>> parse_shard("2/8")
        (2, 8)
    """
    part, _, parts = text.partition("/")
    if part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise UserError("--shard", expected="i/n with 1 <= i <= n", got=repr(text), fix="Write --shard 1/8 to --shard 8/8.")


def plan_videos(named: Sequence[Path]) -> Plan:
    """Return the plan for what the user named.

    A file in a list that does not exist is still a task: it fails alone, with its reason, and the run goes on.

    Raises:
        UserError: Nothing named, a path that does not exist, a folder without videos, a wrong CSV file.

    Example:
        >>> plan_videos([])
        Traceback (most recent call last):
        rewho.core.check.UserError: videos: expected files, folders, .txt lists or .csv files, got none.
          Fix: Name at least one.
    """
    if not named:
        fix = "Name at least one."
        raise UserError("videos", expected="files, folders, .txt lists or .csv files", got="none", fix=fix)
    known: dict[str, tuple[str, ...]] = {}
    for path in named:
        for name, rest in _read(Path(path)):
            known[name] = max(known.get(name, ()), rest)  # named twice: whichever says more, in any order
    return Plan(known)


def _read(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    if path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        fix = "Make a video of the images, or `rewho embed` them if each shows one person."
        raise UserError(str(path), expected="a video, a folder, or a list", got="an image", fix=fix)
    elif path.suffix.lower() == ".csv":
        yield from _csv(path)
    elif path.suffix.lower() == ".txt":
        yield from ((_beside(path, line.strip()), ()) for line in read_text(path).splitlines() if _says(line))
    elif not path.exists():
        raise UserError(str(path), expected="a video, a folder, or a list", got="nothing there", fix="Check the path.")
    else:
        yield str(path), ()


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _folder(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    found = images = hidden = 0
    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        images += suffix in IMAGE_SUFFIXES
        if suffix not in VIDEO_ENDINGS or path.is_dir():  # a folder's own files are found below it
            continue
        if path.name.startswith("."):  # such as ._clip.mp4, in which macOS keeps attributes of clip.mp4
            hidden += 1
            continue
        found += 1
        yield str(path), ()
    if hidden:
        say(f"{folder}: {hidden:,} hidden files are left out, such as ._clip.mp4; name one itself to read it")
    if not found:
        make = "Make a video of them (`ffmpeg -i %06d.jpg clip.mp4`), or `rewho embed` them if each shows one person."
        raise UserError(
            str(folder),
            expected=f"video files ({', '.join(sorted(VIDEO_ENDINGS))})",
            got=f"none, but {images:,} images" if images else "none",
            fix=make if images else "Name the files themselves if they have other endings.",
        )


def _csv(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    lines = csv.DictReader(read_text(path).splitlines())
    columns = lines.fieldnames or ()
    unknown = [name for name in columns if name not in COLUMNS]
    if "path" not in columns or unknown:
        got = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "no column 'path'"
        raise UserError(str(path), expected=f"the columns {', '.join(COLUMNS)}", got=got, fix="Rename the columns.")
    for line in lines:
        if not line["path"]:
            raise UserError(
                f"{path}, line {lines.line_num}",
                expected="a path",
                got="an empty cell",
                fix="Fill it in, or delete it.",
            )
        yield _beside(path, line["path"]), tuple(line.get(name) or "" for name in COLUMNS[1:])


def _beside(listing: Path, name: str) -> str:
    """Return a listed path; relative ones are as seen from the list's own folder."""
    return str(listing.parent / name)
