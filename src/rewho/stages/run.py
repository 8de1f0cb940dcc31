"""Run all steps of a project, from videos, images or labelled people to a model and a gallery.

Each step is the command of its name with a folder of its own; one that is finished with the same settings and inputs is
skipped. The page is written anew after every step.
"""

from __future__ import annotations

import importlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rewho.core.artifact import MANIFEST, plain, write_file
from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS, read_json
from rewho.core.invocation import Invocation, choose_folder, find_finished
from rewho.core.lock import LOCK, hold, release_locks
from rewho.core.progress import duration, say, show
from rewho.core.record import flatten
from rewho.core.runtime import PartlyFailed, StopRequest
from rewho.core.shipped import TENSORS, find_model
from rewho.core.text import quantity
from rewho.crops.inputs import plan_videos
from rewho.crops.photographs import is_photograph
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.terms import read_terms
from rewho.data.datasets import read_settings
from rewho.data.file_lists import list_images
from rewho.data.splits import has_test_part, training_rows
from rewho.embedding.exported import find_exported
from rewho.gallery.gallery import Gallery
from rewho.gallery.model import MODEL, hash_model
from rewho.gallery.repeated import refuse_repeated
from rewho.report.project_page import ProjectPage, StepRow, project_page
from rewho.settings import CropSettings, DataSettings, GallerySettings, RunSettings
from rewho.settings.command_line import fill
from rewho.settings.commands import find_commands
from rewho.settings.fields import check, options_of
from rewho.settings.initial import read_architecture
from rewho.settings.recipe import read_recipe
from rewho.tables.command import format_command
from rewho.tables.forecast import Facts, forecast
from rewho.tables.plan import Step
from rewho.tables.project import BEST, GALLERY, Project, build_steps, keep_models, read_project
from rewho.video.hog_detector import WARNING

PAGE = "index.html"
MODELS = ("distill", "adapt", "train")
"""Steps that make a model, the last of a run first."""
RECORDS = "records"
GROWN: tuple[Literal["group", "calibrate"], ...] = ("group", "calibrate")
"""What is done to a gallery whenever something was added, where there is enough in it."""
MOST_PROBED = 200  # videos whose length is read for a forecast; the others count as their mean


@dataclass(frozen=True)
class Job:
    """A step with its settings and folder.

    Args:
        step: The step.
        values: Its options by dotted name, as a recipe holds them.
        folder: Its folder.
        result: What it left, if it is finished: text as the command prints it.
        invocation: Its record.
    """

    step: Step
    values: Mapping[str, Any]
    folder: Path
    result: str | None
    invocation: Invocation

    def command(self) -> str:
        """Return the command that runs the step alone: its recipe, and every option that differs from it."""
        folder, recipe = self.folder.as_posix(), self.step.recipe
        if self.step.stage == GALLERY:
            items = shlex.join(map(str, self.values["items"]))
            create = format_command("gallery create", {"model": self.values["model"]})
            place = shlex.quote(folder)
            steps = [f"rewho gallery {action} {place}" for action in GROWN]
            return " && ".join([f"{create} {place}", f"rewho gallery add {place} {items}", *steps])
        below = flatten(plain(find_commands()[self.step.stage]())) | (read_recipe(recipe) if recipe else {})
        options = {name: value for name, value in self.values.items() if plain(value) != plain(below.get(name))}
        return format_command(self.step.stage, {**options, "out": folder}, recipe)


@release_locks
def run(settings: RunSettings) -> Path:
    """Run what is missing and return the page; with `plan`, say what would be run and return the folder."""
    check(settings)
    project = read_project(settings)
    settings = project.settings
    check(settings)
    project, kept = keep_models(project, next(iter(_finished_crop_sets(settings.out)), None))
    for note in kept:
        say(note)
    labelled = _data(project)
    tested = labelled is not None and has_test_part(read_settings(labelled))
    steps = build_steps(project, tested=tested)
    if settings.plan:
        _say_plan(project, steps, labelled)
        return settings.out
    jobs = [_prepare(step, settings.out, _places(steps, settings.out)) for step in steps]
    _check_terms(jobs)
    _check_videos(settings, jobs)
    hold(settings.out / LOCK, f"--out {settings.out}")  # makes the folder, so that a mistake leaves none
    rows, made, partly = list[StepRow](), dict[str, Path](), ""
    with StopRequest() as stop:
        for step in steps:
            stop.end_if_wanted(f"the page so far is {settings.out / PAGE}")
            if step.stage == GALLERY:  # which gallery it is may depend on the models that were made
                _check_videos(settings, [*jobs, _prepare(step, settings.out, made)])
            row, lost = _run_step(step, settings.out, made)
            rows.append(row)
            partly = partly or lost
            _write_page(settings, steps, rows, made, tested=tested)
    page = settings.out / PAGE
    if partly:
        raise PartlyFailed(page, partly)
    say("open this page in a browser:")
    return page


