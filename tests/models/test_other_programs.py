"""Checkpoints in the layouts of torchreid and fast-reid begin a training, and are teachers."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import normalize

import rewho
from rewho.cli import main
from rewho.core.check import UserError
from rewho.data.views import VIEWS
from rewho.embedding.foreign_networks import open_teacher
from rewho.models.backbone import build_backbone
from rewho.models.initial import build_initial_model, find_origin, load_initial_weights
from rewho.models.osnet import OSNETS
from rewho.rendered import write_people
from rewho.settings import DeviceSettings, ModelSettings

SIZE = (64, 32)
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "coming-from.md"
NAMES = """conv1.conv.weight conv1.bn.running_var conv2.0.conv1.conv.weight conv2.0.conv2a.conv1.weight
conv2.0.conv2a.conv2.weight conv2.0.conv2a.bn.bias conv2.0.conv2d.3.conv2.weight conv2.0.gate.fc1.weight
conv2.0.gate.fc2.bias conv2.0.conv3.conv.weight conv2.0.downsample.bn.weight conv2.1.conv2b.1.bn.running_mean
conv2.2.0.conv.weight conv3.2.0.bn.weight conv4.1.gate.fc1.bias conv5.conv.weight conv5.bn.weight"""
"""Names in torchreid's files of OSNet."""
PARAMETERS = {"osnet_x1_0": 1_905_828, "osnet_x0_75": 1_087_610, "osnet_x0_5": 497_426, "osnet_x0_25": 134_792}
"""Without the last linear layer; with it they are the paper's 2.2, 1.3, 0.6 and 0.2 million (table 7)."""


def torchreid(file, backbone):
    """Write a checkpoint as torchreid does: of nn.DataParallel, with a linear layer and a classifier behind it."""
    tensors = {f"module.{name}": value for name, value in backbone.body.state_dict().items()}
    width = backbone.channels
    tensors |= {"module.fc.0.weight": torch.ones(512, width), "module.fc.0.bias": torch.ones(512)}
    tensors |= {f"module.fc.1.{name}": torch.ones(512) for name in ("weight", "bias", "running_mean", "running_var")}
    tensors |= {"module.classifier.weight": torch.ones(751, 512), "module.classifier.bias": torch.ones(751)}
    torch.save({"state_dict": tensors, "epoch": 250, "rank1": 0.94, "optimizer": {"state": {}}}, file)


def fastreid(file, backbone):
    """Write a checkpoint as fast-reid does: under `model`, with its heads and the statistics of pixels."""
    tensors = {f"backbone.{name}": value for name, value in backbone.body.state_dict().items()}
    tensors |= {"heads.bottleneck.0.weight": torch.ones(512), "heads.weight": torch.ones(751, 512)}
    tensors |= {"pixel_mean": torch.full((1, 3, 1, 1), 120.0), "pixel_std": torch.full((1, 3, 1, 1), 58.0)}
    torch.save({"model": tensors, "optimizer": {}, "iteration": 100}, file)


CASES = [("osnet_x0_25", torchreid), ("resnet18", torchreid), ("resnet18", fastreid)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[1].__name__}-{case[0]}")
def case(request, tmp_path):
    """A backbone's name, the backbone in evaluation mode, and the file with its weights."""
    name, write = request.param
    torch.manual_seed(4)
    backbone = build_backbone(name).eval()
    write(tmp_path / "other.pth.tar", backbone)
    return name, backbone, tmp_path / "other.pth.tar"


def test_it_begins_a_training(case):
    name, backbone, file = case
    settings = ModelSettings(backbone=name, pooling="gap", head="none", pretrained=str(file), pretrained_labels="yes")
    model = build_initial_model(settings, SIZE, find_origin(settings))
    said = load_initial_weights(model)
    assert "left over" in said
    loaded = model.backbone.body.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in backbone.body.state_dict().items())


def test_it_is_a_teacher(case):
    name, backbone, file = case
    description = file.with_name("teacher.yaml")
    described = {"network": f"backbone:{name}", "view": "holistic", "size": list(SIZE), "weights": file.name}
    description.write_text(yaml.safe_dump(described))
    teacher = open_teacher(description, replace(VIEWS["holistic"], size=SIZE), DeviceSettings("cpu"))
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    (found,) = teacher.embed_batches([images], flip=False)
    mean, std = (255 * torch.tensor(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = backbone(((torch.from_numpy(images).float() - mean) / std).permute(0, 3, 1, 2)).mean((2, 3))
    assert teacher.width == backbone.channels
    torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_it_is_scored_with_the_commands_of_the_guide(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    backbone = build_backbone("resnet18", stride_one_at="none").eval()
    torchreid(tmp_path / "W.pth.tar", backbone)
    write_people(Path("DATA"), identities=2, test_identities=2, cameras=2, images_per_camera=2, distractors=0, junk=0)
    assert main(["evaluate", "W.pth.tar", "--data", "DATA"]) == 2
    assert "rewho train DATA --init W.pth.tar" in capsys.readouterr().err
    commands = re.search(r"### Score such a file.*?```console\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    smaller = commands[1].replace("resnet50", "resnet18").replace("256 128", "64 32")
    train, evaluate = (line.removeprefix("uv run rewho ").split() for line in smaller.splitlines())
    assert main([*train, "--device", "cpu", "--workers", "0"]) == 0
    assert main([*evaluate, "--device", "cpu"]) == 0
    model = rewho.load("runs/theirs", device="cpu")
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    mean, std = (255 * torch.tensor(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = backbone(((torch.from_numpy(images).float() - mean) / std).permute(0, 3, 1, 2)).mean((2, 3))
    found = torch.from_numpy(model.embed(list(images), flip=False))
    torch.testing.assert_close(normalize(found), normalize(wanted), atol=1e-4, rtol=1e-4)


def test_a_teacher_needs_weights_that_fit(tmp_path):
    torchreid(tmp_path / "x.pth", build_backbone("osnet_x0_25"))
    for fields, words in (
        ({"network": "backbone:osnet_x0_25"}, "a file with the backbone's weights"),
        ({"network": "backbone:resnet18", "weights": "x.pth"}, "tensors of the network"),
        ({"network": "backbone:osnet", "weights": "x.pth"}, "osnet_x"),
    ):
        (tmp_path / "t.yaml").write_text(yaml.safe_dump({"view": "holistic", **fields}))
        with pytest.raises(UserError, match=words):
            open_teacher(tmp_path / "t.yaml", None, DeviceSettings("cpu"))


def test_osnet_has_the_names_sizes_and_map_that_it_should():
    for name in OSNETS:
        backbone = build_backbone(name).eval()
        assert set(NAMES.split()) <= backbone.body.state_dict().keys()
        assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[name]
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 128, 64)).shape == (1, 128, 8, 4)
