"""Videos → a crop set: one part per video, made by any number of processes, then joined in one fixed order.

The result does not depend on how the work was split: an interrupted run, or one shared among machines, leaves the same
bytes in `index.json` and the files that it names.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from rewho.core.artifact import MANIFEST, plain, remove_unfinished
from rewho.core.check import UserError
from rewho.core.lock import LOCK, Lock
from rewho.core.progress import Progress, say
from rewho.core.record import STARTED, flatten
from rewho.core.runtime import PartlyFailed, StopRequest, run_in_processes
from rewho.core.stage import Stage
from rewho.core.text import quantity
from rewho.crops.forget import check_finished
from rewho.crops.inputs import Plan, VideoTask, parse_shard, plan_videos
from rewho.crops.joining import Joined, check_failures, choose_crops, order_videos, write_set
from rewho.crops.one_video import (
    PARTS,
    UNFINISHED,
    PartMaker,
    has_part,
    hash_config,
    part_folder,
    read_record,
    write_given_up,
)
from rewho.crops.page import write_report
from rewho.crops.people_source import PeopleSource, VideoPeople
from rewho.crops.ray_engine import run_tasks_on_ray
from rewho.crops.reuse import find_hindrance, take_parts
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.statistics import VIDEOS, read_videos
from rewho.crops.terms import read_terms, write_form
from rewho.crops.workers import Outcome, run_tasks
from rewho.settings import CropSettings, TermsSettings
from rewho.settings.command_line import fill
from rewho.settings.fields import check
from rewho.video.display import FOLLOWED

FREE_SETTINGS = (
    *("out", "videos", "new_terms", "terms.file", "workers", "shard", "engine", "address", "gpus", "failure_limit"),
    *("retry", "reuse", "limits.threads", "detector.device", "detector.threads", "detector.weights"),
    *("pose.device", "pose.threads", "pose.weights"),
)  # the contents of videos and weights are in the stage's inputs
UNDONE = ("failed", "given up")
NAMED = 20  # videos named in the last line of the output


@run_in_processes
def run(settings: CropSettings, source: PeopleSource | None = None) -> Path:
    """Cut the people out of videos and return the folder of the crop set.

    Args:
        settings: Videos, terms, thresholds, output folder.
        source: Finds the people of a video, instead of the detector in the settings.

    Raises:
        UserError: Terms are missing, a setting is wrong, too many videos failed, or the disk is full.
        PartlyFailed: The set is finished, but some videos ended the process that worked on them, twice.
        Interrupted: A stop was asked for; the same command resumes the run.
    """
    began = time.monotonic()
    check(settings)
    if settings.new_terms is not None:
        return write_form(settings.new_terms)
    settings = check_crop(settings)
    plan = plan_videos(settings.videos)
    source = source or VideoPeople(limit_threads(settings))
    inputs = {"videos": plan.digest(), **dict(zip(("detector", "pose"), source.models(), strict=True))}
    stage = Stage(settings.out, "crop", plain(settings), inputs, FREE_SETTINGS, work=PARTS, lock="")
    part, parts = parse_shard(settings.shard)
    with Lock(settings.out / f"{LOCK}-{part}-of-{parts}", str(settings.out)):
        check_finished(settings.out)
        if (settings.out / MANIFEST).is_file() and settings.retry:
            _reopen(settings.out, plan)
        if stage.begin() == "finished":
            check_shards(settings.out)
            if settings.retry and any(video["status"] == "failed" for video in read_videos(settings.out)):
                say("its failed videos cannot be tried again; choose another --out for that")
        else:
            _reuse(settings, plan, stage)
            make_parts(settings, plan, source)
            if not all(has_part(settings.out, task) for task in plan):
                say(f"part {settings.shard} is done; the set is joined when all parts are")
                return settings.out
            with Lock(settings.out / f"{LOCK}-join", str(settings.out)):
                remove_unfinished(settings.out)
                join(settings, plan, stage, began)
        lost = [video["path"] for video in read_videos(settings.out) if video["status"] == "given up"]
        if not lost:
            _clear(settings.out)
    if lost:
        ended = f"{quantity(len(lost), 'videos')} that ended their process twice: {', '.join(lost[:3])}"
        raise PartlyFailed(settings.out, f"{ended}; {summarise(settings.out)}")
    return settings.out


def summarise(out: Path) -> str:
    """Return a line that counts a finished set's videos and names those without crops and why; "" if there are none."""
    videos = read_videos(out) if (out / INDEX).is_file() else []  # with --shard the set may not be joined yet
    lost = [one for one in videos if one["status"] != "ok"]
    counts = Counter(one["status"] for one in videos)
    counted = ", ".join(f"{counts[status]:,} {status}" for status in ("ok", *UNDONE, "refused") if counts[status])
    named = [f"{one['path']} ({': '.join(filter(None, (one['reason'], one['detail'])))})" for one in lost[:NAMED]]
    more = [f"and {len(lost) - NAMED:,} more, see {out / VIDEOS}"] if len(lost) > NAMED else []
    return f"{quantity(len(videos), 'videos')}: {counted}: {', '.join([*named, *more])}" if lost else ""


