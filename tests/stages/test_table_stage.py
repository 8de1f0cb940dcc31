"""Tables: what is missing is run, what is finished is not, and figures stand beside the paper's."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.runtime import Interrupted
from rewho.rendered import write_people
from rewho.report.content import Score
from rewho.settings import DataSettings, EngineSettings, TableSettings
from rewho.stages import table, train
from rewho.tables.comparison import PaperCell

RECIPES = Path(__file__).parents[2] / "recipes"
TABLES = sorted(path for path in RECIPES.glob("*/tables/*.yaml") if not path.stem.startswith("steps"))
FEW_ROWS = {  # the rest differs in nothing but its share
    "luperson6": ("MGN, * 10 %",),
    "luperson6-methods": ("*, LUP unsup., * 10 %", "MGN, none, few-shot 10 %"),
}
CPU = EngineSettings(device="cpu", precision="32")
SMALL = {
    "model": {"backbone": "resnet10t", "embedding": 8, "input_size": [64, 32], "pretrained": "none"},
    "sampler": {"batch": 8},
    "epochs": 1,
    "steps_per_epoch": 2,
    "evaluate_every": -1,
}


@pytest.fixture(scope="module")
def made(people, tmp_path_factory):
    """A table of two rows, on two data sets, and a quoted one."""
    folder = tmp_path_factory.mktemp("table")
    steps = {"plain": {"stage": "train", "set": SMALL}, "longer": {"stage": "train", "set": SMALL | {"epochs": 2}}}
    rows = [
        {"label": "plain", "model": "plain", "parameters": 4.9, "paper": {"rendered-people": [12.5, 6.25]}},
        {"label": "longer", "model": {"default": "longer"}},
        {"label": "quoted", "paper": {"rendered-people": [90, None]}},
    ]
    content = {"title": "Mine", "data": ["rendered-people"], "steps": steps, "rows": rows}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    data = DataSettings(root=people, workers=0)
    settings = TableSettings(name=str(folder / "mine.yaml"), data=data, out=folder / "runs", engine=CPU)
    return settings, table.run(settings)


def results(page):
    return json.loads((page.parent / "results.json").read_text())


def test_every_row_is_run_evaluated_and_written(made, people):
    settings, page = made
    content = results(page)
    cells = {row["label"]: row["cells"]["rendered-people"] for row in content["rows"]}
    metrics = json.loads((settings.out / "rendered-people/evaluated/plain/metrics.json").read_text())
    figures = metrics["results"][0]["rankings"][0]
    assert cells["plain"]["ours"]["mAP (rectangular)"]["value"] == figures["mAP_rectangular"]
    assert cells["plain"]["ours"]["Rank-1"]["interval_95"] == figures["intervals"]["rank_1"]
    assert cells["plain"]["ours"]["mAP (trapezoid)"]["value"] == figures["mAP_trapezoid"]
    assert cells["plain"]["paper"] == {"Rank-1": 0.125, "mAP": 0.0625}
    assert cells["quoted"] == {"ours": {}, "paper": {"Rank-1": 0.9, "mAP": None}}
    assert cells["plain"]["queries"] == len(list((people / "query").iterdir()))
    assert content["rows"][0]["parameters"] > 4_000_000
    assert json.loads((settings.out / "rendered-people/longer" / MANIFEST).read_text())["settings"]["epochs"] == 2
    assert "| plain | " in (page.parent / "table.md").read_text() and "Mine" in page.read_text()


def test_a_second_call_runs_nothing_and_a_lost_step_is_run_again(made, capsys):
    settings, _ = made
    before = {file: file.stat().st_mtime_ns for file in settings.out.rglob(MANIFEST)}
    capsys.readouterr()
    table.run(settings)
    said = capsys.readouterr()
    assert said.err.count("is finished; nothing to do") == 4 and "| plain |" in said.out
    (settings.out / "rendered-people/evaluated/plain" / MANIFEST).unlink()
    table.run(settings)
    after = {file: file.stat().st_mtime_ns for file in settings.out.rglob(MANIFEST)}
    assert {file.parent.name for file in after if after[file] != before[file]} == {"plain"}
    assert (
        after[settings.out / "rendered-people/plain" / MANIFEST]
        == before[settings.out / "rendered-people/plain" / MANIFEST]
    )


def test_a_plan_runs_nothing(made, tmp_path, capsys):
    settings, _ = made
    assert table.run(TableSettings(**{**vars(settings), "plan": True})) is None
    said = capsys.readouterr().err
    assert "2 of 2 runs are finished" in said
    assert said.startswith(yaml.safe_load(Path(settings.name).read_text())["title"] + "\n")
    table.run(TableSettings(**{**vars(settings), "plan": True, "out": tmp_path, "rows": ("longer",)}))
    said = capsys.readouterr().err
    assert f"missing   train {tmp_path}/rendered-people/longer" in said and "0 of 1 runs" in said
    assert re.search(rf"rewho train .*--sampler.batch 8 .*--out {tmp_path}/rendered-people/longer\n", said)
    assert list(tmp_path.iterdir()) == []


def test_folders_made_elsewhere_are_used_and_changes_are_said(made, tmp_path):
    settings, _ = made
    given = settings.out / "rendered-people" / "longer"
    changed = TableSettings(
        **{**vars(settings), "out": tmp_path, "use": (f"longer={given}",), "override": ("train.epochs=1",)}
    )
    page = table.run(TableSettings(**{**vars(changed), "rows": ("longer",)}))
    assert not (tmp_path / "rendered-people" / "longer").exists()
    assert f"Made elsewhere: longer in {given}." in page.read_text() and "train.epochs = 1" in page.read_text()


def test_what_the_command_overrides_is_what_a_step_gets(made, tmp_path, monkeypatch):
    """Also where the table has an option of that name itself: seed and engine."""
    got = []

    def noted(wanted):
        got.append(wanted)
        raise Interrupted("step 1")

    monkeypatch.setattr(train, "run", noted)
    changes = ("train.seed=7", "train.engine.precision=bf16", "train.epochs=3", "train.data.workers=1")
    settings = TableSettings(**{**vars(made[0]), "out": tmp_path})
    for override in ((), changes):
        with pytest.raises(Interrupted):
            table.run(replace(settings, override=override))
    assert [(one.seed, one.engine.precision, one.epochs, one.data.workers) for one in got] == [
        (1, "32", 1, 0),
        (7, "bf16", 3, 1),
    ]


def test_the_precision_of_a_recipe_holds_unless_another_is_given(made, tmp_path, monkeypatch):
    got = []

    def noted(wanted):
        got.append(wanted.engine.precision)
        raise Interrupted("step 1")

    (tmp_path / "own.yaml").write_text("engine: {precision: '32'}\n")
    plan = yaml.safe_load(Path(made[0].name).read_text())
    for step in plan["steps"].values():
        step["recipe"] = "own.yaml"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plan))
    monkeypatch.setattr(train, "run", noted)
    settings = replace(made[0], name=str(tmp_path / "mine.yaml"), out=tmp_path / "runs", engine=EngineSettings("cpu"))
    for precision in ("auto", "bf16"):
        with pytest.raises(Interrupted):
            table.run(replace(settings, engine=EngineSettings("cpu", precision=precision)))
    assert got == ["32", "bf16"]
    notes = []
    for precision in ("auto", "32", "bf16"):
        chosen = replace(settings, engine=EngineSettings("cpu", precision=precision))
        plan = table.read_plan(Path(settings.name))
        runner = table.Runner(plan, chosen, {"rendered-people": settings.data})
        notes.append(runner.differences("rendered-people", list(plan.steps.values())))
    assert notes == [[], [], ["Not the paper's setting: engine.precision = bf16"]]


def test_what_is_used_needs_nothing_above_it(people, tmp_path, capsys):
    plan = RECIPES / "fd" / "tables" / "fd7.yaml"
    settings = TableSettings(name=str(plan), data=DataSettings(root=people), out=tmp_path, plan=True)
    said = tmp_path / "said"
    said.mkdir()
    table.run(replace(settings, use=(f"representations-r152={said}",)))
    printed = capsys.readouterr().err
    assert "teachers-r152" not in printed and "representations-r152" not in printed and "0 of 4 runs" in printed
    table.run(replace(settings, use=(f"elsewhere/representations-r152={said}",)))  # given for another data set
    assert "teachers-r152" in capsys.readouterr().err


def test_teachers_are_finished_once_all_views_are(people, tmp_path, capsys):
    steps = {"teachers": {"stage": "teachers", "set": {"views": ["holistic", "up1"]}}}
    content = {"data": ["rendered-people"], "steps": steps, "rows": [{"label": "up1", "model": "teachers/up1"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    data = DataSettings(root=people)
    settings = TableSettings(name=str(tmp_path / "mine.yaml"), data=data, out=tmp_path / "out", plan=True)
    for view, finished in (("holistic", 0), ("up1", 1)):
        folder = tmp_path / "out" / "rendered-people" / "teachers" / view
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
        table.run(settings)
        assert f"{finished} of 1 runs are finished" in capsys.readouterr().err
    table.run(replace(settings, override=("teachers.views=[holistic, dn1]",)))
    assert "0 of 1 runs are finished" in capsys.readouterr().err


def test_a_narrower_call_keeps_what_was_measured_before(made, tmp_path, monkeypatch):
    """Other rows and other data sets, and what was changed for them."""
    settings, _ = made
    measured = []

    def cell(runner, row, key):
        measured.append((row.label, key))
        detail = {"parameters": 2_000_000, "notes": runner.differences("rendered-people", ())}
        return PaperCell({"Rank-1": Score("Rank-1", 0.5, 0.4, 0.6)}, detail=detail)

    monkeypatch.setattr(table.Runner, "cell", cell)
    whole = replace(settings, out=tmp_path)
    table.run(whole)
    table.run(replace(whole, rows=("longer",), override=("train.epochs=1",)))
    monkeypatch.setattr(table, "_data_sets", lambda plan, wanted: {"elsewhere": wanted.data})
    page = table.run(replace(whole, rows=("plain",)))
    assert measured == [
        (label, key)
        for label, key in (
            ("plain", "rendered-people"),
            ("longer", "rendered-people"),
            ("longer", "rendered-people"),
            ("plain", "elsewhere"),
        )
    ]
    content = results(page)
    assert list(content["data_sets"]) == ["rendered-people", "elsewhere"]
    found = {row["label"]: {key: bool(cell["ours"]) for key, cell in row["cells"].items()} for row in content["rows"]}
    assert found == {
        "plain": {"rendered-people": True, "elsewhere": True},
        "longer": {"rendered-people": True, "elsewhere": False},
        "quoted": {"rendered-people": False, "elsewhere": False},
    }
    assert [row["parameters"] for row in content["rows"]] == [2_000_000, 2_000_000, None]
    assert content["notes"] == ["Not the paper's setting: train.epochs = 1; in longer."]
    (page.parent / "results.json").write_text("{}")
    with pytest.raises(UserError, match="the figures of an earlier call"):
        table.run(whole)


def test_an_interrupted_table_keeps_its_figures_and_goes_on(made, tmp_path, monkeypatch):
    settings, _ = made
    given = settings.out / "rendered-people" / "plain"
    settings = TableSettings(**{**vars(settings), "out": tmp_path, "use": (f"plain={given}",)})
    whole = train.run

    def stopped(wanted):
        raise Interrupted("step 1")

    monkeypatch.setattr(train, "run", stopped)
    with pytest.raises(Interrupted):
        table.run(settings)
    half = results(tmp_path / "tables/mine/index.html")
    assert [bool(row["cells"]["rendered-people"]["ours"]) for row in half["rows"]] == [True, False, False]
    monkeypatch.setattr(train, "run", whole)
    done = results(table.run(settings))
    assert [bool(row["cells"]["rendered-people"]["ours"]) for row in done["rows"]] == [True, True, False]


def test_a_row_trained_elsewhere_needs_that_data(made, tmp_path, people):
    settings, _ = made
    other = write_people(tmp_path / "other", identities=4, test_identities=3, distractors=0, junk=0, workers=0, seed=9)
    content = yaml.safe_load(Path(settings.name).read_text())
    content["data"] = ["a", "b"]
    content["smoke"] = {"data": ["a", "b"], "train": SMALL}
    content["rows"] = [{"label": "across", "model": "plain", "trained_on": "a", "paper": {"b": [1, 2]}}]
    (tmp_path / "across.yaml").write_text(yaml.safe_dump(content))
    page = table.run(TableSettings(name=str(tmp_path / "across.yaml"), smoke=True, out=tmp_path / "out", engine=CPU))
    (row,) = results(page)["rows"]
    assert row["cells"]["a"]["ours"] == {} and row["cells"]["b"]["trained_on"] == "a"
    assert (tmp_path / "out/a-smoke/evaluated/plain-on-b").is_dir() and not (tmp_path / "out/b-smoke").exists()
    assert table.SMOKE_NOTE in page.read_text()
    content["rows"] += [{"label": "here", "model": "plain"}]
    (tmp_path / "across.yaml").write_text(yaml.safe_dump(content))
    page = table.run(TableSettings(**{**vars(settings), "name": str(tmp_path / "across.yaml")}))
    assert "trained on data that was not given: across." in page.read_text()
    with pytest.raises(UserError, match="rendered-people twice"):
        table.run(TableSettings(**{**vars(settings), "others": (other,)}))


def test_pre_training_is_done_once_for_all_data_sets_and_steps_may_take_a_share(tmp_path):
    other = write_people(tmp_path / "images", identities=4, test_identities=2, distractors=0, junk=0, workers=0)
    small = {"model": {"backbone": "resnet10t", "input_size": [64, 32]}, "epochs": 1, "steps_per_epoch": 2}
    small |= {"sampler": {"batch": 8}, "contrast": {"queue": 16, "norm_group": 4}, "evaluate_every": -1}
    began = {"model": SMALL["model"] | {"pretrained": "{moco}"}}
    steps = {"moco": {"stage": "pretrain", "set": small}}
    steps["half"] = {"stage": "train", "set": SMALL | began | {"data": {"share": 0.5}}}
    content = {"data": ["a", "b"], "steps": steps, "rows": [{"label": "half", "model": "half"}]}
    content["smoke"] = {"data": ["a", "b"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    command = TableSettings(name=str(tmp_path / "mine.yaml"), smoke=True, crops=(other,), out=tmp_path / "out")
    (row,) = results(table.run(TableSettings(**{**vars(command), "engine": CPU})))["rows"]
    assert all(row["cells"][key]["ours"] for key in "ab")
    assert [path.parent.parent.name for path in (tmp_path / "out").glob("*/moco/model.json")] == ["pretrained-smoke"]
    manifest = json.loads((tmp_path / "out/a-smoke/half" / MANIFEST).read_text())
    assert manifest["settings"]["data"]["share"] == 0.5 and manifest["settings"]["model"]["pretrained"].endswith("moco")


def test_what_only_a_user_can_give_is_asked_for_and_then_used(made, tmp_path):
    settings, _ = made
    steps = {"theirs": {"stage": "given", "what": "weights of theirs"}, "plain": {"stage": "train", "set": SMALL}}
    began = {"model": SMALL["model"] | {"pretrained": "{theirs}"}}
    steps["from-theirs"] = {"stage": "train", "set": SMALL | began}
    rows = [{"label": "from theirs", "model": "from-theirs", "paper": {"rendered-people": [9, 8]}}]
    rows += [{"label": "quoted", "because": "it is elsewhere", "paper": {"rendered-people": [7, 6]}}]
    content = {"title": "Given", "data": ["rendered-people"], "steps": steps, "rows": rows}
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    settings = TableSettings(**{**vars(settings), "name": str(tmp_path / "given.yaml")})
    page = table.run(settings)
    said = (page.parent / "table.md").read_text()
    assert "need weights of theirs: give it with --use theirs=PATH: from theirs." in said
    assert "Not run, because it is elsewhere: quoted." in said
    assert results(page)["rows"][0]["cells"]["rendered-people"]["ours"] == {}
    assert not (settings.out / "rendered-people" / "from-theirs").exists()
    given = settings.out / "rendered-people" / "plain"
    page = table.run(TableSettings(**{**vars(settings), "use": (f"theirs={given}",)}))
    assert results(page)["rows"][0]["cells"]["rendered-people"]["ours"]
    manifest = json.loads((settings.out / "rendered-people/from-theirs" / MANIFEST).read_text())
    assert manifest["settings"]["model"]["pretrained"] == given.as_posix()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "fd33"}, "Did you mean 'fd3'"),
        ({"rows": ("plains",)}, "Did you mean 'plain'"),
        ({"use": ("plian=x",)}, "Did you mean 'plain'"),
        ({"use": ("plain",)}, "NAME=VALUE"),
        ({"override": ("train.epoch=1",)}, "Did you mean 'epochs'"),
        ({"override": ("trian.epochs=1",)}, "Did you mean 'train'"),
        ({"override": ("train.out=elsewhere",)}, "--override train"),
        ({"override": ("train.epochs=0",)}, "train.epochs: expected a whole number from 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_runs(made, tmp_path, change, message):
    settings, _ = made
    with pytest.raises(UserError, match=re.escape(message)):
        table.run(TableSettings(**{**vars(settings), "out": tmp_path, **change}))
    assert list(tmp_path.iterdir()) == []


def test_no_data_is_answered_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        table.run(TableSettings("fd7", plan=True))
    assert raised.value.what == "--data" and "--data Market-1501" in raised.value.fix


def test_a_wrong_number_of_the_last_step_is_found_before_the_first_runs(made, tmp_path):
    settings, _ = made
    steps = {"plain": {"stage": "train", "set": SMALL}, "never": {"stage": "train", "set": SMALL | {"epochs": 0}}}
    rows = [{"label": name, "model": {"default": name}} for name in steps]
    content = {"title": "Wrong", "data": ["rendered-people"], "steps": steps, "rows": rows}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"^train\.epochs: expected a whole number from 1, got 0"):
        table.run(replace(settings, name=str(tmp_path / "wrong.yaml"), out=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
