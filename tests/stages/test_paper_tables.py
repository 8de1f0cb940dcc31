"""The papers' tables: every step has settings that exist, and every table has its rows and a small variant."""

import json
import shlex
from pathlib import Path

import pytest

from rewho import settings as all_settings
from rewho.settings import DataSettings, EngineSettings, TableSettings
from rewho.settings.command_line import fill, parse, read_recipe
from rewho.stages import table
from rewho.tables.plan import GIVEN, read_plan

RECIPES = Path(__file__).parents[2] / "recipes"
TABLES = sorted(path for path in RECIPES.glob("*/tables/*.yaml") if not path.stem.startswith("steps"))
FEW_ROWS = {  # the rest differs in nothing but its share
    "luperson6": ("MGN, * 10 %",),
    "luperson6-methods": ("*, LUP unsup., * 10 %", "MGN, none, few-shot 10 %"),
}
CPU = EngineSettings(device="cpu", precision="32")


def results(page):
    return json.loads((page.parent / "results.json").read_text())


def test_every_step_of_every_table_has_settings_that_exist():
    counted, checked = set(), {}
    for path in TABLES:
        plan = read_plan(path)
        folders = {name: Path("runs") / name for name in plan.steps}
        for step in (step for step in plan.steps.values() if step.stage != GIVEN):
            counted.add(step.name)  # tables share steps; these names are used for nothing else
            if ("data.share" in step.settings and step.name != "trip-lup-few-shot-10") or step.name in checked:
                continue  # 200 steps differ in their share alone, which the next test looks at
            values = read_recipe(step.recipe, smoke=True) if step.recipe else {}
            values |= step.resolved(folders) | plan.smoke.get(step.stage, {})
            checked[step.name] = fill(getattr(all_settings, table.CLASSES[step.stage]), values, step.stage)
    shared = 2 + 2 + 5 * 4  # two encoders; two MGNs on ResNet-101; five methods from four origins
    assert len(counted) == (4 + 7 + 14 + 4 + 4 + 6) + shared + 2 * (5 + 3 + 5 + 3) + 5 * 2 * 5 * 4
    assert checked["mgn-table4-temperature-0.1"].model.pretrained == "runs/table4-temperature-0.1"
    few = checked["trip-lup-few-shot-10"]
    assert (few.data.share, few.data.share_by, few.model.pretrained) == (0.1, "images", "runs/moco-r50")
    assert checked["r50b-attr-r101"].student == Path("runs/r50b-initial")
    assert checked["r50b-group1-r152"].views == ("holistic", "up1", "mid1", "dn1")


@pytest.mark.parametrize("smoke", [False, True])
@pytest.mark.parametrize("name", ["fd7", "fd8", "luperson2", "luperson3", "luperson4", "luperson7"])
def test_the_command_of_a_step_is_what_the_table_runs(name, smoke, tmp_path):
    plan = read_plan(next(RECIPES.glob(f"*/tables/{name}.yaml")))
    wanted = TableSettings(name=name, out=tmp_path / "a b", smoke=smoke, seed=3, override=("train.epochs=5",))
    runner = table.Runner(plan, wanted, {"market1501": DataSettings(root=Path("Market 1501"), workers=0)})
    steps = [step for row in plan.rows for step in runner.chain(row, "market1501")]
    assert len(steps) > 5
    for step in {step.name: step for step in steps}.values():
        rewho, stage, *words = shlex.split(runner.command("market1501", step))
        assert (rewho, stage) == ("rewho", step.stage)
        ran = runner._settings(stage, runner._values("market1501", step), runner.folder("market1501", step.name))
        assert parse(type(ran), words) == ran


def test_every_student_is_the_one_of_the_papers_first_table():
    steps = read_plan(RECIPES / "fd" / "tables" / "fd3.yaml").steps
    found = {
        name: (step.settings["model.backbone"], step.settings["model.embedding"])
        for name, step in steps.items()
        if step.stage == "train"
    }
    assert found == {
        "s-initial": ("squeezenet1_1", 512),
        "r18a-initial": ("resnet18", 512),
        "r50a-initial": ("resnet50", 512),
        "r50b-initial": ("resnet50", 2048),
        "r101a-initial": ("resnet101", 512),
        "r152a-initial": ("resnet152", 512),
        "r152b-initial": ("resnet152", 2048),
    }
    assert {name for name, step in steps.items() if step.stage == "distill"} == {
        name.replace("initial", f"distilled-r{layers}") for name in found for layers in (101, 152)
    }


def test_table_six_has_every_share_of_people_and_of_images():
    plan = read_plan(RECIPES / "luperson" / "tables" / "luperson6.yaml")
    assert len(plan.rows) == 30
    for row in plan.rows:
        settings = plan.steps[row.model("market1501")].settings
        assert {"small-scale": "identities", "few-shot": "images"}[row.label.split()[-3]] == settings["data.share_by"]
        assert float(settings["data.share"]) == int(row.label.split()[-2]) / 100
        origin = {"IN sup.": None, "IN unsup.": "{in-unsup}", "LUP unsup.": "{moco-r50}"}[row.label.split(", ")[1]]
        assert settings.get("model.pretrained") == origin


@pytest.mark.parametrize("method", ["IDE", "Trip", "MGN", "BDB", "BoT"])
def test_few_people_and_few_images_are_there_for_every_method_and_beginning(method):
    plans = [read_plan(RECIPES / "luperson" / "tables" / f"{name}.yaml") for name in ("luperson6", "luperson6-methods")]
    found = {
        (row.label, float(settings["data.share"]), settings["data.share_by"], settings.get("model.pretrained"))
        for plan in plans
        for row in plan.rows
        if row.label.startswith(method)
        for settings in [plan.steps[row.model("market1501")].settings]
    }
    begun = {"none": "none", "IN sup.": None, "IN unsup.": "{in-unsup}", "LUP unsup.": "{moco-r50}"}
    kinds = {"small-scale": "identities", "few-shot": "images"}
    assert found == {
        (f"{method}, {name}, {kind} {share} %", share / 100, by, weights)
        for name, weights in begun.items()
        for kind, by in kinds.items()
        for share in (10, 30, 50, 70, 90)
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_table_has_a_small_variant(path, tmp_path):
    rows = FEW_ROWS.get(path.stem, ())
    page = table.run(TableSettings(name=str(path), smoke=True, rows=rows, out=tmp_path, engine=CPU))
    plan = read_plan(path)
    rows = {row["label"]: row for row in results(page)["rows"]}
    for row in plan.rows:
        measured = [cell for cell in rows[row.label]["cells"].values() if cell["ours"]] if row.label in rows else []
        given = row.models and any(step.stage == GIVEN for step in plan.chain(row.model("default")))
        assert bool(measured) == bool(row.label in rows and row.models and not given)