def _check_terms(jobs: Sequence[Job]) -> None:
    """Raise UserError if a step that stores images of people lacks legal terms; crop sets bring theirs."""
    for job in jobs:
        if job.step.stage == "crop":
            read_terms(fill(CropSettings, job.values, "crop", "crop.").terms, by_options=False)
        elif job.step.stage == GALLERY:
            made = {str(other.folder) for other in jobs}
            if any(item not in made and not (Path(item) / INDEX).is_file() for item in job.values["items"]):
                read_terms(fill(GallerySettings, job.values, GALLERY, "gallery.").terms, by_options=False)


def _check_videos(settings: RunSettings, jobs: Sequence[Job]) -> None:
    """Raise UserError if a video is missing, or its people would be in the gallery twice."""
    if not settings.videos:
        return
    tasks = plan_videos(settings.videos)
    by_stage = {job.step.stage: job for job in jobs}
    gallery, crop = by_stage[GALLERY], by_stage["crop"]
    if (gallery.folder / MODEL).is_dir():
        refuse_repeated(gallery.folder, _finished_crop_sets(settings.out), crop.folder, crop.invocation.settings, tasks)


def _data(project: Project) -> DataSettings | None:
    """Return how the labelled data set is read, with the options of the section `train`."""
    if project.settings.data is None:
        return None
    own = project.sections.get("train", {}).items()
    values = {name.removeprefix("data."): value for name, value in own if name.startswith("data.")}
    values = {"hold_out": project.settings.hold_out, **values, "root": project.settings.data.as_posix()}
    return fill(DataSettings, values, "train", "--train.data.")


def _places(steps: list[Step], out: Path) -> dict[str, Path]:
    """Return where each step's result will be; the best model is the last one until they were compared."""
    last = next((step.name for step in reversed(steps) if step.name in MODELS), "train")
    return {**{step.name: out / step.name for step in steps}, BEST: out / last}


def _choose_best(job: Job, made: Mapping[str, Path]) -> tuple[Path, str]:
    """Return the evaluated model of the highest mAP, and the sentence that says so."""
    models = [Path(str(one)) for one in job.values["model"]]
    results = read_json(made["evaluate"] / "metrics.json", results=list)["results"]
    scores = [float(one["rankings"][0]["mAP_rectangular"]) for one in results]
    best = max(range(len(models)), key=lambda row: (scores[row], row))
    others = ", ".join(f"{model} {100 * score:.1f}" for model, score in zip(models, scores, strict=True))
    return models[best], f"Export and gallery use {models[best]}, which has the highest mAP of {others}."


def _prepare(step: Step, out: Path, made: Mapping[str, Path]) -> Job:
    """Return a step with its checked settings, and the folder that it has or gets."""
    kind = find_commands()[step.stage]
    known = dict(options_of(kind))
    values = {**(read_recipe(step.recipe) if step.recipe else {}), **step.resolved(made)}
    taken, _ = read_architecture(step.stage, values, known)
    values = {**taken, **values}
    settings = fill(kind, values, step.stage, f"{step.stage}.")
    check(settings, f"{step.stage}.")
    if step.stage == GALLERY:
        return _prepare_gallery(step, values, out)
    invocation = Invocation.of(step.stage, settings)
    folder, _ = choose_folder(invocation, out / step.name)
    finished = find_finished(folder, invocation)
    return Job(step, values, folder, finished["result"] if finished else None, invocation)


