"""A data set that rewho does not know: a function of the user's own, named on the command line or passed in Python."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rewho.core.artifact import plain
from rewho.core.check import UserError
from rewho.data.datasets import read, read_settings
from rewho.data.table import ImageTable
from rewho.settings import DataSettings, TrainSettings
from rewho.settings.command_line import parse
from rewho.settings.fields import check

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "your-data.md"


def read_two(settings):
    return ImageTable("two", settings.root, ("a.jpg", "b.jpg"), [1, 2], [0, 1], ("train", "train"))


def read_nothing(settings):
    return None


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The guide's own example as a module in the working folder."""
    [code] = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "my_sets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    sys.modules.pop("my_sets", None)


def test_the_guides_example_is_read_from_the_command_line(module):
    for name in ("north-adam-1.jpg", "south-adam-1.jpg", "north-eve-1.jpg"):
        (module / "images").mkdir(exist_ok=True)
        (module / "images" / name).touch()
    words = ["--data.root", "images", "--data.layout", "my_sets:read_yard"]
    settings = parse(TrainSettings, words)
    table = read_settings(settings.data)
    assert table.paths == ("north-adam-1.jpg", "north-eve-1.jpg", "south-adam-1.jpg")
    assert (table.person_ids.tolist(), table.camera_ids.tolist()) == ([0, 1, 0], [0, 0, 1])
    assert len(read_settings(replace(settings.data, share=0.5)).labels()) < 3


def test_a_function_is_written_into_the_settings_by_name(tmp_path):
    settings = DataSettings(tmp_path, read_two)
    assert plain(settings)["layout"] == f"{__name__}:read_two"
    assert read_settings(settings).name == read(tmp_path, read_two).name == "two"


@pytest.mark.parametrize("function", [lambda settings: None, DataSettings.mistakes])
def test_functions_that_cannot_be_found_again_are_refused(function):
    with pytest.raises(UserError, match="a function at the top level of a module"):
        DataSettings(layout=function)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_sets:read_yrad", "has no attribute 'read_yrad'"),
        ("my_stes:read_yard", "No module named 'my_stes'"),
        (f"{__name__}:read_nothing", "a function that returns an ImageTable, got NoneType"),
    ],
)
def test_a_wrong_function_is_answered(module, name, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        read(module, name)


@pytest.mark.parametrize("name", ["my_sets:", ":read", "a b:c", "os;x:y", "a:b:c", "../a:b", "a:b()"])
def test_names_of_functions_are_names_only(name):
    with pytest.raises(UserError, match="or MODULE:FUNCTION"):
        check(DataSettings(layout=name))


def test_a_recipe_cannot_name_a_function(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {layout: 'my_sets:read_yard'}\n")
    with pytest.raises(UserError, match=r"pass --data\.layout my_sets:read_yard on the command line"):
        parse(TrainSettings, ["--recipe", str(recipe)])
