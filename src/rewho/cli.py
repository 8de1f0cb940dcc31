"""The command line: one sub-command per settings class; nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from rewho.core.artifact import ASIDE
from rewho.core.check import UserError, describe_error, nearest, rename_options
from rewho.core.invocation import Invocation, choose_folder, find_finished
from rewho.core.progress import say, say_finished, show
from rewho.core.runtime import (
    EXIT_INTERRUPTED,
    EXIT_PARTLY_FAILED,
    Interrupted,
    PartlyFailed,
    Terminated,
    end_on_sigterm,
    is_main_process,
)
from rewho.settings.aliases import COMMAND_ANSWERS
from rewho.settings.command_line import Parsed, parse_command
from rewho.settings.commands import find_commands
from rewho.settings.fields import Command

USER_MISTAKE = 2
CANCELLED = 130
CHOSEN = "REWHO_OUT"  # environment variable by which a training's other processes learn its folder
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


COMMANDS = find_commands()


def _overview() -> str:
    return "\n".join(
        [
            "rewho: who is this, again? Person re-identification, from labelled images to an evaluation.",
            "",
            "usage: rewho COMMAND [WHAT ...] [--option VALUE ...]",
            "",
            *(f"  {name:10} {kind.command.help}" for name, kind in COMMANDS.items()),
            "",
            "`rewho COMMAND --help` shows examples and a command's options.",
        ]
    )


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())  # noqa: T201 - the result of the command
        return 0
    if arguments[0] in ("-V", "--version"):
        from rewho.core.record import rewho_version

        print(f"rewho {rewho_version()}")  # noqa: T201 - the result of the command
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = COMMAND_ANSWERS.get(name) or nearest(name, COMMANDS)
        raise UserError(
            "command",
            expected=f"one of {', '.join(COMMANDS)}",
            got=repr(name),
            fix=f"Did you mean `rewho {near}`?" if near else "See `rewho --help`.",
        )
    parsed = parse_command(COMMANDS[name], rest, complete=True)
    if parsed is not None:
        with rename_options(parsed.typed), _explain_paths(getattr(parsed.settings, "out", None)):
            _execute(COMMANDS[name].command, parsed)
    return 0


def _execute(command: Command, parsed: Parsed[Any]) -> None:
    """Run a command's stage, unless its folder shows that there is nothing to do; say first where it writes."""
    settings, invocation, words = parsed.settings, None, "starting"
    form = getattr(settings, "new_terms", None) is not None  # only writes a form, and into no folder
    if hasattr(settings, "out") and not command.again and not form:
        if is_main_process():
            invocation = Invocation.of(command.name, settings)
        settings, words = _choose_folder(command, parsed, invocation)
        finished = (
            find_finished(settings.out, invocation) if invocation and not getattr(settings, "retry", False) else None
        )
        if finished is not None:
            say_finished(settings.out)
            show(finished["result"])
            say(finished["summary"])
            return
    if not command.light and not form:
        say(f"{command.name}: {words}")

    def work() -> tuple[Any, str]:
        stage = importlib.import_module(f"rewho.stages.{command.name}")
        result = stage.run(settings)
        summary = stage.summarise(result) if hasattr(stage, "summarise") else ""
        if result is not None:
            show(result)
        say(summary)
        return result, summary

    if invocation:
        invocation.run(settings.out, work)
    else:
        work()


def _choose_folder(command: Command, parsed: Parsed[Any], invocation: Invocation | None) -> tuple[Any, str]:
    """Return the settings with the folder that the command writes to, and the words of the first line."""
    settings = parsed.settings
    if "out" in parsed.given or not command.numbered:
        return settings, f"writes to {settings.out}"
    if invocation is None:  # one of several processes, whose main one has chosen
        return replace(settings, out=Path(os.environ.get(CHOSEN, str(settings.out)))), ""
    resume, changed = getattr(settings, "resume", True), getattr(settings, "allow_config_change", False)
    longer = partial(_can_be_longer, settings)
    folder, why = choose_folder(invocation, settings.out, resume=resume, changed=changed, extends=longer)
    os.environ[CHOSEN] = str(folder)
    return replace(settings, out=folder), f"writes to {folder} ({why})"


