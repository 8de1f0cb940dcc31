"""Long work, one job after the other, in a thread; a job that its service's end interrupted begins again.

Beginning again is safe: adding a source leaves out what is there already; groups and thresholds are written at the end;
an adaptation continues from its last checkpoint; an erasure continues. What the terms of a source, or the age of a
query, say must go is erased without being asked.
"""

from __future__ import annotations

import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from rewho.core.check import UserError, describe_error
from rewho.core.files import VIDEO_ENDINGS
from rewho.core.progress import say
from rewho.core.runtime import Interrupted
from rewho.core.text import quantity
from rewho.gallery import calibration
from rewho.gallery.calibration import Basis
from rewho.gallery.grouping import PARTS
from rewho.gallery.inputs import Input, Labels, check_zone, open_input, parse_time
from rewho.gallery.jobs import Job
from rewho.gallery.meaning import describe
from rewho.gallery.records import Actor, Step
from rewho.service.state import State

LOOK_EVERY_S = 2.0
WRITE_EVERY_S = 1.0
EXPIRE_EVERY_S = 60.0
RETENTION = Actor("retention", "the date that a source is kept until")
Adapt = Callable[[int, str, Callable[[], bool], Callable[[], bool], Callable[[int, int, str], None]], str]
"""Adapts the model: the number of the job, who asked, whether to stop, whether it continues then, and what takes how
far it is; returns what came of it, and ends with `Interrupted`."""
CutVideo = Callable[[Path, Path, Callable[[], bool]], None]
"""Cuts the people out of a video: its file, a new folder for the crop set, whether to stop; ends with `Interrupted`."""


ARGUMENTS = {
    "add": ("path", "camera", "start", "zone"),
    "group": (),
    "calibrate": ("basis",),
    "adapt": (),
    "expire": (),
}


def list_sources(state: State, most: int = 500) -> list[str]:
    """Return what may be added: folders, images, tables and videos in the folder of sources, as relative paths."""
    if state.sources is None:
        return []
    found = sorted(path.name for path in state.sources.iterdir() if not path.name.startswith("."))
    return found[:most]


def find_source(state: State, path: str) -> Path:
    """Return the path of a source; it must lie in the folder of sources, links included."""
    if state.sources is None:
        fix = "Start `rewho serve` with --sources FOLDER."
        raise UserError("source", expected="a folder of sources", got="a service without one", fix=fix)
    try:
        place = (state.sources / path).resolve()
        sound = place != state.sources and place.is_relative_to(state.sources) and place.exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, circular links
        sound = False
    if not sound:
        fix = "Choose one from the library."
        raise UserError("source", expected="something in the folder of sources", got=repr(path)[:80], fix=fix)
    return place


def ask_job(state: State, kind: str, given: Mapping[str, Any], by: Actor) -> int:
    """Ask for long work, once it is clear that it can begin; return the job's number.

    Args:
        state: The service's.
        kind: add, group, calibrate or adapt.
        given: What the work takes: path, camera, start, zone; basis. What it does not take is left out.
        by: Who asks.
    """
    if kind == "add":
        find_source(state, str(given.get("path", "")))
        check_zone(str(given.get("zone") or "UTC"))
        _labels(given)
    if kind == "calibrate" and given.get("basis", "auto") not in get_args(Basis):
        expected = ", ".join(get_args(Basis))
        raise UserError("basis", expected=expected, got=repr(given["basis"])[:40], fix="Choose one of them.")
    kept = {name: given[name] for name in ARGUMENTS[kind] if name in given}
    number = state.gallery.jobs.ask(kind, kept, by=by)
    state.wake.set()
    return number


def _labels(given: Mapping[str, Any]) -> Labels:
    zone = str(given.get("zone") or "UTC")
    start = parse_time(given["start"], zone, "start") if given.get("start") else None
    return Labels(str(given.get("camera", "")), start, zone=zone)


