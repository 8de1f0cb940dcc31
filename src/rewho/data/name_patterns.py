"""Regular expressions that read people and cameras from file names, and proposals of one for given files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from rewho.core.check import UserError
from rewho.data.names import MINUS
from rewho.data.table import first_three

EXAMPLE = r"Write it like '(?P<person>-?\d+)_c(?P<camera>\d+)'."

_CAMERA = r"c(?:am(?:era)?)?[_-]?(?P<camera>\d+)"
_PROPOSALS = (
    r"^(?P<person>-?\d+)_c(?P<camera>\d+)",
    rf"^(?P<person>-?\d+)[_-]{_CAMERA}",
    rf"^{_CAMERA}[_-](?P<person>-?\d+)",
    rf"^(?:p|id|pid|person)[_-](?P<person>\d+)[_-]{_CAMERA}",
    rf"^(?:p|id|pid|person)_?(?P<person>-?\d+)[_-]{_CAMERA}",
    rf"^(?P<person>[^\d_-]+)[_-]{_CAMERA}",
    r"^(?P<person>-?\d+)[_-]",
    r"^(?:p|id|pid|person)[_-](?P<person>\d+)[_-]",
    r"^(?:p|id|pid|person)_?(?P<person>-?\d+)[_-]",
    r"^(?P<person>[^\d_-]+)[_-]\d",
)

_LIKE_CAMERA = re.compile(
    r"(?:c|cam|camera|kamera|view|channel)[ _-]?\d+|(?:cam|camera)[ _-]\w+|\w+[ _-]cam(?:era)?|(?-i:cam[A-Z])",
    re.IGNORECASE,
)


def are_cameras(names: Iterable[str]) -> bool:
    """Return whether all names are like cam1, c2, camera_north; False if there is none.

    Example:
        >>> are_cameras(["cam1", "camera_2", "c3"]), are_cameras(["cam1", "adam"])
        (True, False)
    """
    found = set(names)
    return bool(found) and all(_LIKE_CAMERA.fullmatch(name) for name in found)


def not_people(names: Iterable[str], root: Path) -> str:
    """Return what to say of folders that have cameras' names where people's are expected."""
    return (
        f"These folders look like cameras, not people: {first_three(sorted(set(names)))}. For images of people without "
        f"labels: `rewho adapt {shlex.quote(str(root))} --recipe adapt/small --cameras folder`."
    )


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern; UserError if it is no regular expression, or has no group `person`."""
    what = "--data.person_pattern"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(what, expected="a regular expression", got=f"{text!r} ({error})", fix=EXAMPLE) from None
    if "person" not in pattern.groupindex:
        raise UserError(what, expected="a group (?P<person>...)", got=repr(text), fix=EXAMPLE)
    return pattern


def search_name(pattern: re.Pattern[str], path: str) -> re.Match[str] | None:
    """Return the match that finds a person, or None; a pattern with a slash is searched in the path, not the name."""
    found = pattern.search(path if "/" in pattern.pattern else path.rpartition("/")[2])
    return found if found and found["person"] else None


def loses_minus(found: re.Match[str]) -> bool:
    r"""Return whether the person of a match is a number whose minus the pattern left out."""
    start = found.start("person")
    before = found.string[max(0, start - 2) : start]
    return found["person"][:1].isdecimal() and before[-1:] in tuple(MINUS) and not before[:-1].isalnum()


def unclear_minus(matches: Sequence[re.Match[str]]) -> list[str]:
    """Return a note if some numbers follow a hyphen that may be a minus, as in p-1, and others do not, as in p2."""
    numbered = [found for found in matches if found["person"][:1].isdecimal()]
    after = [found for found in numbered if found.string[: found.start("person")].endswith(tuple(MINUS))]
    if not after or len(after) == len(numbered):
        return []
    beside = next(found for found in numbered if found not in after)
    return [
        f"{after[0].string!r} is read as person {after[0]['person']}, like {beside.string!r} as {beside['person']}: "
        f"{len(after):,} numbers follow a hyphen, which is taken for a separator, and the others do not. If it is a "
        "minus, include it in the pattern's group."
    ]


def propose_pattern(paths: Sequence[str]) -> str:
    r"""Return advice on a pattern for these files: one that reads all of them, or how to write one.

    Example:
        >>> propose_pattern(["1_c1_1.jpg", "-1_c2_7.jpg"])
        "--data.person_pattern '^(?P<person>-?\\d+)_c(?P<camera>\\d+)' reads '1_c1_1.jpg' as person 1, camera 1."
    """
    for text in _PROPOSALS:
        pattern = re.compile(text, re.ASCII)
        matches = [found for path in paths if (found := search_name(pattern, path)) and not loses_minus(found)]
        if len(matches) == len(paths) and len({found["person"] for found in matches}) > 1:
            camera = f", camera {matches[0]['camera']}" if "camera" in pattern.groupindex else ""
            person = f"{matches[0].string!r} as person {matches[0]['person']}"
            return f"--data.person_pattern '{text}' reads {person}{camera}."
    return f"If file names say who it is, pass --data.person_pattern. {EXAMPLE}"
