"""The recipe of the model that comes with the package, shortened: the same bytes each time."""

import importlib.util
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "starter" / "make.py"
SHORT = ("--epochs", "1", "--sampler.batch", "8", "--optimizer.warmup_epochs", "0", "--optimizer.flat_epochs", "0.5")


@pytest.mark.slow
def test_the_recipe_of_the_starter_gives_the_same_bytes_twice(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make", RECIPE)
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(make, "PEOPLE", {**make.PEOPLE, "identities": 8, "cameras": 5, "cameras_of_person": 2})
    train = make._train
    small = iter((True, False, True, False))
    monkeypatch.setattr(
        make, "_train", lambda words, weights: train([*words, *(SHORT if next(small) else ())], weights)
    )
    monkeypatch.setattr(make, "LARGE", (*SHORT, *make.LARGE, "--epochs", "2", "--optimizer.flat_epochs", "1.5"))

    def shipped(name: str) -> bytes:
        out = tmp_path / name
        make.ship(make.make_model(out, make.make_people(out, 1), "none"), out / "shipped", {}, "nothing")
        content: bytes = (out / "shipped" / "model.safetensors").read_bytes()
        return content

    assert shipped("first") == shipped("second")
