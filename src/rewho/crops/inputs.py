"""Turns the user's files, folders, lists and CSV files into one task per video or photograph.

The order of tasks depends on the videos' paths only. The id of a task is computed from path and file size, so that a
finished part is found again on resume.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS, find_spelling
from rewho.core.progress import say
from rewho.core.text import quantity
from rewho.crops.photographs import UNREAD, is_photograph
from rewho.data.file_lists import IMAGE_ENDINGS, OWN_FILES, left_out, read_text
from rewho.data.layouts.csv import read_cells

ENDINGS = ", ".join(IMAGE_ENDINGS)
BESIDE = (".json", ".txt", ".csv", ".yaml", ".yml", ".md", ".xml", ".srt", ".vtt", ".zip", "")
"""Endings of files that lie beside videos, such as detections and terms."""
COLUMNS = ("path", "key", "city", "source", "licence")
"""Columns of a CSV file; only the first is required."""


@dataclass(frozen=True, slots=True)
class VideoTask:
    """One video or photograph to process."""

    path: str
    size: int  # of the file in bytes; -1 where it is no plain file
    key: str = ""  # id at its source, such as a platform; videos with the same key are the same
    city: str = ""  # where it was recorded
    source: str = ""  # where it comes from; of a photograph its folder, unless a table says otherwise
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
            task = VideoTask(path, file.stat().st_size if file.is_file() else -1, *rest)
            by_folder = is_photograph(path) and not task.source
            yield replace(task, source=str(file.parent)) if by_folder else task

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
    elif path.suffix.lower() in UNREAD and path.is_file():
        got, fix = f"a {path.suffix} file", "Convert it to JPEG or PNG."
        raise UserError(str(path), expected=f"a video, or a photograph ({ENDINGS})", got=got, fix=fix)
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
    counts = Counter[str]()
    others = Counter[str]()
    unread: list[Path] = []
    ours: dict[Path, bool] = {folder.parent: False}
    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        kind = "video" if suffix in VIDEO_ENDINGS else "photograph" if is_photograph(path) else ""
        if path.is_dir():  # its own files are found below it
            continue
        if not (kind or suffix in UNREAD):
            foreign = suffix not in BESIDE and not path.name.startswith(".") and not _is_output(path.parent, ours)
            others[suffix] += foreign
            continue
        if path.name.startswith("."):  # such as ._clip.mp4, in which macOS stores attributes of clip.mp4
            counts["hidden"] += 1
        elif kind != "video" and _is_output(path.parent, ours):
            counts["ours"] += 1
        elif not kind:
            unread.append(path)
        else:
            counts[kind] += 1
            yield str(path)
    _say_counts(folder, counts, unread)
    for note in left_out(str(folder), +others):
        say(note)
    if not counts["video"] + counts["photograph"]:
        raise UserError(
            str(folder),
            expected=f"video files ({', '.join(sorted(VIDEO_ENDINGS))}) or photographs ({ENDINGS})",
            got=f"none, but {len(unread):,} of kinds that are not read" if unread else "none",
            fix="Convert them to JPEG." if unread else "Name the files themselves if they have other endings.",
        )


def _is_output(folder: Path, known: dict[Path, bool]) -> bool:
    """Return whether a folder, or one that it lies in, is one that a command wrote: its images are no photographs."""
    if folder not in known:
        known[folder] = any((folder / name).is_file() for name in OWN_FILES) or _is_output(folder.parent, known)
    return known[folder]


def _say_counts(folder: Path, counts: Counter[str], unread: list[Path]) -> None:
    """Say what a folder holds if photographs are among it, and what is left out."""
    if counts["hidden"]:
        say(
            f"{folder}: left out: {quantity(counts['hidden'], 'hidden files')}, such as ._clip.mp4; to read one, "
            "pass its own path"
        )
    if counts["ours"]:
        say(f"{folder}: left out: {quantity(counts['ours'], 'images')} in folders that rewho wrote")
    if unread:
        named = ", ".join(str(path.relative_to(folder)) for path in sorted(unread)[:3])
        more = " …" if len(unread) > 3 else ""
        say(f"{folder}: left out, of kinds that are not read: {len(unread):,}: {named}{more}; convert them to JPEG")
    if counts["photograph"]:
        videos = f"{quantity(counts['video'], 'videos')}, " if counts["video"] else ""
        say(f"{folder}: {videos}{quantity(counts['photograph'], 'photographs')}, each with its folder as its camera")


def _read_csv(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    columns, lines = read_cells(path)
    unknown = [name for name in columns if name not in COLUMNS]
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    if "path" not in columns or unknown or twice:
        got = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "no column 'path'"
        got = f"{twice[0]!r} twice" if twice else got
        raise UserError(str(path), expected=f"the columns {', '.join(COLUMNS)}", got=got, fix="Rename the columns.")
    for number, cells in lines:
        what = f"{path}, line {number}"
        if any(cell.strip() for cell in cells[len(columns) :]):
            fix = "Put quotes around a cell that has the separator in it."
            raise UserError(what, expected=f"{len(columns)} cells, as in the header", got=str(len(cells)), fix=fix)
        line = dict(zip(columns, cells, strict=False))
        if not line["path"]:
            raise UserError(what, expected="a path", got="an empty cell", fix="Fill it in, or delete the line.")
        yield _resolve(path, line["path"]), tuple(line.get(name) or "" for name in COLUMNS[1:])


def _resolve(listing: Path, name: str) -> str:
    """Return a listed path as the disk spells it; a relative one is relative to the list's folder."""
    return str(find_spelling(listing.parent / name))
