"""The fenced blocks of the documentation's pages, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    path.name: path
    for path in (ROOT / "README.md", ROOT / "docs" / "data-sets.md", *sorted((ROOT / "docs" / "guide").glob("*.md")))
}
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?:# |// )([\w./-]+\.\w+)(?: .*)?\n")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        language: What stands behind the fence.
        text: Its lines.
        line: The number of its first line.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that it is, where its first line is a comment that says so."""
        found = NAMED.match(self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """What a shell block asks to type: whole lines, without prompt; where some have one, the others are answers."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return prompted or [line for line in lines if line.strip()]


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    for found in FENCE.finditer(text):
        yield Block(found[2].strip(), found[3], text.count("\n", 0, found.start()) + 2)


def words_of(command: str) -> list[str] | None:
    """Return what a command asks `rewho` for, without comments; None where other programs take part."""
    words = shlex.split(command, comments=True)
    words = words[2:] if words[:2] == ["uv", "run"] else words
    return words[1:] if words[:1] == ["rewho"] and not set(words) & {"&&", "|", ";", ">"} else None