def _can_be_longer(settings: object, done: int) -> bool:
    """Return whether a finished training of `done` epochs can be continued with these settings."""
    from rewho.settings import TrainingSettings
    from rewho.settings.schedule import find_dependence

    return isinstance(settings, TrainingSettings) and not find_dependence(settings, done)


@contextlib.contextmanager
def _explain_paths(out: Path | None) -> Iterator[None]:
    """Turn a system error about a path into a UserError, with --out in its advice only where that may help."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        full = error.errno in DISK_FULL
        named = Path(os.fsdecode(error.filename2 if full and error.filename2 else error.filename))  # copied to
        ours = next((above for above in (named, *named.parents) if above.name.startswith(ASIDE)), None)
        path = named if ours is None else ours.parent  # of a file that is only there while it is written
        beside = out is not None and path.parent == out.parent and path.name.startswith(out.name)  # runs/train-2
        written = beside or (out is not None and (path in (out, *out.parents) or out in path.parents))
        fix = "Check the path and its permissions" + (", or choose another --out." if written else ".")
        got = error.strerror or describe_error(error)
        if full:
            expected, fix = (
                "room for one more file",
                "Free some space, or remove files, and run the same command again.",
            )
            raise UserError(str(path), expected=expected, got=got, fix=fix) from error
        raise UserError(str(path), expected="a usable path", got=got, fix=fix) from error


def _error_text(error: UserError | OSError | ModuleNotFoundError) -> str:
    """Return the message for the user; raise a system error that names no file again."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return str(_name_package(error))
    if error.filename is None and error.errno not in DISK_FULL:
        raise error
    got, fix = error.strerror or describe_error(error), "Check the path and its permissions."
    return str(UserError(str(error.filename or "standard output"), expected="a usable path", got=got, fix=fix))


class PipeGuard:
    """A stream that drops what is written after its reader has left, so that the work continues.

    Args:
        stream: Standard output or error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; return its length, even if it is dropped."""
        with self._dropping():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a file name that is not text, or a terminal with another encoding
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the stream
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _guard_pipes() -> Iterator[None]:
    """Keep the work and its exit code independent of the reader, as in `rewho … | head -1`."""
    before = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = (stream and cast("TextIO", PipeGuard(stream)) for stream in before)
        yield
    finally:
        sys.stdout, sys.stderr = before


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done; 2: a user's mistake; 3: done, except for failed items; 75: stopped, resumable; 130: cancelled at once.

    Args:
        arguments: The command line behind `rewho`; the process's own by default.

    Example:
        >>> main(["tran"])
        2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _guard_pipes(), end_on_sigterm():
        code = _run_reporting(words)
    if arguments is None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said; Python is a second or more freeing its memory
    return code


def _run_reporting(words: list[str]) -> int:
    try:
        code = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (UserError, OSError, ModuleNotFoundError) as error:
        say(f"error: {_error_text(error)}")
        return USER_MISTAKE
    except Interrupted as saved:
        return _say_stopped(str(saved), words)
    except PartlyFailed as failed:
        show(failed.made)
        say(f"finished, except for {failed.items}")
        return EXIT_PARTLY_FAILED
    except Terminated:
        return _say_stopped("finished parts are kept", words)
    except KeyboardInterrupt:
        say("cancelled; finished parts are kept, and the same command resumes from them")
        return CANCELLED


def _name_package(error: ModuleNotFoundError) -> UserError:
    """Return what to say of a package that is not installed, as in an installation for embedding alone."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "rewho"):
        raise error
    return UserError(
        f"Python package {package}",
        expected="it to be installed, because this command needs it",
        got="nothing of that name",
        fix="Install rewho with all it depends on; `rewho doctor` says what is missing. An exported folder as --model "
        "needs no torch.",
    )


def _say_stopped(saved: str, words: list[str]) -> int:
    say(f"stopped: {saved}. To resume, run the same command again:\n  {shlex.join(['rewho', *words])}")
    return EXIT_INTERRUPTED
