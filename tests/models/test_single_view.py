"""The networks of the paper: parameter counts, strides, shapes, weights."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rewho.core.check import UserError
from rewho.models.backbone import build_backbone
from rewho.models.loading import load_pretrained
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.squeezenet import build_squeezenet
from rewho.models.weights import ModelCard, load_model, save_model
from rewho.settings import ModelSettings

# FD tables 1, 3 and 4: millions of parameters, backbone and embedding, no classifier.
PAPER = [
    ("squeezenet1_1", 512, 1.0),
    ("squeezenet1_0", 512, 1.0),
    ("resnet18", 512, 11.4),
    ("resnet50", 512, 24.6),
    ("resnet50", 2048, 27.7),
    ("resnet101", 512, 43.5),
    ("resnet152", 512, 59.2),
    ("resnet152", 2048, 62.3),
    ("resnet101", 256, 43.0),
    ("resnet152", 256, 58.7),
]


@pytest.mark.parametrize(("backbone", "embedding", "millions"), PAPER)
def test_parameter_counts_are_the_papers(backbone, embedding, millions):
    with torch.device("meta"):
        model = SingleViewModel(ModelSettings(backbone=backbone, embedding=embedding), (256, 128))
    assert round(parameter_count(model) / 1e6, 1) == millions


@pytest.mark.parametrize("backbone", ["squeezenet1_0", "squeezenet1_1", "resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("stride_one_at", ["layer4", "layer3"])
def test_total_stride_is_sixteen(backbone, stride_one_at):
    maps = build_backbone(backbone, stride_one_at).eval()(torch.zeros(1, 3, 256, 128))
    assert maps.shape[2:] == ((15, 7) if backbone.startswith("squeezenet") else (16, 8))


def test_without_a_stride_of_one_a_resnet_keeps_torchvisions_32():
    backbones = [build_backbone("resnet18", place).eval() for place in ("none", "layer4")]
    assert backbones[0](torch.zeros(1, 3, 256, 128)).shape[2:] == (8, 4)
    shapes = [{name: tensor.shape for name, tensor in backbone.state_dict().items()} for backbone in backbones]
    assert shapes[0] == shapes[1]


def test_the_two_readings_of_conv4_1_differ_inside():
    def strides(reading):
        body = build_backbone("resnet18", reading).body
        return [getattr(body, layer)[0].conv1.stride[0] for layer in ("layer2", "layer3", "layer4")]

    assert strides("layer4") == [2, 2, 1]
    assert strides("layer3") == [2, 1, 2]


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224", "test_efficientnet"])
def test_any_timm_model_gives_a_map(name):
    model = SingleViewModel(ModelSettings(backbone=name, embedding=16), (128, 64)).eval()
    assert model.feature_map(torch.zeros(1, 3, 128, 64)).shape[1] == model.backbone.channels
    assert model(torch.zeros(2, 3, 128, 64)).shape == (2, 16)


def test_bytes_and_floats_are_normalised_alike():
    model = SingleViewModel(ModelSettings(embedding=8), (64, 32)).eval()
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    torch.testing.assert_close(model(images), model(images.float()))


def test_embedding_does_not_depend_on_the_batch():
    model = SingleViewModel(ModelSettings(), (128, 64)).eval()
    images = torch.randint(0, 256, (6, 3, 128, 64), dtype=torch.uint8)
    with torch.inference_mode():
        together, reverse = model(images), model(images.flip(0)).flip(0)
        alone = torch.cat([model(image[None]) for image in images])
    for other in (reverse, alone):
        assert (1 - torch.cosine_similarity(together, other)).abs().max() < 1e-5
    assert torch.equal(model(images), model(images))


def test_saved_and_loaded_models_are_equal(tmp_path):
    model = SingleViewModel(ModelSettings(embedding=32), (128, 64), mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)).eval()
    save_model(tmp_path, model, ModelCard(trained_on={"name": "nobody"}))
    again, card = load_model(tmp_path)
    images = torch.randint(0, 256, (2, 3, 128, 64), dtype=torch.uint8)
    assert torch.equal(model(images), again(images))
    assert card["trained_on"] == {"name": "nobody"}
    assert card["parameters"] == parameter_count(model)
    assert not any("classifier" in name for name in load_file(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("mistake", ["missing tensor", "another shape", "cut", "no card", "newer", "not json"])
def test_damaged_model_folders(tmp_path, mistake):
    save_model(tmp_path, SingleViewModel(ModelSettings(embedding=8), (64, 32)), ModelCard())
    tensors_file, card_file = tmp_path / "model.safetensors", tmp_path / "model.json"
    tensors, card = load_file(tensors_file), json.loads(card_file.read_text())
    if mistake == "missing tensor":
        del tensors["embedding.project.weight"]
        save_file(tensors, tensors_file)
    elif mistake == "another shape":
        tensors["embedding.project.weight"] = torch.zeros(9, 512)
        save_file(tensors, tensors_file)
    elif mistake == "cut":
        tensors_file.write_bytes(tensors_file.read_bytes()[:1000])
    elif mistake == "no card":
        card_file.unlink()
    elif mistake == "newer":
        card_file.write_text(json.dumps(card | {"format": 99}))
    else:
        card_file.write_text("{")
    with pytest.raises(UserError) as error:
        load_model(tmp_path)
    assert error.value.fix


def test_pretrained_files(tmp_path):
    source = build_backbone("squeezenet1_1")
    state = {f"features.{name}": tensor for name, tensor in source.body.state_dict().items()}
    save_file({**state, "classifier.1.weight": torch.zeros(10, 512)}, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        target = build_backbone("squeezenet1_1")
        assert "50 tensors" in load_pretrained(target, "squeezenet1_1", str(tmp_path / name))
        assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_wrong_pretrained_files(tmp_path):
    with pytest.raises(UserError, match="missing"):
        save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "few.safetensors")
        load_pretrained(build_backbone("squeezenet1_1"), "squeezenet1_1", str(tmp_path / "few.safetensors"))
    with pytest.raises(UserError, match="nothing at"):
        load_pretrained(build_backbone("squeezenet1_1"), "squeezenet1_1", str(tmp_path / "no.pth"))
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08onnx")
    with pytest.raises(UserError, match="got an ONNX file"):
        load_pretrained(build_backbone("squeezenet1_1"), "squeezenet1_1", str(tmp_path / "model.onnx"))
    with pytest.raises(UserError, match="pinned hash"):
        load_pretrained(build_backbone("convnext_atto"), "convnext_atto", "imagenet")


class Hostile:
    """Runs a command when it is unpickled by anyone who does not look."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (type(self.canary).touch, (self.canary,))


