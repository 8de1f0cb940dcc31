"""Run the stages of a paper's table and write our scores beside the paper's.

Finished runs are skipped, interrupted ones resume, and tables with the same `out` share runs. The table is rewritten
after every score; scores that earlier calls measured on other rows or data sets stay.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from rewho import settings as all_settings
from rewho.core.artifact import MANIFEST, plain, write_file, write_json
from rewho.core.check import UserError, check_choice
from rewho.core.files import read_json
from rewho.core.lock import LOCK, hold, release_locks
from rewho.core.progress import say, show
from rewho.core.record import flatten, rewho_version
from rewho.core.runtime import StopRequest, is_main_process, on_main_process
from rewho.core.shipped import CARD
from rewho.data.datasets import read_settings
from rewho.data.view_file import read_view
from rewho.rendered import write_people
from rewho.report.content import Score
from rewho.settings import DataSettings, EngineSettings, TableSettings
from rewho.settings.command_line import fill
from rewho.settings.fields import check, options_of
from rewho.settings.recipe import read_recipe, recipe_folders, refuse_functions
from rewho.tables.command import format_command
from rewho.tables.comparison import OURS, PaperCell, PaperRow, PaperTable, from_dict, markdown, page
from rewho.tables.plan import GIVEN, PlanRow, Step, TablePlan, find_plan, read_plan

KEYS = ("rank_1", "mAP_rectangular", "mAP_trapezoid")  # what `OURS` is called in metrics.json
CLASSES = {"train": "TrainSettings", "teachers": "TeachersSettings", "represent": "RepresentSettings"}
CLASSES |= {"distill": "DistillSettings", "evaluate": "EvaluateSettings", "pretrain": "PretrainSettings"}
CLASSES |= {"adapt": "AdaptSettings"}
RESULTS = "results.json"
SHARED = "pretrained"  # folder of the runs that belong to no data set
SMOKE_NOTE = "Small variant on rendered people: it shows that everything works, and its figures mean nothing."


@release_locks
def run(settings: TableSettings) -> Path | None:
    """Run what is missing; return the page, beside results.json and table.md. With `plan` only say it; return None."""
    check(settings)
    plan = read_plan(find_plan(settings.name, recipe_folders()))
    rows = plan.select(settings.rows)
    runner = Runner(plan, settings, _data_sets(plan, settings))
    runner.check(rows)
    if settings.plan:
        _say_plan(runner, rows)
        return None
    folder = settings.out / "tables" / (f"{plan.name}-smoke" if settings.smoke else plan.name)
    earlier = _read(folder)
    runner.headings = {**(earlier.data_sets if earlier else {}), **runner.headings}
    before = {row.label: row.cells for row in earlier.rows} if earlier else {}
    shown = [row for row in plan.rows if row in rows or row.label in before]
    done = {row.label: runner.row(row, before.get(row.label, {})) for row in shown}
    hold(folder / LOCK, f"--out {settings.out}, table {plan.name}")
    with StopRequest() as stop:
        for row, key in product(rows, runner.data):
            stop.end_if_wanted(f"the table so far is in {folder}")
            if runner.measurable(row, key):
                done[row.label] = runner.row(row, {**done[row.label].cells, key: runner.cell(row, key)})
                on_main_process(lambda: _write(folder, runner, list(done.values())))
    written = on_main_process(lambda: _write(folder, runner, list(done.values())))
    if is_main_process():
        show(markdown(_table(runner, list(done.values()))))
    return written


def _data_sets(plan: TablePlan, settings: TableSettings) -> dict[str, DataSettings]:
    """Return the data sets by name, in the order given; with `--smoke`, rendered people instead."""
    if settings.smoke:
        folders = {
            key: _few_people(settings.out / "people" / key, plan.smoke_people, seed)
            for seed, key in enumerate(plan.smoke_data, settings.seed)
        }
        return {key: DataSettings(root=folder, workers=0) for key, folder in folders.items()}
    if settings.data.root == DataSettings().root and not settings.data.root.exists():
        fix = f"Type it as in `rewho table {settings.name} --data Market-1501`; --smoke renders people instead."
        raise UserError("--data", expected="a path", got="nothing", fix=fix)
    found: dict[str, DataSettings] = {}
    for root in (settings.data.root, *settings.others):
        data = replace(settings.data, root=root)
        name = read_settings(data).name
        if name in found:
            expected = "other data sets than the first"
            raise UserError("--others", expected=expected, got=f"{name} twice", fix="Name each once.")
        found[name] = data
    return found


def _few_people(folder: Path, people: int, seed: int) -> Path:
    return on_main_process(
        lambda: write_people(
            folder,
            identities=people,
            test_identities=4,
            cameras=2,
            images_per_camera=2,
            distractors=2,
            junk=1,
            seed=seed,
        )
    )


@dataclass
class Runner:
    """Runs each step of a plan at most once; `headings` stand above each data set's columns."""

    plan: TablePlan
    settings: TableSettings
    data: Mapping[str, DataSettings]
    headings: dict[str, str] = field(init=False)
    _done: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        smoke = "rendered people in place of " if self.settings.smoke else ""
        self.headings = {key: smoke + key for key in self.data}
        self.used = _pairs("--use", self.settings.use)
        for name, place in self.used.items():
            check_choice("--use", name.split("/")[-1], list(self.plan.steps))
            _check_there(f"--use {name}", Path(place))
        for crops in self.settings.crops:
            _check_there("--crops", crops)
        self.overrides = _pairs("--override", self.settings.override)
        for name in self.overrides:
            check_choice("--override", name.split(".")[0], list(CLASSES))
            stage, _, option = name.partition(".")
            # `out` cannot be overridden: the table looks for each step's result in its own folder.
            check_choice(f"--override {stage}", option, [known for known, _ in self._options(stage) if known != "out"])

    @staticmethod
    def _options(stage: str) -> list[tuple[str, Any]]:
        return list(options_of(getattr(all_settings, CLASSES[stage])))

    def measurable(self, row: PlanRow, key: str) -> bool:
        """Return whether a row has a model for a data set, with its training data and initial weights available."""
        trained_on = row.trained_on or key
        there = bool(row.model(trained_on)) and trained_on in self.data and row.trained_on != key
        return there and not self.wanting(row, trained_on) and not self.lacks_source(row, trained_on)

    def lacks_source(self, row: PlanRow, trained_on: str) -> bool:
        """Return whether a row learns from another data set as well, and there is none."""
        chain = self.chain(row, trained_on) if row.model(trained_on) else []
        return len(self.data) < 2 and any(step.needs_other_data for step in chain)

    def wanting(self, row: PlanRow, trained_on: str) -> list[Step]:
        """Return the steps of a row whose result must be passed with `--use`, and was not."""
        if not row.model(trained_on):
            return []
        return [step for step in self.chain(row, trained_on) if step.stage == GIVEN]

    def chain(self, row: PlanRow, trained_on: str) -> list[Step]:
        """Return the steps to run for a row, without those passed with `--use` and the steps that only they need."""
        # `--use STEP=…` holds for every data set, `--use DATA/STEP=…` for that one.
        made = {name.split("/")[-1] for name in self.used if "/" not in name or name.startswith(f"{trained_on}/")}
        return self.plan.chain(row.model(trained_on), made)

    def reasons(self, measured: Sequence[str] = ()) -> list[str]:
        """Return one sentence per reason for which rows are not run; rows measured before are left out."""
        why: dict[str, list[str]] = {}
        for row in self.plan.rows:
            if row.because:
                why.setdefault(row.because, []).append(row.label)
            elif row.models and row.label not in measured and not any(self.measurable(row, key) for key in self.data):
                wanting = self.wanting(row, row.trained_on or next(iter(self.data)))
                needs = [f"they need {step.what}: give it with --use {step.name}=PATH" for step in wanting]
                if self.lacks_source(row, row.trained_on or next(iter(self.data))):
                    needs.append("they learn from another data set as well: give it with --others")
                why.setdefault("; ".join(needs) or "they are trained on data that was not given", []).append(row.label)
        return [f"Not run, because {reason}: {'; '.join(labels).rstrip('.')}." for reason, labels in why.items()]

    def folder(self, key: str, step: str) -> Path:
        """Return the folder of a step on a data set; all data sets share the pre-training."""
        place = SHARED if self.plan.steps[step].stage == "pretrain" else key
        own = self.settings.out / (f"{place}-smoke" if self.settings.smoke else place) / step
        return Path(self.used.get(f"{key}/{step}", self.used.get(step, own)))

    def model(self, row: PlanRow, trained_on: str) -> Path:
        """Return the folder of a row's model."""
        name, _, below = row.model(trained_on).partition("/")
        return self.folder(trained_on, name) / below if below else self.folder(trained_on, name)

    def finished(self, key: str, step: Step) -> bool:
        """Return whether a step is complete; `teachers` is if every view's teacher is."""
        folder = self.folder(key, step.name)
        if step.stage != "teachers":
            return (folder / MANIFEST).is_file()
        views = self._settings(step.stage, self._values(key, step), folder).views
        return all((folder / read_view(view).name / MANIFEST).is_file() for view in views)

    def cell(self, row: PlanRow, key: str) -> PaperCell:
        """Run the missing steps of a row on a data set, evaluate the model, and return its scores."""
        trained_on = row.trained_on or key
        chain = self.chain(row, trained_on)
        for step in chain:
            self.run_step(trained_on, step)
        model = self.model(row, trained_on)
        name = row.model(trained_on).replace("/", "-") + ("" if trained_on == key else f"-on-{key}")
        values = {f"data.{option}": value for option, value in flatten(plain(self.data[key])).items()}
        values |= {"model": [model.as_posix()], "data.root": [self.data[key].root.as_posix()]}
        values |= {"sheets": 0, "attention": 0}
        below = f"{trained_on}-smoke" if self.settings.smoke else trained_on
        report = self._run("evaluate", values, self.settings.out / below / "evaluated" / name)
        (result,) = read_json(report / "metrics.json", results=list)["results"]
        figures = result["rankings"][0]
        scores = {
            ours: Score(ours, figures[found], *figures["intervals"].get(found, (None, None)))
            for ours, found in zip(OURS, KEYS, strict=True)
        }
        counts = {name: figures[name] for name in ("queries", "valid_queries", "people", "mINP")}
        size = read_json(model / CARD, parameters=int)["parameters"]
        detail = {"trained_on": trained_on, "model": model, "evaluation": report, "parameters": size, **counts}
        detail["notes"] = self.differences(trained_on, chain)
        if not self.settings.crops and any(step.stage == "pretrain" for step in chain):
            detail["notes"].append("Pre-trained on the data set's own training images, for want of --crops")
        return PaperCell(scores, self._paper(row, key), detail)

    def check(self, rows: Sequence[PlanRow]) -> None:
        """Check the settings of every step that rows need, before the first of them runs."""
        checked = set()
        for row, key in product(rows, self.data):
            trained_on = row.trained_on or key
            for step in self.chain(row, trained_on) if self.measurable(row, key) else ():
                folder = self.folder(trained_on, step.name)
                if folder not in checked:
                    self._settings(step.stage, self._values(trained_on, step), folder)
                checked.add(folder)

    def run_step(self, key: str, step: Step) -> None:
        """Run a step on a data set, at most once per call."""
        folder = self.folder(key, step.name)
        if folder not in self._done:
            say(f"{step.name}: {folder}")
            self._run(step.stage, self._values(key, step), folder)
            self._done.add(folder)

    def _values(self, key: str, step: Step) -> dict[str, Any]:
        """Return a step's settings by dotted name: from its recipe, the plan, `--smoke`, and the command's data."""
        values = read_recipe(step.recipe, smoke=self.settings.smoke) if step.recipe else {}
        values |= step.resolved({name: self.folder(key, name) for name in self.plan.steps})
        if self.settings.smoke:
            values |= self.plan.smoke.get(step.stage, {})
        refuse_functions(f"table {self.plan.name}, {step.name}", values)
        if step.stage == "pretrain":
            return values | {
                "data.root": [folder.as_posix() for folder in self.settings.crops or [self.data[key].root]]
            }
        if step.needs_other_data:
            values["source.root"] = next(data.root for other, data in self.data.items() if other != key).as_posix()
        return values | self._data(key)

    def _data(self, key: str) -> dict[str, Any]:
        """Return the data settings that differ from the defaults, so that a step's recipe may set the others."""
        default, given = flatten(plain(DataSettings())), flatten(plain(self.data[key]))
        return {f"data.{name}": value for name, value in given.items() if name == "root" or value != default[name]}

    def _run(self, stage: str, values: Mapping[str, Any], folder: Path) -> Path:
        """Run a stage with these settings, overridden by the command's, and return its folder."""
        run_stage: Callable[[Any], Path] = importlib.import_module(f"rewho.stages.{stage}").run
        run_stage(self._settings(stage, values, folder))
        return folder

    def _settings(self, stage: str, values: Mapping[str, Any], folder: Path) -> Any:  # noqa: ANN401 - the stage's own
        return fill(getattr(all_settings, CLASSES[stage]), self._merged(stage, values, folder), stage, f"{stage}.")

    def command(self, key: str, step: Step) -> str:
        """Return the command that runs a step: its recipe, and every option that differs from the recipe."""
        options = self._merged(step.stage, self._values(key, step), self.folder(key, step.name))
        below = flatten(plain(getattr(all_settings, CLASSES[step.stage])()))
        below |= read_recipe(step.recipe, smoke=self.settings.smoke) if step.recipe else {}
        options = {name: value for name, value in options.items() if plain(value) != plain(below[name])}
        recipe = step.recipe and Path(os.path.relpath(step.recipe))
        return format_command(step.stage, options, recipe, smoke=self.settings.smoke)

    def _merged(self, stage: str, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Return a stage's options: these values, then the command's engine and seed, then its overrides."""
        of_table = {**self._engine(), "seed": self.settings.seed}
        known = dict(self._options(stage))  # `represent`, for example, has no precision and no seed
        prefix = f"{stage}."
        return {
            **values,
            **{name: value for name, value in of_table.items() if name in known},
            **{name.removeprefix(prefix): v for name, v in self.overrides.items() if name.startswith(prefix)},
            "out": folder.as_posix(),
        }

    def _engine(self) -> dict[str, Any]:
        """Return the engine's settings that differ from the defaults: the others are the recipes' own."""
        default, given = flatten(plain(EngineSettings())), flatten(plain(self.settings.engine))
        return {f"engine.{name}": value for name, value in given.items() if value != default[name]}

    def row(self, row: PlanRow, cells: Mapping[str, PaperCell]) -> PaperRow:
        """Return a row with the scores measured so far and the paper's."""
        filled = {key: replace(cells.get(key, PaperCell()), paper=self._paper(row, key)) for key in self.headings}
        size = max(cell.detail.get("parameters", 0) for cell in filled.values())
        return PaperRow(row.label, size or None, row.parameters, filled)

    def differences(self, key: str, chain: Sequence[Step]) -> list[str]:
        """Return one sentence on settings that replace the recipes', and one on runs passed with `--use`, if any."""
        name = "engine.precision"
        given = {at: value for at, value in self._engine().items() if at == name}
        own = {self._values(key, step).get(name, given.get(name)) for step in chain}
        changed = {} if own <= set(given.values()) else given
        starts = {"Not the paper's setting: ": " = ", "Made elsewhere: ": " in "}
        pairs = (changed | self.overrides, self.used)
        return [
            start + ", ".join(f"{name}{between}{value}" for name, value in given.items())
            for (start, between), given in zip(starts.items(), pairs, strict=True)
            if given
        ]

    def _paper(self, row: PlanRow, key: str) -> tuple[float | None, float | None]:
        rank_1, mean_average_precision = (None if v is None else v / 100 for v in row.figures(key))
        return rank_1, mean_average_precision


def _check_there(option: str, path: Path) -> None:
    if not path.exists():
        raise UserError(option, expected="a folder or file", got=f"nothing at {path}", fix="Check the path.")


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) < len(texts):
        raise UserError(option, expected="NAME=VALUE, each name once", got=" ".join(texts), fix="Add the equals sign.")
    return pairs


