"""A backbone that a script registers by name; a name in a file runs nothing."""

import json
from pathlib import Path

import pytest
import torch

from rewho.core.check import UserError
from rewho.models.backbone import BACKBONES, build_backbone
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, load_model, save_model
from rewho.settings import ModelSettings

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "training.md"
SIZE = (64, 32)


@pytest.fixture
def mine(monkeypatch):
    """Register the network of the guide, and forget it afterwards."""
    names: dict = {}
    exec(GUIDE.read_text().partition("# my_training.py")[2].partition("rewho.train")[0], names)  # our own guide
    monkeypatch.setitem(BACKBONES, "mine", names["build"])
    return "mine"


def test_a_registered_network_builds_and_loads(mine, tmp_path):
    backbone = build_backbone(mine, input_size=SIZE)
    assert backbone(torch.zeros(1, 3, *SIZE)).shape == (1, backbone.channels, 4, 2)
    assert backbone.training
    model = build_model(ModelSettings(backbone=mine, embedding=8, pretrained="none"), SIZE).eval()
    save_model(tmp_path / "model", model, ModelCard())
    again, card = load_model(tmp_path / "model")
    assert card["architecture"]["backbone"] == mine
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    assert torch.equal(again(images), model(images))


@pytest.mark.parametrize("name", ["os:system", "my_network:build", "unregistered"])
def test_a_name_in_a_file_runs_nothing(tmp_path, name):
    model = build_model(ModelSettings(backbone="resnet18", embedding=8, pretrained="none"), SIZE)
    save_model(tmp_path / "model", model, ModelCard())
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    card["architecture"]["backbone"] = name
    (tmp_path / "model" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="timm knows"):
        load_model(tmp_path / "model")


def test_a_function_that_builds_no_network_is_named(monkeypatch):
    monkeypatch.setitem(BACKBONES, "wrong", lambda size: torch.nn.Flatten())
    with pytest.raises(UserError, match=r"a feature map.*got ValueError"):
        build_backbone("wrong", input_size=SIZE)
