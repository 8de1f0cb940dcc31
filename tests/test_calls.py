"""Python calls take the command line's names and rules, and report every mistake at once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rewho
from rewho.calls import fill_settings
from rewho.settings import DataSettings, SamplerSettings, TrainSettings
from rewho.settings.answers import SearchSettings


def train(*words, **options):
    return fill_settings(TrainSettings, words, options)


def test_names_are_those_of_the_command_line():
    made = train("people", epochs=3, lr=0.5, batch=8, data__share=0.5, out="x", input_size=[64, 32])
    assert (made.data.root, made.epochs, made.optimizer.learning_rate, made.sampler.batch) == (
        Path("people"),
        3,
        0.5,
        8,
    )
    assert (made.data.share, made.out, made.model.input_size) == (0.5, Path("x"), (64, 32))


def test_numbers_of_numpy_are_numbers():
    made = train("people", epochs=np.int64(3), lr=np.float32(0.5), input_size=(np.int32(64), 32))
    assert (made.epochs, made.optimizer.learning_rate, made.model.input_size) == (3, 0.5, (64, 32))
    assert type(made.epochs) is int and type(made.model.input_size[0]) is int
    with pytest.raises(rewho.UserError, match=r"a whole number from 1, got 3\.5"):
        train("people", epochs=np.float64(3.5))


def test_groups_take_dictionaries_and_settings():
    made = train(data=DataSettings(Path("people"), workers=0), sampler={"batch": 16})
    assert (made.data.root, made.data.workers, made.sampler) == (Path("people"), 0, SamplerSettings(batch=16))


def test_one_value_will_do_for_a_list_and_short_names_work():
    made = fill_settings(SearchSettings, ("a.jpg", Path("b.jpg")), {"in": "people", "model": "runs/train"})
    assert (made.queries, made.gallery) == ((Path("a.jpg"), Path("b.jpg")), Path("people"))


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(rewho.UserError) as raised:
        train("people", epohs=3, batch=1, data__shar=2, schedule="halves")
    text = str(raised.value)
    assert text.startswith("4 options") and all(word in text for word in ("epohs", "epochs", "batch", "shar", "halves"))
    with pytest.raises(rewho.UserError, match="one of"):
        rewho.run("trian")
    with pytest.raises(rewho.UserError, match="settings or options"):
        rewho.train(TrainSettings(), epochs=3)


def test_a_command_runs_from_outside(tmp_path):
    code = "import rewho; print(rewho.run('look', '.')); print(rewho.run('export', 'm', format='onx'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "an empty folder" in ran.stdout and "format: expected one of onnx, pt2" in ran.stderr