def crop(
    videos: Path | str | Iterable[Path | str],
    out: Path | str = "crops",
    *,
    terms: TermsSettings | Mapping[str, str] | Path | str,
    **settings: Any,  # noqa: ANN401
) -> CropSet:
    """Cut the people out of videos and return the crop set.

    Args:
        videos: A video or photograph, a folder, a list of paths (.txt), a table (.csv), or several of these.
        out: Folder of the crop set.
        terms: Name, source, licence, purpose, legal_basis, contact and retention, as `TermsSettings`, a dictionary, or
            the path of a file that `rewho crop --new-terms FILE` wrote.
        **settings: Other fields of `rewho.settings.CropSettings`; groups of settings, such as `detector`, as the
            class of that field or as a dictionary.

    Raises:
        UserError: See `run`.

    Example:
        >>> crop("street.mp4", terms={"licence": "CC-BY-4.0"})
        Traceback (most recent call last):
        ...
        rewho.core.check.UserError: terms: expected what a data sheet must say, got nothing on name, source, purpose, \
legal_basis, contact, retention.
          Fix: Run `rewho crop --new-terms terms.yaml`, fill in the form, and pass --terms terms.yaml; or pass \
--terms.name … for each.
    """
    if not isinstance(videos, Path | str | Iterable):
        raise UserError("videos", expected="a path, or several", got=repr(videos), fix='Pass "street.mp4".')
    named = [videos] if isinstance(videos, Path | str) else list(videos)
    kinds = get_type_hints(CropSettings)
    for name, value in settings.items():
        if isinstance(value, Mapping) and name in kinds:
            settings[name] = fill(kinds[name], flatten(value), f"crop, {name}", f"{name}.")
    given = flatten(plain({"videos": named, "out": out, "terms": terms, **settings}))
    try:
        folder = run(fill(CropSettings, given, "crop", ""))
    except PartlyFailed as rest:
        folder = rest.made
    say(summarise(folder))
    return CropSet.open(folder)


def check_crop(settings: CropSettings) -> CropSettings:
    """Return the settings with the terms of their file; raise UserError if a setting is wrong or a term is missing."""
    check(settings)
    return replace(settings, terms=read_terms(settings.terms))


def limit_threads(settings: CropSettings) -> CropSettings:
    """Use one thread per model by default: more change the last bits of outputs and are slower than more workers."""
    detector, pose = settings.detector, settings.pose
    return replace(
        settings,
        detector=replace(detector, threads=detector.threads or 1),
        pose=replace(pose, threads=pose.threads or 1),
    )


def _reuse(settings: CropSettings, plan: Plan, stage: Stage) -> None:
    """Take what a finished set has of this shard's videos; what cannot be taken is made."""
    old, out = settings.reuse, settings.out
    if old is None:
        return
    left = (task for task in plan.tasks(settings.shard) if not has_part(out, task))
    try:
        why = find_hindrance(settings, stage, old)
        taken = 0 if why else take_parts(old, out, left, out / UNFINISHED / settings.shard.replace("/", "-of-"))
        say(f"{quantity(taken, 'videos')} are taken from {old}" + (f": {why}" if why else ""))
    except UserError as error:
        say(f"warning: videos that are not taken from {old} are processed: {error}")


