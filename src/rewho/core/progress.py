"""Messages and progress of a command: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rewho.core.runtime import is_main_process
from rewho.core.text import printable, quantity

if TYPE_CHECKING:
    import rich.progress

Item = TypeVar("Item")
PLAIN_LINE_EVERY = 10.0  # seconds between two plain lines
SLOW = 0.1  # items per second; slower rates, which would round to 0.0, are shown as seconds per item


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds, or hours, minutes and seconds."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def pace(rate: float, unit: str) -> str:
    """Return items per second, or seconds per item if slow.

    Args:
        rate: Items per second.
        unit: Name of the items, in the plural.
    """
    return f"{1 / rate:,.1f} s per {unit.removesuffix('s')}" if 0 < rate < SLOW else f"{rate:,.1f}/s"


_state = {"quiet": False}


def be_quiet(quiet: bool) -> None:
    """Print only warnings and errors from now on, or everything again."""
    _state["quiet"] = quiet


def say(text: str) -> None:
    """Print a message on standard error, in the main process only; nothing for an empty text."""
    if _state["quiet"] and not text.startswith(("error:", "warning:")):
        return
    if text and is_main_process() and not _Bar.print_above(_coloured(printable(text))):
        print(_coloured(printable(text)), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints messages


def say_finished(folder: Path) -> None:
    """Print that a command's folder is finished."""
    say(f"{folder} is finished; nothing to do")


def _coloured(text: str) -> str:
    """Return a message with `error:` in red and `warning:` in yellow on a terminal, unless NO_COLOR is set."""
    word, colon, rest = text.partition(":")
    colour = {"error": 31, "warning": 33}.get(word)
    if colour is None or os.environ.get("NO_COLOR") or _is_dumb() or not sys.stderr.isatty():
        return text
    return f"\x1b[1;{colour}m{word}{colon}\x1b[0m{rest}"


def show(result: object) -> None:
    """Print a command's result on standard output, in the main process only."""
    if is_main_process():
        print(printable(str(result)))  # noqa: T201 - the one place that prints results


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning once per process."""
    say(f"warning: {text}")


@functools.cache
def note_once(text: str) -> None:
    """Print a text once per process."""
    say(text)


_said: set[str] = set()


def say_once(text: str) -> None:
    """Print a text of several lines in full once per process, afterwards only its first line."""
    first, more, _ = text.partition("\n")
    say(f"{first} (as above)" if more and text in _said else text)
    _said.add(text)


def _is_dumb() -> bool:
    """Return whether the terminal understands no control codes."""
    return os.environ.get("TERM", "") in ("dumb", "unknown")


def _shows_bars() -> bool:
    return sys.stderr.isatty() and not _is_dumb() and is_main_process() and not _state["quiet"]


class Progress:
    """Counts finished items and shows rate and time left.

    Args:
        what: Name of the work, such as "train".
        total: Number of all items.
        done: Number of items that an earlier run finished.
        unit: Name of the items, in the plural.
    """

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "items") -> None:
        self.what, self.total, self.done, self.unit = printable(what), total, done, unit
        self._began, self._at_start, self._said = time.monotonic(), done, time.monotonic()
        self._bar = _Bar(self.what, total, done, unit) if _shows_bars() else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count finished items; `note` is shown behind the rate."""
        self.done += count
        if self._bar is not None:
            self._bar.show(self.done, f"{pace(self._rate(), self.unit)}  {printable(note)}")
        elif time.monotonic() - self._said >= PLAIN_LINE_EVERY:
            self._said = time.monotonic()
            say(self.line(note))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of a block from rate and time left."""
        paused_at = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - paused_at

    def _rate(self) -> float:
        elapsed = time.monotonic() - self._began
        return (self.done - self._at_start) / elapsed if elapsed > 0 else 0.0

    def line(self, note: str = "") -> str:
        """Return the plain line: finished items, rate, time left, note."""
        rate = self._rate()
        left = duration((self.total - self.done) / rate) if rate else "?"
        share = 100 * self.done / self.total if self.total else 100
        done = f"{self.what}: {self.done:,}/{self.total:,} {self.unit} ({share:.0f} %)"
        text = f"{done}, {pace(rate, self.unit)}, {left} left"
        return f"{text}, {note}" if note else text

    def close(self, note: str = "") -> None:
        """End with a last line, unless the work took less than a second."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elapsed, count = time.monotonic() - self._began, self.done - self._at_start
        if elapsed >= 1:
            done = f"{self.what}: {quantity(count, self.unit)} in {duration(elapsed)}"
            text = f"{done} ({pace(count / elapsed, self.unit)})"
            say(f"{text}, {note}" if note else text)


NARROW = 60  # columns; below it a bar leaves no room for the count


class _Bar:
    """One line of the live display, which all bars share, because two displays overwrite each other's lines."""

    _display: ClassVar[rich.progress.Progress | None] = None

    def __init__(self, what: str, total: int, done: int, unit: str) -> None:
        if _Bar._display is None:
            _Bar._display = _live_display()
        self._task = _Bar._display.add_task(what, total=total, completed=done, unit=unit, note="")

    def show(self, done: int, note: str) -> None:
        if _Bar._display is not None:
            _Bar._display.update(self._task, completed=done, note=note)

    def close(self) -> None:
        """Remove the line; end the display after the last one."""
        if _Bar._display is not None:
            _Bar._display.remove_task(self._task)
            if not _Bar._display.task_ids:
                _Bar.stop()

    @staticmethod
    def print_above(text: str) -> bool:
        """Print a message above the live display, its lines whole; return whether there is a display."""
        if _Bar._display is None:
            return False
        from rich.text import Text

        _Bar._display.console.print(Text.from_ansi(text), soft_wrap=True, highlight=False)
        return True

    @staticmethod
    def stop() -> None:
        """End the display and show the cursor again."""
        if _Bar._display is not None:
            _Bar._display.stop()
            _Bar._display = None


def _live_display() -> rich.progress.Progress:
    """Start and return the live display; it ends with the process at the latest."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    if console.width < NARROW:
        columns = (columns[0], columns[2], columns[4])
    on_terminal = sys.stdout is not None and sys.stdout.isatty()  # else results belong into a file
    display = Progress(*columns, console=console, transient=True, redirect_stdout=on_terminal)
    display.start()
    atexit.register(_Bar.stop)
    return display


def track(items: Iterable[Item], what: str, total: int, unit: str = "items") -> Iterator[Item]:
    """Yield the items and show progress."""
    progress = Progress(what, total, unit=unit)
    try:
        for item in items:
            yield item
            progress.advance()
    finally:
        progress.close()