def _table(runner: Runner, rows: list[PaperRow]) -> PaperTable:
    measured = {row.label: [cell for cell in row.cells.values() if cell.scores] for row in rows}
    measured = {label: cells for label, cells in measured.items() if cells}
    labels_by_note: dict[str, list[str]] = {}
    for label, cells in measured.items():
        for note in dict.fromkeys(note for cell in cells for note in cell.detail.get("notes", ())):
            labels_by_note.setdefault(note, []).append(label)
    notes = [SMOKE_NOTE] if runner.settings.smoke else []
    for note, labels in labels_by_note.items():
        notes.append(
            f"{note}." if len(labels) == len(measured) else f"{note}; in {'; '.join(labels).removesuffix('.')}."
        )
    notes += runner.reasons(list(measured))
    people = {key: cell.detail["people"] for row in rows for key, cell in row.cells.items() if "people" in cell.detail}
    if people:
        counted = ", ".join(f"{count:,} in {runner.headings[key]}" for key, count in people.items())
        notes.append(f"Ranges are 95 % intervals over people: {counted}.")
    facts = {"command": " ".join(sys.argv), "rewho": rewho_version(), "date": time.strftime("%Y-%m-%d")}
    return PaperTable(runner.plan.title, runner.headings, rows, notes, {**facts, "seed": str(runner.settings.seed)})