def make_parts(settings: CropSettings, plan: Plan, source: PeopleSource) -> None:
    """Make the part of each video of this shard that has none yet."""
    out = settings.out
    aside = out / UNFINISHED / settings.shard.replace("/", "-of-")
    shutil.rmtree(aside, ignore_errors=True)  # no other process uses it, because we hold the lock
    maker = PartMaker(out, settings, hash_config(settings, source.models()), source, aside)
    total = sum(1 for _ in plan.tasks(settings.shard))
    left = [task for task in plan.tasks(settings.shard) if not has_part(out, task) or _again(settings, task)]
    progress = Progress("crop", total, total - len(left), unit="videos")
    counts = {"ok": 0, "refused": 0, "failed": 0, "given up": 0}
    crops = frames = 0

    def note() -> str:
        counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        return "; ".join(
            filter(None, [quantity(crops, "crops"), counted, quantity(frames, "frames") if frames else ""])
        )

    def look(more: int) -> None:
        nonlocal frames
        frames += more
        progress.advance(0, note())

    try:
        with StopRequest() as stop, contextlib.closing(_outcomes(settings, left, maker, stop, look)) as outcomes:
            for outcome in outcomes:
                record = outcome.result or {"status": "given up", "kept": 0}
                if outcome.lost:
                    write_given_up(out, aside, outcome.task, outcome.lost)
                    say(f"given up: {outcome.task.path}: {outcome.lost}")
                counts[record["status"]] += 1
                crops += record["kept"]
                progress.advance(note=note())
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # left by killed workers
        progress.close(quantity(crops, "crops"))
    stop.end_if_wanted(f"{progress.done:,} of {total:,} videos are done")


def _outcomes(
    settings: CropSettings, tasks: Iterable[VideoTask], maker: PartMaker, stop: StopRequest, look: Callable[[int], None]
) -> Generator[Outcome[VideoTask, dict[str, Any]]]:
    if settings.engine == "ray":
        return run_tasks_on_ray(
            tasks, maker, settings.workers, settings.address, gpus=settings.gpus, stop=lambda: stop.wanted
        )
    return run_tasks(tasks, maker, settings.workers, stop=lambda: stop.wanted, progress=look)


def _again(settings: CropSettings, task: VideoTask) -> bool:
    return settings.retry and read_record(part_folder(settings.out, task))["status"] in UNDONE


def join(settings: CropSettings, plan: Plan, stage: Stage, began: float) -> None:
    """Join all parts and finish the set."""
    out = settings.out
    parts = (CropSet.open(part_folder(out, task)) for task in plan)
    videos = order_videos((Joined(dict(part.contents.about["video"]), part) for part in parts), settings.screen)
    check_failures([video.record for video in videos], settings.failure_limit)
    chosen = choose_crops(videos, settings.selection)
    writer = write_set(out, videos, chosen)
    for video in videos:
        for image in sorted((video.part.folder / "explained").glob("*.jpg")):
            (out / "explained").mkdir(exist_ok=True)
            shutil.copyfile(image, out / "explained" / image.name)
    if not any(crops.any() for crops in chosen):
        say("warning: the set has no crop; check the rules' counts on its page, and the detections")
    outputs, figures = write_report(out, writer, [video.record for video in videos], settings)
    if followed := [video.record["path"] for video in videos if FOLLOWED in video.record["changes"]]:
        named = ", ".join(map(str, followed[:NAMED]))
        say(f"warning: left out: a second video behind the first in {quantity(len(followed), 'files')}: {named}")
    if apart := figures["tracks"]["frames_too_far_apart"]:
        say(
            f"warning: {apart:,} of {figures['frames_looked_at']:,} sampled frames are more than --tracking.gap "
            f"{settings.tracking.gap:g} s away from both of their neighbours, so that nobody in them has a track; "
            "sample more frames, or raise --tracking.gap"
        )
    elif settings.tracking.kind == "file" and figures["crops"] and not figures["tracks"]["tracks"]:
        say(
            "warning: --tracking.kind file, but no crop has a track: the files have no ids, or ids that only number "
            "the detections of each frame, as in LUPerson's published files; pass --tracking.kind motion"
        )
    stage.finish(
        [out / STARTED, *outputs],
        {name: figures[name] for name in ("crops", "scenes", "persons")},
        time.monotonic() - began,
    )


def check_shards(folder: Path) -> None:
    """Raise a UserError if a finished set lacks a file of its crops, which its manifest does not list."""
    for shard in CropSet.open(folder).contents.shards:
        for name in (shard.images, shard.rows):
            if not (folder / name).is_file():
                fix = f"Run `rewho crops verify {folder} --repair`, or choose another --out."
                raise UserError(f"--out {folder}", expected="a whole crop set", got=f"no {name}", fix=fix)


def _reopen(out: Path, plan: Plan) -> None:
    """Remove the manifest of a set some of whose videos failed or were given up, so that they are tried again."""
    lost = [task for task in plan if has_part(out, task) and read_record(part_folder(out, task))["status"] in UNDONE]
    if lost:
        (out / MANIFEST).unlink()


def _clear(out: Path) -> None:
    """Remove the parts; a finished set only needs them while videos are given up."""
    for name in (PARTS, UNFINISHED):
        if (out / name).is_dir():
            shutil.rmtree(out / name)