def _prepare_gallery(step: Step, values: Mapping[str, Any], out: Path) -> Job:
    """Return the step of the gallery; one of another model gets a folder of its own."""
    model, number = find_model(str(values["model"])), 1
    there = (model / TENSORS).is_file() or find_exported(model)  # an interrupted training has none yet
    wanted = hash_model(model) if there else ""
    folder = out / GALLERY
    while (folder / MODEL).is_dir() and hash_model(folder / MODEL) != wanted:
        number += 1
        folder = out / f"{GALLERY}-{number}"
    invocation = Invocation.of(GALLERY, {**values, "hash": wanted})
    finished = find_finished(out / RECORDS / folder.name, invocation) if (folder / MODEL).is_dir() else None
    return Job(step, values, folder, finished["result"] if finished else None, invocation)


def _run_step(step: Step, out: Path, made: dict[str, Path]) -> tuple[StepRow, str]:
    """Run a step unless it is finished; return its row of the page, and what of it failed."""
    job = _prepare(step, out, made)
    began, lost = time.monotonic(), ""
    if job.result is not None:
        say(f"{step.name}: {job.folder} is finished")
        result, state = job.result, "finished before"
    else:
        say(f"{step.name}: writes to {job.folder}")
        try:
            result, _ = (
                job.invocation.run(out / RECORDS / job.folder.name, lambda: (_fill_gallery(job), ""))
                if step.stage == GALLERY
                else job.invocation.run(job.folder, lambda: (str(_call(job)), ""))
            )
        except PartlyFailed as failed:
            result, lost = str(failed.made), failed.items
        state = f"done in {duration(time.monotonic() - began)}"
    path = Path(result)
    made[step.name] = path if step.stage != GALLERY and path.is_dir() else job.folder
    notes = lost or (result if step.stage == GALLERY else "")
    if step.stage == "evaluate":
        made[step.name] = job.folder
        made[BEST], notes = _choose_best(job, made)
        say(notes)
    found = _count_found(job.folder) if step.stage == GALLERY else ""
    return StepRow(step.stage, state, job.folder, job.command(), notes, found), lost


def _finished_crop_sets(out: Path) -> list[Path]:
    """Return the finished crop sets in the folder of a project, the newest first."""
    sets = (one for one in out.glob("crop*") if (one / INDEX).is_file() and (one / MANIFEST).is_file())
    return sorted(sets, key=lambda one: (one / MANIFEST).stat().st_mtime, reverse=True)


def _count_found(folder: Path) -> str:
    """Return in plain words whom a gallery has."""
    with Gallery(folder) as gallery:
        counts = gallery.stats()
    crops = quantity(counts["crops"], "crops")
    proposed = f", of {quantity(counts['people'], 'people')} named or proposed" if counts["people"] else ""
    return f"{quantity(counts['sightings'], 'sightings')} of people ({crops}){proposed}"


def _call(job: Job) -> Path:
    kind = find_commands()[job.step.stage]
    settings = replace(fill(kind, job.values, job.step.stage, f"{job.step.stage}."), out=job.folder)
    if isinstance(settings, CropSettings):
        others = (one for one in _finished_crop_sets(job.folder.parent) if one != job.folder)
        settings = replace(settings, reuse=next(others, None))  # whose videos need not be processed again
    found: Path = importlib.import_module(f"rewho.stages.{job.step.stage}").run(settings)
    return found


def _fill_gallery(job: Job) -> str:
    """Create the gallery, add the images, propose people and calibrate; return what each says."""
    act = importlib.import_module("rewho.stages.gallery").run
    settings = fill(GallerySettings, {**job.values, "folder": job.folder.as_posix(), "action": "add"}, GALLERY)
    for item in settings.items:
        if (Path(item) / INDEX).is_file() and not len(CropSet.open(Path(item))):
            fix = "Look at the counts of the rules on its page; lower --override crop.rules.min_confidence=0.5."
            raise UserError(item, expected="crops of people", got="none that the rules keep", fix=fix)
    said = []
    if not (job.folder / MODEL).is_dir():
        said.append(act(replace(settings, action="create", items=())))
    said.append(act(settings))
    for action in GROWN:
        try:
            said.append(act(replace(settings, action=action, items=())))
        except UserError as error:  # too few images, or no tracks: the gallery is of use without
            said.append(f"{action}: not possible here: expected {error.expected}, got {error.got}")
    return "\n".join(said)


