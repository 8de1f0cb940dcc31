"""Read a paper's table from YAML: the runs that each row needs, and the paper's scores.

Beside `about`, such a file holds

* `title`, and `data`: the names of the paper's data sets;
* `steps`: by name, each with its `stage`, optionally a `recipe` (relative to the file) and settings under `set`, where
  `{NAME}` becomes the folder of an earlier step;
* `rows`: each with a `label`, the step that makes its `model` (or, by data set, several, with `default` for the rest),
  and the scores of the `paper`; `because` explains why a row has no model;
* `grid`: steps and rows for all combinations of the values under `over`, see `grid`;
* `smoke`: settings by stage for the smoke variant, its `data` sets, and the number of `people` to render.

A step whose `source.root` is "other data set" learns from the first other data set of the command as well.

A step with stage `given` is not run: the user provides it, and `what` describes it. `extends` adds another file's
steps, so that tables share their runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rewho.core.check import UserError, check_choice, check_name, describe_path, nearest
from rewho.core.files import check_extends, read_yaml
from rewho.core.record import flatten
from rewho.tables.grid import expand_grids

GIVEN = "given"
STAGES = ("pretrain", "train", "teachers", "represent", "distill", "adapt", GIVEN)
OTHER_DATA = "other data set"
"""A `source.root` of this is the first data set of the command that is not the step's own."""
MEASURES = ("rank_1", "mAP")
_FIELDS = ("about", "extends", "title", "data", "steps", "rows", "grid", "smoke")
_STEP_FIELDS = ("stage", "recipe", "set", "what")
_ROW_FIELDS = ("label", "model", "trained_on", "parameters", "paper", "because")
_FEW_PEOPLE = 6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}")
_REFERENCE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Step:
    """One run of a stage.

    Args:
        name: Its name, and that of its folder.
        stage: The stage, or `given`.
        recipe: The recipe to start from; None starts from the stage's defaults.
        settings: Settings on top, by dotted name; `{NAME}` in text is the folder of an earlier step.
        what: Description of a given step.
    """

    name: str
    stage: str
    recipe: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    what: str = ""

    def needs(self) -> list[str]:
        """Return the names of the steps that the settings refer to."""
        found = [name for value in self.settings.values() for name in _REFERENCE.findall(str(value))]
        return [check_name(f"step {self.name}", name).split("/")[0] for name in found]

    @property
    def needs_other_data(self) -> bool:
        """Whether the step learns from another data set than its own as well."""
        return self.settings.get("source.root") == OTHER_DATA

    def resolved(self, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Return the settings with references replaced by the steps' folders."""

        def place(value: Any) -> Any:  # noqa: ANN401 - any YAML value
            if isinstance(value, list):
                return [place(item) for item in value]
            if not isinstance(value, str):
                return value
            return _REFERENCE.sub(lambda found: _inside(folders, found[1]).as_posix(), value)

        return {name: place(value) for name, value in self.settings.items()}


def _inside(folders: Mapping[str, Path], reference: str) -> Path:
    name, _, below = reference.partition("/")
    return folders[name] / below if below else folders[name]


@dataclass(frozen=True)
class PlanRow:
    """One row of the table.

    Args:
        label: Name of the row.
        models: The step to evaluate, or a folder inside a step's, by data set; `default` for all others. Empty for a
            row that is only quoted.
        trained_on: Data set to train on where it differs from the one to test on.
        parameters: The paper's number of parameters in millions.
        paper: The paper's scores in percent, in the order of `MEASURES`, by data set.
        because: Why a row has no model.
    """

    label: str
    models: Mapping[str, str] = field(default_factory=dict)
    trained_on: str = ""
    parameters: float | None = None
    paper: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    because: str = ""

    def model(self, trained_on: str) -> str:
        """Return the step to evaluate, or the folder inside a step's, after training on a data set."""
        return self.models.get(trained_on, self.models.get("default", ""))

    def figures(self, data_set: str) -> Sequence[float | None]:
        """Return the paper's scores on a data set, None where it gives none.

        Papers seldom state their version of MSMT17: their scores are shown beside every version and training part.
        """
        name = "msmt17" if data_set.startswith("msmt17-") else data_set
        return self.paper.get(data_set, self.paper.get(name, (None,) * len(MEASURES)))


@dataclass(frozen=True)
class TablePlan:
    """A paper's table.

    Args:
        name: Its name.
        title: What it shows.
        data: The paper's data sets.
        steps: By name, each after those that it needs.
        rows: From top to bottom.
        smoke: Settings of the smoke variant, by stage.
        smoke_data: Names of the smoke variant's data sets.
        smoke_people: Number of people to render for each of them.
    """

    name: str
    title: str
    data: tuple[str, ...]
    steps: Mapping[str, Step]
    rows: tuple[PlanRow, ...]
    smoke: Mapping[str, Mapping[str, Any]]
    smoke_data: tuple[str, ...]
    smoke_people: int = _FEW_PEOPLE

    def chain(self, model: str, made: Collection[str] = ()) -> list[Step]:
        """Return the steps that a model needs, in the order to run them, its own last.

        Steps in `made` exist already: they, and steps that only they need, are left out.
        """
        wanted: set[str] = set()
        waiting = [model.split("/", maxsplit=1)[0]]
        while waiting:
            name = waiting.pop()
            if name not in made:
                wanted.add(name)
                waiting += self.steps[name].needs()
        return [step for name, step in self.steps.items() if name in wanted]

    def select(self, labels: Sequence[str]) -> tuple[PlanRow, ...]:
        """Return the rows of these labels, which may hold `*` and `?`; all rows where no label is given."""
        wanted: set[str] = set()
        for label in labels:
            exact = [row.label for row in self.rows if row.label == label]
            found = exact or [row.label for row in self.rows if fnmatchcase(row.label, label)]
            wanted.update(found or [check_choice("--rows", label, [row.label for row in self.rows])])
        return tuple(row for row in self.rows if not labels or row.label in wanted)


def find_plan(name: str, folders: Sequence[Path]) -> Path:
    """Return the file of a table: `name` itself if it is one, else `*/tables/NAME.yaml` in the first of the folders."""
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    there = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*/tables/*.yaml"))}
    if Path(name).suffix in (".yaml", ".yml"):
        expected, got = "a YAML file that describes a table", describe_path(Path(name))
        raise UserError(f"table {name}", expected=expected, got=got, fix="Check the path.")
    tables = [stem for stem, path in there.items() if not path.stem.startswith("steps")]
    if name not in tables:
        near = nearest(name, tables)
        raise UserError(
            "table",
            expected=f"one of {', '.join(sorted(tables))}, or a YAML file" if tables else "a YAML file",
            got=repr(name) if name else "none",
            fix=f"Did you mean {near!r}?" if near else "Name a table: rewho table fd7 --data FOLDER.",
        )
    return there[name]


def read_plan(path: Path) -> TablePlan:
    """Return the table that a file describes."""
    try:
        return _plan(path, f"table {path}", _layers(path))
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        expected, got = "fields as in the tables that come with rewho", f"{type(error).__name__}: {error}"
        raise UserError(f"table {path}", expected=expected, got=got, fix="Look at recipes/fd/tables.") from error


def _plan(path: Path, what: str, content: Mapping[str, Any]) -> TablePlan:
    if not content.get("rows") or not content.get("data"):
        raise UserError(what, expected="rows and data", got=", ".join(content), fix="Look at recipes/fd/tables.")
    steps = content.get("steps", {})
    rows = tuple(_row(what, row) for row in content["rows"])
    for row in rows:
        for model in row.models.values():
            check_choice(f"{what}, model of {row.label!r}", check_name(what, model).split("/")[0], list(steps))
    labels = [row.label for row in rows]
    if len(set(labels)) < len(labels):
        raise UserError(what, expected="rows with different labels", got=", ".join(labels), fix="Rename one.")
    data = tuple(map(str, content["data"]))
    smoke = dict(content.get("smoke") or {})
    smoke_data, people = tuple(map(str, smoke.pop("data", data[:1]))), int(smoke.pop("people", _FEW_PEOPLE))
    for name in smoke_data:
        check_name(what, name, deep=False)  # of a folder
    by_stage = {stage: flatten(settings) for stage, settings in smoke.items()}
    title = str(content.get("title", path.stem))
    return TablePlan(path.stem, title, data, steps, rows, by_stage, smoke_data, people)


def _layers(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's content on top of what it extends; `steps` and `smoke` are merged, all else is replaced."""
    content = expand_grids(f"table {path}", _known(f"table {path}", read_yaml(path, f"table {path}"), _FIELDS))
    extended = check_extends(f"table {path}", path, content, above)
    below = _layers(extended, (*above, path)) if extended else {}
    steps = dict(below.get("steps", {}))
    for name, step in (content.get("steps") or {}).items():
        steps[name] = _step(f"table {path}, step {name}", str(name), step, path.parent, list(steps))
    smoke = {**below.get("smoke", {}), **(content.get("smoke") or {})}
    return {**below, **content, "steps": steps, "smoke": smoke}


def _known(what: str, content: object, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UserError(what, expected="names and values", got=type(content).__name__, fix="Look at recipes/fd/tables.")
    for name in content:
        check_choice(f"{what}: field", str(name), known)
    return content


def _step(what: str, name: str, content: object, folder: Path, earlier: Sequence[str]) -> Step:
    fields = _known(what, content, _STEP_FIELDS)
    if not _NAME.fullmatch(name):
        raise UserError(what, expected="a name that a folder can have", got=repr(name), fix="Rename the step.")
    stage = check_choice(f"{what}: stage", str(fields.get("stage", "")), STAGES)
    recipe = folder / str(fields["recipe"]) if "recipe" in fields else None
    if stage == GIVEN and not fields.get("what"):
        raise UserError(what, expected="a description", got="none", fix="Write it under `what`.")
    step = Step(name, stage, recipe, flatten(fields.get("set") or {}), str(fields.get("what", "")))
    for needed in step.needs():
        check_choice(f"{what}: reference", needed, earlier)
    return step


def _row(what: str, content: object) -> PlanRow:
    fields = _known(f"{what}, row", content, _ROW_FIELDS)
    model = fields.get("model") or {}
    models = (
        {str(key): str(value) for key, value in model.items()} if isinstance(model, Mapping) else {"default": model}
    )
    paper = {str(key): tuple(figures) for key, figures in (fields.get("paper") or {}).items()}
    for key, figures in paper.items():
        if len(figures) != len(MEASURES):
            raise UserError(
                f"{what}, {fields['label']}, {key}",
                expected=f"{len(MEASURES)} figures: {', '.join(MEASURES)}",
                got=str(figures),
                fix="Write null for a figure that the paper does not give.",
            )
    texts = {name: str(fields.get(name, "")) for name in ("trained_on", "because")}
    return PlanRow(str(fields["label"]), models, parameters=fields.get("parameters"), paper=paper, **texts)
