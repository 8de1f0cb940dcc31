"""Models that come with the package: found by name, small, with figures and terms, used where none is named."""

import json

import numpy as np
import pytest

import rewho
from rewho.cli import main
from rewho.core import shipped
from rewho.core.artifact import hash_file
from rewho.core.check import UserError
from rewho.core.shipped import find_model, shipped_models
from rewho.rendered import Camera, Identity, render_person
from rewho.settings import CompareSettings, EmbedSettings

STARTER = shipped_models()["starter"]


def shoot(person: int, camera: int) -> np.ndarray:
    return render_person(Identity.draw(9, person), Camera.draw(9, camera), np.random.default_rng(person + camera)).image


def test_a_name_stands_for_a_folder_of_the_package_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    assert find_model("starter") == STARTER
    assert find_model("runs/starter").parts == ("runs", "starter")
    assert find_model("no-such-model").name == "no-such-model"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter").mkdir()
    assert find_model("starter").resolve() == tmp_path / "starter"


def test_a_missing_starter_names_the_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="Install rewho again"):
        find_model("starter")


def test_the_starter_is_small_whole_and_described():
    card = json.loads((STARTER / "model.json").read_text())
    weights = STARTER / "model.safetensors"
    assert weights.stat().st_size < 4_000_000
    assert card["sha256"]["model.safetensors"] == hash_file(weights)
    assert "Apache-2.0" in card["licence"] and "rendered people" in card["trained_on"]["what"]
    assert "/" not in json.dumps(card["provenance"].get("began_from", "")), "no path of the machine that made it"
    assert all(0 < scores[name] < 1 for scores in card["metrics"].values() for name in ("rank1", "mAP"))
    assert card["metrics"]


def test_the_starter_finds_rendered_people_that_it_never_saw():
    model = rewho.load("starter")
    vectors = model.embed([shoot(person, camera) for camera in (1, 2) for person in range(12)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (unit[:12] @ unit[12:].T).argmax(axis=1)
    assert (nearest == np.arange(12)).mean() > 0.5


def test_compare_and_embed_use_it_where_no_model_is_named_and_say_so(tmp_path, capsys):
    import cv2

    assert str(CompareSettings().model) == str(EmbedSettings().model) == "starter"
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), shoot(number, 1))
    assert main(["compare", str(tmp_path / "1.png"), str(tmp_path / "2.png")]) == 0
    shown = capsys.readouterr()
    assert -1 <= float(shown.out) <= 1
    assert "model starter, which comes with rewho: trained on" in shown.err and "mAP" in shown.err


def test_the_list_has_figures_and_terms(capsys):
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("starter") and "Market-1501" in shown and "Apache-2.0" in shown
