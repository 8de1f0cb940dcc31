"""First weights from everywhere: nothing, a model folder, a published checkpoint's layout; what is known about them."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from rewho.core.check import UserError
from rewho.models.backbone import build_backbone
from rewho.models.initial import Origin, build_initial_model, describe_assumptions, find_origin, load_initial_weights
from rewho.models.kinds import build_model
from rewho.models.weights import ModelCard, save_model
from rewho.settings import ModelSettings

SIZE = (96, 32)
PLAIN = ModelSettings(backbone="resnet18", embedding=8, head="none", pretrained="none")


MOCO, MOCO_V3 = ("encoder_q", "encoder_k"), ("base_encoder", "momentum_encoder")


def moco_checkpoint(file, encoders=MOCO):
    """Write a checkpoint in the layout of MoCo's and LUPerson's code; returns the query encoder's backbone."""
    torch.manual_seed(4)
    query, key = build_backbone("resnet18").body.state_dict(), build_backbone("resnet18").body.state_dict()
    tensors = {f"module.{encoders[1]}.{name}": value + 1 for name, value in key.items()}
    tensors |= {f"module.{encoders[0]}.{name}": value for name, value in query.items()}
    tensors |= {f"module.{encoders[0]}.fc.0.weight": torch.zeros(4, 4), "module.queue": torch.zeros(128, 16)}
    torch.save({"epoch": 200, "arch": "resnet18", "state_dict": tensors, "optimizer": {"state": {}}}, file)
    return query


def same(part, tensors, prefix=""):
    return all(torch.equal(value, tensors[f"{prefix}{name}"]) for name, value in part.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "encoders"), [("single_view", MOCO), ("single_view", MOCO_V3), ("mgn", MOCO), ("bdb", MOCO)]
)
def test_a_published_moco_checkpoint(kind, encoders, tmp_path):
    query = moco_checkpoint(tmp_path / "moco.pth", encoders)
    wanted = replace(PLAIN, kind=kind, embedding=48, pretrained=str(tmp_path / "moco.pth"), pixel_mean=(0.3, 0.3, 0.3))
    origin = find_origin(wanted)
    assert origin.labels is False
    assert origin.mean == (0.3, 0.3, 0.3)
    assert origin.provenance["layout"].startswith("MoCo")
    model = build_initial_model(wanted, SIZE, origin)
    assert model.settings.extra_bn == "yes", "weights without labels get the extra batch normalisation by themselves"
    load_initial_weights(model)
    if kind == "mgn":
        assert same(model.branches[2].layer4, query, "layer4.")
        assert same(model.backbone.body.layer2, query, "layer2.")
    else:
        assert same(model.backbone.body, query)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_a_timm_model(name, suffix, tmp_path):
    torch.manual_seed(7)
    network = timm.create_model(name, num_classes=10, **({"img_size": SIZE} if name == "test_vit" else {}))
    file = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(network.state_dict(), file)
    wanted = replace(PLAIN, backbone=name, pretrained=str(file))
    model = build_initial_model(wanted, SIZE, find_origin(wanted))
    assert f"{name}: " in load_initial_weights(model)
    assert same(model.backbone.body.network, network.state_dict())


def test_a_moco_v3_checkpoint_of_a_transformer(tmp_path):
    torch.manual_seed(8)
    query = timm.create_model("test_vit", num_classes=10, img_size=SIZE).state_dict()
    tensors = {f"module.momentum_encoder.{name}": value + 1 for name, value in query.items()}
    tensors |= {f"module.base_encoder.{name}": value for name, value in query.items()}
    torch.save({"state_dict": tensors}, tmp_path / "moco.pth")
    wanted = replace(PLAIN, backbone="test_vit", head="fc_bn", pretrained=str(tmp_path / "moco.pth"))
    model = build_initial_model(wanted, SIZE, find_origin(wanted))
    load_initial_weights(model)
    assert model.settings.extra_bn == "yes"
    assert same(model.backbone.body.network, query)


def ramp(rows, columns):
    """Return position vectors [1, rows * columns, 64] that say in which row and column they are, 0 to 1."""
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    middle = (place + 0.5) / torch.tensor([rows, columns]).view(2, 1, 1)
    return middle.flatten(1).T.repeat(1, 32)[None]


