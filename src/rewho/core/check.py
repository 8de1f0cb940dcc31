"""Checks of user input, with one form of message: what, expected, got, how to fix it."""

from __future__ import annotations

import operator
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class UserError(ValueError):
    """A mistake in the user's input, or a limit of the machine; printed without a traceback.

    Args:
        what: What is wrong: an option, a file, an array.
        expected: What would be right.
        got: What was found.
        fix: What the user can do.

    Example:
        >>> print(UserError("--batch", expected="a whole number >= 2", got="0", fix="Pass --batch 32."))
        --batch: expected a whole number >= 2, got 0.
          Fix: Pass --batch 32.
    """

    def __init__(self, what: str, *, expected: str, got: str, fix: str) -> None:
        self.what, self.expected, self.got, self.fix = what, expected, got, fix
        super().__init__(f"{what}: expected {expected}, got {got}.\n  Fix: {fix}")

    def renamed(self, names: Mapping[str, str]) -> UserError:
        """Return the error with names replaced in its texts, in order."""
        texts = [self.what, self.expected, self.got, self.fix]
        for old, new in names.items():
            name = re.escape(old) + (r"(?=\w)" if old[-1] == "." else r"\b")  # not the dot that ends a sentence
            texts = [re.sub(name, lambda _, new=new: new, text) for text in texts]  # type: ignore[misc]
        return UserError(texts[0], expected=texts[1], got=texts[2], fix=texts[3])

    def __reduce__(self) -> tuple[partial[UserError], tuple[()]]:
        """Make the error picklable, to send it between processes."""
        return partial(UserError, self.what, expected=self.expected, got=self.got, fix=self.fix), ()


@contextmanager
def rename_options(names: Mapping[str, str]) -> Iterator[None]:
    """Replace option names in errors of a block, such as --probe.layout for --data.layout.

    Example:
        >>> with rename_options({"--data.": "--probe."}):
        ...     raise UserError("--data.layout", expected="a layout", got="none", fix="Pass --data.layout auto.")
        Traceback (most recent call last):
        rewho.core.check.UserError: --probe.layout: expected a layout, got none.
          Fix: Pass --probe.layout auto.
    """
    try:
        yield
    except UserError as error:
        raise error.renamed(names) from None


def is_file(path: Path) -> bool:
    """Return whether a path is a file; unlike `Path.is_file`, False for a name that is too long or not allowed."""
    return os.path.isfile(path)  # noqa: PTH113


def is_dir(path: Path) -> bool:
    """Return whether a path is a folder; unlike `Path.is_dir`, False for a name that is too long or not allowed."""
    return os.path.isdir(path)  # noqa: PTH112


def check_path(what: str, path: object) -> Path:
    """Return a caller's argument as a path; anything but text and paths is refused.

    Example:
        >>> check_path("gallery", 3)
        Traceback (most recent call last):
        rewho.core.check.UserError: gallery: expected a path, got 3.
          Fix: Pass text or a pathlib.Path.
    """
    if not isinstance(path, str | Path):
        raise UserError(what, expected="a path", got=repr(path)[:80], fix="Pass text or a pathlib.Path.")
    return Path(path)


def describe_path(path: Path) -> str:
    """Return what is at a path, for messages that expected something else there.

    Example:
        >>> describe_path(Path("no/such/place"))
        'nothing there'
    """
    return "another folder" if is_dir(path) else "a file" if is_file(path) else "nothing there"


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice spelt most like `name`; None if none is similar.

    Similar is a choice of which at least two thirds of the letters fit, or one that begins with `name` or the other way
    round, if the shorter word has at least half the letters.

    Example:
        >>> nearest("epoks", ["seed", "epochs"]), nearest("list", ["distill"]), nearest("market", ["market1501"])
        ('epochs', None, 'market1501')
    """
    word = _simple(name)
    found: tuple[float, str] | None = None
    for choice in choices:
        other = _simple(choice)
        short, long = sorted((len(word), len(other)))
        if short >= 3 and 2 * short >= long and (word.startswith(other) or other.startswith(word)):
            distance = 0.5 if short < long else 0.0
        else:
            most = max(1, round(long / 3))
            if long - short > most or long < 3:
                continue
            distance = count_edits(word, other)
            if distance > most:
                continue
        if found is None or distance < found[0]:
            found = (distance, choice)
    return found[1] if found else None


def _simple(name: str) -> str:
    return str(name).lower().replace("-", "_")


def count_edits(one: str, other: str) -> int:
    """Return how many letters must be added, dropped, replaced or swapped with the next to make one word the other.

    Example:
        >>> count_edits("trian", "train"), count_edits("lr", "colour")
        (1, 4)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]


