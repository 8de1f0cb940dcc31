"""The models of several branches, by their shapes, their parts, and what must not matter; heads of the plain one."""

import copy

import pytest
import torch
from torch import nn

from kept import kept_bytes
from rewho.core.check import UserError
from rewho.models.backbone import build_backbone
from rewho.models.bdb import BatchDrop
from rewho.models.kinds import KINDS, build_model
from rewho.models.mgn import MultipleGranularityModel
from rewho.models.single_view import SingleViewModel, parameter_count
from rewho.models.weights import ModelCard, load_model, save_model
from rewho.settings import ModelSettings

SIZE = (96, 32)


def settings(kind: str, **changes) -> ModelSettings:
    embedding = {"mgn": 64, "bdb": 48, "single_view": 16}[kind]
    return ModelSettings(
        **{"kind": kind, "backbone": "resnet18", "embedding": embedding, "pretrained": "none", **changes}
    )


def images(count=4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra_bn", ["yes", "no"])
def test_a_saved_model_comes_back_whole(kind, extra_bn, tmp_path):
    torch.manual_seed(1)
    model = build_model(settings(kind, extra_bn=extra_bn), SIZE).train()
    model(images())  # moves running statistics
    save_model(tmp_path, model.eval(), ModelCard())
    loaded, description = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert description["architecture"]["kind"] == kind
    assert description["embedding_size"] == loaded.settings.embedding == model(images()).shape[1]
    assert torch.equal(loaded(images()), model(images()))


@pytest.mark.parametrize(("head", "length"), [("fc_bn", 16), ("bn", 512), ("none", 512)])
def test_heads_of_the_single_view_model(head, length, tmp_path):
    model = build_model(settings("single_view", head=head), SIZE).eval()
    assert model(images()).shape == (4, length)
    assert model.settings.embedding == length == model.classified_sizes()[0]
    found = model.features(images())
    assert torch.equal(found.classified[0], model(images()))
    assert torch.equal(found.compared[0], found.classified[0]) == (head != "bn")
    save_model(tmp_path, model, ModelCard())
    assert torch.equal(load_model(tmp_path)[0](images()), model(images()))


def test_the_bias_of_the_neck_stays_zero():
    neck = build_model(settings("single_view", head="bn"), SIZE).embedding
    assert not neck.bias.requires_grad
    assert not neck.bias.any()
    assert neck.weight.requires_grad


@pytest.mark.parametrize(("kind", "layers"), [("mgn", 3), ("bdb", 1), ("single_view", 1)])
def test_extra_batch_normalisation_stands_before_every_head(kind, layers):
    def normalisations(model):
        return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())

    with_it, without = (build_model(settings(kind, extra_bn=answer), SIZE) for answer in ("yes", "no"))
    assert normalisations(with_it) - normalisations(without) == layers


def test_mgn_has_eight_heads_and_five_triplets():
    model = build_model(settings("mgn"), SIZE).eval()
    found = model.features(images())
    assert [feature.shape[1] for feature in found.classified] == [8] * 8 == list(model.classified_sizes())
    assert [feature.shape[1] for feature in found.compared] == [8, 8, 8, 16, 24]
    assert torch.equal(torch.cat(found.classified, dim=1), model(images()))


def test_mgn_of_the_paper_is_as_large_as_its_parts():
    plain = build_backbone("resnet50")
    shared = sum(
        p.numel() for name in ("conv1", "bn1", "layer1", "layer2") for p in plain.body.get_submodule(name).parameters()
    )
    first = sum(parameter.numel() for parameter in plain.body.layer3[0].parameters())
    everything = parameter_count(plain)
    heads = 8 * (2048 * 256 + 2 * 256 + 1)
    model = build_model(ModelSettings(kind="mgn", backbone="resnet50", embedding=2048), (384, 128))
    assert parameter_count(model) == shared + first + 3 * (everything - shared - first) + heads