def _read(folder: Path) -> PaperTable | None:
    """Return the table of an earlier call, None if there is none."""
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        return from_dict(read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        expected, got = "the figures of an earlier call", f"{type(error).__name__}: {error}"
        fix = "Remove the file: the same command writes it again, and finished runs are not repeated."
        raise UserError(f"{path}", expected=expected, got=got, fix=fix) from error


def _write(folder: Path, runner: Runner, rows: list[PaperRow]) -> Path:
    table = _table(runner, rows)
    write_json(folder / RESULTS, table.as_dict())
    for name, content in (("table.md", markdown(table) + "\n"), ("index.html", page(table))):
        write_file(folder / name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
    return folder / "index.html"


def _say_plan(runner: Runner, rows: tuple[PlanRow, ...]) -> None:
    """Report whether each step is finished, and its command."""
    finished: dict[Path, bool] = {}
    say(runner.plan.title)
    for row in rows:
        for key in (key for key in runner.data if runner.measurable(row, key)):
            trained_on = row.trained_on or key
            for step in runner.chain(row, trained_on):
                folder = runner.folder(trained_on, step.name)
                if folder not in finished:
                    finished[folder] = runner.finished(trained_on, step)
                    say(f"  {'finished' if finished[folder] else 'missing '}  {step.stage} {folder}")
                    say(f"            {runner.command(trained_on, step)}")
    for reason in runner.reasons():
        say(reason)
    say(f"{sum(finished.values())} of {len(finished)} runs are finished")
