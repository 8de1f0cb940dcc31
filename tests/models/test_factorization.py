"""The branches of Factorized Distillation: shapes, plain formulas, sizes, attention."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.models.factorization import Factorization, FeatureMapBranch, RepresentationBranch, attention

WIDTHS = {"holistic": 512, "up1": 256, "mid1": 256, "dn1": 256, "up2": 256, "mid2": 256, "dn2": 256}
SMALL = {"holistic": 6, "up1": 4, "values": 4}


@pytest.fixture
def inputs():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(5, 8, 7, 6, generator=draw), torch.randn(5, 9, generator=draw)


def batch_norm(rows):
    """Normalise columns as a fresh batch normalisation does while training."""
    return (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)


def test_shapes_of_the_paper():
    factorization = Factorization(512, 512, WIDTHS)
    predictions = factorization(torch.randn(2, 512, 15, 7), torch.randn(2, 512))
    assert list(predictions) == list(WIDTHS)
    for view, (from_map, from_representation) in predictions.items():
        assert from_map.shape == from_representation.shape == (2, WIDTHS[view])


def test_sizes_of_the_paper():
    def count(module):
        return sum(weights.numel() for weights in module.parameters())

    def norm(channels):
        return 2 * channels

    factorization = Factorization(512, 512, WIDTHS)
    select, wide, narrow = 512 * 512 + norm(512), 512 * 512 + norm(512), 512 * 256 + norm(256)
    assert count(factorization.map_branches) == 7 * select + wide + 6 * narrow
    assert count(factorization.representation_branches) == 6 * select + wide + 6 * narrow  # holistic selects nothing


def test_map_branch_is_the_plain_formula(inputs):
    branch, (feature_map, _) = FeatureMapBranch(8, 4, features=5, kernel=4), inputs
    weight, embed = branch.select.weight.detach().numpy(), branch.embedding.project.weight.detach().numpy()
    selected = np.einsum("fc,nchw->nhwf", weight, feature_map.numpy()).reshape(-1, 5)
    selected = np.maximum(batch_norm(selected), 0).reshape(5, 7, 6, 5)
    windows = [selected[:, i : i + 4, j : j + 4].mean(axis=(1, 2)) for i in range(4) for j in range(3)]
    expected = batch_norm(np.max(windows, axis=0) @ embed.T)
    np.testing.assert_allclose(branch(feature_map).detach(), expected, atol=2e-4)


def test_representation_branch_is_the_plain_formula(inputs):
    branch, representation = RepresentationBranch(9, 4, features=5), inputs[1]
    select, embed = (weight.detach().numpy() for weight in branch.parameters() if weight.ndim == 2)
    selected = np.maximum(batch_norm(representation.numpy() @ select.T), 0)
    np.testing.assert_allclose(branch(representation).detach(), batch_norm(selected @ embed.T), atol=2e-4)


def test_the_students_own_view_is_mapped_without_selection(inputs):
    representation = inputs[1]
    for own in ("holistic", "up1"):
        factorization = Factorization(8, 9, SMALL, features=5, student_view=own)
        for view, branch in zip(SMALL, factorization.representation_branches, strict=True):
            weights = [weight.detach().numpy() for weight in branch.parameters() if weight.ndim == 2]
            assert [weight.shape for weight in weights] == (
                [(SMALL[view], 9)] if view == own else [(5, 9), (SMALL[view], 5)]
            )
            if view == own:
                expected = batch_norm(representation.numpy() @ weights[0].T)
                np.testing.assert_allclose(branch(representation).detach(), expected, atol=2e-4)


def test_views_do_not_share_anything(inputs):
    feature_map, representation = inputs
    factorization = Factorization(8, 9, SMALL, features=5)
    predictions = factorization(feature_map, representation)
    (predictions["up1"].from_map.square().sum() + predictions["up1"].from_representation.pow(3).sum()).backward()
    for branches in (factorization.map_branches, factorization.representation_branches):
        reached = [any(weight.grad is not None for weight in branch.parameters()) for branch in branches]
        assert reached == [False, True, False]


def test_every_branch_trains_the_student(inputs):
    feature_map, representation = (tensor.requires_grad_() for tensor in inputs)
    target = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    for from_map, from_representation in Factorization(8, 9, {"up1": 4}, features=5)(*inputs).values():
        ((from_map - target).square().sum() + (from_representation - target).square().sum()).backward()
    assert feature_map.grad.abs().sum() > 0
    assert representation.grad.abs().sum() > 0


def test_the_first_losses_are_about_the_dimension():
    draw = torch.Generator().manual_seed(1)
    factorization = Factorization(16, 16, {"holistic": 64, "up1": 32}, features=32)
    predictions = factorization(torch.randn(64, 16, 6, 5, generator=draw), torch.randn(64, 16, generator=draw))
    for pair in predictions.values():
        for prediction in pair:
            target = torch.randn(prediction.shape, generator=draw)
            loss = (prediction - target).square().sum(dim=1).mean().item() / 2
            assert loss == pytest.approx(prediction.shape[1], rel=0.2)


@pytest.mark.parametrize("left_out", ["from_map", "from_representation"])
def test_a_kind_of_branch_can_be_left_out(inputs, left_out):
    factorization = Factorization(8, 9, SMALL, features=5, **{left_out: False})
    for prediction in factorization(*inputs).values():
        for name in ("from_map", "from_representation"):
            assert (getattr(prediction, name) is None) == (name == left_out)


def test_memory_layout_does_not_matter(inputs):
    feature_map, representation = inputs
    factorization = Factorization(8, 9, SMALL, features=5).eval()
    plain = factorization(feature_map, representation)
    other = factorization(feature_map.to(memory_format=torch.channels_last), representation)
    for view in SMALL:
        torch.testing.assert_close(plain[view].from_map, other[view].from_map)


def test_attention_is_found_where_the_map_is_large():
    maps = torch.zeros(2, 3, 4, 5)
    maps[0, :, 1, 2] = -2.0
    maps[0, 0, 3, 3] = 3.0
    seen = attention(maps)
    assert seen.shape == (2, 4, 5)
    assert seen[0, 1, 2] == 1
    assert seen[0, 3, 3] == 0.5
    assert seen[0].sum() == 1.5
    assert torch.count_nonzero(seen[1]) == 0  # nothing stands out: no division by zero


def test_attention_of_a_view_is_that_of_its_convolution(inputs):
    feature_map, _ = inputs
    factorization = Factorization(8, 9, SMALL, features=5).train()
    factorization(*inputs)  # moves the running statistics
    before = {name: tensor.clone() for name, tensor in factorization.state_dict().items()}
    for view, branch in zip(SMALL, factorization.map_branches, strict=True):
        norm = branch.normalise
        convolved = F.conv2d(feature_map, branch.select.weight[:, :, None, None])
        selected = F.relu(F.batch_norm(convolved, norm.running_mean, norm.running_var, norm.weight, norm.bias))
        seen = factorization.attention_map(feature_map, view)
        torch.testing.assert_close(seen, attention(selected), rtol=1e-4, atol=1e-5)
        assert not seen.requires_grad
    assert all(module.training for module in factorization.modules())
    for name, tensor in factorization.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_mistakes(inputs):
    with pytest.raises(UserError, match="at least one view"):
        Factorization(8, 9, {})
    with pytest.raises(UserError, match="one kind of branch"):
        Factorization(8, 9, SMALL, from_map=False, from_representation=False)
    with pytest.raises(UserError, match="Did you mean 'up1'"):
        Factorization(8, 9, SMALL, features=5).attention_map(inputs[0], "up2")
    with pytest.raises(UserError, match="feature-map branches"):
        Factorization(8, 9, SMALL, features=5, from_map=False).attention_map(inputs[0], "up1")
