"""Batch-hard triplet loss against four public codes, against values by hand, and its gradient against differences."""

import numpy as np
import pytest
import torch

from rewho.core.check import UserError
from rewho.losses.triplet import mine_hardest_pairs, triplet_loss

CASES = [
    ("margin0.3", 0.3, "euclidean"),
    ("soft_margin", 0.0, "euclidean"),
    ("margin0.3_normalised_euclid", 0.3, "unit_euclidean"),
    ("margin0.3_normalised_2minus2cos", 0.3, "unit_squared"),
]


@pytest.mark.parametrize("scale", ["", "_small_scale"])
@pytest.mark.parametrize(("name", "margin", "distance"), CASES)
def test_equal_to_golden(shared, name, margin, distance, scale):
    golden = np.load(shared / "golden" / "triplet" / "triplet.npz", allow_pickle=False)
    labels = torch.tensor(golden["labels"])
    features = torch.tensor(golden[f"features{scale}"], dtype=torch.float64, requires_grad=True)
    loss = triplet_loss(features, labels, margin, distance)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden[f"loss_{name}{scale}"]), abs=1e-12)
    np.testing.assert_allclose(features.grad, golden[f"grad_{name}{scale}"], atol=1e-12)
    single = triplet_loss(features.detach().float(), labels, margin, distance)
    assert single.item() == pytest.approx(loss.item(), abs=1e-6)


@pytest.mark.parametrize("scale", ["", "_small_scale"])
def test_the_same_pairs_are_hardest(shared, scale):
    golden = np.load(shared / "golden" / "triplet" / "triplet.npz", allow_pickle=False)
    features = torch.tensor(golden[f"features{scale}"])
    pairs = mine_hardest_pairs(features, torch.tensor(golden["labels"]))
    np.testing.assert_array_equal(pairs.positive, golden[f"hardest_positive{scale}"])
    np.testing.assert_array_equal(pairs.negative, golden[f"hardest_negative{scale}"])
    between = torch.linalg.norm(features - features[pairs.negative], dim=1)
    np.testing.assert_allclose(between, golden[f"dist_an{scale}"], atol=1e-5)


@pytest.mark.parametrize(("name", "margin", "distance"), CASES)
def test_gradcheck(name, margin, distance):
    features = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    assert torch.autograd.gradcheck(lambda x: triplet_loss(x, labels, margin, distance), features)


def test_a_repeated_image_gives_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)  # every distance is exactly 0
    for distance in ("euclidean", "unit_euclidean", "unit_squared"):
        loss = triplet_loss(features, torch.tensor([0, 0, 1, 1]), 0.3, distance)
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss.item() == pytest.approx(0.3, abs=1e-5)
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_people_alone_and_batches_of_one_person():
    line = torch.tensor([[0.0], [2.0], [3.0]])
    alone = triplet_loss(line, torch.tensor([0, 1, 2]), 1.5)  # own distance 0; nearest others at 2, 1, 1
    assert alone.item() == pytest.approx((0 + 0.5 + 0.5) / 3, abs=1e-5)
    assert triplet_loss(line, torch.tensor([4, 4, 4]), 0.3).item() == 0.0


def test_order_and_shift_do_not_matter():
    features, labels = torch.randn(12, 7, dtype=torch.float64), torch.arange(12) % 4
    order = torch.randperm(12)
    moved = triplet_loss(features[order] + 5, labels[order])
    assert moved.item() == pytest.approx(triplet_loss(features, labels).item(), abs=1e-12)


def test_half_precision_is_measured_in_float32():
    features = torch.randn(8, 5).bfloat16()
    assert triplet_loss(features, torch.arange(8) // 2).dtype == torch.float32


def test_mistakes():
    with pytest.raises(UserError, match="one label for each"):
        triplet_loss(torch.zeros(2, 2), torch.zeros(3))