@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_0", "squeezenet1_1"])
def test_every_branch_of_mgn_begins_as_the_plain_network(backbone):
    torch.manual_seed(2)
    plain = build_backbone(backbone).eval()
    model = build_model(settings("mgn", backbone=backbone), SIZE).eval()
    model.load_backbone(plain)
    normalised = torch.randn(2, 3, *SIZE)
    expected = plain(normalised)
    shared = model.backbone(normalised)
    for branch in model.branches:
        torch.testing.assert_close(branch(shared), expected)
    assert len({id(parameter) for branch in model.branches for parameter in branch.parameters()}) == 3 * len(
        list(model.branches[0].parameters())
    )


def test_stripes_of_mgn_see_only_their_rows():
    model = build_model(settings("mgn"), SIZE).eval()
    whole = torch.rand(1, 512, 6, 2)
    model.branches = nn.ModuleList(nn.Identity() for _ in range(3))
    changed = whole.clone()
    changed[:, :, 4:] += 1  # the last third
    moved = [
        bool((before - after).abs().max() > 1e-6)
        for before, after in zip(model.represent(whole).split(8, 1), model.represent(changed).split(8, 1), strict=True)
    ]
    #               whole | whole, upper and lower half | whole, three thirds
    assert moved == [True, True, False, True, True, False, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_heads_of_mgn_keep_nothing_of_the_size_of_a_map(dtype):
    """Not one copy of any of the three maps is kept; 48 means and what follows them are all there is."""
    model = build_model(settings("mgn", extra_bn="no"), SIZE).train()
    model.branches = nn.ModuleList(nn.Identity() for _ in range(3))
    maps = torch.rand(4, 512, 24, 8).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        kept = kept_bytes(lambda: model.represent(maps), maps, *model.parameters())
    assert kept < maps.nbytes / 4


def test_batch_drop_takes_the_same_rows_from_everybody_and_nothing_from_tests():
    drop, maps = BatchDrop(0.33), torch.ones(5, 3, 24, 8)
    torch.manual_seed(3)
    gone = drop(maps) == 0
    rows = gone[0, 0, :, 0]
    assert int(rows.sum()) == round(0.33 * 24) == 8
    assert torch.equal(gone, rows[None, None, :, None].expand_as(gone))
    torch.manual_seed(3)
    assert torch.equal(drop(maps) == 0, gone), "torch's generator, which every step seeds, must decide"
    tops = {int((drop(maps) == 0)[0, 0, :, 0].int().argmax()) for _ in range(400)}
    assert tops == set(range(17))
    assert drop.eval()(maps) is maps


def test_bdb_drops_in_one_branch_only():
    model = build_model(settings("bdb"), SIZE).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.eval()
    first, second = model.features(images()).classified, model.features(images()).classified
    assert [feature.shape[1] for feature in first] == [16, 32]
    assert torch.equal(first[0], second[0])
    draws = [model.features(images()).classified[1] for _ in range(6)]
    assert any(not torch.equal(draws[0], other) for other in draws[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_either_pretrained_or_new_and_gets_a_gradient(kind):
    model = build_model(settings(kind), SIZE).train()
    pretrained = [p for part in model.pretrained_parts().values() for p in part.parameters()]
    new = [p for part in model.new_parts() for p in part.parameters()]
    assert {id(p) for p in pretrained + new} == {id(p) for p in model.parameters()}
    assert len(pretrained) + len(new) == len(list(model.parameters()))
    found = model.features(images())
    sum(feature.square().sum() for feature in (*found.classified, *found.compared)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_of_several_branches_needs_no_other_treatment():
    model = copy.deepcopy(build_model(settings("mgn"), SIZE)).eval()
    assert isinstance(model, SingleViewModel)
    assert torch.equal(model(images()), model(images().float()))


def test_mistakes():
    with pytest.raises(UserError, match="a ResNet or a SqueezeNet"):
        MultipleGranularityModel(settings("mgn", backbone="test_resnet"), SIZE)