def transformer(size):
    """Return a small transformer for images of a size whose position vectors say where they are."""
    encoder = build_model(replace(PLAIN, backbone="test_vit"), size)
    positions = encoder.backbone.body.network.pos_embed.data
    positions[:, :1] = -1
    positions[:, 1:] = ramp(size[0] // 16, size[1] // 16)
    return encoder


def inside(positions, rows, columns):
    """Return the vectors [rows - 2, columns - 2, 64] of all patches but those at the edges, where cubics overshoot."""
    return positions[0, 1:].view(rows, columns, 64)[1:-1, 1:-1]


@pytest.mark.parametrize("head", ["none", "fc_bn"])
def test_a_transformer_begins_from_a_folder_of_another_input_size(head, tmp_path):
    encoder = transformer((128, 64))
    save_model(tmp_path / "encoder", encoder, ModelCard())
    wanted = replace(PLAIN, backbone="test_vit", head=head, pretrained=str(tmp_path / "encoder"))
    model = build_initial_model(wanted, (256, 128), find_origin(wanted))
    assert load_initial_weights(model).endswith("position embedding resampled from 8 x 4 to 16 x 8 patches")
    network, before = model.backbone.body.network, encoder.backbone.body.network
    assert same(network.blocks, before.blocks.state_dict())
    assert torch.equal(network.pos_embed[:, :1], before.pos_embed[:, :1])
    torch.testing.assert_close(
        inside(network.pos_embed, 16, 8), ramp(16, 8).view(16, 8, 64)[1:-1, 1:-1], atol=0.03, rtol=0
    )
    turned = build_initial_model(wanted, (64, 128), find_origin(wanted))
    assert "from 8 x 4 to 4 x 8 patches" in load_initial_weights(turned), "as many patches, in other places"
    alike = build_initial_model(wanted, (128, 64), find_origin(wanted))
    assert "resampled" not in load_initial_weights(alike)


def test_square_weights_of_a_transformer_are_made_to_fit_and_others_need_the_input_size(tmp_path):
    save_file(transformer((224, 224)).backbone.body.network.state_dict(), tmp_path / "square.safetensors")
    wanted = replace(PLAIN, backbone="test_vit", pretrained=str(tmp_path / "square.safetensors"))
    model = build_initial_model(wanted, (256, 128), find_origin(wanted))
    assert "resampled from 14 x 14 to 16 x 8 patches" in load_initial_weights(model)
    positions = inside(model.backbone.body.network.pos_embed, 16, 8)
    torch.testing.assert_close(positions, ramp(16, 8).view(16, 8, 64)[1:-1, 1:-1], atol=0.03, rtol=0)
    save_file(transformer((128, 64)).backbone.body.network.state_dict(), tmp_path / "high.safetensors")
    wanted = replace(wanted, pretrained=str(tmp_path / "high.safetensors"))
    assert "resampled" not in load_initial_weights(build_initial_model(wanted, (128, 64), find_origin(wanted)))
    with pytest.raises(
        UserError, match=r"pos_embed: \[1, 33, 64\].*\n.*Fix: Choose the backbone and, .*--model\.input_size"
    ):
        load_initial_weights(build_initial_model(wanted, (256, 128), find_origin(wanted)))


def test_a_model_folder_hands_on_weights_pixels_and_provenance(tmp_path):
    torch.manual_seed(5)
    encoder = build_model(PLAIN, SIZE, mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1))
    card = ModelCard(trained_on={"name": "crops"}, provenance={"method": "moco", "labels": False})
    save_model(tmp_path / "encoder", encoder, card)
    wanted = replace(PLAIN, head="fc_bn", pretrained=str(tmp_path / "encoder"))
    origin = find_origin(wanted)
    model = build_initial_model(wanted, SIZE, origin)
    load_initial_weights(model)
    assert same(model.backbone, encoder.backbone.state_dict())
    assert torch.equal(model.mean, encoder.mean)
    assert torch.equal(model.variance, encoder.variance)
    assert model.settings.extra_bn == "yes"
    assert origin.provenance["before"]["trained_on"] == {"name": "crops"}
    assert len(origin.provenance["weights_sha256"]) == 64
    assert build_initial_model(replace(wanted, extra_bn="no"), SIZE, origin).settings.extra_bn == "no"
    save_model(tmp_path / "labelled", encoder, ModelCard(provenance={"labels": True}))
    labelled = replace(wanted, pretrained=str(tmp_path / "labelled"))
    assert build_initial_model(labelled, SIZE, find_origin(labelled)).settings.extra_bn == "no"


def test_an_mgn_begins_from_an_mgn_and_nothing_else_does(tmp_path):
    torch.manual_seed(6)
    before = build_model(replace(PLAIN, kind="mgn", embedding=64), SIZE)
    save_model(tmp_path / "mgn", before, ModelCard())
    wanted = replace(PLAIN, kind="mgn", embedding=16, pretrained=str(tmp_path / "mgn"))
    model = build_initial_model(wanted, SIZE, find_origin(wanted))
    load_initial_weights(model)
    assert same(model.branches, before.branches.state_dict())
    assert same(model.backbone, before.backbone.state_dict())
    other = replace(wanted, kind="single_view")
    with pytest.raises(UserError, match="three branches"):
        load_initial_weights(build_initial_model(other, SIZE, find_origin(other)))


