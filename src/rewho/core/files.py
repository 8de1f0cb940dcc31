"""Reading untrusted text, JSON and YAML: regular files only, of limited size, strictly parsed.

A pipe never ends, a device has no size, nested brackets exhaust the stack, and aliases multiply a kilobyte of YAML to
gigabytes. Therefore every reader of text, JSON and YAML uses these functions.
"""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rewho.core.check import UserError

RECORD_LIMIT = 8 * 2**20
"""Largest JSON record in bytes; Python needs up to about 20 times as much memory."""
YAML_LIMIT = 128 * 2**10
"""Largest YAML document in bytes; the parser reads about 100 kB per second."""
MOST_NODES = 5_000
"""Most values of a YAML document with its aliases expanded."""
DEEPEST = 50
"""Most levels of nested lists and mappings."""
DEEP = f"more than {DEEPEST} nested lists or mappings"

VIDEO_ENDINGS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".m2v"),
        *(".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".mxf", ".ivf", ".h264", ".h265", ".hevc"),
    )
)
"""Endings of the video files that folders are searched for."""
LFS_POINTER = b"version https://git-lfs"
"""First bytes of the text that a clone without Git LFS has in place of a large file."""
LARGEST_POINTER = 1024  # bytes, by the specification of Git LFS
POINTER = "a Git LFS pointer, not the file itself"
POINTER_FIX = "Fetch the file: `git lfs pull` in the clone that it comes from."
WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?=[eE])))(?:[eE][-+]?[0-9]{1,3})?")


def find_spelling(path: Path) -> Path:
    """Return a file's path as the disk spells it, where that differs in its Unicode form alone; else `path` itself.

    macOS writes accents apart from their letters (NFD), most lists have them together (NFC); other systems see two
    names. Of several files with one name in two forms only the one that is meant to the letter is found.
    """
    if os.path.lexists(path) or str(path).isascii():
        return path
    here = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        if not os.path.lexists(here / part):
            wanted = unicodedata.normalize("NFC", part)
            there = os.listdir(here) if os.path.isdir(here) else []  # noqa: PTH112, PTH208 - also for names too long
            alike = [name for name in there if unicodedata.normalize("NFC", name) == wanted]
            if len(alike) != 1:
                return path
            part = alike[0]  # noqa: PLW2901
        here /= part
    return here


def read_bytes(path: Path, limit: int, what: str = "", expected: str = "a readable file") -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: The file.
        limit: Largest size in bytes.
        what: What the file is, for messages; its path by default.
        expected: What is expected, for messages.
    """
    check_regular(path, limit, what, expected)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            what or str(path), expected=expected, got=error.strerror or str(error), fix="Check its permissions."
        ) from error


def check_regular(path: Path, limit: int = 2**62, what: str = "", expected: str = "a readable file") -> int:
    """Return the size of a regular file in bytes; raise a UserError like `read_bytes` for others, without opening them.

    A small file is opened: a Git LFS pointer is refused by name, whatever its ending.
    """
    fix = "Check the path and its permissions."
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            got, fix = "a folder", "Name the file, or each of the files in the folder."
        elif not stat.S_ISREG(status.st_mode):
            got = "a pipe, socket or device"
        elif status.st_size > limit:
            got = f"{status.st_size:,} bytes"
        elif status.st_size <= LARGEST_POINTER and _begins(path, LFS_POINTER):
            got, fix = POINTER, POINTER_FIX
        else:
            return status.st_size
    except FileNotFoundError as error:
        got = f"no file there ({error.strerror})"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        got = getattr(error, "strerror", None) or str(error)
    raise UserError(
        what or str(path),
        expected=expected if limit == 2**62 else f"{expected} of at most {limit:,} bytes",
        got=got,
        fix=fix,
    )


def _begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def read_text(path: Path, limit: int = RECORD_LIMIT, what: str = "", expected: str = "text") -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark; errors as `read_bytes`."""
    try:
        return read_bytes(path, limit, what, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            what or str(path),
            expected=f"{expected} in UTF-8",
            got=f"byte {error.start:,} that is not",
            fix="Save the file again as UTF-8 (in a spreadsheet: 'CSV UTF-8').",
        ) from None


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the content of strict JSON: no NaN, no infinity, no deep nesting; anything else raises a ValueError.

    Example:
        >>> parse_json('{"crops": 3}')
        {'crops': 3}
        >>> parse_json('{"total": Infinity}')
        Traceback (most recent call last):
        ValueError: Infinity, which is not JSON
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word}, which is not JSON")

    try:
        content = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError(DEEP) from None
    level = [content]
    for _ in range(DEEPEST):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
    if level:
        raise ValueError(DEEP)
    return content


