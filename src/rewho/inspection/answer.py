"""The answer of `rewho look`: what a path is, facts, oddities, and commands to run next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rewho.core.files import VIDEO_ENDINGS
from rewho.data.file_lists import IMAGE_ENDINGS
from rewho.data.image_header import HeaderError, read_header

MOST_ENTRIES = 200_000
"""Entries of a folder and its sub-folders that are counted at most: about two seconds."""
SAMPLED = 64
"""Images whose headers are read."""
SAMPLED_BYTES = 8 * 2**20  # larger images are not read
TINY, NARROW = 32, 0.9  # pixels of an image's height; width / height from which an image is hardly one upright person


@dataclass(frozen=True)
class Answer:
    """What a path is.

    Args:
        what: The kind, in a few words.
        facts: Lines of facts.
        odd: What is odd about it, a sentence each.
        commands: Commands to run next, ready to paste, the most useful first.
    """

    what: str
    facts: Sequence[str] = ()
    odd: Sequence[str] = ()
    commands: Sequence[str] = field(default_factory=tuple)

    def text(self, path: Path) -> str:
        """Return the answer as text.

        Example:
            >>> print(Answer("an empty folder", commands=["rewho demo"]).text(Path("x")))
            x: an empty folder
            next:
              rewho demo
        """
        lines = [f"{path}: {self.what}", *(f"  {fact}" for fact in self.facts)]
        lines += ["odd:", *(f"  - {one}" for one in self.odd)] if self.odd else []
        lines += ["next:", *(f"  {command}" for command in self.commands[:3])] if self.commands else []
        return "\n".join(lines)


class Survey(NamedTuple):
    """What lies in a folder and below it, as far as it was counted.

    Attributes:
        images: Their paths within the folder, sorted.
        videos: Their paths within the folder, sorted.
        others: Number of other files.
        folders: Number of sub-folders.
        whole: Whether all of it was counted.
        closed: Sub-folders that may not be read, of whose content nothing is known.
    """

    images: list[str]
    videos: list[str]
    others: int
    folders: int
    whole: bool
    closed: tuple[str, ...] = ()

    def odd(self) -> list[str]:
        """Return what is odd about the count itself: sub-folders that could not be looked into."""
        if not self.closed:
            return []
        named = ", ".join(self.closed[:3]) + (" …" if len(self.closed) > 3 else "")
        number = "1 sub-folder" if len(self.closed) == 1 else f"{len(self.closed):,} sub-folders"
        return [f"{number} may not be read, so that what is in there is not counted: {named}; check the permissions."]


def survey(folder: Path, most: int = MOST_ENTRIES) -> Survey:
    """Count what lies in a folder and below it, up to a number of entries, without hidden and linked folders."""
    images: list[str] = []
    videos: list[str] = []
    others = folders = seen = 0
    waiting, closed = [""], list[str]()
    while waiting and seen <= most:
        prefix = waiting.pop(0)
        for entry in _entries(folder, prefix, closed):
            seen += 1
            if seen > most:
                break
            ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a name, not a path
            if entry.name.startswith("."):
                others += 1
            elif entry.is_dir():
                folders += 1
                if not entry.is_symlink():
                    waiting.append(f"{prefix}{entry.name}/")
            elif ending in IMAGE_ENDINGS:
                images.append(prefix + entry.name)
            elif ending in VIDEO_ENDINGS:
                videos.append(prefix + entry.name)
            else:
                others += 1
    return Survey(sorted(images), sorted(videos), others, folders, seen <= most, tuple(sorted(closed)))


def _entries(folder: Path, prefix: str, closed: list[str]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a sub-folder; add it to `closed` if it may not be read."""
    try:
        with os.scandir(folder / prefix) as entries:
            yield from entries
    except PermissionError:
        closed.append(prefix or ".")


def word(path: Path | str) -> str:
    """Return a path as a word of a command line."""
    return shlex.quote(str(path))


def describe_sizes(files: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return facts and oddities about the sizes of images, from the headers of some, spread evenly."""
    step = max(1, len(files) // SAMPLED)
    chosen = list(files[::step])[:SAMPLED]
    sizes, damaged = [], list[str]()
    for file in chosen:
        try:
            with file.open("rb") as opened:
                header = read_header(opened.read(SAMPLED_BYTES))
            sizes.append((header.height, header.width))
        except (HeaderError, OSError) as error:
            damaged.append(f"{file.name} ({error})")
    facts, odd = [], []
    if sizes:
        heights, widths = sorted(height for height, _ in sizes), sorted(width for _, width in sizes)
        middle = len(sizes) // 2
        facts.append(
            f"image sizes, height x width: {heights[middle]} x {widths[middle]} in the middle, heights {heights[0]} to "
            f"{heights[-1]} (headers of {len(chosen):,} of {len(files):,})"
        )
        wide = sum(width > NARROW * height for height, width in sizes)
        if wide:
            odd.append(
                f"{wide:,} of {len(sizes):,} images looked at are about as wide as high or wider: crops of one upright "
                "person are about half as wide as high; `rewho crop` cuts people out of scenes and videos."
            )
        if heights[middle] < TINY:
            odd.append(f"Half of the images are less than {TINY} pixels high: too small to tell people apart.")
    if damaged:
        odd.append(f"{len(damaged):,} of {len(chosen):,} images looked at cannot be read: {', '.join(damaged[:3])}.")
    return facts, odd


def commands_for_videos(path: Path) -> list[str]:
    """Return what to do with videos: the form of terms, and all steps at once."""
    return ["rewho crop --new-terms terms.yaml", f"rewho run {word(path)} --terms terms.yaml"]