def test_a_plain_file_is_of_unknown_origin(tmp_path):
    save_file(build_backbone("resnet18").body.state_dict(), tmp_path / "r18.safetensors")
    plain = replace(PLAIN, pretrained=str(tmp_path / "r18.safetensors"))
    origin = find_origin(plain)
    assert origin.labels is None
    assert build_initial_model(PLAIN, SIZE, origin).settings.extra_bn == "no"
    said = describe_assumptions(plain, origin)
    assert "no extra batch normalisation; pass --model.pretrained_labels no" in said
    assert "ImageNet's mean and standard deviation; pass" in said
    assert "extra" not in describe_assumptions(replace(plain, extra_bn="yes"), origin)
    measured = {"pixel_mean": (0.3, 0.3, 0.3), "pixel_std": (0.2, 0.2, 0.2)}
    assert "pixel" not in describe_assumptions(replace(plain, **measured), origin)
    assert describe_assumptions(replace(plain, extra_bn="yes", **measured), origin) is None


@pytest.mark.parametrize(("labels", "extra_bn"), [("no", "yes"), ("yes", "no")])
def test_a_user_says_whether_a_plain_file_was_learned_with_labels(tmp_path, labels, extra_bn):
    save_file(build_backbone("resnet18").body.state_dict(), tmp_path / "r18.safetensors")
    wanted = replace(PLAIN, pretrained=str(tmp_path / "r18.safetensors"), pretrained_labels=labels)
    origin = find_origin(wanted)
    assert build_initial_model(wanted, SIZE, origin).settings.extra_bn == extra_bn
    assert "labels" not in describe_assumptions(wanted, origin)


def test_the_pixel_statistics_of_a_moco_checkpoint_are_unknown(tmp_path):
    moco_checkpoint(tmp_path / "lup_moco_r18.pth")
    wanted = replace(PLAIN, pretrained=str(tmp_path / "lup_moco_r18.pth"))
    said = describe_assumptions(wanted, find_origin(wanted))
    assert "unknown pixel statistics: ImageNet's mean and standard deviation; pass" in said
    assert "--model.pixel_mean 0.3525 0.3106 0.3140 --model.pixel_std 0.2660 0.2522 0.2505" in said
    assert "labels" not in said
    wanted = replace(wanted, pixel_mean=(0.3525, 0.3106, 0.3140))
    assert "ImageNet's standard deviation; pass" in describe_assumptions(wanted, find_origin(wanted))
    wanted = replace(wanted, pixel_std=(0.2660, 0.2522, 0.2505))
    assert describe_assumptions(wanted, find_origin(wanted)) is None


@pytest.mark.parametrize("name", ["resnet18-f37072fd.pth", "resnet18.imagenet.safetensors"])
def test_files_of_imagenets_weights_are_stated_without_a_warning(name):
    said = describe_assumptions(replace(PLAIN, pretrained=f"weights/{name}"), Origin())
    assert said.endswith("no extra batch normalisation, ImageNet's pixel statistics")
    assert "unknown" not in said
    assert "unknown" in describe_assumptions(replace(PLAIN, backbone="resnet34", pretrained=name), Origin())


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="nothing at"):
        find_origin(replace(PLAIN, pretrained=str(tmp_path / "no.pth")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no model\.json"):
        find_origin(replace(PLAIN, pretrained=str(tmp_path / "empty")))
    with pytest.raises(UserError, match="pixel_mean"):
        find_origin(replace(PLAIN, pixel_mean=(123.0, 1.0, 1.0)))
    save_model(tmp_path / "r18", build_model(PLAIN, SIZE), ModelCard())
    wrong = replace(PLAIN, backbone="resnet34", pretrained=str(tmp_path / "r18"))
    with pytest.raises(
        UserError, match=r"backbone: expected resnet18, which .*r18 was trained with, got resnet34"
    ) as error:
        find_origin(wrong)
    assert error.value.fix.startswith("Pass --model.backbone resnet18")


@pytest.mark.parametrize("kind", ["single_view", "mgn"])
def test_an_encoder_of_stride_32_gives_its_weights_to_a_model_of_stride_16(kind, tmp_path):
    encoder = build_model(replace(PLAIN, stride_one_at="none"), SIZE)
    save_model(tmp_path / "encoder", encoder, ModelCard())
    wanted = replace(PLAIN, kind=kind, embedding=48, pretrained=str(tmp_path / "encoder"))
    model = build_initial_model(wanted, SIZE, find_origin(wanted))
    load_initial_weights(model)
    assert encoder.eval().feature_map(torch.zeros(1, 3, *SIZE)).shape[2:] == (3, 1)
    part = model.branches[2].layer4 if kind == "mgn" else model.backbone.body.layer4
    assert same(part, encoder.state_dict(), "backbone.body.layer4.")
    assert part[0].conv2.stride == (1, 1)