def read_json(path: Path, what: str = "", fix: str = "Copy it again.", **needed: type) -> dict[str, Any]:
    """Return the JSON mapping in a file that rewho wrote.

    Args:
        path: The file.
        what: What the file is, for messages; its path by default.
        fix: What the user can do if it is damaged.
        **needed: Required fields with their types.
    """
    text = read_text(path, RECORD_LIMIT, what, "JSON as rewho writes it")
    try:
        content = parse_json(text)
        if not isinstance(content, dict):
            raise ValueError(f"{_kind(content)} instead of names and values")
        check_fields(content, needed)
    except ValueError as error:
        raise UserError(what or str(path), expected="JSON as rewho writes it", got=str(error), fix=fix) from error
    return content


def check_fields(content: Mapping[str, Any], needed: Mapping[str, type]) -> None:
    """Check that fields are there and of their types."""
    for name, kind in needed.items():
        if name not in content:
            raise ValueError(f"no {name!r}")
        if not isinstance(content[name], kind) or (isinstance(content[name], bool) and kind is not bool):
            raise ValueError(f"{_kind(content[name])} as {name!r}")


def _kind(value: object) -> str:
    names = {dict: "names and values", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


class _Loader(yaml.SafeLoader):
    """Plain values by the rules of YAML 1.2: `yes` and 1:30 are text, 1e-3 is a number."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Return the next node; limits nesting and number of nodes, on which the parsing time depends."""
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > DEEPEST or self.nodes > MOST_NODES:
            raise ValueError(DEEP if self.depth > DEEPEST else f"more than {MOST_NODES:,} values")
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as another type."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _rule, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", WHOLE_NUMBER.pattern, "-0123456789"),
    ("float", NUMBER.pattern, "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_rule})$"), list(_first))


def yaml_text(value: Any) -> str:  # noqa: ANN401 - plain values
    """Return plain values as YAML; the inverse of `read_yaml`."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def read_yaml(path: Path, what: str = "", expected: str = "a readable YAML file") -> Any:  # noqa: ANN401
    """Return the content of a YAML document."""
    text = read_text(path, YAML_LIMIT, what, expected)
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        got = " ".join(str(error).split())[:300]
        raise UserError(
            what or str(path),
            expected=expected,
            got=got.replace("<unicode string>", path.name),
            fix="Correct the file.",
        ) from error


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Return the content of YAML text."""
    loader = _Loader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    _size(node, {})
    return loader.construct_document(node)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values under a node, with aliases expanded."""
    if id(node) in known:
        return known[id(node)]
    size = 1
    if isinstance(node, yaml.CollectionNode):
        known[id(node)] = MOST_NODES + 1  # counts an alias within itself as too large
        size += sum(_size(part, known) for part in _parts(node))
    if size > MOST_NODES:
        raise ValueError(f"more than {MOST_NODES:,} values, or an alias within itself")
    known[id(node)] = size
    return size


def _parts(node: yaml.CollectionNode) -> list[yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return list(node.value)
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ValueError(f"{twice!r} twice in one mapping, line {node.start_mark.line + 1}")
    return [part for pair in node.value for part in pair]


def check_extends(what: str, path: Path, content: Mapping[str, Any], above: tuple[Path, ...]) -> Path | None:
    """Return the file that a document extends, or None.

    Args:
        what: What the document is, for messages.
        path: Its file.
        content: Its content.
        above: The files that led to it, each extending the next.
    """
    if "extends" not in content:
        return None
    named, fix = content["extends"], "Name another file under `extends`, or leave it out."
    if not isinstance(named, str) or not named or "\0" in named:
        raise UserError(f"{what}: extends", expected="the name of a file", got=repr(named), fix=fix)
    below = path.parent / named
    chain = [os.path.realpath(file) for file in (*above, path, below)]
    if chain[-1] in chain[:-1]:
        names = " -> ".join(Path(file).name for file in chain[chain.index(chain[-1]) :])
        raise UserError(f"{what}: extends", expected="a file that does not extend this one", got=names, fix=fix)
    return below
