"""Tables as documents: what is read from them, what is refused."""

from pathlib import Path

import pytest

from rewho.core.check import UserError
from rewho.settings import TableSettings
from rewho.settings.command_line import parse_command
from rewho.settings.recipe import recipe_folders
from rewho.tables.plan import find_plan, read_plan

BASE = """
about: {claim: a, command: b, cost: c, expected: d}
data: [market1501, cuhk03]
steps:
  first: {stage: train}
  other: {stage: train, set: {epochs: 3}}
  teachers: {stage: teachers, recipe: teachers.yaml}
smoke:
  data: [cuhk03]
  train: {model: {embedding: 16}}
"""
TABLE = """
extends: base.yaml
title: A table
steps:
  said: {stage: represent, set: {teachers: ["{teachers}"]}}
  last: {stage: distill, set: {student: "{first}", representations: "{said}", branches: {from_map: false}}}
rows:
  - {label: before, model: first, parameters: 1.0, paper: {market1501: [50, 25.5]}}
  - {label: after, model: {default: last, cuhk03: first}}
  - {label: up1, model: teachers/up1, trained_on: cuhk03}
  - {label: quoted, paper: {cuhk03: [null, 12]}}
smoke: {distill: {epochs: 1}}
"""


@pytest.fixture
def table(tmp_path):
    def write(change=("", ""), base=("", "")):
        (tmp_path / "base.yaml").write_text(BASE.replace(*base))
        file = tmp_path / "mine.yaml"
        file.write_text(TABLE.replace(*change))
        return file

    return write


def test_a_table_keeps_what_it_extends(table, tmp_path):
    plan = read_plan(table())
    assert (plan.name, plan.title, plan.data) == ("mine", "A table", ("market1501", "cuhk03"))
    assert list(plan.steps) == ["first", "other", "teachers", "said", "last"]
    assert plan.steps["teachers"].recipe == tmp_path / "teachers.yaml"
    assert plan.smoke == {"train": {"model.embedding": 16}, "distill": {"epochs": 1}}
    assert plan.smoke_data == ("cuhk03",)


def test_a_row_names_its_model_by_data_set_and_a_chain_has_no_more_than_it_needs(table):
    plan = read_plan(table())
    before, after, up1, quoted = plan.rows
    assert before.paper == {"market1501": (50, 25.5)} and quoted.model("market1501") == ""
    assert (after.model("market1501"), after.model("cuhk03")) == ("last", "first")
    assert [step.name for step in plan.chain("last")] == ["first", "teachers", "said", "last"]
    assert [step.name for step in plan.chain(up1.model("cuhk03"))] == ["teachers"]
    assert [step.name for step in plan.chain("last", made=["said"])] == ["first", "last"]
    assert plan.chain("teachers/up1", made=["teachers"]) == []
    assert [row.label for row in plan.select(["up1"])] == ["up1"] and len(plan.select([])) == 4


def test_references_become_folders(table):
    folders = {name: Path("runs", name) for name in ("first", "said", "teachers")}
    settings = read_plan(table()).steps["last"].resolved(folders)
    assert settings == {"student": "runs/first", "representations": "runs/said", "branches.from_map": False}
    assert read_plan(table()).steps["said"].resolved(folders) == {"teachers": ["runs/teachers"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model: first,", "model: frist,"), "Did you mean 'first'"),
        (('"{said}"', '"{siad}"'), "Did you mean 'said'"),
        (('["{teachers}"]', '["{last}"]'), "reference"),
        (("stage: distill,", "stage: distil,"), "Did you mean 'distill'"),
        (("label: after", "label: before"), "different labels"),
        (("[50, 25.5]", "[50]"), "2 figures: rank_1, mAP"),
        (("rows:", "row:"), "Did you mean 'rows'"),
        (("label: quoted,", "label: quoted, papre: 1,"), "Did you mean 'paper'"),
        (("  last:", "  ../last:"), "a name that a folder can have"),
        (("extends: base.yaml", "extends: none.yaml"), "readable YAML"),
        (("title: A table", "title: ["), "readable YAML"),
        (("smoke: {distill: {epochs: 1}}", "smoke: [1]"), "fields as in the tables that come with rewho"),
        (("{label: after,", "{labels: after,"), "Did you mean 'label'"),
        (("{label: quoted, paper", "{paper"), "fields as in the tables that come with rewho, got KeyError: 'label'"),
    ],
)
def test_mistakes_are_named(table, change, message):
    assert change[0] in TABLE
    with pytest.raises(UserError) as error:
        read_plan(table(change))
    assert message in str(error.value)


def test_rows_are_chosen_by_patterns_and_a_label_is_first_of_all_itself(table):
    plan = read_plan(table(("label: quoted", 'label: "*"')))
    assert [row.label for row in plan.select(["*e*"])] == ["before", "after"]
    assert [row.label for row in plan.select(["*"])] == ["*"]
    with pytest.raises(UserError, match="Did you mean 'after'"):
        plan.select(["aftr"])
    plan = read_plan(table(("label: before", 'label: "before, plain"')))
    with pytest.raises(UserError, match="expected one of 'before, plain', 'after', 'up1', 'quoted', got 'bfore'"):
        plan.select(["bfore"])


def test_msmt17_has_the_papers_figures_whatever_its_version(table):
    before, *_ = read_plan(table(("market1501: [50, 25.5]", "msmt17: [50, 25.5]"))).rows
    assert before.figures("msmt17-v2-train") == (50, 25.5) == before.figures("msmt17")
    assert before.figures("market1501") == (None, None)


def test_a_given_step_says_what_is_to_be_given(table):
    given = ("  said: {stage: represent,", "  weights: {stage: given, what: theirs}\n  said: {stage: represent,")
    plan = read_plan(table(given))
    assert (plan.steps["weights"].stage, plan.steps["weights"].what) == ("given", "theirs")
    with pytest.raises(UserError, match="a description"):
        read_plan(table((given[0], given[1].replace(", what: theirs", ""))))


def test_a_quoted_row_may_say_why(table):
    *_, quoted = read_plan(table(("label: quoted,", "label: quoted, because: it is theirs,"))).rows
    assert quoted.because == "it is theirs" and not quoted.models


def test_the_rows_in_the_helps_examples_exist():
    for example in TableSettings.command.examples:
        settings = parse_command(TableSettings, example.split()[1:]).settings
        assert read_plan(find_plan(settings.name, recipe_folders())).select(settings.rows)


def test_tables_are_found_by_name_or_as_files(table, tmp_path):
    file = table()
    folder = tmp_path / "recipes" / "fd" / "tables"
    folder.mkdir(parents=True)
    (folder / "fd7.yaml").write_text("")
    (folder / "steps.yaml").write_text("")
    assert find_plan(str(file), []) == file
    assert find_plan("fd7", [tmp_path / "recipes"]) == folder / "fd7.yaml"
    with pytest.raises(UserError, match="one of fd7, or a YAML file"):
        find_plan("fd9", [tmp_path / "recipes"])
    with pytest.raises(UserError, match="expected a YAML file, got none"):
        find_plan("", [])
