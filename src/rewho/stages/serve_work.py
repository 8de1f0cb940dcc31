"""Long work of `rewho serve` in processes of its own, which end with the service: videos cut, a model adapted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rewho.core.artifact import write_json
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.gallery.gallery import Gallery
from rewho.settings.recipe import read_recipe

LOOK_S = 0.2
BUSY, BUSY_S = "one writer at a time", 60.0
"""What is said where another process writes, and the longest wait for its end, in seconds."""
PATIENCE_S = 20.0
"""Longest wait for the end of a process that was asked to end; the service itself has half a minute."""
RUN = "adapting-"
"""Beginning of the name of an adaptation's folder within the gallery's; the number of its job follows."""
PROGRESS = re.compile(r"^((?:train|embed again): ([\d,]+)/([\d,]+) .*)$", re.MULTILINE)
SHORT = ("--epochs", "10", "--steps_per_epoch", "100")
"""How long a model is adapted where no recipe says it."""
SAID = ("held out:", "better:", "not better", "the training diverged", "note: the gallery's model")
"""Beginnings of the lines of `rewho adapt` that are its result."""
TIED = """
import os, signal, sys, threading
def end():
    while os.read(0, 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
os.nice(10)
sys.argv[0] = "rewho"
from rewho.cli import main
sys.exit(main())
"""
"""Runs the command line with low priority; it is asked to end when the process at the other end of its input is gone,
even killed."""
Look = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and the line that says so."""


def cut_video(gallery: Gallery, recipe: Path | None, video: Path, out: Path, stop: Callable[[], bool]) -> None:
    """Cut the people out of a video with `rewho crop`, on the gallery's terms, in a process that a stop ends.

    Args:
        gallery: Whose terms hold.
        recipe: YAML file with settings of `rewho crop`, or None.
        video: The video.
        out: A new folder, whose parent is for this video alone.
        stop: Asked a few times per second.

    Raises:
        UserError: The video cannot be cropped.
        Interrupted: It was stopped; nothing is in the gallery.
    """
    values = {} if recipe is None else read_recipe(recipe, smoke=False)
    terms = json.loads(gallery.database.read("terms", "{}"))
    values |= {f"terms.{name}": text for name, text in terms.items()}
    own = write_json(out.parent / "crop.yaml", values)  # JSON is YAML
    command = ["crop", str(video), "--recipe", str(own), "--out", str(out)]
    code, said = _run(command, out.parent / "log", stop, "nothing of it is in the gallery")
    if code:
        fix = "Try it in a terminal: `rewho crop`; name a detector in --crop_recipe."
        raise UserError(video.name, expected="a video with people", got=_failure(code, said), fix=fix)


def adapt(
    gallery: Gallery,
    recipe: Path | None,
    number: int,
    who: str,
    stop: Callable[[], bool],
    goes_on: Callable[[], bool],
    look: Look,
) -> str:
    """Adapt the gallery's model to its own images with `rewho adapt`; the gallery uses the new one if it is better.

    The run lies in the gallery's folder until it ends: one that the service's end interrupted continues from its last
    checkpoint, and nothing is left of one that has ended, whose checkpoints hold embeddings.

    Args:
        gallery: The gallery.
        recipe: YAML file with settings of `rewho adapt`, or None.
        number: Of the job, for the name of the run.
        who: Who asked, for the audit.
        stop: Asked a few times per second.
        goes_on: Asked after a stop: whether the next service continues it.
        look: Told how far it is.

    Returns:
        What was measured, and whether the gallery has another model now.

    Raises:
        UserError: There is too little to adapt to.
        Interrupted: It was stopped.
    """
    folder = gallery.folder / f"{RUN}{number}"
    options = SHORT if recipe is None else ("--recipe", str(recipe))
    command = ["adapt", str(gallery.folder), "--out", str(folder / "run"), *options]
    begun, until = folder.is_dir(), time.monotonic() + BUSY_S
    folder.mkdir(exist_ok=True)
    keep = False
    try:
        while True:
            code, said = _run(command, folder / "log", stop, "the gallery's model stays", look, {"LOGNAME": who})
            if code and BUSY in said and time.monotonic() < until:
                time.sleep(LOOK_S)  # the process of a service that was killed ends at its next checkpoint
            elif code and begun:  # the gallery has changed since, and with it what there is to learn from
                shutil.rmtree(folder / "run", ignore_errors=True)
                begun = False
            else:
                break
    except Interrupted:
        keep = goes_on()
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if code:
        fix = "Judge more results, or try it in a terminal: `rewho adapt`."
        raise UserError("adapt", expected="a gallery to adapt to", got=_failure(code, said), fix=fix)
    return " ".join(line for line in said.splitlines() if line.startswith(SAID))


def remove_ended(gallery: Gallery) -> None:
    """Remove the runs of jobs that are not continued, such as one that was stopped when its service was killed."""
    alive = {job.id for job in gallery.jobs.list(2**31) if job.state in ("waiting", "running") and not job.stopping}
    for folder in gallery.folder.glob(f"{RUN}*"):
        if folder.name.removeprefix(RUN) not in map(str, alive):
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    arguments: Sequence[str],
    log: Path,
    stop: Callable[[], bool],
    kept: str,
    look: Look = lambda done, total, line: None,
    more: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command of rewho; return its exit status and what it said. `kept` says what a stop leaves behind."""
    command = [sys.executable, "-c", TIED, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), **(more or {})}
    last, rest = None, b""
    with (
        log.open("wb") as file,
        log.open("rb") as new,
        subprocess.Popen(  # noqa: S603 - our own
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment
        ) as process,
    ):
        while process.poll() is None:
            try:
                process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                lines, end, rest = (rest + new.read()).rpartition(b"\n")  # only what it wrote since
                if found := PROGRESS.findall((lines + end).decode(errors="replace")):
                    last = found[-1]
                if last:
                    look(int(last[1].replace(",", "")), int(last[2].replace(",", "")), last[0])
                if stop():
                    _end(process)
                    raise Interrupted(kept) from None
    return process.returncode, log.read_text(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, which it does at its next safe point, and end it where that takes long."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure(code: int, said: str) -> str:
    """Return why a command failed, in its own words."""
    return " ".join(said.rsplit("error: ", maxsplit=1)[-1].split())[:500] or f"exit {code}"
