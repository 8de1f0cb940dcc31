"""The command line: one sub-command per stage; nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, cast

from rewho.core.check import UserError, describe_error, nearest
from rewho.core.progress import say, show
from rewho.core.runtime import EXIT_INTERRUPTED, EXIT_PARTLY_FAILED, Interrupted, PartlyFailed

USER_MISTAKE = 2
CANCELLED = 130
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Args:
        settings: Name of its settings class in `settings`.
        help: One line for the list of commands.
        positional: The options that values without a name are for, in order; the last takes all that are left.
    """

    settings: str
    help: str
    positional: str = ""


COMMANDS = {
    "demo": Command("DemoSettings", "render people, train, evaluate, and show the result; needs no data"),
    "crop": Command("CropSettings", "cut people out of videos: a crop set with provenance", "videos"),
    "crops": Command("CropsSettings", "verify, count, merge, export or compare crop sets", "action folders"),
    "train": Command("TrainSettings", "train a model on a labelled data set"),
    "pretrain": Command("PretrainSettings", "train an encoder on images without labels", "crops"),
    "teachers": Command("TeachersSettings", "train one expert per view of the body, one after the other"),
    "represent": Command("RepresentSettings", "write down what each teacher says of every training image", "teachers"),
    "distill": Command("DistillSettings", "teach a trained student what the experts of all views know"),
    "evaluate": Command("EvaluateSettings", "rank a data set's gallery and report CMC, mAP and rank sheets"),
    "table": Command("TableSettings", "run what a paper's table needs; our figures beside the paper's", "name"),
    "embed": Command("EmbedSettings", "turn a folder of images into embeddings", "folder"),
    "explain": Command("ExplainSettings", "show where a model looks, as images and sheets", "images"),
    "export": Command("ExportSettings", "write a model as an ONNX file that runs without rewho, proved to be the same"),
    "compare": Command("CompareSettings", "tell how alike the people in two or more images are", "images"),
}


def _overview() -> str:
    lines = [f"  {name:10} {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "rewho: who is this, again? Person re-identification, from labelled images to an evaluation.",
            "",
            "usage: rewho COMMAND [--recipe FILE] [--option VALUE ...]",
            "",
            *lines,
            "",
            "`rewho COMMAND --help` lists a command's options.",
        ]
    )


def _settings(name: str, arguments: list[str]) -> Any:  # noqa: ANN401 - each command has its own class
    from rewho import settings
    from rewho.settings.command_line import parse

    command = COMMANDS[name]
    return parse(getattr(settings, command.settings), arguments, name, command.positional.split())


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())  # noqa: T201 - the result of the command
        return 0
    if arguments[0] in ("-V", "--version"):
        from rewho.core.artifact import rewho_version

        print(f"rewho {rewho_version()}")  # noqa: T201 - the result of the command
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        raise UserError(
            "command",
            expected=f"one of {', '.join(COMMANDS)}",
            got=repr(name),
            fix=f"Did you mean `rewho {near}`?" if near else "See `rewho --help`.",
        )
    settings = _settings(name, rest)
    if settings is not None:
        stage = importlib.import_module(f"rewho.stages.{name}")
        result = stage.run(settings)
        if result is not None:
            show(result)
        if hasattr(stage, "closing"):
            say(stage.closing(result))
    return 0


def _told(error: UserError | OSError) -> str:
    """Return what a user has to know; an error of the system that names no place is raised again."""
    if isinstance(error, UserError):
        return str(error)
    if error.filename is None and error.errno not in FULL:
        raise error
    fix = "Check the path, and who may write there, or choose another --out."
    place = "standard output" if error.filename is None else error.filename
    return (
        f"{place}: expected a place that can be used so, got: {error.strerror or describe_error(error)}.\n  Fix: {fix}"
    )


class Outliving:
    """A stream whose reader may leave: what is printed after that is dropped, and the work continues.

    Args:
        stream: Standard output or error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, unless nobody reads any more."""
        with self._dropping():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a file name that is no text, or a terminal that knows few letters
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
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
def _outliving_readers() -> Iterator[None]:
    """Let the work within survive `| head -1`: it is finished, and its exit code is that of the work."""
    before = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = (stream and cast("TextIO", Outliving(stream)) for stream in before)
        yield
    finally:
        sys.stdout, sys.stderr = before


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done; 2: a user's mistake; 3: done, except for what was given up; 75: put away safely; 130: stopped at once.
    It does not depend on whether anybody reads what is printed.

    Args:
        arguments: The command line behind `rewho`; the process's own by default.

    Example:
        >>> main(["tran"])
        2
    """
    # Threads that wait for each other sleep instead of spinning: on a machine that does other work too, a step takes
    # less than half the time, and on an idle one the same (docs/LOG.md). It must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _outliving_readers():
        return _answered(words)


def _answered(words: list[str]) -> int:
    try:
        code = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (UserError, OSError) as error:
        say(f"error: {_told(error)}")
        return USER_MISTAKE
    except Interrupted as saved:
        say(f"stopped: {saved}. To go on, run the same command again:\n  {shlex.join(['rewho', *words])}")
        return EXIT_INTERRUPTED
    except PartlyFailed as rest:
        show(rest.made)
        say(f"finished, except for {rest.items}")
        return EXIT_PARTLY_FAILED
    except KeyboardInterrupt:
        say("stopped at once; finished parts are kept, and the same command goes on from them")
        return CANCELLED
