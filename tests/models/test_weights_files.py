"""Weights of others' training code: whatever their names begin with, and however deep they lie."""

import copy

import pytest
import torch

from rewho.core.check import UserError
from rewho.models.backbone import build_backbone
from rewho.models.loading import load_pretrained

NAME = "test_resnet"  # of timm, with batch normalisation


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_backbone(NAME, input_size=(64, 32))


def without_counters(state, prefix=""):
    return {prefix + name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def check(network, content, path):
    torch.save(content, path)
    fresh = copy.deepcopy(network)
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    said = load_pretrained(fresh, NAME, str(path))
    for name, tensor in fresh.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, network.state_dict()[name]), name
    return said


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "backbone.", "model.", "student.", "module.encoder_q.", "base.", "net.0.", "feature_extractor."],
)
def test_any_prefix_is_cut_off_where_no_batches_were_counted(network, tmp_path, prefix):
    plain = without_counters(network.body.network.state_dict(), prefix)
    said = check(network, plain | {f"{prefix}fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
    assert "left over: fc.weight" in said
    assert (f"under {prefix[:-1]}" in said) == bool(prefix)


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "net", "network", "teacher", "ema", "weights", "G"])
def test_weights_are_found_under_any_key(network, tmp_path, key):
    plain = without_counters(network.body.network.state_dict())
    check(network, {"epoch": 3, key: plain, "optimizer": {"state": {0: torch.ones(3)}}}, tmp_path / "w.pth")
    check(network, {"checkpoint": {key: without_counters(plain, "module.")}}, tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("trained", "slow"),
    [
        ("student", "teacher"),
        ("model", "ema"),
        ("model", "model_ema"),
        ("encoder_q", "encoder_k"),
        ("net", "momentum_net"),
    ],
)
def test_of_several_networks_the_trained_one_is_taken_and_named(network, tmp_path, trained, slow):
    plain = without_counters(network.body.network.state_dict())
    others = {name: tensor + 1 for name, tensor in plain.items()}
    assert f"under {trained}" in check(network, {trained: plain, slow: others}, tmp_path / "w.pth")
    assert f"under {trained}" in check(network, {slow: others, trained: plain}, tmp_path / "w.pth")
    flat = {f"{trained}.{name}": tensor for name, tensor in plain.items()}
    flat |= {f"{slow}.{name}": tensor for name, tensor in others.items()}
    check(network, flat, tmp_path / "w.pth")


def test_a_teacher_of_another_size_is_not_taken(network, tmp_path):
    plain = without_counters(network.body.network.state_dict())
    large = {name: torch.cat([tensor, tensor]) for name, tensor in plain.items()}
    check(network, {"a": large, "b": plain}, tmp_path / "w.pth")


def test_another_network_is_refused(network, tmp_path):
    torch.save({"model": {"a.weight": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="missing"):
        load_pretrained(build_backbone(NAME, input_size=(64, 32)), NAME, str(tmp_path / "w.pth"))
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="named tensors, got none"):
        load_pretrained(build_backbone(NAME, input_size=(64, 32)), NAME, str(tmp_path / "w.pth"))