def test_a_hostile_checkpoint_executes_nothing(tmp_path):
    torch.save({"state_dict": Hostile(tmp_path / "canary")}, tmp_path / "hostile.pth")
    with pytest.raises(UserError, match="safetensors"):
        load_pretrained(build_backbone("squeezenet1_1"), "squeezenet1_1", str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "canary").exists()


def test_imagenet_weights_are_not_waited_for_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("rewho.models.loading.is_reachable", lambda address: False)
    with pytest.raises(
        UserError, match=r"(?s)no network, and nothing at .*squeezenet1_1-\w+\.pth.*--model.pretrained FILE"
    ):
        load_pretrained(build_backbone("squeezenet1_1"), "squeezenet1_1", "imagenet")


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_imagenet_squeezenet_loads(shared, name):
    backbone = build_backbone(name)
    line = load_pretrained(backbone, name, str(shared / "data" / "weights" / f"{name}.imagenet.safetensors"))
    assert "50 tensors" in line
    assert np.isfinite(sum(tensor.double().sum().item() for tensor in backbone.state_dict().values()))


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_squeezenet_is_torchvisions_to_the_bit(name):
    from torchvision import models

    torch.manual_seed(3)
    theirs, after_theirs = getattr(models, name)(weights=None).features, torch.rand(1)
    torch.manual_seed(3)
    ours, after_ours = build_squeezenet(name), torch.rand(1)
    assert after_ours == after_theirs
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.rand(2, 3, 128, 64)
    assert torch.equal(ours(images), theirs(images))


def test_misspelt_names_say_the_nearest():
    with pytest.raises(UserError, match="resnet50"):
        build_backbone("resnet5O")
