"""Grids: every combination once, values with their types, mistakes named."""

import pytest

from rewho.core.check import UserError
from rewho.tables.grid import expand_grids

STEPS = {"<of>-<share>": {"stage": "train", "set": {"data.share": "0.<share>", "began": "<of.weights>", "epochs": 3}}}
OVER = {"of": [{"is": "a", "weights": "none"}, {"is": "b", "weights": "{a-10}"}], "share": [10, 30]}


def test_steps_come_once_for_every_combination_behind_those_that_are_written_out():
    content = {"title": "t", "steps": {"first": {"stage": "train"}}, "grid": [{"over": OVER, "steps": STEPS}]}
    whole = expand_grids("t", content)
    assert list(whole["steps"]) == ["first", "a-10", "a-30", "b-10", "b-30"]
    assert whole["steps"]["b-30"]["set"] == {"data.share": "0.30", "began": "{a-10}", "epochs": 3}
    assert "rows" not in whole and "grid" not in whole and whole["title"] == "t"


def test_a_word_alone_keeps_its_kind():
    grid = {"over": {"x": [{"is": 0.5, "paper": [None, 12]}]}, "rows": [{"a": "<x>", "b": "<x.paper>", "c": "at <x>"}]}
    assert expand_grids("t", {"grid": [grid]})["rows"] == [{"a": 0.5, "b": [None, 12], "c": "at 0.5"}]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"over": OVER, "step": STEPS}, "Did you mean 'steps'"),
        ({"steps": STEPS}, "expected over"),
        ({"over": {"share": 10}, "steps": STEPS}, "over share: expected a list"),
        ({"over": {"share": []}, "steps": STEPS}, "over share: expected a list"),
        ({"over": OVER, "rows": ["<shore>"]}, "Did you mean 'share'"),
        ({"over": OVER, "rows": ["<of.weight>"]}, "Did you mean 'weights'"),
        ({"over": OVER, "rows": ["<share.weights>"]}, "Write <share>"),
    ],
)
def test_mistakes_are_named(grid, message):
    with pytest.raises(UserError, match=message):
        expand_grids("t", {"grid": [grid]})