class Worker:
    """Runs the jobs of a gallery, and reads it into memory at the start.

    Args:
        state: The service's.
        cut_video: Cuts the people out of a video; None where the service cannot.
        adapt: Adapts the model to the gallery; None where the service cannot.

    Attributes:
        hurried: Says whether to wait no longer at the end.
    """

    def __init__(self, state: State, cut_video: CutVideo | None = None, adapt: Adapt | None = None) -> None:
        self._state, self._cut_video, self._adapt_model = state, cut_video, adapt
        self._ending = threading.Event()
        self.hurried: Callable[[], bool] = lambda: False
        self._looked = -EXPIRE_EVERY_S
        work = {"jobs": self._run, "reader": self._read}
        self._threads = [threading.Thread(target=one, name=name, daemon=True) for name, one in work.items()]

    def start(self) -> None:
        """Begin, with what an earlier service left unfinished."""
        self._state.gallery.jobs.resume()
        for thread in self._threads:
            thread.start()

    def end(self, patience: float = 30.0) -> None:
        """Stop at the next safe point, or when `hurried` says so; what runs begins again with the next service."""
        self._ending.set()
        self._state.wake.set()
        until = time.monotonic() + patience
        while self.runs() and time.monotonic() < until and not self.hurried():
            time.sleep(0.05)  # a signal is noticed in between

    def runs(self) -> bool:
        """Return whether one of its threads is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        jobs = self._state.gallery.jobs
        with ThreadPoolExecutor(1, "job") as pool:
            while not self._ending.is_set():
                job = jobs.take()
                if job is None and not self._expire_in_time():
                    self._state.wake.wait(LOOK_EVERY_S)
                    self._state.wake.clear()
                elif job and (error := pool.submit(self.do, job).exception()) and not self._ending.is_set():
                    # a fault of the program ends this job alone; at the end the gallery may be closed already
                    jobs.finish(job.id, "failed", f"a fault of the program: {type(error).__name__}; see the log")
                    say(f"error: job {job.id}: {''.join(traceback.format_exception(error))}")

    def _read(self) -> None:
        """Read the gallery into memory, then load the model, for which nobody has to wait then."""
        self._state.gallery.statistics()
        self._state.ready.set()
        try:
            self._state.gallery.query(np.zeros((2, 1, 3), np.uint8))
        except UserError as error:
            say(f"warning: no search with an image is possible. {error}")

    def _expire_in_time(self) -> bool:
        """Ask for the erasure of what must not be kept longer; return whether something is."""
        now = time.monotonic()
        if now < self._looked + EXPIRE_EVERY_S or not self._state.gallery.erasure.is_due():
            return False
        self._looked = now
        self._state.gallery.jobs.ask("expire", {}, by=RETENTION)
        return True

    def do(self, job: Job) -> None:
        """Run a job that was taken."""
        jobs = self._state.gallery.jobs
        work = {
            "add": self._add,
            "group": self._group,
            "calibrate": self._calibrate,
            "adapt": self._adapt,
            "expire": self._expire,
        }
        try:
            message = work[job.kind](job)
        except Interrupted as kept:
            if jobs.stopping(job.id):
                jobs.finish(job.id, "stopped", str(kept))
            return  # otherwise the service ends, and the job stays "running", which the next service begins again
        except (UserError, OSError) as error:
            jobs.finish(job.id, "failed", str(error) if isinstance(error, UserError) else describe_error(error))
        else:
            jobs.finish(job.id, "done", message)

    def _must_stop(self, job: Job) -> bool:
        return self._ending.is_set() or self._state.gallery.jobs.stopping(job.id)

    def _step(self, job: Job) -> Step:
        """Return what writes down how far a job is between its parts, and ends it where it must stop."""

        def step(done: int, total: int) -> None:
            self._state.gallery.jobs.advance(job.id, done, total)
            if self._must_stop(job):
                raise Interrupted("nothing was changed")

        return step

    def _group(self, job: Job) -> str:
        gallery = self._state.gallery
        made = gallery.group(by=Actor(job.who, job.purpose), step=self._step(job))
        gallery.jobs.advance(job.id, PARTS, PARTS)
        done = f"people proposed or changed: {len(made.people):,}; sightings moved: {made.moved:,}"
        return f"{done if made.event else 'nothing to change'}; sightings that belong to nobody: {made.alone:,}"

    def _calibrate(self, job: Job) -> str:
        gallery = self._state.gallery
        basis = cast("Basis", job.arguments.get("basis", "auto"))
        made = gallery.calibrate(basis, by=Actor(job.who, job.purpose), step=self._step(job))
        gallery.jobs.advance(job.id, calibration.PARTS, calibration.PARTS)
        return describe(made)

    def _adapt(self, job: Job) -> str:
        if self._adapt_model is None:
            fix = "Run `rewho adapt` in a terminal."
            raise UserError("adapt", expected="a service that adapts", got="one that does not", fix=fix)
        jobs, written, all_ = self._state.gallery.jobs, 0.0, 0

        def look(done: int, total: int, line: str) -> None:
            nonlocal written, all_
            all_ = total
            if time.monotonic() > written + WRITE_EVERY_S:
                written = time.monotonic()
                jobs.advance(job.id, done, total, line)

        def goes_on() -> bool:
            return not jobs.stopping(job.id)

        message = self._adapt_model(job.id, job.who, lambda: self._must_stop(job), goes_on, look)
        jobs.advance(job.id, all_, all_)
        return message

    def _expire(self, job: Job) -> str:
        receipts = self._state.gallery.erasure.expire(by=Actor(job.who, job.purpose))
        erased = sum(len(one["content"]["sightings"]) for one in receipts)
        numbers = ", ".join(str(one["content"]["receipt"]) for one in receipts) or "none"
        return f"{quantity(erased, 'sightings')} erased; receipts {numbers}"

    def _add(self, job: Job) -> str:
        place = find_source(self._state, str(job.arguments["path"]))
        if place.suffix.lower() not in VIDEO_ENDINGS:
            return self._add_source(job, open_input(place, _labels(job.arguments)))
        if self._cut_video is None:
            fix = "Cut the people out with `rewho crop`, and add the crop set."
            raise UserError(place.name, expected="images or a crop set", got="a video", fix=fix)
        with tempfile.TemporaryDirectory(prefix="rewho-") as folder:
            crops = Path(folder) / "crops"
            self._cut_video(place, crops, lambda: self._must_stop(job))
            source = open_input(crops, _labels(job.arguments))
            return self._add_source(job, replace(source, kind="video", path=str(place)))

    def _add_source(self, job: Job, source: Input) -> str:
        jobs, counted, written = self._state.gallery.jobs, 0, 0.0
        jobs.advance(job.id, 0, source.count)

        def progress(count: int) -> None:
            nonlocal counted, written
            counted += count
            if time.monotonic() > written + WRITE_EVERY_S or counted == source.count:
                written = time.monotonic()
                jobs.advance(job.id, counted)

        added = self._state.gallery.add(
            source,
            zone=str(job.arguments.get("zone") or "UTC"),
            by=Actor(job.who, job.purpose),
            stop=lambda: self._must_stop(job),
            progress=progress,
        )
        parts = [f"{quantity(added.sightings, 'new sightings')} of {quantity(added.crops, 'crops')}"]
        parts += [f"{added.present:,} were there"] if added.present else []
        parts += [f"{added.suppressed:,} left out because somebody was forgotten"] if added.suppressed else []
        return "; ".join([*parts, *added.notes])
