"""A run's folder says what it takes to run it again, with the same numbers."""

import json
from dataclasses import replace

import pytest

from quick_settings import quick
from rewho.core.artifact import hash_file
from rewho.core.record import flatten
from rewho.settings import TrainSettings
from rewho.settings.command_line import fill
from rewho.stages import train
from rewho.training.log import LOG


@pytest.mark.slow
def test_what_a_run_has_recorded_gives_the_same_numbers_again(people, tmp_path):
    first = train.run(quick(people, tmp_path / "first"))
    record = json.loads((first / "manifest.json").read_text())
    assert record["settings"]["seed"] == 1 and len(record["inputs"]["data"]) == 64
    assert {"python", "torch", "numpy"} <= record["environment"].keys() and record["command"] and record["rewho"]
    again = fill(TrainSettings, flatten(record["settings"]), "train", "")
    second = train.run(replace(again, out=tmp_path / "second"))
    for name in ("model.safetensors", LOG):
        assert hash_file(second / name) == hash_file(first / name), name
