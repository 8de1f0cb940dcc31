"""What a folder is: a run, a model, a crop set, a data set, images, videos, or none of these."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.people import FEW_PEOPLE
from rewho.core.record import STARTED, flatten, read_record
from rewho.core.text import quantity
from rewho.crops.shards import read_index
from rewho.data.datasets import read_settings
from rewho.data.file_lists import is_crop_set, sub_folders
from rewho.data.name_patterns import are_cameras, not_people
from rewho.data.table import ImageTable
from rewho.gallery.database import FILE
from rewho.inspection.answer import Answer, Survey, commands_for_videos, describe_sizes, survey, word
from rewho.settings import DataSettings

CARD = "model.json"
EXPORTED = ("model.onnx", "model.pt2")
FEWEST_TO_SPLIT = 4
MOST_NAMED = 8


def describe_folder(path: Path) -> Answer:
    """Return what a folder is."""
    return _describe_ours(path) or _describe_others(path)


def _describe_ours(path: Path) -> Answer | None:
    """Return the answer for a folder that a command wrote; None for another."""
    if (path / FILE).is_file():
        return _describe_gallery(path)
    if (path / STARTED).is_file() or (path / MANIFEST).is_file():
        return _describe_run(path)
    if is_crop_set(path):
        return _describe_crops(path)
    if (path / CARD).is_file():
        return _describe_model(path)
    if (path / "embeddings.npy").is_file() and (path / "images.csv").is_file():
        return Answer("embeddings", [], [], [f"rewho search QUERY.jpg --in {word(path)}"])
    return None


def _describe_others(path: Path) -> Answer:
    if runs := [name for name in sub_folders(path) if _is_ours(path / name)]:
        return _describe_runs(path, runs)
    counted = survey(path)
    describe = _describe_images if counted.images else _describe_videos if counted.videos else _describe_rest
    found = describe(path, counted)
    return replace(found, odd=[*counted.odd(), *found.odd])


def _is_ours(path: Path) -> bool:
    return any((path / mark).is_file() for mark in (STARTED, MANIFEST, CARD, FILE))


def _describe_runs(path: Path, runs: Sequence[str]) -> Answer:
    finished = sum((path / name / MANIFEST).is_file() for name in runs)
    more = ", …" if len(runs) > MOST_NAMED else ""
    facts = [
        f"{quantity(len(runs), 'runs')} and models, {finished:,} of them finished: {', '.join(runs[:MOST_NAMED])}{more}"
    ]
    newest = sorted(runs, key=lambda name: (path / name).stat().st_mtime, reverse=True)
    return Answer("a folder of runs", facts, [], [f"rewho look {word(path / name)}" for name in newest])


def _describe_gallery(path: Path) -> Answer:
    here = word(path)
    # Without a journal nobody has it open; SQLite would create one, and leave it, even to read.
    mode = "mode=ro" if (path / f"{FILE}-wal").exists() else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path / FILE))}?{mode}", uri=True)) as link:
            number = {
                name: int(link.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608 - our own names
                for name in ("sightings", "crops", "cameras", "people")
            }
    except sqlite3.Error as error:
        return Answer("a gallery that cannot be read", [], [f"{FILE}: {error}."], [f"rewho gallery verify {here}"])
    facts = [
        f"{quantity(number['sightings'], 'sightings')} with {quantity(number['crops'], 'crops')} from "
        f"{quantity(number['cameras'], 'cameras')}",
        f"{number['people']:,} people have been grouped or named",
    ]
    add = f"rewho gallery add {here} CROPS"
    search = [f"rewho gallery search {here} QUERY.jpg", f"rewho serve {here}"]
    if not number["sightings"]:
        return Answer("a gallery", [], ["Nothing has been added to it."], [add, *search])
    return Answer("a gallery", facts, [], [*search, add])


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a run, and what is wrong with it."""
    try:
        return read_record(path), []
    except UserError as error:
        return {}, [f"{path.name} is damaged: {error.got}."]


def _describe_run(path: Path) -> Answer:
    finished = (path / MANIFEST).is_file()
    record, odd = _read(path / (MANIFEST if finished else STARTED))
    stage = str(record.get("stage", "unknown"))
    settings = flatten(record.get("settings", {}))
    facts = [f"started {record['started']}, with rewho {record.get('rewho', 'unknown')}"] if "started" in record else []
    if finished:
        counts = record.get("counts", {})
        shown = [f"{name.replace('_', ' ')} {_number(value)}" for name, value in counts.items() if _is_number(value)]
        facts += [", ".join(shown)] if shown else []
        return _describe_finished(path, stage, settings, facts, odd)
    if not odd:
        odd.append(f"The run has not finished{_last_checkpoint(path)}. The same command resumes it.")
    again = [str(part) for part in record.get("command", [])[1:]]
    commands = [" ".join(["rewho", *map(word, again)])] if again else []
    return Answer(f"an unfinished run of `rewho {stage}`", facts, odd, commands)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _last_checkpoint(path: Path) -> str:
    found = sorted((path / "checkpoints").glob("step-*"))
    if not found:
        return ""
    saved = datetime.fromtimestamp(found[-1].stat().st_mtime).astimezone()
    return f"; its newest checkpoint is {found[-1].name}, of {saved:%Y-%m-%d %H:%M}"