def list_choices(choices: Sequence[object]) -> str:
    """Return choices in one line, quoted if one of them has a comma, as rows of a table do."""
    names = [str(choice) for choice in choices]
    return ", ".join(map(repr, names) if any("," in name for name in names) else names)


def check_choice(what: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`; otherwise raise a UserError with the nearest name and the list."""
    if value in choices:
        return value
    near = nearest(value, choices)
    hint = f"Did you mean {near!r}? " if near else ""
    expected = f"one of {list_choices(choices)}"
    raise UserError(what, expected=expected, got=repr(value), fix=f"{hint}Choose a name from the list.")


def check_text(what: str, value: object, most: int, least: int = 1) -> str:
    """Return text of `least` to `most` characters without the spaces around it.

    Example:
        >>> check_text("name", "  a door ", 200)
        'a door'
    """
    clean = value.strip() if isinstance(value, str) else None
    if clean is None or not least <= len(clean) <= most:
        got = f"{value!r:.60}" if clean is None or len(clean) < least else f"{len(clean):,}"
        fix = "Write it out." if clean is None or len(clean) < least else "Shorten it."
        raise UserError(what, expected=f"{least} to {most:,} characters", got=got, fix=fix)
    return clean


def describe_error(error: BaseException) -> str:
    """Return an error's message on one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


_NO_NAME = re.compile(r"[\\\x00-\x1f\x7f]|^[A-Za-z]:")  # backslash, control characters, a drive of Windows
LONGEST_NAME = 255  # bytes per part of a path, the limit of file systems


def install(*extras: str) -> str:
    """Return how to install extras of this package, for the fix of a message.

    Example:
        >>> install("video", "detect")
        "uv sync --extra video --extra detect in the clone of rewho, or pip install '.[video,detect]' there"
    """
    words = " ".join(f"--extra {extra}" for extra in extras)
    return f"uv sync {words} in the clone of rewho, or pip install '.[{','.join(extras)}]' there"


def check_name(what: str, name: object, *, deep: bool = True) -> str:
    """Return an untrusted relative path, read from an index, manifest or row, if it stays in its folder.

    It must not be absolute, nor contain `..`, a backslash, a control character, or a part of more than 255 bytes.

    Args:
        what: Where the name was read, for the message.
        name: The name, with forward slashes.
        deep: Allow sub-folders.

    Example:
        >>> check_name("an index", "shards/00000.arrow")
        'shards/00000.arrow'
        >>> check_name("an index", "../victim")
        Traceback (most recent call last):
        rewho.core.check.UserError: a name in an index: expected a plain path within its folder, got '../victim'.
          Fix: The file is damaged or not to be trusted; get it again from where it was made.
    """
    parts = name.split("/") if isinstance(name, str) and not _NO_NAME.search(name) else [""]
    lengths = [len(part.encode(errors="surrogatepass")) for part in parts]
    if (
        all(part not in ("", ".", "..") for part in parts)
        and max(lengths) <= LONGEST_NAME
        and (deep or len(parts) == 1)
    ):
        return str(name)
    expected = "a plain path within its folder" if deep else "a plain file name"
    fix = "The file is damaged or not to be trusted; get it again from where it was made."
    raise UserError(f"a name in {what}", expected=expected, got=repr(name)[:200], fix=fix)


def resolve_inside(folder: Path, name: object, what: str) -> Path:
    """Return the path of a file that another file names, if it is a plain file in `folder`, or missing.

    Args:
        folder: The folder; links must not leave it.
        name: Untrusted name relative to `folder`; see `check_name`.
        what: Where the name was read, for the message.
    """
    path = folder / check_name(what, name)
    try:
        own = path.resolve().is_relative_to(folder.resolve())
        sound = own and (path.is_file() or not path.exists())
    except (OSError, RuntimeError):
        own = sound = False  # circular links, or a path too long for the system
    if sound:
        return path
    expected, fix = "a plain file within the folder", "Replace it by the file itself."
    got = "no plain file" if own else "a link that leaves it"
    raise UserError(f"{path}, named in {what}", expected=expected, got=got, fix=fix)


def check_range(what: str, value: float, low: float, high: float) -> float:
    """Return `value` if it is a number from `low` to `high`; NaN is not."""
    number = hasattr(value, "__float__") and not isinstance(value, bool) and getattr(value, "shape", ()) == ()
    if not number or not low <= value <= high:
        got = f"{value:g}" if number else f"{value!r:.100}"
        expected = f"a number from {low:g} to {high:g}"
        raise UserError(what, expected=expected, got=got, fix="Choose a value in the range.")
    return value


def check_flag(what: str, value: object) -> bool:
    """Return a truth value, Python's or NumPy's; UserError for all else, because "no", "false" and 2 count as true.

    Example:
        >>> check_flag("flip", "no")
        Traceback (most recent call last):
        rewho.core.check.UserError: flip: expected True or False, got 'no'.
          Fix: Pass flip=True or flip=False.
    """
    if isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__.startswith("bool")):
        return bool(value)
    fix = f"Pass {what}=True or {what}=False."
    raise UserError(what, expected="True or False", got=f"{value!r:.100}", fix=fix)


def check_count(what: str, value: object, low: int = 1, high: int = 2**63 - 1) -> int:
    """Return a whole number from `low` to `high`, Python's or NumPy's; UserError for all else.

    Example:
        >>> check_count("max_rank", 0)
        Traceback (most recent call last):
        rewho.core.check.UserError: max_rank: expected a whole number from 1, got 0.
          Fix: Choose a value in the range.
    """
    whole = -1 if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if low <= whole <= high:
        return whole
    expected = f"a whole number from {low}" + (f" to {high:,}" if high < 2**63 - 1 else "")
    raise UserError(what, expected=expected, got=f"{value!r:.100}", fix="Choose a value in the range.")


def check_ids(what: str, values: object) -> list[int]:
    """Return several ids as Python's numbers; UserError for one id, text, and what is no id.

    Example:
        >>> check_ids("sightings", [3, True])
        Traceback (most recent call last):
        rewho.core.check.UserError: sightings: expected a whole number from 0, got True.
          Fix: Choose a value in the range.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UserError(what, expected="a list of ids", got=f"{values!r:.100}", fix="Pass a list, such as [3, 7].")
    return [check_count(what, value, 0) for value in values]


def check_share(what: str, share: float) -> float:
    """Return `share` if it is above 0 and at most 1."""
    if not 0 < share <= 1:
        raise UserError(what, expected="a number above 0, at most 1", got=f"{share:g}", fix="10 % is 0.1.")
    return share


def whole_share(count: int, share: float) -> int:
    """Return `count` times `share`, rounded down, without floating-point error.

    Example:
        >>> whole_share(100, 0.29), int(100 * 0.29)
        (29, 28)
    """
    return int(count * Fraction(repr(float(share))))


def check_embeddings(
    what: str, embeddings: NDArray[Any], names: Sequence[str] | None = None, *, zero: bool = False
) -> NDArray[Any]:
    """Return embeddings if every row is finite and not the zero vector.

    Args:
        what: Which embeddings these are, for the message.
        embeddings: Floating-point array of shape [N, D].
        names: N image names, for the message.
        zero: Accept the zero vector, which has distances but no direction.

    Example:
        >>> import numpy as np
        >>> check_embeddings("query", np.ones((2, 4), np.float32)).shape
        (2, 4)
    """
    import numpy as np  # late, because the command line imports this module

    if embeddings.ndim != 2 or not np.issubdtype(embeddings.dtype, np.floating):
        expected, fix = "a floating-point array of shape [images, dimensions]", "Pass one vector per image."
        got = f"{embeddings.dtype} of shape {list(embeddings.shape)}"
        raise UserError(f"{what} embeddings", expected=expected, got=got, fix=fix)
    empty = np.asarray(~embeddings.any(axis=1))
    bad = np.flatnonzero((empty & (not zero)) | ~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        row = int(bad[0])
        name = names[row] if names is not None else f"row {row}"
        kind = "the zero vector" if empty[row] else "NaN or infinity"
        raise UserError(
            f"{what} embedding of {name}",
            expected="finite numbers, not all zero",
            got=f"{kind} ({bad.size} such image{'s' if bad.size > 1 else ''} of {len(embeddings)})",
            fix="Check that image and the model; a diverged model gives such vectors.",
        )
    return embeddings
