"""A backbone of a user's own: typed on the command line or in a trusted module; a name in a file alone runs nothing."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from rewho.core.check import UserError
from rewho.models.backbone import build_backbone
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, load_model, save_model
from rewho.settings import ModelSettings

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "training.md"
SIZE = (64, 32)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the module of the guide where it can be imported, and forget it afterwards."""
    code = GUIDE.read_text().partition("# my_network.py")[2].partition("```")[0]
    (tmp_path / "my_network.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_network:build"
    sys.modules.pop("my_network", None)


def test_a_trusted_module_builds_trains_and_loads(module, tmp_path, monkeypatch):
    monkeypatch.setenv("REWHO_MODULES", "another,my_network")
    backbone = build_backbone(module, input_size=SIZE)
    assert backbone(torch.zeros(1, 3, *SIZE)).shape == (1, backbone.channels, 4, 2)
    assert backbone.training
    model = build_model(ModelSettings(backbone=module, embedding=8, pretrained="none"), SIZE).eval()
    save_model(tmp_path / "model", model, ModelCard())
    again, card = load_model(tmp_path / "model")
    assert card["architecture"]["backbone"] == module
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    assert torch.equal(again(images), model(images))


@pytest.mark.parametrize("typed", [["--model.backbone", "my_network:build"], ["--model.backbone=my_network:build"]])
def test_a_name_that_was_typed_is_trusted(module, monkeypatch, typed):
    monkeypatch.setattr(sys, "argv", ["rewho", "train", *typed])
    assert build_backbone(module, input_size=SIZE).channels == 64


def test_a_name_in_a_file_runs_nothing(module, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="REWHO_MODULES") as caught:
        build_backbone(module)
    assert "REWHO_MODULES=my_network" in caught.value.fix
    model = build_model(ModelSettings(backbone="resnet18", embedding=8, pretrained="none"), SIZE)
    save_model(tmp_path / "model", model, ModelCard())
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    card["architecture"]["backbone"] = module
    (tmp_path / "model" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="a module that you trust") as caught:
        load_model(tmp_path / "model")
    assert "REWHO_MODULES=my_network" in caught.value.fix
    assert "my_network" not in sys.modules
    shutil.rmtree(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("no_such_module_of_mine:build", "ModuleNotFoundError"),
        ("my_network:missing", "AttributeError"),
        ("my_network:nn", "TypeError"),
    ],
)
def test_functions_that_build_nothing_are_named(module, monkeypatch, name, got):
    monkeypatch.setenv("REWHO_MODULES", f"my_network,{name.partition(':')[0]}")
    with pytest.raises(UserError, match=f"a feature map.*got {got}"):
        build_backbone(name, input_size=SIZE)