def _describe_finished(path: Path, stage: str, settings: Mapping[str, Any], facts: list[str], odd: list[str]) -> Answer:
    here = word(path)
    if is_crop_set(path):
        found = _describe_crops(path)
        return Answer(found.what, [*found.facts, *facts], [*odd, *found.odd], found.commands)
    if (path / CARD).is_file():
        found = _describe_model(path, str(settings.get("data.root", "DATA")), encoder=stage == "pretrain")
        return Answer(
            f"{found.what}, from a finished run of `rewho {stage}`",
            [*found.facts, *facts],
            [*odd, *found.odd],
            found.commands,
        )
    commands = {
        "embed": [f"rewho search QUERY.jpg --in {here}"],
        "teachers": [f"rewho represent --teachers {here} --data.root {word(str(settings.get('data.root', 'DATA')))}"],
        "represent": [f"rewho distill --student MODEL --representations {here}"],
        "evaluate": [f"xdg-open {word(path / 'index.html')}"],
        "table": [f"xdg-open {word(path / 'index.html')}"],
        "search": [f"xdg-open {word(path / 'index.html')}"],
    }
    return Answer(f"a finished run of `rewho {stage}`", facts, odd, commands.get(stage, []))


def _describe_crops(path: Path) -> Answer:
    here = word(path)
    try:
        shards = read_index(path).shards
    except UserError as error:
        return Answer("a damaged crop set", [], [f"{error.got}"], [f"rewho crops verify {here} --repair"])
    number = sum(shard.crops for shard in shards)
    missing = [shard.images for shard in shards if not (path / shard.images).is_file()]
    odd = [f"Missing files of crops: {', '.join(missing[:3])}."] if missing else []
    odd += [] if number else ["It holds no crop."]
    return Answer(
        f"a crop set with {quantity(number, 'crops')}",
        [f"{quantity(len(shards), 'files')} of crops; people have no names in it"],
        odd,
        [
            f"rewho search QUERY.jpg --in {here}",
            f"rewho crops export {here} --out images",
            f"rewho pretrain {here} --out runs/encoder",
        ],
    )


def _describe_model(path: Path, data: str = "DATA", *, encoder: bool = False) -> Answer:
    here = word(path)
    try:
        card = read_json(path / CARD)
    except UserError as error:
        return Answer("a damaged model folder", [], [f"{CARD}: {error.got}"], [])
    exported = [name for name in EXPORTED if (path / name).is_file()]
    architecture = card.get("architecture")
    architecture = architecture if isinstance(architecture, dict) else {}
    size = card.get("input_size")
    trained_on = card.get("trained_on")
    facts = [
        f"{architecture.get('kind', 'network')} on {architecture.get('backbone', 'unknown')}, embedding of "
        f"{card.get('embedding_size', '?')} numbers, input {' x '.join(map(str, size)) if size else '?'}, "
        f"{card.get('parameters', 0):,} parameters",
        f"trained on {trained_on.get('name', 'unknown') if isinstance(trained_on, dict) else 'unknown'}",
    ]
    if exported:
        return Answer(f"an exported model ({exported[0]})", facts, [], [f"less {word(path / 'README.md')}"])
    odd = [] if (path / "model.safetensors").is_file() else ["model.safetensors, its weights, is missing."]
    if encoder:
        return Answer(
            "an encoder without labels",
            facts,
            odd,
            [f"rewho train {word(data if data != 'DATA' else 'PEOPLE')} --init {here}"],
        )
    return Answer(
        "a model",
        facts,
        odd,
        [
            f"rewho evaluate {here} --data {word(data)}",
            f"rewho search QUERY.jpg --in IMAGES --model {here}",
            f"rewho export {here}",
        ],
    )