def _write_page(
    settings: RunSettings, steps: list[Step], rows: list[StepRow], made: Mapping[str, Path], *, tested: bool
) -> None:
    waiting = [StepRow(step.stage, "not yet", None, "", "") for step in steps[len(rows) :]]
    notes = []
    if settings.data is not None and not tested:
        notes.append("Nothing was evaluated: the data set has no test part. Hold people out with --hold_out 50.")
    if not settings.adapt and made.get("crop") is not None:
        notes.append(
            "The model was not adapted to these images. Where the same people come back, that can raise its scores "
            "without labels: try it with --adapt, and evaluate."
        )
    if _takes_hog(steps):
        notes.append(WARNING.removeprefix("note: "))
    found = next((row.found for row in rows if row.found), "what the run made")
    page = ProjectPage(f"{settings.out.name}: {found}", [*rows, *waiting], notes, _next(settings, made), settings.out)
    write_file(settings.out / PAGE, lambda file: file.write(project_page(page).encode()))


def _takes_hog(steps: Sequence[Step]) -> bool:
    return any(step.stage == "crop" and step.settings.get("detector.kind") == "hog" for step in steps)


def _next(settings: RunSettings, made: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Return what can be done next, each with its command."""
    found = []
    if gallery := made.get(GALLERY):
        found += [
            ("search with somebody who is in it", f"rewho gallery search {gallery} --sightings 1"),
            ("search with an image of a person", f"rewho gallery search {gallery} anna.jpg"),
            ("answer the questions that improve the proposed people", f"rewho gallery review {gallery}"),
            ("work with it in a browser", f"rewho serve {gallery}"),
        ]
    trained = [made[name] for name in (BEST, *MODELS) if name in made]
    if trained:
        found.append(("compare two people with the new model", f"rewho compare a.jpg b.jpg --model {trained[0]}"))
    if settings.data is None:
        found.append(
            ("train a better model: label some people, a folder for each", "rewho run … --data people --hold_out 20")
        )
    return found


def _say_plan(project: Project, steps: list[Step], labelled: DataSettings | None) -> None:
    """Print for each step whether it is finished, what it takes, and its command."""
    out, made = project.settings.out, dict[str, Path]()
    facts = _facts(project, labelled)
    seconds, size, unknown, jobs = 0.0, 0, list[str](), list[Job]()
    for step in steps:
        job = _prepare(step, out, {**_places(steps, out), **made})
        jobs.append(job)
        made[step.name] = job.folder
        kind = flatten(plain(fill(find_commands()[step.stage], job.values, step.stage)))
        expected = forecast(step.stage, kind, facts)
        done = job.result is not None
        show(f"{'finished' if done else 'missing '}  {step.name:10} {'' if done else expected.words()}".rstrip())
        show(f"          {job.command()}")
        if not done:
            seconds, size = seconds + (expected.seconds or 0), size + expected.size
            unknown += [step.name] if expected.seconds is None else []
    show(
        f"about {duration(seconds)} of one processor core"
        + (f", and the time of {', '.join(unknown)}" if unknown else "")
        + f"; {size / 1e6:,.0f} MB of disk. Rough: see the guide on `rewho run`."
    )
    if _takes_hog(steps):
        say(WARNING)
    try:
        _check_terms(jobs)
        _check_videos(project.settings, jobs)
    except UserError as error:
        say(f"warning: this plan cannot be run yet: {error}")


def _facts(project: Project, labelled: DataSettings | None) -> Facts:
    """Return what the forecast needs: the length of the videos, the number of images."""
    settings = project.settings
    paths = [Path(task.path) for task in plan_videos(settings.videos)] if settings.videos else []
    videos = [path for path in paths if not is_photograph(str(path)) and path.suffix.lower() in VIDEO_ENDINGS]
    seconds = decoded = 0.0
    if videos:
        from rewho.video.frames import probe

        known = [probe(path, still_frames=0) for path in videos[:MOST_PROBED]]
        more = len(videos) / len(known)
        seconds = more * sum(one.duration for one in known)
        decoded = more * sum(float(one.frames) * one.width * one.height for one in known)
    images = sum(_count(path) for path in settings.crops)
    rows = len(training_rows(read_settings(labelled))) if labelled is not None else 0
    return Facts(len(videos), seconds, decoded, images, rows)


def _count(folder: Path) -> int:
    return len(CropSet.open(folder)) if (folder / INDEX).is_file() else len(list_images(folder))