def _describe_images(path: Path, counted: Survey) -> Answer:
    here = word(path)
    files = [path / name for name in counted.images]
    facts, odd = describe_sizes(files)
    more = "" if counted.whole else " or more: too many to count all"
    if counted.videos:
        odd.append(f"{len(counted.videos):,} videos lie beside the images; `rewho crop` reads both.")
    table: ImageTable | None = None
    reason = "There are too many files to read the labels of all now."
    if counted.whole:
        try:
            table = read_settings(DataSettings(path))
        except UserError as error:
            if error.fix.startswith("Give "):  # a data set lies above or below
                inside = error.fix.removeprefix("Give ").rstrip(".")
                what = f"a folder of {len(files):,} images{more}, not itself a data set"
                return Answer(what, [], [f"A data set lies in {inside}."], [f"rewho look {word(inside)}"])
            reason = f"Not read as a data set with people's labels: {error.what}: got {error.got}. {error.fix}"
        except PermissionError as error:
            reason = f"Not read as a data set with people's labels: {error.filename} may not be read."
    if are_cameras(folders := {name.rpartition("/")[0] for name in counted.images}):
        what = f"{quantity(len(files), 'images')}{more} in {quantity(len(folders), 'folders')} with names of cameras"
        adapt = f"rewho adapt {here} --recipe adapt/small --cameras folder --out runs/adapted"
        return Answer(what, facts, [*odd, not_people(folders, path)], [adapt, f"rewho embed {here}"])
    if table is not None:
        return _describe_table(path, table, facts, odd)
    inside = f" in {quantity(counted.folders, 'folders')}" if counted.folders else ""
    return Answer(
        f"{quantity(len(files), 'images')}{more}{inside}, without labels that are understood",
        facts,
        [*odd, reason],
        [
            f"rewho search QUERY.jpg --in {here}",
            f"rewho embed {here}",
            f"rewho adapt {here} --recipe adapt/small --out runs/adapted",
        ],
    )


def describe_splits(table: ImageTable) -> list[str]:
    """Return a line on each split of a data set: images, people and cameras."""
    return [
        f"{split}: {quantity(counts.images, 'images')} of {quantity(counts.people, 'people')}"
        + (f" from {quantity(counts.cameras, 'cameras')}" if counts.cameras else "")
        for split, counts in table.counts().items()
    ]


def _describe_table(path: Path, table: ImageTable, facts: list[str], odd: list[str]) -> Answer:
    """Return the answer for a data set with labels."""
    people = Counter(table.person_ids[table.person_ids >= 0].tolist())
    per_person = sorted(people.values())
    facts = [*describe_splits(table), *facts]
    if per_person:
        facts.append(
            f"images per person: {per_person[0]} to {per_person[-1]}, {per_person[len(per_person) // 2]} in the middle"
        )
    facts += [note for note in table.notes if note.startswith("Read as")]
    odd = [*odd, *(note for note in table.notes if not note.startswith("Read as"))]
    single = sum(count == 1 for count in per_person)
    if single and table.in_split("pool").any():
        odd.append(f"{single:,} of {len(people):,} people have a single image, from which little is learned.")
    if len(people) < FEW_PEOPLE:
        odd.append(
            f"Only {quantity(len(people), 'people')}: enough to try the commands, too few for a model to rely on."
        )
    here, scored = word(path), bool(table.in_split("query").any() and table.in_split("gallery").any())
    commands = []
    if table.in_split("train").any() or table.in_split("pool").any():
        able = sum(count > 1 for count in per_person)
        hold = "" if scored or able < FEWEST_TO_SPLIT else f" --hold_out {max(2, able // 5)}"
        commands.append(f"rewho train {here}{hold} --out runs/{word(path.resolve().stem)}")
    if scored:
        commands.append(f"rewho evaluate starter --data {here}")
    commands += [f"rewho search QUERY.jpg --in {here}", f"rewho embed {here}"]
    return Answer(f"a data set, {table.name}", facts, odd, commands)


def _describe_videos(path: Path, counted: Survey) -> Answer:
    size = sum((path / name).stat().st_size for name in counted.videos)
    more = "" if counted.whole else " or more: too many files to count all"
    odd = [f"{name} is empty." for name in counted.videos if not (path / name).stat().st_size][:3]
    return Answer(
        f"{quantity(len(counted.videos), 'videos')}{more}, {size / 1e9:,.2f} GB",
        [],
        odd,
        [*commands_for_videos(path), f"rewho look {word(path / counted.videos[0])}"],
    )


def _describe_rest(path: Path, counted: Survey) -> Answer:
    if not counted.others and not counted.folders:
        return Answer("an empty folder", [], [], ["rewho demo"])
    facts = [f"{quantity(counted.others, 'files')} of other kinds, {quantity(counted.folders, 'folders')}"]
    odd = ["No image, video, model or run is in it."]
    inside: Callable[[str], Path] = path.joinpath
    shown = [f"rewho look {word(inside(name))}" for name in sub_folders(path)]
    files = [f"rewho look {word(file)}" for file in sorted(path.iterdir()) if file.is_file()]
    return Answer("a folder of other files", facts, odd, [*shown, *files])
